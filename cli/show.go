package cli

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

// shownEvents is how many events show tells.
const shownEvents = 10

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show all that is known about one certificate",
		Long: `Shows what was asked for, which versions there are and which is in force, its
chain, when it is renewed and why, where it was deployed, and the last events.`,
		Args:              someArgs(1, 1, "the name of one certificate"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.show(cmd.Context(), args[0]) },
	}
}

// details is what show tells.
type details struct {
	summary
	Account     string              `json:"account,omitempty"`
	Origin      string              `json:"origin,omitempty"`
	Key         inkan.KeyPolicy     `json:"key,omitzero"`
	Profile     string              `json:"profile,omitempty"`
	OwnCSR      bool                `json:"own_csr,omitempty"`
	Validations []inkan.Validation  `json:"validations,omitempty"`
	Versions    []versionDetails    `json:"versions"`
	Chain       []chainDetails      `json:"chain"`
	Chains      int                 `json:"chains"` // offered by the CA
	Deployments []deploymentDetails `json:"deployments"`
	Events      []inkan.Event       `json:"events"`
}

type versionDetails struct {
	Seq       uint64    `json:"seq"`
	InForce   bool      `json:"in_force"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Serial    string    `json:"serial"`
	Names     []string  `json:"identifiers"`
}

type chainDetails struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
}

type deploymentDetails struct {
	Target    string           `json:"target"`
	Title     string           `json:"title"`
	Status    string           `json:"status"`
	Paths     []string         `json:"paths,omitempty"`
	At        time.Time        `json:"at,omitzero"`
	Next      time.Time        `json:"next,omitzero"`
	LastError *inkan.LastError `json:"last_error,omitempty"`
}

func (a *app) show(ctx context.Context, name string) error {
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	now := time.Now()
	d := details{summary: a.summarise(ctx, o, now), Chain: chainOf(o.Version), Deployments: a.deploymentsOf(ctx, o)}
	if r := o.Request; r != nil {
		d.Account, d.Origin, d.Key, d.Profile, d.OwnCSR, d.Validations = r.Account, r.Origin, r.Key, r.Profile, r.CSR != nil, r.Validations
	}
	if o.Version != nil {
		d.Chains = len(o.Version.Pairs[0].Chains)
	}
	versions, damaged := m.Versions(ctx, name)
	d.Versions = []versionDetails{}
	for _, v := range versions {
		leaf := v.Pairs[0].Leaf
		d.Versions = append(d.Versions, versionDetails{v.Seq, o.Version != nil && v.Dir() == o.Version.Dir(),
			leaf.NotBefore, leaf.NotAfter, fmt.Sprintf("%x", leaf.SerialNumber), values(v.Identifiers)})
	}
	if d.Events, err = m.LastEvents(ctx, o, shownEvents); err != nil {
		return err
	}
	if a.JSON {
		if err := a.WriteJSON(d); err != nil {
			return err
		}
	} else {
		a.sayDetails(ctx, &d, o, now)
	}
	if damaged == nil {
		damaged = o.VersionErr
	}
	if o.RequestErr != nil {
		damaged = o.RequestErr
	}
	if damaged != nil {
		return failures{{name: name, err: damaged}}
	}
	return nil
}

func chainOf(v *inkan.Version) []chainDetails {
	chain := []chainDetails{}
	if v == nil {
		return chain
	}
	certs, err := inkan.ParseChain(v.Pairs[0].FullChain())
	if err != nil {
		return chain // it was read when it was loaded
	}
	for _, c := range certs {
		chain = append(chain, chainDetails{subjectOf(c), inkan.Printable(c.Issuer.String(), 200), c.NotAfter})
	}
	return chain
}

// subjectOf names a certificate; newer leaves have no subject, only names.
func subjectOf(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return inkan.Printable(s, 200)
	}
	if len(c.DNSNames) > 0 {
		return inkan.Printable(c.DNSNames[0], 200)
	}
	if len(c.IPAddresses) > 0 {
		return c.IPAddresses[0].String()
	}
	return "(no subject)"
}

func (a *app) deploymentsOf(ctx context.Context, o *engine.Observed) []deploymentDetails {
	list := []deploymentDetails{}
	for _, t := range o.Targets {
		d := deploymentDetails{Target: t.Name, Title: a.TargetTitle(ctx, t.Name), Status: t.Deployed.Status, Paths: pathsOf(t.Deployed.Receipt),
			At: t.Deployed.At, Next: t.Deployed.Next, LastError: t.Deployed.LastError}
		switch {
		case !t.Here:
			d.Status = "elsewhere"
		case t.Err != nil:
			d.Status, d.LastError = inkan.DeployFailed, &inkan.LastError{Kind: inkan.KindOf(t.Err), Message: t.Err.Error(), Hints: inkan.HintsOf(t.Err)}
		case d.Status == "":
			d.Status = "not yet"
		case t.Deployed.Want != o.Current.N:
			d.Status = "older version"
		}
		list = append(list, d)
	}
	return list
}

func (a *app) sayDetails(ctx context.Context, d *details, o *engine.Observed, now time.Time) {
	a.Say("%s  %s", a.Paint(term.Bold, d.Name), a.Paint(statusColour(d.Status), string(d.Status)))
	if d.Status != engine.StatusOK {
		a.Paragraph("  ", d.Reason)
		a.sayHints(ctx, d.summary)
	}
	if r := o.Request; r != nil {
		a.sayRequest(ctx, d, r)
	}
	a.sayForce(ctx, d, o, now)
	if len(d.Deployments) > 0 {
		a.Section("deployments")
		for _, t := range d.Deployments {
			a.sayDeployment(t, now)
		}
	}
	if len(d.Versions) > 1 {
		a.Section("versions")
		for _, v := range slices.Backward(d.Versions) {
			mark := ""
			if v.InForce {
				mark = a.Paint(term.Green, "  in force")
			}
			a.Say("  %3d  %s to %s  %s%s", v.Seq, term.Stamp(v.NotBefore)[:10], term.Stamp(v.NotAfter)[:10], v.Serial, mark)
		}
	}
	if len(d.Events) > 0 {
		a.Section("events")
		for _, e := range d.Events {
			text := e.Message
			if e.Target != "" {
				text = strings.TrimSuffix(a.TargetTitle(ctx, e.Target)+": "+text, ": ")
			}
			head := fmt.Sprintf("  %s  %-13s ", term.Stamp(e.At), e.Kind)
			for _, line := range term.Wrap(a.InWords(ctx, text), term.Width(a.Stdout)-len(head)) {
				a.Say("%s", strings.TrimRight(head+line, " "))
				head = strings.Repeat(" ", len(head))
			}
		}
	}
}

func (a *app) sayRequest(ctx context.Context, d *details, r *inkan.RequestRecord) {
	a.Section("request")
	a.Field("names", strings.Join(values(r.Identifiers), " "))
	var cas []string
	for _, ca := range r.CAs {
		cas = append(cas, a.CATitle(ctx, ca))
	}
	a.Field("CA", strings.Join(cas, ", then ")+", account "+r.Account)
	key := joinWords(r.KeyTypes)
	switch {
	case r.CSR != nil:
		key += ", your own certificate signing request"
	case r.Key.Mode == inkan.KeyReuse:
		key += ", kept on renewal"
	case r.Key.Mode == inkan.KeyGiven:
		key += ", your own key, kept on renewal"
	default:
		key += ", a new one on each renewal"
	}
	a.Field("key", key)
	if r.Profile != "" {
		word := ", preferred"
		if r.RequireProfile {
			word = ", required"
		}
		a.Field("profile", r.Profile+word)
	}
	a.Field("chain", r.PreferredChain)
	if r.Lifetime > 0 {
		a.Field("lifetime", term.Roughly(r.Lifetime))
	}
	for _, v := range r.Validations {
		a.Field("validation", a.ValidationTitle(ctx, v))
	}
	if r.AllowSubset {
		a.Field("subset", "names that the CA refuses are left out")
	}
	origin := map[string]string{inkan.OriginCLI: "the command line", inkan.OriginConfig: "the configuration file",
		inkan.OriginImport: "an import", inkan.OriginAPI: "the API"}[d.Origin]
	a.Field("asked by", origin)
}

func (a *app) sayForce(ctx context.Context, d *details, o *engine.Observed, now time.Time) {
	if o.Version == nil {
		return
	}
	a.Section("in force")
	a.Field("valid", fmt.Sprintf("%s to %s, %s", term.Stamp(d.NotBefore), term.Stamp(d.NotAfter), term.When(d.NotAfter, now)))
	a.Field("serial", d.Serial)
	a.Field("SHA-256", d.Fingerprint)
	for i, c := range d.Chain {
		name := ""
		if i == 0 {
			name = "chain"
		}
		a.Field(name, c.Subject)
		if i == len(d.Chain)-1 && c.Issuer != c.Subject {
			a.Field("", c.Issuer)
		}
	}
	if d.Chains > 1 {
		a.Field("", fmt.Sprintf("(%s more offered by the CA)", count(d.Chains-1, "chain")))
	}
	switch {
	case d.Status == engine.StatusRevoked || d.Status == engine.StatusUnmanaged:
	case d.Renews.After(now):
		a.Field("renewal", term.When(d.Renews, now)+": "+a.InWords(ctx, d.why))
	default:
		a.Field("renewal", a.InWords(ctx, d.why))
	}
	ari := o.State.ARI
	if ari.N == o.Current.N && !ari.Looked.IsZero() {
		advice := "asked " + term.When(ari.Looked, now)
		switch {
		case ari.Error != "" && !ari.Failing.IsZero() && now.Sub(ari.Failing) > time.Hour:
			advice += fmt.Sprintf(", in vain since %s: %s", term.Stamp(ari.Failing), ari.Error)
		case ari.Error != "":
			advice += ": " + ari.Error
		case !ari.Start.IsZero():
			advice += fmt.Sprintf(": renew between %s and %s", term.Stamp(ari.Start), term.Stamp(ari.End))
		}
		if ari.ExplanationURL != "" {
			advice += " (" + ari.ExplanationURL + ")"
		}
		a.Field("CA's advice", advice)
	}
}

func (a *app) sayDeployment(t deploymentDetails, now time.Time) {
	colour := term.Yellow
	switch t.Status {
	case inkan.DeployAccepted:
		colour = term.Green
	case inkan.DeployFailed:
		colour = term.Red
	}
	state := a.Paint(colour, t.Status)
	if !t.At.IsZero() {
		state += " " + term.When(t.At, now)
	}
	a.Say("  %s: %s", t.Title, state)
	for _, p := range t.Paths {
		a.Say("    %s", p)
	}
	if t.LastError != nil && t.Status != inkan.DeployAccepted {
		a.Paragraph("    ", t.LastError.Message)
		for _, h := range t.LastError.Hints {
			a.Paragraph("    hint: ", h)
		}
	}
	if !t.Next.IsZero() {
		a.Say("    next try %s", term.Instant(t.Next, now))
	}
}

func joinWords[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}
