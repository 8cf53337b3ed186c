package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan/engine"
)

func (a *app) deployCommand() *cobra.Command {
	var retry bool
	cmd := &cobra.Command{
		Use:   "deploy [NAME...]",
		Short: "Bring certificates to their targets, without asking a CA",
		Long: `Deploys the certificates that are not in place yet: the named ones, or all. With
--retry also those whose target failed or holds an older version, and named
ones again although they are in place.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.deploy(cmd.Context(), names, retry) },
	}
	cmd.Flags().BoolVar(&retry, "retry", false, "deploy again what failed, and what is named")
	return cmd
}

func (a *app) deploy(ctx context.Context, names []string, retry bool) error {
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	named := len(names) > 0
	var failed error
	if retry && !named {
		if names, failed, err = undeployed(ctx, m); err != nil {
			return err
		}
	}
	scope := engine.Named(names...)
	all := !retry && !named
	if all {
		scope = engine.All()
	}
	report := &engine.Report{}
	if all || len(names) > 0 {
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: scope, DeployOnly: true, Redeploy: retry, ByPerson: named})
		if err != nil {
			return err
		}
		p.Certificates = slices.DeleteFunc(p.Certificates, func(c engine.CertificatePlan) bool {
			return all && !c.Actions()
		})
		var runErr error
		report, runErr = a.carryOut(ctx, m, p)
		if runErr != nil {
			failed = append(splitOrNone(failed), split(runErr)...)
		}
	}
	return a.finish(report, failed, func() {
		switch {
		case len(report.Results) == 0 && failed == nil && retry:
			a.Say("no deployment failed; inkan deploy --retry NAME deploys one again")
		case len(report.Results) == 0 && failed == nil:
			a.Say("everything is in place")
		}
		a.sayResults(ctx, report)
	})
}

// undeployed returns the certificates with a target that does not have the
// version in force.
func undeployed(ctx context.Context, m *engine.Manager) (names []string, failed, err error) {
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.All(), DeployOnly: true})
	if err != nil {
		return nil, nil, err
	}
	for _, c := range p.Certificates {
		switch {
		case c.Err != nil:
			failed = also(failed, failure{name: c.Name, err: c.Err})
		case slices.ContainsFunc(c.Steps, func(s engine.Step) bool { return s.Target != "" }):
			names = append(names, c.Name)
		}
	}
	return names, failed, nil
}
