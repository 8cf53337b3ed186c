package cli

import (
	"context"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/machine"
)

// readyAccounts makes the account at every CA of a request that has none yet,
// and reports whether it made one. A failure at the first CA is an error, unless
// that CA is out of order and a later one can take over. A failure at a later CA
// is a warning: no certificate needs that CA today, but the day on which one
// does is too late to find out.
func (a *app) readyAccounts(ctx context.Context, req *inkan.CertificateRequest, r *requestFlags) (bool, error) {
	made := false
	var first error            // of the first CA, as long as no other is ready
	bound := len(req.CAs) == 1 // the external account binding of the flags has found its CA
	for i, ca := range req.CAs {
		mine := *r // agreeing to the terms of one CA is not agreeing to those of the next
		if len(req.CAs) > 1 && mine.eabKeyID != "" {
			rec, err := a.LoadAccount(ctx, machine.Account{CA: ca, Name: req.Account})
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
			a.warnNotReady(ctx, machine.Account{CA: req.CAs[0], Name: req.Account}, first)
			first = nil
		case err == nil:
		case ctx.Err() != nil:
			return made, ctx.Err()
		case i == 0 && len(req.CAs) > 1 && outOfOrder(err):
			first = err
		case i == 0:
			return made, err
		default:
			a.warnNotReady(ctx, machine.Account{CA: ca, Name: req.Account}, err)
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
func (a *app) warnNotReady(ctx context.Context, n machine.Account, err error) {
	title := a.CATitle(ctx, n.CA)
	a.Warn("%s cannot issue yet: %s", title, a.InWords(ctx, strings.TrimSpace(err.Error())))
	if a.Quiet || a.JSON {
		return
	}
	hints := inkan.HintsOf(err)
	command := "inkan account register --ca " + quote(n.CA)
	if n.Name != defaultAccount {
		command += " --account " + quote(n.Name)
	}
	for _, h := range append(hints, "make the account beforehand with: "+command) {
		a.TellErr(term.Yellow, "hint:", h)
	}
}

// wantsEAB reports whether a CA makes accounts only with external account
// binding, as far as that can be found out.
func (a *app) wantsEAB(ctx context.Context, ca string) bool {
	if known, ok := acme.KnownCA(ca); ok {
		return known.EABRequired
	}
	c, err := a.Probe(ctx, ca)
	return err == nil && c.EABRequired
}
