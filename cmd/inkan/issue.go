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
	f.StringVar(&r.ca, "ca", "", "the certificate authority: `NAME|URL` (letsencrypt, letsencrypt-staging, google, zerossl, one of the configuration file, or the https URL of a directory; default letsencrypt)")
	f.StringVar(&r.caRoot, "ca-root", "", "trust the roots in the PEM `FILE` for the CA's own HTTPS")
	f.BoolVar(&r.staging, "staging", false, "use the staging CA, whose certificates no browser trusts")
	r.addAccount(f)
	f.StringVar(&r.webroot, "webroot", "", "show control by files below `DIR`, the document root of a running web server")
	f.StringVar(&r.standalone, "standalone", "", "show control by an own listener at `ADDR` (without one, port 80)")
	f.Lookup("standalone").NoOptDefVal = ":80"
	f.StringVar(&r.name, "name", "", "call the certificate `NAME` (default: its first name)")
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

// addAccount adds the flags that speak of the account.
func (r *requestFlags) addAccount(f *pflag.FlagSet) {
	f.StringVar(&r.account, "account", "", "the account's `NAME`, if there are several at a CA (default \"default\")")
	f.StringArrayVar(&r.emails, "email", nil, "an `ADDRESS` that the CA may write to (repeatable)")
	f.BoolVar(&r.agreeTOS, "agree-tos", false, "agree to the CA's terms of service")
	f.StringVar(&r.accountKey, "account-key", "", "`TYPE` of a new account key: ecdsa-p256 (default), ecdsa-p384, rsa-2048, rsa-3072, rsa-4096")
	f.StringVar(&r.eabKeyID, "eab-kid", "", "`ID` of the external account binding that the CA gave you")
	f.StringVar(&r.eabKey, "eab-hmac-key-file", "", "`FILE` with its HMAC key, in base64url")
	f.StringVar(&r.eabAlg, "eab-alg", "", "its algorithm: HS256 (default), HS384 or HS512")
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
addresses and puts it in place. What was asked is recorded, so that "inkan renew"
needs no options. Without names, on a terminal, it asks.

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
				var err error
				if names, err = a.askIssue(cmd.Context(), &r, cmd.Flags()); err != nil {
					return err
				}
			}
			if dryRun {
				a.dryRun = true
				return a.issueDryRun(cmd.Context(), &r, cmd.Flags(), names)
			}
			return a.issue(cmd.Context(), &r, cmd.Flags(), names, force)
		},
	}
	r.add(cmd.Flags())
	cmd.Flags().BoolVar(&force, "force", false, "get a new certificate although the one in force is good, or although names are dropped")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "try it against the staging CA; nothing is kept or deployed")
	return cmd
}

func (a *app) issue(ctx context.Context, r *requestFlags, f *pflag.FlagSet, names []string, force bool) error {
	m, err := a.manager(ctx)
	if err != nil {
		return err
	}
	req, err := a.buildRequest(ctx, m, r, f, names, force)
	if err != nil {
		return err
	}
	if err := a.ensureAccount(ctx, req.CAs[0], req.Account, r); err != nil {
		return err
	}
	if _, err := m.Record(ctx, *req, inkan.OriginCLI); err != nil {
		return err
	}
	p, err := m.Plan(ctx, inkan.PlanOptions{Names: []string{req.Name}, Asked: true, Force: force})
	if err != nil {
		return err
	}
	report, err := a.carryOut(ctx, m, p)
	if a.json {
		if jsonErr := a.writeJSON(results(report)); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	if err == nil {
		a.sayIssued(ctx, m, &report.Results[0])
	}
	return err
}

// buildRequest makes the request of what is recorded under the name, changed
// by the flags that were given.
func (a *app) buildRequest(ctx context.Context, m *inkan.Manager, r *requestFlags, f *pflag.FlagSet, names []string, force bool) (*inkan.CertificateRequest, error) {
	var csr []byte
	var kt inkan.KeyType
	ids, err := identifiers(names)
	if err != nil {
		return nil, err
	}
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
	req := inkan.CertificateRequest{Name: name, CAs: []string{"letsencrypt"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}
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
	if len(ids) > 0 {
		if dropped := missing(req.Identifiers, ids); len(dropped) > 0 && !force && !f.Changed("csr") {
			return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "it is recorded with more names, and these would be dropped: %s", strings.Join(dropped, " ")).
				WithHint("name them all, or add --force to drop them, or give the new certificate another --name")
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
	if r.key != "" && req.CSR == nil {
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

// chooseCA turns --ca, --ca-root and --staging into the name of a CA.
func (a *app) chooseCA(ctx context.Context, r *requestFlags, before string) (string, error) {
	ca := r.ca
	if ca == "" {
		ca = before
	}
	if r.staging {
		staging, err := a.stagingOf(ctx, ca)
		if err != nil {
			return "", err
		}
		ca = staging
	}
	known := hostCA{}
	if strings.Contains(ca, "://") {
		known.Directory = ca
		ca = acme.CAName(ca)
	} else if err := inkan.CheckName(ca); err != nil {
		return "", err
	}
	if r.caRoot != "" {
		abs, err := filepath.Abs(r.caRoot)
		if err != nil {
			return "", err
		}
		known.Roots = abs
	}
	if known != (hostCA{}) {
		if known.Directory == "" {
			old, err := a.caOf(ctx, ca)
			if err != nil {
				return "", err
			}
			known.Directory, known.Staging = old.Directory, old.Staging
		}
		if err := a.saveCA(ctx, ca, known); err != nil {
			return "", err
		}
	}
	_, err := a.caOf(ctx, ca)
	return ca, err
}

// stagingOf returns the staging CA that stands beside a CA.
func (a *app) stagingOf(ctx context.Context, ca string) (string, error) {
	if ca == "letsencrypt" {
		return "letsencrypt-staging", nil
	}
	name := ca
	if strings.Contains(ca, "://") {
		name = acme.CAName(ca)
	}
	if c, err := a.caOf(ctx, name); err == nil && c.Staging {
		return ca, nil
	}
	if _, err := a.caOf(ctx, name+"-staging"); err == nil {
		return name + "-staging", nil
	}
	return "", inkan.Errorf(inkan.Operator, "CA "+inkan.Printable(ca, 100), "no staging CA is known for it").
		WithHint("name one with --ca, or mark it with staging: true under cas: in the configuration file")
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
		if strings.ContainsAny(r.run, "\"'`$;&|<>()\\*?") {
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
