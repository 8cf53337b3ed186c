package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/plug"
)

// requestFlags are the flags that say what is wanted. issue and reconfigure
// share them.
type requestFlags struct {
	cas              caFlags
	staging          bool
	account          string
	emails           []string
	agreeTOS         bool
	accountKey       string
	eabKeyID, eabKey string
	eabAlg           string

	proofFlags   []proofFlag // in the order in which they were given
	noValidation bool

	name           string
	key            string
	reuseKey       bool
	keyFile        string
	csr            string
	profile        string
	requireProfile bool
	preferredChain string
	allowSubset    bool
	lifetime       plug.Duration

	deployDir string
	run       string
	runShell  string
}

func (r *requestFlags) add(f *pflag.FlagSet) {
	r.addCAs(f)
	r.addAccount(f)
	r.addValidation(f)
	f.StringVar(&r.key, "key", "", "the private key's `TYPE`: ecdsa-p256 (default), ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096, ed25519")
	f.BoolVar(&r.reuseKey, "reuse-key", false, "keep the private key on renewal (default: a new one each time)")
	f.StringVar(&r.keyFile, "key-file", "", "use the private key in the PEM `FILE`, now and on renewal")
	f.StringVar(&r.csr, "csr", "", "use the certificate signing request in `FILE`; the key stays where it is")
	f.StringVar(&r.profile, "profile", "", "prefer the CA's certificate profile `NAME`")
	f.BoolVar(&r.requireProfile, "require-profile", false, "fail rather than go without the profile")
	f.StringVar(&r.preferredChain, "preferred-chain", "", "prefer the chain whose topmost issuer has the common name `CN`")
	f.BoolVar(&r.allowSubset, "allow-subset", false, "leave out names that the CA refuses rather than go without a certificate")
	f.Var(durationFlag{&r.lifetime}, "lifetime", "ask for a certificate that lives `TIME`, such as 7d; many CAs refuse")
	f.StringVar(&r.deployDir, "deploy-dir", "", "place the files in `DIR`/<name>/ (default: live/ in the data directory; none: nowhere)")
	f.StringVar(&r.run, "run", "", "run the command `CMD` after each change; no shell reads it")
	f.StringVar(&r.runShell, "run-shell", "", "run `LINE` with /bin/sh after each change")
}

// addCA adds the flags that name one CA.
func (r *requestFlags) addCA(f *pflag.FlagSet) {
	r.cas.single = true
	r.addCAFlags(f, "the certificate authority: `NAME|URL` is letsencrypt (the default), another one of \"inkan ca list\", or the https URL of a directory",
		"trust the roots in the PEM `FILE` for the CA's own HTTPS")
}

// addCAs adds the flags that name one CA or several.
func (r *requestFlags) addCAs(f *pflag.FlagSet) {
	r.addCAFlags(f, "the certificate authority: `NAME|URL` is letsencrypt (the default), another one of \"inkan ca list\", or the https URL of a directory; repeated, those that are asked when the ones before fail",
		"trust the roots in the PEM `FILE` for the own HTTPS of the CA named before")
}

func (r *requestFlags) addCAFlags(f *pflag.FlagSet, ca, root string) {
	f.Var(caNameFlag{&r.cas}, "ca", ca)
	f.Var(caRootFlag{&r.cas}, "ca-root", root)
	f.BoolVar(&r.staging, "staging", false, "use the CA's staging sister, whose certificates no browser trusts; with a URL: this is one")
}

// addAccount adds the flags that speak of the account.
func (r *requestFlags) addAccount(f *pflag.FlagSet) {
	r.addAccountName(f)
	r.addEmail(f)
	f.BoolVar(&r.agreeTOS, "agree-tos", false, "agree to the CA's terms of service")
	r.addAccountKey(f)
	f.StringVar(&r.eabKeyID, "eab-kid", "", "`ID` of the external account binding that the CA gave you")
	f.StringVar(&r.eabKey, "eab-hmac-key-file", "", "`FILE` with its HMAC key, in base64url")
	f.StringVar(&r.eabAlg, "eab-alg", "", "its algorithm: `ALG` is HS256 (default), HS384 or HS512")
}

func (r *requestFlags) addAccountName(f *pflag.FlagSet) {
	f.StringVar(&r.account, "account", "", "the account's `NAME`, if there are several at a CA (default \"default\")")
}

func (r *requestFlags) addAccountKey(f *pflag.FlagSet) {
	f.StringVar(&r.accountKey, "account-key", "", "`TYPE` of a new account key: ecdsa-p256 (default), ecdsa-p384, rsa-2048, rsa-3072, rsa-4096")
}

func (r *requestFlags) addEmail(f *pflag.FlagSet) {
	f.StringArrayVar(&r.emails, "email", nil, "an `ADDRESS` that the CA may write to (repeatable)")
}

// durationFlag lets a flag speak as the configuration file does: 7d.
type durationFlag struct{ d *plug.Duration }

func (f durationFlag) Set(s string) error { return f.d.UnmarshalText([]byte(s)) }
func (f durationFlag) Type() string       { return "duration" }
func (f durationFlag) String() string {
	if f.d == nil || *f.d == 0 {
		return ""
	}
	return f.d.String()
}

func (a *app) issueCommand() *cobra.Command {
	var r requestFlags
	var force, dryRun bool
	cmd := &cobra.Command{
		Use:   "issue [NAMES...]",
		Short: "Get a certificate for these names and put it in place",
		Long: `Gets a certificate for domain names (example.com, '*.example.com') or IP
addresses and puts it in place. What was asked is recorded, so that "inkan
renew" needs no options. Without names, on a terminal, it asks.

  inkan issue --webroot /var/www/html --email you@example.com --agree-tos \
      --run 'systemctl reload nginx' example.com www.example.com

Several --ca are asked in this order, a later one when those before fail: at
once if there is no certificate yet, else when the time until it expires gets
short. The account is made at each of them now, so that it is there then.

Asked again with other options it changes what is recorded; with the same ones
it does nothing.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && r.csr == "" && r.name == "" {
				if !a.Interactive() {
					return usageError{errors.New("inkan issue wants the names of the certificate; only on a terminal it asks")}
				}
				a.DryRun = dryRun
				var err error
				if names, err = a.askIssue(cmd.Context(), &r, cmd.Flags()); err != nil {
					return err
				}
			}
			if dryRun {
				a.DryRun = true
				return a.issueDryRun(cmd.Context(), &r, cmd.Flags(), names)
			}
			return a.issue(cmd.Context(), &r, cmd.Flags(), names, issueOptions{force: force, dropNames: force})
		},
	}
	cmd.Flags().StringVar(&r.name, "name", "", "call the certificate `NAME` (default: its first name)")
	r.add(cmd.Flags())
	cmd.Flags().BoolVar(&force, "force", false, "get a new certificate although the one in force is good, or although names are dropped")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "try it against the staging CA; nothing is kept or deployed")
	a.completeFlags(cmd)
	return cmd
}

type issueOptions struct {
	force     bool // renew although nothing is due
	dropNames bool // a recorded name that is not named again is dropped
}

// issue records the request and carries it out.
func (a *app) issue(ctx context.Context, r *requestFlags, f *pflag.FlagSet, names []string, opt issueOptions) error {
	ids, err := identifiers(names) // before anything is opened or asked
	if err != nil {
		return err
	}
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	req, err := a.buildRequest(ctx, m, r, f, ids, opt.dropNames)
	if err != nil {
		return err
	}
	made, err := a.readyAccounts(ctx, req, r)
	if err != nil {
		return err
	}
	recorded, err := m.Record(ctx, *req, inkan.OriginCLI)
	if err != nil {
		return err
	}
	a.changed = made || recorded
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(req.Name), ByPerson: true, Renew: opt.force})
	if err != nil {
		return err
	}
	report, err := a.carryOut(ctx, m, p)
	if err == nil {
		err = unfinished(report)
	}
	return a.finish(report, err, func() {
		if err == nil {
			a.sayIssued(ctx, m, &report.Results[0], req)
		} else {
			a.sayResults(ctx, report)
		}
	})
}
