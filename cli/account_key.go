package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/machine"
)

func (a *app) accountRolloverCommand() *cobra.Command {
	var r requestFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "rollover",
		Short: "Give the account a new key",
		Long: `Makes a new account key and has the CA put it in the place of the old one. The
account and everything that depends on it stay: its URL, CAA records, limits,
validations. The new key is stored before the CA hears of it, and the old one is
kept until the new one has signed something that the CA accepted. If it is
interrupted, the same command finishes it.

A proof that is shown to the CA at this moment was made with the old key and
would be refused; so the command fails while an order of the account is in
progress.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			client, n, err := a.accountClient(ctx, &r)
			if err != nil {
				return err
			}
			if !force {
				if err := a.noOrders(cmd, n); err != nil {
					return err
				}
			}
			flags, err := r.accountFlags()
			if err != nil {
				return err
			}
			info, err := client.Rollover(ctx, flags.KeyType)
			if err != nil {
				return err
			}
			a.changed = true
			a.Say("the account has a new key")
			return a.sayAccount(ctx, info)
		},
	}
	r.addCA(cmd.Flags())
	r.addAccountName(cmd.Flags())
	r.addAccountKey(cmd.Flags())
	cmd.Flags().BoolVar(&force, "force", false, "change it although orders are in progress")
	a.completeFlags(cmd)
	return cmd
}

// noOrders returns an error if orders of the account are in progress.
func (a *app) noOrders(cmd *cobra.Command, n machine.Account) error {
	m, err := a.Manager(cmd.Context())
	if err != nil {
		return err
	}
	names, err := m.InWork(cmd.Context())
	if err != nil {
		return err
	}
	for _, name := range names {
		o, err := m.Observe(cmd.Context(), name)
		if err != nil {
			return err
		}
		for _, order := range o.Orders {
			if order.CA == n.CA && order.Account == n.Name {
				return inkan.Errorf(inkan.Operator, "account "+n.Name+" at "+n.CA, "an order for %s is in progress", name).
					WithHint("let it finish first (inkan renew --name %s), or use --force: a proof that is shown right now would be refused", name)
			}
		}
	}
	return nil
}

func (a *app) accountDeactivateCommand() *cobra.Command {
	var r requestFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "deactivate",
		Short: "End the account at the CA for good",
		Long: `Has the CA deactivate the account. That cannot be taken back: certificates that
it got stay valid, but cannot be renewed or revoked with it. What is recorded
with this account fails from then on, and says so.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			client, n, rec, err := a.accountOnRecord(ctx, &r)
			if err != nil {
				return err
			}
			if rec.URL != "" && !yes {
				if !a.Interactive() {
					return usageError{fmt.Errorf("inkan account deactivate ends the account for good; say so with --yes")}
				}
				sure, err := a.Asker().Yes(fmt.Sprintf("Deactivate the account %s at %s\n(%s) for good?",
					n.Name, a.CATitle(ctx, n.CA), inkan.Printable(rec.URL, 300)), "no")
				if err != nil || !sure {
					return err
				}
			}
			info, err := client.Deactivate(ctx)
			if err != nil {
				return err
			}
			a.changed = rec.Deactivated.IsZero()
			return a.sayAccount(ctx, info)
		},
	}
	r.addCA(cmd.Flags())
	r.addAccountName(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	a.completeFlags(cmd)
	return cmd
}
