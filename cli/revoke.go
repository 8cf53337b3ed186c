package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/plug"
)

// revocationReasons are the words of RFC 5280 that ACME CAs accept from
// subscribers.
func revocationReasons() map[string]inkan.RevocationReason {
	return map[string]inkan.RevocationReason{
		"unspecified":            inkan.Unspecified,
		"key-compromise":         inkan.KeyCompromise,
		"affiliation-changed":    inkan.AffiliationChanged,
		"superseded":             inkan.Superseded,
		"cessation-of-operation": inkan.CessationOfOperation,
	}
}

func (a *app) revokeCommand() *cobra.Command {
	var reason string
	var byKey, remove, yes bool
	words := slices.Sorted(maps.Keys(revocationReasons()))
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke the certificate in force at its CA",
		Long: `Tells the CA that the certificate in force must no longer be trusted. That
cannot be taken back. The files stay where they are, and no new certificate is
issued by itself: "inkan renew --name NAME --force" gets one.`,
		Args:              someArgs(1, 1, "the name of one certificate"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			code, ok := revocationReasons()[reason]
			if !ok {
				return usageError{errors.New(plug.Unknown("reason", reason, words))}
			}
			return a.revoke(cmd.Context(), args[0], code, byKey, remove, yes)
		},
	}
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "unspecified", "why: `WORD` is one of "+strings.Join(words, ", "))
	f.BoolVar(&byKey, "by-key", false, "sign with the certificate's own key, which works without the account")
	f.BoolVar(&remove, "delete", false, "delete it here afterwards, as inkan delete does")
	f.BoolVar(&yes, "yes", false, "do not ask")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) revoke(ctx context.Context, name string, reason inkan.RevocationReason, byKey, remove, yes bool) error {
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	if o.Version != nil && !yes && a.Interactive() {
		sure, err := a.Asker().Yes(fmt.Sprintf("Revoke the certificate %s (%s), valid until %s, for good?",
			name, namesShort(o.Version.Identifiers), term.Stamp(o.Version.Pairs[0].Leaf.NotAfter)), "no")
		if err != nil || !sure {
			return err
		}
	}
	if err := m.Revoke(ctx, name, reason, byKey); err != nil {
		return failures{{name: name, err: err}}
	}
	a.changed = true
	a.Say("%s: %s at %s", a.Paint(term.Bold, name), a.Paint(term.Red, "revoked"), a.CATitle(ctx, o.Version.Pairs[0].CA))
	if remove {
		return a.delete(ctx, m, name)
	}
	if o.Request != nil && reason == inkan.KeyCompromise && (o.Request.Key.Mode == inkan.KeyReuse || o.Request.Key.Mode == inkan.KeyGiven) {
		a.Warn("certificate %s would keep its compromised key: inkan reconfigure %s --reuse-key=false", name, name)
	}
	a.Say("  a new one:     inkan renew --name %s --force", name)
	a.Say("  no longer:     inkan delete %s", name)
	return nil
}

func (a *app) deleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Forget a certificate: its request, versions and keys",
		Long: `Deletes what is recorded of a certificate, with all its versions and keys. Files
that were placed stay where they are, and the certificate stays valid: revoke it
first (inkan revoke --delete) if it must not be used any more.`,
		Args:              someArgs(1, anyNumber, "the names of the certificates"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			ctx := cmd.Context()
			m, err := a.Manager(ctx)
			if err != nil {
				return err
			}
			if !yes && a.Interactive() {
				sure, err := a.Asker().Yes("Delete "+strings.Join(names, " ")+" with all versions and keys?", "no")
				if err != nil || !sure {
					return err
				}
			}
			var failed error
			for _, n := range names {
				failed = also(failed, failure{name: n, err: a.delete(ctx, m, n)})
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) delete(ctx context.Context, m *engine.Manager, name string) error {
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	fromConfig := o.Request != nil && o.Request.Origin == inkan.OriginConfig && !o.Request.Unmanaged
	if err := m.Delete(ctx, name); err != nil {
		return err
	}
	a.changed = true
	a.Say("%s: deleted", a.Paint(term.Bold, name))
	if o.Version != nil && !o.Revoked() {
		a.Paragraph("  ", "it stays valid until "+term.Until(o.Version.Pairs[0].Leaf.NotAfter, time.Now())+"; only its CA can revoke it now")
	}
	var paths []string
	for _, t := range o.Targets {
		paths = append(paths, pathsOf(t.Deployed.Receipt)...)
	}
	if len(paths) > 0 {
		a.Say("  these files stay where they are:")
		for _, p := range paths {
			a.Say("    %s", p)
		}
	}
	if fromConfig {
		a.Warn("certificate %s stands in the configuration file, so inkan apply issues it again", name)
	}
	return nil
}
