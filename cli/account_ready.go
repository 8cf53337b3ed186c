package cli

import (
	"context"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/plug"
)

// readyAccounts makes the account at every CA of a request that has none yet,
// and reports whether it made one. That it cannot at the first CA is an error,
// unless that CA is out of order and a later one can take over; at a later one
// it is a warning: the certificate does not depend on that CA today, but the
// day on which it does is the worst to find out.
func (a *app) readyAccounts(ctx context.Context, req *inkan.CertificateRequest, r *requestFlags) (bool, error) {
	made := false
	var first error            // of the first CA, as long as no other is ready
	bound := len(req.CAs) == 1 // the external account binding of the flags has found its CA
	for i, ca := range req.CAs {
		mine := *r // agreeing to the terms of one CA is not agreeing to those of the next
		if len(req.CAs) > 1 && mine.eabKeyID != "" {
			rec, err := a.loadAccount(ctx, accountName{ca, req.Account})
			if err != nil {
				return made, err
			}
			if bound || rec.URL != "" || !a.wantsEAB(ctx, ca) {
				mine.eabKeyID, mine.eabKey, mine.eabAlg = "", "", ""
			} else {
				bound = true
			}
		}
		fresh, err := a.ensureAccount(ctx, ca, req.Account, &mine)
		made = made || fresh
		switch {
		case err == nil && first != nil:
			a.warnNotReady(ctx, accountName{req.CAs[0], req.Account}, first)
			first = nil
		case err == nil:
		case ctx.Err() != nil:
			return made, ctx.Err()
		case i == 0 && len(req.CAs) > 1 && outOfOrder(err):
			first = err
		case i == 0:
			return made, err
		default:
			a.warnNotReady(ctx, accountName{ca, req.Account}, err)
		}
	}
	return made, first
}

// outOfOrder reports whether err says that a CA does not work now, rather than
// that a person must change something.
func outOfOrder(err error) bool {
	switch inkan.KindOf(err) {
	case inkan.Temporary, inkan.RateLimited, inkan.Pending:
		return true
	}
	return false
}

// warnNotReady tells that a CA cannot be asked, and how that is mended.
func (a *app) warnNotReady(ctx context.Context, n accountName, err error) {
	title := a.caTitle(ctx, n.ca)
	a.warn("%s cannot issue yet: %s", title, a.inWords(ctx, strings.TrimSpace(err.Error())))
	if a.quiet || a.json {
		return
	}
	hints := inkan.HintsOf(err)
	command := "inkan account register --ca " + quote(n.ca)
	if n.account != defaultAccount {
		command += " --account " + quote(n.account)
	}
	for _, h := range append(hints, "make the account beforehand with: "+command) {
		a.tellErr(yellow, "hint:", h)
	}
}

// wantsEAB reports whether a CA makes accounts only with external account
// binding, as far as that can be found out.
func (a *app) wantsEAB(ctx context.Context, ca string) bool {
	if known, ok := acme.KnownCA(ca); ok {
		return known.EABRequired
	}
	c, err := a.probe(ctx, ca)
	return err == nil && c.EABRequired
}

// probe asks a CA what it can do, by a client that has no account and leaves
// nothing behind.
func (m *Machine) probe(ctx context.Context, ca string) (*acme.Capabilities, error) {
	known, err := m.caOf(ctx, ca)
	if err != nil {
		return nil, err
	}
	return m.probeAt(ctx, ca, known)
}

func (m *Machine) probeAt(ctx context.Context, name string, known hostCA) (*acme.Capabilities, error) {
	c := acme.Config{Name: name, Directory: known.Directory, UserAgent: "inkan/" + m.version, Proxy: m.proxy}
	var err error
	if known.Roots != "" {
		if c.Roots, err = readRoots(name, known.Roots); err != nil {
			return nil, err
		}
	}
	client, err := acme.New(plug.Env{Log: m.log()}, c, noAccount{})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	found, err := client.Capabilities(ctx)
	if err == nil {
		found.Staging = found.Staging || known.Staging
	}
	return found, err
}
