package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/plug"
)

// requestFlags are the flags that say what is wanted. issue and reconfigure
// share them.
type requestFlags struct {
	ca, caRoot       string
	staging          bool
	account          string
	emails           []string
	agreeTOS         bool
	accountKey       string
	eabKeyID, eabKey string
	eabAlg           string

	webroot    string
	standalone string

	name           string
	key            string
	reuseKey       bool
	keyFile        string
	csr            string
	profile        string
	requireProfile bool
	preferredChain string
	lifetime       plug.Duration

	deployDir string
	run       string
	runShell  string
}

func (r *requestFlags) add(f *pflag.FlagSet) {
	r.addCA(f)
	r.addAccount(f)
	f.StringVar(&r.webroot, "webroot", "", "show control by files below `DIR`, the document root of a running web server")
	f.StringVar(&r.standalone, "standalone", "", "show control by an own listener at `ADDR` (without one, port 80)")
	f.Lookup("standalone").NoOptDefVal = ":80"
	f.StringVar(&r.key, "key", "", "the private key's `TYPE`: ecdsa-p256 (default), ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096, ed25519")
	f.BoolVar(&r.reuseKey, "reuse-key", false, "keep the private key on renewal (default: a new one each time)")
	f.StringVar(&r.keyFile, "key-file", "", "use the private key in the PEM `FILE`, now and on renewal")
	f.StringVar(&r.csr, "csr", "", "use the certificate signing request in `FILE`; the key stays where it is")
	f.StringVar(&r.profile, "profile", "", "prefer the CA's certificate profile `NAME`")
	f.BoolVar(&r.requireProfile, "require-profile", false, "fail rather than go without the profile")
	f.StringVar(&r.preferredChain, "preferred-chain", "", "prefer the chain whose topmost issuer has the common name `CN`")
	f.Var(durationFlag{&r.lifetime}, "lifetime", "ask for a certificate that lives `TIME`, such as 7d; many CAs refuse")
	f.StringVar(&r.deployDir, "deploy-dir", "", "place the files in `DIR`/<name>/ (default: live/ in the data directory; none: nowhere)")
	f.StringVar(&r.run, "run", "", "run the command `CMD` after each change; no shell reads it")
	f.StringVar(&r.runShell, "run-shell", "", "run `LINE` with /bin/sh after each change")
}

// addCA adds the flags that name the CA.
func (r *requestFlags) addCA(f *pflag.FlagSet) {
	f.StringVar(&r.ca, "ca", "", "the certificate authority: `NAME|URL` is letsencrypt (the default), letsencrypt-staging, google, zerossl, one of the configuration file, or the https URL of a directory")
	f.StringVar(&r.caRoot, "ca-root", "", "trust the roots in the PEM `FILE` for the CA's own HTTPS")
	f.BoolVar(&r.staging, "staging", false, "use the CA's staging sister, whose certificates no browser trusts; with a URL: this is one")
}

// addAccount adds the flags that speak of the account.
func (r *requestFlags) addAccount(f *pflag.FlagSet) {
	r.addAccountName(f)
	r.addEmail(f)
	f.BoolVar(&r.agreeTOS, "agree-tos", false, "agree to the CA's terms of service")
	f.StringVar(&r.accountKey, "account-key", "", "`TYPE` of a new account key: ecdsa-p256 (default), ecdsa-p384, rsa-2048, rsa-3072, rsa-4096")
	f.StringVar(&r.eabKeyID, "eab-kid", "", "`ID` of the external account binding that the CA gave you")
	f.StringVar(&r.eabKey, "eab-hmac-key-file", "", "`FILE` with its HMAC key, in base64url")
	f.StringVar(&r.eabAlg, "eab-alg", "", "its algorithm: `ALG` is HS256 (default), HS384 or HS512")
}

func (r *requestFlags) addAccountName(f *pflag.FlagSet) {
	f.StringVar(&r.account, "account", "", "the account's `NAME`, if there are several at a CA (default \"default\")")
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

Asked again with other options it changes what is recorded; with the same ones
it does nothing.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && r.csr == "" && r.name == "" {
				if !a.interactive() {
					return usageError{errors.New("inkan issue wants the names of the certificate; only on a terminal it asks")}
				}
				a.dryRun = dryRun
				var err error
				if names, err = a.askIssue(cmd.Context(), &r, cmd.Flags()); err != nil {
					return err
				}
			}
			if dryRun {
				a.dryRun = true
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
	m, err := a.manager(ctx)
	if err != nil {
		return err
	}
	req, err := a.buildRequest(ctx, m, r, f, ids, opt.dropNames)
	if err != nil {
		return err
	}
	made, err := a.ensureAccount(ctx, req.CAs[0], req.Account, r)
	if err != nil {
		return err
	}
	recorded, err := m.Record(ctx, *req, inkan.OriginCLI)
	if err != nil {
		return err
	}
	a.changed = made || recorded
	p, err := m.Plan(ctx, inkan.PlanOptions{Names: []string{req.Name}, Asked: true, Force: opt.force})
	if err != nil {
		return err
	}
	report, err := a.carryOut(ctx, m, p)
	return a.finish(report, err, func() {
		if err == nil {
			a.sayIssued(ctx, m, &report.Results[0], req)
		} else {
			a.sayResults(ctx, report)
		}
	})
}

// buildRequest makes the request of what is recorded under the name, changed
// by the flags that were given.
func (a *app) buildRequest(ctx context.Context, m *inkan.Manager, r *requestFlags, f *pflag.FlagSet, ids []inkan.Identifier, dropNames bool) (*inkan.CertificateRequest, error) {
	var csr []byte
	var kt inkan.KeyType
	var err error
	if r.csr != "" {
		if csr, ids, kt, err = readCSR(r.csr, ids); err != nil {
			return nil, err
		}
	}
	name := r.name
	if name == "" && len(ids) > 0 {
		name = inkan.NameFor(ids[0])
	}
	if err := inkan.CheckName(name); err != nil {
		return nil, err
	}
	req := inkan.CertificateRequest{Name: name, CAs: []string{defaultCA}, Account: defaultAccount, KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}
	recorded, err := m.Request(ctx, name)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !fresh:
		return nil, err
	case !fresh && recorded.Origin == inkan.OriginConfig && !recorded.Unmanaged:
		return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "the configuration file manages it").
			WithHint("change it there and run: inkan apply")
	case !fresh:
		req = recorded.CertificateRequest
	}
	if req.CSR != nil && !f.Changed("csr") && (len(ids) > 0 || f.Changed("key") || f.Changed("key-file") || f.Changed("reuse-key")) {
		return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "its names and key are those of your own certificate signing request").
			WithHint("give a new one with --csr FILE, or delete the certificate and issue it anew")
	}
	if len(ids) > 0 {
		if dropped := missing(req.Identifiers, ids); len(dropped) > 0 && !dropNames && !f.Changed("csr") {
			return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "it is recorded with more names, and these would be dropped: %s", strings.Join(dropped, " ")).
				WithHint("name them all, or drop them with --force, or give the new certificate another --name")
		}
		req.Identifiers = ids
	}
	if f.Changed("csr") {
		req.CSR, req.KeyTypes, req.Key = csr, []inkan.KeyType{kt}, inkan.KeyPolicy{}
	}
	if err := a.applyFlags(ctx, m, r, f, &req, fresh); err != nil {
		return nil, err
	}
	return &req, req.Check()
}

func identifiers(names []string) ([]inkan.Identifier, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return inkan.ParseIdentifiers(names)
}

func missing(had, have []inkan.Identifier) []string {
	var gone []string
	for _, id := range had {
		if !slices.Contains(have, id) {
			gone = append(gone, id.Value)
		}
	}
	return gone
}

// readCSR reads a CSR; names given besides must be its own.
func readCSR(file string, names []inkan.Identifier) ([]byte, []inkan.Identifier, inkan.KeyType, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, "", inkan.Errorf(inkan.Operator, "certificate signing request", "%w", err)
	}
	der, ids, kt, err := inkan.ParseCSR(data)
	if err != nil {
		return nil, nil, "", err
	}
	if len(names) > 0 && (len(missing(names, ids)) > 0 || len(missing(ids, names)) > 0) {
		return nil, nil, "", usageError{errors.New("the names given are not those of the certificate signing request; leave them out")}
	}
	return der, ids, kt, nil
}

// applyFlags changes req by the flags that were given.
func (a *app) applyFlags(ctx context.Context, m *inkan.Manager, r *requestFlags, f *pflag.FlagSet, req *inkan.CertificateRequest, fresh bool) error {
	if f.Changed("ca") || f.Changed("ca-root") || r.staging {
		ca, err := a.chooseCA(ctx, r, req.CAs[0])
		if err != nil {
			return err
		}
		req.CAs = []string{ca}
	}
	if r.account != "" {
		req.Account = r.account
	}
	if r.key != "" && req.CSR != nil {
		return usageError{errors.New("--key and --csr exclude each other: the key is yours")}
	}
	if r.key != "" {
		kt, err := inkan.ParseKeyType(r.key)
		if err != nil {
			return err
		}
		req.KeyTypes = []inkan.KeyType{kt}
	}
	if err := a.applyKey(ctx, m, r, f, req); err != nil {
		return err
	}
	if f.Changed("profile") {
		req.Profile = r.profile
	}
	if f.Changed("require-profile") {
		req.RequireProfile = r.requireProfile
	}
	if f.Changed("preferred-chain") {
		req.PreferredChain = r.preferredChain
	}
	if f.Changed("lifetime") {
		req.Lifetime = time.Duration(r.lifetime)
	}
	if err := a.applyValidation(ctx, r, req, fresh); err != nil {
		return err
	}
	return a.applyTargets(ctx, r, f, req, fresh)
}

func (a *app) applyKey(ctx context.Context, m *inkan.Manager, r *requestFlags, f *pflag.FlagSet, req *inkan.CertificateRequest) error {
	switch {
	case r.keyFile != "" && req.CSR != nil:
		return usageError{errors.New("--key-file and --csr exclude each other")}
	case r.keyFile != "":
		data, err := os.ReadFile(r.keyFile)
		if err != nil {
			return inkan.Errorf(inkan.Operator, "private key", "%w", err)
		}
		key, err := inkan.ParseKey(data)
		if err != nil {
			return err
		}
		kt, err := key.Type()
		if err != nil {
			return err
		}
		if r.key != "" && req.KeyTypes[0] != kt {
			return usageError{fmt.Errorf("the key in %s is of type %s, not %s", r.keyFile, kt, req.KeyTypes[0])}
		}
		req.KeyTypes = []inkan.KeyType{kt}
		req.Key, err = m.KeepKey(ctx, key)
		return err
	case f.Changed("reuse-key") && r.reuseKey:
		req.Key = inkan.KeyPolicy{Mode: inkan.KeyReuse}
	case f.Changed("reuse-key"):
		req.Key = inkan.KeyPolicy{}
	}
	return nil
}

// chooseCA turns --ca, --ca-root and --staging into the name of a CA. What they
// say about it is kept on this machine; what they leave out stays as it is.
func (a *app) chooseCA(ctx context.Context, r *requestFlags, before string) (string, error) {
	ca := r.ca
	if ca == "" {
		ca = before
	}
	isURL := strings.Contains(ca, "://")
	if r.staging && !isURL {
		staging, err := a.stagingOf(ctx, ca)
		if err != nil {
			return "", err
		}
		ca = staging
	}
	if !isURL {
		if err := inkan.CheckName(ca); err != nil {
			return "", err
		}
		if r.caRoot == "" {
			_, err := a.caOf(ctx, ca)
			return ca, err
		}
	}
	url := ca
	if isURL {
		ca = acme.CAName(ca)
		if _, builtIn := acme.KnownCA(ca); builtIn && r.caRoot == "" {
			return ca, nil
		}
	}
	known, err := a.caOf(ctx, ca)
	if err != nil && (!isURL || !errors.Is(err, errNotHere)) {
		return "", err
	}
	was := known
	if isURL {
		known.Directory, known.Staging = url, known.Staging || r.staging
	}
	if r.caRoot != "" {
		if known.Roots, err = filepath.Abs(r.caRoot); err != nil {
			return "", err
		}
		if _, err := readRoots(ca, known.Roots); err != nil {
			return "", err
		}
	}
	if cfg, err := a.config(); err == nil && cfg != nil && known != was {
		if _, ok := cfg.CAs[ca]; ok {
			return "", usageError{fmt.Errorf("the configuration file says what the CA %s is; change it there", ca)}
		}
	}
	if known == was && err == nil {
		return ca, nil
	}
	return ca, a.saveCA(ctx, ca, known)
}

// stagingOf returns the staging CA that stands beside a CA, which may be one
// itself.
func (a *app) stagingOf(ctx context.Context, ca string) (string, error) {
	if c, err := a.caOf(ctx, ca); err == nil && c.Staging {
		return ca, nil
	}
	if _, err := a.caOf(ctx, ca+"-staging"); err == nil {
		return ca + "-staging", nil
	}
	return "", inkan.Errorf(inkan.Operator, "CA "+inkan.Printable(ca, 100), "no staging CA is known for it").
		WithHint("name one with --ca URL --staging, or mark it with staging: true under cas: in the configuration file")
}

func (a *app) applyValidation(ctx context.Context, r *requestFlags, req *inkan.CertificateRequest, fresh bool) error {
	switch {
	case r.webroot != "" && r.standalone != "":
		return usageError{errors.New("--webroot and --standalone exclude each other")}
	case r.webroot != "":
		dir, err := filepath.Abs(r.webroot)
		if err != nil {
			return err
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return inkan.Errorf(inkan.Operator, "webroot "+dir, "it is not a directory").WithHint("name the document root of the web server that answers for the names")
		}
		return a.validateBy(ctx, req, "webroot", map[string]any{"dir": dir})
	case r.standalone != "":
		return a.validateBy(ctx, req, "standalone", map[string]any{"addr": r.standalone})
	case fresh && len(req.Validations) == 0:
		return usageError{errors.New("how shall control over the names be shown? give --webroot DIR (a web server runs already) or --standalone (none runs on port 80)")}
	}
	return nil
}

func (a *app) validateBy(ctx context.Context, req *inkan.CertificateRequest, solver string, options map[string]any) error {
	name, err := a.hostRecord(ctx, inkan.HostSolvers, solver, options)
	if err != nil {
		return err
	}
	if _, err := a.solver(ctx, name); err != nil {
		return err
	}
	req.Validations = []inkan.Validation{{Type: a.set.Solvers.Challenge(solver), Solver: name}}
	return nil
}

// applyTargets turns --deploy-dir, --run and --run-shell into targets. One
// that was given replaces those of its kind.
func (a *app) applyTargets(ctx context.Context, r *requestFlags, f *pflag.FlagSet, req *inkan.CertificateRequest, fresh bool) error {
	replace := func(kind string, options map[string]any) error {
		req.Targets = slices.DeleteFunc(slices.Clone(req.Targets), func(t string) bool { return strings.HasPrefix(t, kind+"-") })
		if options == nil {
			return nil
		}
		name, err := a.hostRecord(ctx, inkan.HostTargets, kind, options)
		if err != nil {
			return err
		}
		if _, err := a.target(ctx, name); err != nil {
			return err
		}
		if kind == "files" { // the files must be there before a command runs
			req.Targets = append([]string{name}, req.Targets...)
		} else {
			req.Targets = append(req.Targets, name)
		}
		return nil
	}
	dir := r.deployDir
	if dir == "" && fresh {
		data, err := a.data()
		if err != nil {
			return err
		}
		dir = filepath.Join(data, "live")
	}
	if dir == "none" {
		if err := replace("files", nil); err != nil {
			return err
		}
	} else if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if err := replace("files", map[string]any{"dir": abs}); err != nil {
			return err
		}
	}
	switch {
	case r.run != "" && r.runShell != "":
		return usageError{errors.New("--run and --run-shell exclude each other")}
	case r.run != "":
		if !plainCommand(r.run) {
			return usageError{errors.New("--run has characters that only a shell understands; use --run-shell")}
		}
		return replace("exec", map[string]any{"command": strings.Fields(r.run)})
	case r.runShell != "":
		return replace("exec", map[string]any{"shell": r.runShell})
	case f.Changed("run") || f.Changed("run-shell"):
		return replace("exec", nil)
	}
	return nil
}
