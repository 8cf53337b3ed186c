package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/machine"
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
	cfg, err := a.Config()
	if err == nil && cfg == nil {
		path, _ := a.ConfigPath()
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
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	changes, failed := a.compare(ctx, m, cfg)
	source, _, err := a.Source()
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.request != nil {
			_, err = m.RecordFrom(ctx, *c.request, inkan.OriginConfig, source)
		} else {
			err = m.Unmanage(ctx, c.Name)
		}
		if err != nil {
			failed = also(failed, failure{name: c.Name, err: err})
			continue
		}
		a.changed = true
		a.Item(c.Name, c.Action+": "+a.InWords(ctx, c.Detail))
	}
	usable, failed := a.ensureAccounts(ctx, cfg, failed)
	var names []string
	for i := range cfg.Certificates {
		req := &cfg.Certificates[i]
		if usable[req.Name] && !told(failed, req.Name) {
			names = append(names, req.Name)
		}
	}
	report := &engine.Report{}
	if len(names) > 0 {
		// A person asks: what failed before is tried again now.
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(names...), ByPerson: true})
		if err != nil {
			return also(failed, failure{err: err})
		}
		if report, err = a.carryOut(ctx, m, p); err != nil {
			failed = append(splitOrNone(failed), split(err)...)
		}
		if err := unfinished(report); err != nil {
			failed = append(splitOrNone(failed), split(err)...)
		}
	}
	return a.finish(report, failed, func() { a.sayApplied(ctx, report, failed == nil) })
}

// told reports whether a failure of the certificate is told already.
func told(err error, name string) bool {
	for _, f := range splitOrNone(err) {
		if f.name == name {
			return true
		}
	}
	return false
}

func splitOrNone(err error) failures {
	if err == nil {
		return nil
	}
	return split(err)
}

// ensureAccounts makes the accounts that the file's certificates need, and
// returns the certificates that can be issued: those whose first CA is ready, or
// is out of order while a later one is ready.
func (a *app) ensureAccounts(ctx context.Context, cfg *config.Config, failed error) (map[string]bool, error) {
	tried := map[machine.Account]error{}
	ensure := func(n machine.Account) error {
		err, seen := tried[n]
		if !seen {
			var made bool
			made, err = a.ensureAccount(ctx, n.CA, n.Name, &requestFlags{})
			a.changed = a.changed || made
			tried[n] = err
		}
		return err
	}
	usable := map[string]bool{}
	told, broken := map[machine.Account]bool{}, map[machine.Account]bool{}
	for i := range cfg.Certificates {
		req := &cfg.Certificates[i]
		first := machine.Account{CA: req.CAs[0], Name: req.Account}
		err := ensure(first)
		ready := err == nil
		for _, ca := range req.CAs[1:] {
			n := machine.Account{CA: ca, Name: req.Account}
			switch later := ensure(n); {
			case later == nil:
				ready = ready || outOfOrder(err)
			case ctx.Err() == nil && !told[n]:
				told[n] = true
				a.warnNotReady(ctx, n, later)
			}
		}
		usable[req.Name] = ready
		switch {
		case err == nil || broken[first] || ready && told[first]:
		case ready:
			told[first] = true
			a.warnNotReady(ctx, first, err)
		default:
			broken[first] = true
			failed = also(failed, failure{err: err})
		}
	}
	return usable, failed
}

func (a *app) sayApplied(ctx context.Context, report *engine.Report, fine bool) {
	done := &engine.Report{}
	for _, r := range report.Results {
		if r.Changed() {
			done.Results = append(done.Results, r)
		}
	}
	a.sayResults(ctx, done)
	if fine && !a.changed {
		a.Say("nothing to do: %s as the configuration file wants", count(len(report.Results), "certificate"))
	}
}
