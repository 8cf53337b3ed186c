package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/config"
)

var errNamesOrAll = errors.New("give names or --all, not both")

func (a *app) applyCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make reality match the configuration file",
		Long: `Records every certificate of the configuration file, makes the accounts whose
terms the file agrees to, and then issues and deploys what is missing. A
certificate that left the file is kept but no longer renewed; nothing is ever
deleted. One that was issued on the command line and now stands in the file is
ruled by the file from then on.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.needConfig(); err != nil {
				return err
			}
			if dryRun {
				return a.plan(cmd.Context(), nil, false)
			}
			return a.apply(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would happen, as inkan plan does")
	return cmd
}

// needConfig reads the configuration file, which must be there.
func (a *app) needConfig() (*config.Config, error) {
	cfg, err := a.config()
	if err == nil && cfg == nil {
		path, _ := a.configPath()
		if path == "" {
			path = "the configuration file"
		}
		return nil, inkan.Errorf(inkan.Operator, "configuration", "there is no %s", path).WithHint("name another one with --config FILE")
	}
	return cfg, err
}

func (a *app) apply(ctx context.Context) error {
	cfg, err := a.needConfig()
	if err != nil {
		return err
	}
	m, err := a.manager(ctx)
	if err != nil {
		return err
	}
	changes, failed := compare(ctx, m, cfg)
	for _, c := range changes {
		if c.request != nil {
			_, err = m.Record(ctx, *c.request, inkan.OriginConfig)
		} else {
			err = m.Unmanage(ctx, c.Name)
		}
		if err != nil {
			failed = also(failed, failure{name: c.Name, err: err})
			continue
		}
		a.changed = true
		a.say("%s: %s: %s", a.paint(bold, c.Name), c.Action, c.Detail)
	}
	usable, failed := a.ensureAccounts(ctx, cfg, failed)
	calm, troubled, failed := a.sortOut(ctx, m, cfg, usable, failed)
	report := &inkan.Report{}
	// What failed before is tried again now, as a person asked; the CA's
	// advice on the others is looked at in its time.
	for _, opt := range []inkan.PlanOptions{{Names: calm}, {Names: troubled, Asked: true}} {
		if len(opt.Names) == 0 {
			continue
		}
		p, err := m.Plan(ctx, opt)
		if err != nil {
			return also(failed, failure{err: err})
		}
		part, err := a.carryOut(ctx, m, p)
		if err != nil {
			failed = append(splitOrNone(failed), split(err)...)
		}
		report.Results = append(report.Results, part.Results...)
	}
	return a.finish(report, failed, func() { a.sayApplied(ctx, report, failed == nil) })
}

func splitOrNone(err error) failures {
	if err == nil {
		return nil
	}
	return split(err)
}

// ensureAccounts makes the accounts that the file's certificates need, and
// returns those that are there.
func (a *app) ensureAccounts(ctx context.Context, cfg *config.Config, failed error) (map[accountName]bool, error) {
	usable := map[accountName]bool{}
	for i := range cfg.Certificates {
		req := &cfg.Certificates[i]
		n := accountName{req.CAs[0], req.Account}
		if _, seen := usable[n]; seen {
			continue
		}
		made, err := a.ensureAccount(ctx, n.ca, n.account, &requestFlags{})
		usable[n] = err == nil
		a.changed = a.changed || made
		if err != nil {
			failed = also(failed, failure{err: err})
		}
	}
	return usable, failed
}

type accountName struct{ ca, account string }

// sortOut separates the certificates whose last attempt failed from the
// others. Those whose account is missing are left out: that is told already.
func (a *app) sortOut(ctx context.Context, m *inkan.Manager, cfg *config.Config, usable map[accountName]bool, failed error) (calm, troubled []string, _ error) {
	for i := range cfg.Certificates {
		req := &cfg.Certificates[i]
		if !usable[accountName{req.CAs[0], req.Account}] {
			continue
		}
		o, err := m.Observe(ctx, req.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it could not be recorded
		case err != nil:
			failed = alsoNew(failed, failure{name: req.Name, err: err})
		case failing(o):
			troubled = append(troubled, req.Name)
		default:
			calm = append(calm, req.Name)
		}
	}
	return calm, troubled, failed
}

// alsoNew is also, unless a failure of the certificate is told already.
func alsoNew(err error, f failure) error {
	for _, g := range splitOrNone(err) {
		if g.name == f.name {
			return err
		}
	}
	return also(err, f)
}

// failing reports whether the last attempt or a deployment failed.
func failing(o *inkan.Observed) bool {
	if o.State.LastError != nil {
		return true
	}
	for _, t := range o.Targets {
		if t.Here && t.Deployed.Status == inkan.DeployFailed {
			return true
		}
	}
	return false
}

func (a *app) sayApplied(ctx context.Context, report *inkan.Report, fine bool) {
	done := &inkan.Report{}
	for _, r := range report.Results {
		if r.Changed() {
			done.Results = append(done.Results, r)
		}
	}
	a.sayResults(ctx, done)
	if fine && !a.changed {
		a.say("nothing to do: %s as the configuration file wants", count(len(report.Results), "certificate"))
	}
}
