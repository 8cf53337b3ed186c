package cli

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// otherCA names the CA that issued, and why it was not the first of the request;
// "" if it was.
func (a *app) otherCA(ctx context.Context, m *engine.Manager, req *inkan.CertificateRequest, ca string) string {
	if ca == req.CAs[0] {
		return ""
	}
	words := a.caTitle(ctx, ca) + " instead of " + a.caTitle(ctx, req.CAs[0])
	events, err := lastEvents(ctx, m.Store, req.Name, time.Now())
	if err != nil {
		return words // the reason is a courtesy
	}
	for _, e := range slices.Backward(events) {
		if e.Kind == inkan.EventFailed {
			return words + ", which failed: " + a.inWords(ctx, e.Message)
		}
	}
	return words
}

// sayIssued ends with what somebody needs to know: the paths, the expiry and
// how renewal happens.
func (a *app) sayIssued(ctx context.Context, m *engine.Manager, r *engine.Result, req *inkan.CertificateRequest) {
	now := time.Now()
	if r.Version == nil { // it was deleted meanwhile
		a.item(r.Name, "there is no certificate")
		return
	}
	leaf := r.Version.Pairs[0].Leaf
	if !r.Changed() {
		a.item(r.Name, "nothing to do; the certificate in force is valid until "+until(leaf.NotAfter, now))
		for _, s := range r.Waits {
			a.paragraph("  ", a.inWords(ctx, stepWords(s, now)))
		}
		return
	}
	what := "new certificate"
	if !r.Issued {
		what = "deployed"
	}
	a.say("%s: %s", a.paint(bold, r.Name), a.paint(green, what))
	a.field("names", namesShort(r.Version.Identifiers))
	a.field("valid until", until(leaf.NotAfter, now))
	if r.Issued {
		a.field("CA", a.otherCA(ctx, m, req, r.Version.Pairs[0].CA))
	}
	o, err := m.Observe(ctx, r.Name)
	if err != nil {
		a.warn("certificate %s could not be read again: %v", r.Name, err)
		return
	}
	for _, t := range o.Targets {
		paths := pathsOf(t.Deployed.Receipt)
		switch {
		case !t.Here || t.Deployed.Status != inkan.DeployAccepted:
		case len(paths) == 0:
			a.field("done", a.targetTitle(ctx, t.Name))
		}
		for _, p := range paths {
			switch filepath.Base(p) {
			case "fullchain.pem":
				a.field("certificate", p)
			case "privkey.pem":
				a.field("private key", p)
			}
		}
	}
	if len(req.Targets) == 0 {
		a.field("files", "none: it is kept in Inkan's own store; --deploy-dir DIR places files")
	}
	if at, why := renewalOf(o, now); !at.IsZero() {
		a.field("renewal", when(at, now)+": "+a.inWords(ctx, why))
	}
	a.field("", `"inkan renew" does it: run it from a timer, once an hour`)
}
