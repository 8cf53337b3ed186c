package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
)

func (a *app) accountExportCommand() *cobra.Command {
	var r requestFlags
	cmd := &cobra.Command{
		Use:   "export FILE|-",
		Short: "Write the account with its private key to a file",
		Long: `Writes the account (its key, its URL and the CA) as JSON to a new file that only
you can read, for "inkan account import" on another machine. With - it goes to
standard output. Whoever has the file can act as the account: order and revoke
certificates for all its names.`,
		Args: someArgs(1, 1, "a new file, or - for standard output"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, n, err := a.accountClient(cmd.Context(), &r)
			if err != nil {
				return err
			}
			rec, err := a.LoadAccount(cmd.Context(), n)
			if err != nil {
				return err
			}
			op := "account " + n.Name + " at " + a.CATitle(cmd.Context(), n.CA)
			switch {
			case rec.Key == nil || rec.URL == "":
				return inkan.Errorf(inkan.Operator, op, "there is none yet").WithHint("make it with: inkan account register --ca %s", n.CA)
			case rec.Next != nil:
				return inkan.Errorf(inkan.Operator, op, "a key change is unfinished, so two keys are on record").
					WithHint("finish it with: inkan account rollover")
			case !rec.Deactivated.IsZero():
				return inkan.Errorf(inkan.Operator, op, "it is deactivated")
			}
			key, err := a.OpenKey.Open(cmd.Context(), rec.Key, n.KeyUse())
			if err != nil {
				return err
			}
			pem, err := key.PEM()
			if err != nil {
				return err
			}
			data, err := json.MarshalIndent(accountFile{
				Format: accountFormat, Directory: client.CA().Directory, URL: rec.URL, Key: string(pem), Contacts: rec.Contacts,
				TermsAgreed: rec.TermsAgreed, EABKeyID: rec.EABKeyID, Created: rec.Created,
			}, "", "  ")
			if err != nil {
				return err
			}
			if err := writeSecret(args[0], append(data, '\n'), a.Stdout); err != nil {
				return err
			}
			a.changed = true
			if args[0] != "-" {
				a.Say("account %s at %s\nis in %s: keep the file secret", n.Name, a.CATitle(cmd.Context(), n.CA), args[0])
			}
			return nil
		},
	}
	r.addCA(cmd.Flags())
	r.addAccountName(cmd.Flags())
	a.completeFlags(cmd)
	return cmd
}

func (a *app) accountImportCommand() *cobra.Command {
	var r requestFlags
	cmd := &cobra.Command{
		Use:   "import FILE|DIR|-",
		Short: "Take over an account that was made elsewhere",
		Long: `Puts an account on record that inkan account export wrote on another machine, or
that another tool made. What it reads:

  a file of inkan account export
  certbot   /etc/letsencrypt/accounts/<host>/directory/<id>
  lego      .lego/accounts/<host>/<address>
  acme.sh   ~/.acme.sh/ca/<host>/directory
  any key   in PEM or as a JSON Web Key

The CA is asked for the account of the key; none is made. Which CA it is, the
file tells, or --ca does. The source is only read: if another program goes on
using the account, do not change its key here.`,
		Args: someArgs(1, 1, "one file or directory, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := readForeign(args[0], a.Stdin)
			if err != nil {
				return err
			}
			if len(r.cas.list) == 0 && !r.staging {
				ca, err := a.caOfForeign(ctx, f)
				if err != nil {
					return err
				}
				if err := r.cas.add(ca); err != nil {
					return err
				}
			}
			client, _, before, err := a.accountOnRecord(ctx, &r)
			if err != nil {
				return err
			}
			info, err := client.Adopt(ctx, f.key, f.rec)
			if err != nil {
				return err
			}
			a.changed = before.URL != info.URL
			return a.sayAccount(ctx, info)
		},
	}
	r.addCA(cmd.Flags())
	r.addAccountName(cmd.Flags())
	a.completeFlags(cmd)
	return cmd
}
