package cli

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

// otherCA names the CA that issued, and why it was not the first of the request;
// "" if it was.
func (a *app) otherCA(ctx context.Context, m *engine.Manager, r *engine.Result, req *inkan.CertificateRequest) string {
	ca := r.Version.Pairs[0].CA
	if ca == req.CAs[0] {
		return ""
	}
	words := a.CATitle(ctx, ca) + " instead of " + a.CATitle(ctx, req.CAs[0])
	if r.Observed == nil {
		return words // the reason is a courtesy
	}
	events, err := m.LastEvents(ctx, r.Observed, shownEvents)
	if err != nil {
		return words
	}
	for _, e := range slices.Backward(events) {
		if e.Kind == inkan.EventFailed {
			return words + ", which failed: " + a.InWords(ctx, e.Message)
		}
	}
	return words
}

// sayIssued ends with what somebody needs to know: the paths, the expiry and
// how renewal happens.
func (a *app) sayIssued(ctx context.Context, m *engine.Manager, r *engine.Result, req *inkan.CertificateRequest) {
	now := time.Now()
	if r.Version == nil { // it was deleted meanwhile
		a.Item(r.Name, "there is no certificate")
		return
	}
	leaf := r.Version.Pairs[0].Leaf
	if !r.Changed() {
		a.Item(r.Name, "nothing to do; the certificate in force is valid until "+term.Until(leaf.NotAfter, now))
		for _, s := range r.Waits {
			a.Paragraph("  ", a.InWords(ctx, stepWords(s, now)))
		}
		return
	}
	what := "new certificate"
	if !r.Issued {
		what = "deployed"
	}
	a.Say("%s: %s", a.Paint(term.Bold, r.Name), a.Paint(term.Green, what))
	a.Field("names", namesShort(r.Version.Identifiers))
	a.Field("valid until", term.Until(leaf.NotAfter, now))
	if r.Issued {
		a.Field("CA", a.otherCA(ctx, m, r, req))
	}
	o := r.Observed
	if o == nil {
		a.Warn("certificate %s could not be read again", r.Name)
		return
	}
	for _, t := range o.Targets {
		paths := pathsOf(t.Deployed.Receipt)
		switch {
		case !t.Here || t.Deployed.Status != inkan.DeployAccepted:
		case len(paths) == 0:
			a.Field("done", a.TargetTitle(ctx, t.Name))
		}
		for _, p := range paths {
			switch filepath.Base(p) {
			case "fullchain.pem":
				a.Field("certificate", p)
			case "privkey.pem":
				a.Field("private key", p)
			}
		}
	}
	if len(req.Targets) == 0 {
		a.Field("files", "none: it is kept in Inkan's own store; --deploy-dir DIR places files")
	}
	if at, why := renewal(o, now); !at.IsZero() {
		a.Field("renewal", term.When(at, now)+": "+a.InWords(ctx, why))
	}
	a.Field("", `"inkan renew" does it: run it from a timer, once an hour`)
}
