package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/machine"
	"github.com/inkan-acme/inkan/plug"
)

func (a *app) accountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Register, show, change, move and end the account at a CA",
		Long: `An account belongs to one CA and is named "default" unless --account says
otherwise. "inkan issue" makes it where it is missing; these commands are for
those who want to make it beforehand, see it, change its addresses or its key,
take it to another machine or end it.`,
		Args: cobra.ArbitraryArgs,
		RunE: subcommand,
	}
	cmd.AddCommand(a.accountRegisterCommand(), a.accountShowCommand(), a.accountUpdateCommand(), a.accountRolloverCommand(),
		a.accountDeactivateCommand(), a.accountExportCommand(), a.accountImportCommand())
	return cmd
}

func (a *app) accountRegisterCommand() *cobra.Command {
	var r requestFlags
	var again bool
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Make the account at a CA, or find it again",
		Long: `Makes an account at the CA. Its key is stored before the CA hears of it, so
asking twice, or again after a lost answer, finds the same account and never
makes a second one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			client, n, rec, err := a.accountOnRecord(ctx, &r)
			if err != nil {
				return err
			}
			if err := a.agree(ctx, client, n, &r, rec.URL != "" && rec.Deactivated.IsZero()); err != nil {
				return err
			}
			info, err := client.Register(ctx, acme.RegisterOptions{AgreeTerms: r.agreeTOS, Contacts: addresses(r.emails), Recover: again})
			if err != nil {
				return err
			}
			a.changed = info.URL != rec.URL
			if rec.URL != "" && !a.changed && !a.JSON {
				a.Say("the account is there already")
			}
			return a.sayAccount(ctx, info)
		},
	}
	r.addCA(cmd.Flags())
	r.addAccount(cmd.Flags())
	cmd.Flags().BoolVar(&again, "recover", false, "make a new account with the old key if the CA has lost the one on record; with a new key if it was deactivated")
	a.completeFlags(cmd)
	return cmd
}

func (a *app) accountShowCommand() *cobra.Command {
	var r requestFlags
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Ask the CA for the account",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, _, err := a.accountClient(cmd.Context(), &r)
			if err != nil {
				return err
			}
			info, err := client.ShowAccount(cmd.Context())
			if err != nil {
				return err
			}
			return a.sayAccount(cmd.Context(), info)
		},
	}
	r.addCA(cmd.Flags())
	r.addAccountName(cmd.Flags())
	a.completeFlags(cmd)
	return cmd
}

func (a *app) accountUpdateCommand() *cobra.Command {
	var r requestFlags
	cmd := &cobra.Command{
		Use:   "update --email ADDRESS...",
		Short: "Change the addresses of the account",
		Long: `Replaces the addresses to which the CA may write, at the CA and on record.
--email '' leaves none.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("email") {
				return usageError{errors.New("inkan account update wants --email ADDRESS, or --email '' for none")}
			}
			client, _, err := a.accountClient(cmd.Context(), &r)
			if err != nil {
				return err
			}
			before, err := client.ShowAccount(cmd.Context())
			if err != nil {
				return err
			}
			wanted := addresses(r.emails)
			if slices.Equal(before.Contacts, wanted) {
				return a.sayAccount(cmd.Context(), before)
			}
			info, err := client.UpdateContacts(cmd.Context(), wanted)
			if err != nil {
				return err
			}
			a.changed = true
			return a.sayAccount(cmd.Context(), info)
		},
	}
	r.addCA(cmd.Flags())
	r.addAccountName(cmd.Flags())
	r.addEmail(cmd.Flags())
	a.completeFlags(cmd)
	return cmd
}

// accountClient returns the client of the account that the flags name.
func (a *app) accountClient(ctx context.Context, r *requestFlags) (*acme.Client, machine.Account, error) {
	var n machine.Account
	ca, err := a.chooseOneCA(ctx, r)
	if err != nil {
		return nil, n, err
	}
	n = machine.Account{CA: ca, Name: orDefault(r.account)}
	if err := inkan.CheckName(n.Name); err != nil {
		return nil, n, err
	}
	flags, err := r.accountFlags()
	if err != nil {
		return nil, n, err
	}
	client, err := a.Client(ctx, n.CA, n.Name, flags)
	return client, n, err
}

const (
	defaultCA      = "letsencrypt"
	defaultAccount = "default"
)

func orDefault(account string) string {
	if account == "" {
		return defaultAccount
	}
	return account
}

// addresses drops the empty address that stands for none.
func addresses(emails []string) []string {
	return slices.DeleteFunc(slices.Clone(emails), func(s string) bool { return s == "" })
}

// accountOnRecord is accountClient with what is on record, the zero value if
// nothing is.
func (a *app) accountOnRecord(ctx context.Context, r *requestFlags) (*acme.Client, machine.Account, inkan.AccountRecord, error) {
	client, n, err := a.accountClient(ctx, r)
	if err != nil {
		return nil, n, inkan.AccountRecord{}, err
	}
	rec, err := a.LoadAccount(ctx, n)
	return client, n, rec, err
}

// agree settles whether the CA's terms are agreed to: by the flag, by the
// configuration file, or by asking on a terminal.
func (a *app) agree(ctx context.Context, client *acme.Client, n machine.Account, r *requestFlags, exists bool) error {
	if exists || r.agreeTOS {
		return nil
	}
	if cfg, err := a.Config(); err == nil && cfg != nil {
		acct, err := cfg.Account(n.Name, n.CA, a.Secret)
		if err != nil {
			return err
		}
		r.agreeTOS = acct.AgreeTerms
	}
	if r.agreeTOS || !a.Interactive() {
		return nil // the error that follows names the terms
	}
	terms, err := client.Terms(ctx)
	if err != nil {
		return err
	}
	if terms == "" {
		return nil
	}
	agreed, err := a.Asker().Yes(fmt.Sprintf("The terms of service of %s:\n  %s\nDo you agree to them?", a.CATitle(ctx, n.CA), inkan.Printable(terms, 500)), "")
	if err != nil {
		return err
	}
	if !agreed {
		return inkan.Errorf(inkan.Operator, "account at "+a.CATitle(ctx, n.CA), "without agreement to its terms of service the CA makes no account")
	}
	r.agreeTOS = true
	return nil
}

// ensureAccount makes the account at the CA if there is none yet, and reports
// whether it did. It must exist before a request is recorded: a renewal by a
// timer agrees to nothing.
func (a *app) ensureAccount(ctx context.Context, ca, account string, r *requestFlags) (made bool, err error) {
	n := machine.Account{CA: ca, Name: account}
	rec, err := a.LoadAccount(ctx, n)
	if err != nil {
		return false, err
	}
	flags, err := r.accountFlags()
	if err != nil {
		return false, err
	}
	client, err := a.Client(ctx, ca, account, flags)
	switch {
	case err != nil:
		return false, err
	case !rec.Deactivated.IsZero():
		_, err := client.ShowAccount(ctx) // says so
		return false, err
	case rec.URL != "":
		return false, nil
	}
	if err := a.agree(ctx, client, n, r, false); err != nil {
		return false, err
	}
	var contacts []string // nil: those of the configuration file
	if r.emails != nil {
		contacts = addresses(r.emails)
	}
	info, err := client.Register(ctx, acme.RegisterOptions{AgreeTerms: r.agreeTOS, Contacts: contacts})
	if err != nil {
		return false, err
	}
	a.logger().Info("account", "ca", info.CA, "url", info.URL)
	return true, nil
}

// accountFlags reads the flags about the account, and the HMAC key's file.
func (r *requestFlags) accountFlags() (machine.AccountOptions, error) {
	f := machine.AccountOptions{Contacts: addresses(r.emails), AgreeTerms: r.agreeTOS, EABKeyID: r.eabKeyID, EABAlgorithm: r.eabAlg}
	if r.accountKey != "" {
		kt, err := inkan.ParseKeyType(r.accountKey)
		if err != nil {
			return f, err
		}
		f.KeyType = kt
	}
	if (r.eabKey == "") != (r.eabKeyID == "") {
		return f, usageError{errors.New("--eab-kid and --eab-hmac-key-file belong together")}
	}
	if r.eabKey != "" {
		data, err := os.ReadFile(r.eabKey)
		if err != nil {
			return f, inkan.Errorf(inkan.Operator, "external account binding", "%w", err)
		}
		f.EABKey = plug.NewSecret(strings.TrimSpace(string(data)))
	}
	return f, nil
}

func (a *app) sayAccount(ctx context.Context, info acme.AccountInfo) error {
	if a.JSON {
		return a.WriteJSON(info)
	}
	a.Say("account %s at %s", a.Paint(term.Bold, info.Account), a.CATitle(ctx, info.CA))
	a.Field("URL", info.URL)
	a.Field("status", info.Status)
	contacts := strings.Join(info.Contacts, " ")
	if contacts == "" {
		contacts = "none"
	}
	a.Field("addresses", contacts)
	a.Field("terms", info.TermsAgreed)
	a.Field("EAB key id", info.EABKeyID)
	a.Field("key", fmt.Sprintf("%s, thumbprint %s", info.KeyType, info.Thumbprint))
	if !info.Created.IsZero() {
		a.Field("made", term.Stamp(info.Created))
	}
	return nil
}
