package cli

import (
	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan/engine"
)

func (a *app) renewCommand() *cobra.Command {
	var names []string
	var force, dryRun bool
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew what is due, finish what was interrupted, deploy what is not in place",
		Long: `Renews every certificate that is due, goes on with orders that were
interrupted and repeats deployments that failed. Everything it needs was
recorded when the certificate was issued, so it takes no options. Meant to run
from a timer, once an hour; it costs nothing when nothing is due.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun {
				return a.renewDryRun(cmd.Context(), names)
			}
			if force && len(names) == 0 {
				return usageError{errForceAll}
			}
			m, err := a.Manager(cmd.Context())
			if err != nil {
				return err
			}
			p, err := m.Plan(cmd.Context(), engine.PlanOptions{Scope: scopeOf(names), ByPerson: len(names) > 0, AskAdvice: len(names) > 0, Renew: force})
			if err != nil {
				return err
			}
			report, err := a.carryOut(cmd.Context(), m, p)
			return a.finish(report, err, func() {
				if len(report.Results) == 0 {
					a.Say("nothing is due")
				}
				a.sayResults(cmd.Context(), report)
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&names, "name", nil, "only the certificate `NAME`, now, without waiting for a failed try's time (repeatable)")
	f.BoolVar(&force, "force", false, "renew although it is not due (with --name)")
	f.BoolVar(&dryRun, "dry-run", false, "try it against the staging CA; nothing is kept or deployed")
	a.completeFlags(cmd)
	return cmd
}
