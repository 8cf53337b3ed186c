package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/machine"
)

// doctorFlags say how far the examination goes, and where a test CA looks.
type doctorFlags struct {
	offline             bool
	resolvers           []string
	httpPort, httpsPort uint16
}

func (a *app) doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [NAME...]",
		Short: "Find out beforehand why a certificate would not be issued",
		Long: `Looks at everything that an order needs, for the certificates named or for all:
the names in the DNS with their zones and signatures, CAA records, the account
and the clock of the CA, files and secrets. It tries the proof of control with a
token or a record of its own, and takes that away again. It makes no order and
no account and uses up nothing at the CA. Each finding says what was seen and
what to do; with an error among them the exit status is 1.`,
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.examine(cmd.Context(), args, f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.offline, "offline", false, "look at this machine only: configuration, files, space")
	flags.StringArrayVar(&f.resolvers, "resolver", nil, "ask the DNS resolver `HOST[:PORT]` (repeatable; default: those of the operating system)")
	flags.Uint16Var(&f.httpPort, "http-port", 80, "the `PORT` for http-01 at which a test CA looks")
	flags.Uint16Var(&f.httpsPort, "https-port", 443, "the `PORT` for tls-alpn-01 at which a test CA looks")
	return cmd
}

// doctorReport is what doctor --json writes.
type doctorReport struct {
	Certificates []string         `json:"certificates"`
	Findings     []doctor.Finding `json:"findings"`
}

func (a *app) examine(ctx context.Context, names []string, f doctorFlags) error {
	for _, r := range f.resolvers {
		if err := dnslookup.CheckServer(r); err != nil {
			return usageError{err}
		}
	}
	machine := a.ownThings()
	var requests []inkan.CertificateRequest
	if machine.StateErr == nil {
		var err error
		if requests, err = a.requestsFor(ctx, names); err != nil {
			return err
		}
	}
	var found []doctor.Finding
	if !f.offline && len(requests) > 0 {
		found = a.lookOutside(ctx, requests, f)
	}
	a.openAll(ctx, machine, requests)
	found = append(machine.Examine(ctx), found...)
	if ctx.Err() != nil {
		return inkan.Errorf(inkan.Operator, "doctor", "interrupted; what was put in place for a trial is taken away again")
	}
	report := doctorReport{Certificates: []string{}, Findings: append([]doctor.Finding{}, found...)}
	for i := range requests {
		report.Certificates = append(report.Certificates, requests[i].Name)
	}
	if a.JSON {
		if err := a.WriteJSON(report); err != nil {
			return err
		}
	} else {
		a.sayDoctor(ctx, report)
	}
	if n := countSeverity(found, doctor.Error); n > 0 {
		return inkan.Errorf(inkan.Operator, "doctor", "%s found", count(n, "error")).WithHint("each says what to do; inkan doctor looks again")
	}
	return nil
}

// lookOutside examines requests in the DNS, at CAs and at the web servers.
func (a *app) lookOutside(ctx context.Context, requests []inkan.CertificateRequest, f doctorFlags) []doctor.Finding {
	d := &doctor.Doctor{CA: a.doctorCA, Solver: a.Solver, Resolvers: f.resolvers, HTTPPort: int(f.httpPort), TLSPort: int(f.httpsPort)}
	p := a.NewProgress(a.verbose > 0, func(step string) string { return a.InWords(ctx, step) })
	defer p.End()
	if p.Live {
		d.Progress = func(name, step string) { p.Tell(a.InWords(ctx, name), step) }
	}
	return d.Examine(ctx, requests)
}

// doctorCA tells the doctor what this machine knows of a CA.
func (a *app) doctorCA(ctx context.Context, name, account string) (*doctor.CA, error) {
	known, err := a.CA(ctx, name)
	if err != nil {
		return nil, err
	}
	c := &doctor.CA{}
	if c.Client, err = a.Client(ctx, name, account, machine.AccountOptions{}); err != nil {
		return nil, err
	}
	if c.Record, err = a.LoadAccount(ctx, machine.Account{CA: name, Name: account}); err != nil {
		return nil, err
	}
	directory := c.Client.CA().Directory
	builtIn, ok := acme.KnownCA(name)
	c.Public = ok && directory == builtIn.Directory && known.Roots == ""
	if cfg, err := a.Config(); err == nil && cfg != nil {
		acct, err := cfg.Account(account, name, a.Secret)
		if err != nil {
			return nil, err
		}
		c.AgreeTerms, c.EAB = acct.AgreeTerms, acct.EAB != nil
	}
	if u, err := url.Parse(directory); err == nil {
		if proxy, err := a.Proxy(&http.Request{URL: u}); err == nil && proxy != nil {
			c.Proxy = proxy.Host
		}
	}
	return c, nil
}

// requestsFor returns the certificates named, or all: as the configuration file
// wants them, else as they are recorded.
func (a *app) requestsFor(ctx context.Context, names []string) ([]inkan.CertificateRequest, error) {
	m, err := a.Manager(ctx)
	if err != nil {
		return nil, err
	}
	recorded, err := m.Requests(ctx)
	if err != nil {
		return nil, err
	}
	var all []inkan.CertificateRequest
	if cfg, err := a.Config(); err == nil && cfg != nil {
		all = append(all, cfg.Certificates...)
	}
	for _, r := range recorded {
		configured := slices.ContainsFunc(all, func(o inkan.CertificateRequest) bool { return o.Name == r.Name })
		if !configured && !r.Deleted && !r.Unmanaged {
			all = append(all, r.CertificateRequest)
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	var chosen []inkan.CertificateRequest
	for _, name := range names {
		i := slices.IndexFunc(all, func(r inkan.CertificateRequest) bool { return r.Name == name })
		if i < 0 {
			return nil, inkan.Errorf(inkan.Operator, "certificate "+inkan.Printable(name, 80), "there is none of this name").
				WithHint("inkan list shows those there are; before the first one is issued, inkan issue --dry-run tries it at the staging CA")
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// ownThings collects what this machine has of its own.
func (a *app) ownThings() *doctor.Machine {
	m := &doctor.Machine{}
	path, named := a.ConfigPath()
	cfg, err := a.Config()
	if m.ConfigErr = err; cfg != nil || err != nil || named {
		m.Config = path
	}
	if dir, err := a.Data(); err == nil {
		m.Dirs = []string{dir, filepath.Join(dir, "store"), filepath.Join(dir, "host")}
	}
	s, host, err := a.Stores()
	if err != nil {
		if !errors.Is(err, m.ConfigErr) || m.ConfigErr == nil {
			m.StateErr = err
		} else {
			m.StateErr = fmt.Errorf("without a configuration it is not known where it is")
		}
		return m
	}
	m.Stores = map[string]inkan.Store{"the store of certificates": s, "the store of this machine": host}
	return m
}

// openAll opens what requests name, to learn which secrets are read and which
// paths are written.
func (a *app) openAll(ctx context.Context, m *doctor.Machine, requests []inkan.CertificateRequest) {
	m.Outputs = map[string][]string{}
	for i := range requests {
		r := &requests[i]
		for _, v := range r.Validations {
			if _, err := a.Solver(ctx, v.Solver); err != nil {
				a.logger().Debug("opening a solver", "solver", v.Solver, "error", err) // told by the examination
			}
		}
		for _, ca := range r.CAs {
			if _, err := a.Client(ctx, ca, r.Account, machine.AccountOptions{}); err != nil {
				a.logger().Debug("opening a CA", "ca", ca, "error", err)
			}
		}
		for _, name := range r.Targets {
			t, err := a.Target(ctx, name)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					a.logger().Debug("opening a target", "target", name, "error", err)
				}
				continue
			}
			if w, ok := t.Deployer.(interface{ Outputs(string) []string }); ok {
				m.Outputs[name] = append(m.Outputs[name], w.Outputs(r.Name)...)
			}
		}
	}
	m.Secrets = a.SecretsRead()
}

// sayDoctor tells what was found, grouped by what it is about, in 80 columns or
// those of the terminal.
func (a *app) sayDoctor(ctx context.Context, r doctorReport) {
	columns := term.Width(a.Stdout)
	if columns == 0 {
		columns = 80
	}
	lines := func(text string) {
		for n, line := range term.Wrap(text, columns-6) {
			if n > 0 {
				line = "  " + line
			}
			a.Say("    %s", line)
		}
	}
	meanings := map[string]string{}
	for _, k := range doctor.Kinds() {
		meanings[k.ID] = k.Meaning
	}
	last := ""
	for i, f := range r.Findings {
		if f.Name != last || i == 0 {
			if i > 0 {
				a.Say("")
			}
			a.Say("%s", a.Paint(term.Bold, a.InWords(ctx, f.Name)))
			last = f.Name
		}
		colour := term.Yellow
		if f.Severity == doctor.Error {
			colour = term.Red
		}
		for n, line := range term.Wrap(fmt.Sprintf("%s: %s: %s", f.Severity, f.ID, meanings[f.ID]), columns-4) {
			if n == 0 {
				a.Say("  %s%s", a.Paint(colour, string(f.Severity)), strings.TrimPrefix(line, string(f.Severity)))
			} else {
				a.Say("    %s", line)
			}
		}
		lines("seen: " + a.InWords(ctx, f.Seen))
		lines("do: " + a.InWords(ctx, f.Do))
	}
	if len(r.Findings) > 0 {
		a.Say("")
	}
	errs, warns := countSeverity(r.Findings, doctor.Error), countSeverity(r.Findings, doctor.Warning)
	switch looked := count(len(r.Certificates), "certificate") + " looked at"; {
	case errs+warns == 0 && len(r.Certificates) == 0:
		a.Say("this machine is sound; there are no certificates to look at (inkan issue --dry-run tries one)")
	case errs+warns == 0:
		a.Say("%s: everything is sound", looked)
	default:
		a.Say("%s: %s, %s", looked, count(errs, "error"), count(warns, "warning"))
	}
}

func countSeverity(found []doctor.Finding, s doctor.Severity) int {
	n := 0
	for _, f := range found {
		if f.Severity == s {
			n++
		}
	}
	return n
}
