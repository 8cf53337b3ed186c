package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
)

// The manual solvers need the terminal, so they are made here and not in the
// table of plug-ins.

// manualHTTPConfig and manualDNSConfig have no options.
type manualHTTPConfig struct {
	_ struct{} `help:"asks a person at the terminal to put the answers to http-01 challenges in place, and looks before the CA does"`
}

type manualDNSConfig struct {
	_         struct{} `help:"asks a person at the terminal to put the TXT records of dns-01 challenges into the DNS, and looks before the CA does"`
	Resolvers []string `json:"resolvers" help:"the recursive servers to find zones with, as host or host:port; if empty, those of the operating system"`
}

// addManual adds the solvers that ask.
func (a *app) addManual(set *plug.Set) *plug.Set {
	plug.AddSolver(&set.Solvers, "manual-dns", inkan.DNS01, func(_ plug.Env, c manualDNSConfig) (inkan.Solver, error) {
		return &solve.Manual{Type: inkan.DNS01, Person: a.person(), Resolvers: c.Resolvers}, nil
	})
	plug.AddSolver(&set.Solvers, "manual-http", inkan.HTTP01, func(plug.Env, manualHTTPConfig) (inkan.Solver, error) {
		return &solve.Manual{Type: inkan.HTTP01, Person: a.person()}, nil
	})
	return set
}

// person returns who sits at the terminal, nil if nobody does.
func (a *app) person() solve.Person {
	if !a.Interactive() {
		return nil
	}
	return &person{a.Terminal}
}

// person is asked through the terminal, for one order at a time.
type person struct{ t *term.Terminal }

// Place implements solve.Person.
func (p *person) Place(ctx context.Context, proofs []solve.Proof, wrong error) (bool, error) {
	defer p.t.Talk()()
	q := p.t.Asker()
	if wrong != nil {
		reasons := slices.Compact(strings.Split(wrong.Error(), "\n")) // one for each proof
		p.t.TellErr(term.Yellow, "not yet:", inkan.Printable(strings.Join(reasons, "; "), 2000))
	} else {
		for _, proof := range proofs {
			q.Say("%s", placeText(proof))
		}
	}
	return askSure(ctx, q)
}

// Remove implements solve.Person.
func (p *person) Remove(_ context.Context, proofs []solve.Proof) {
	defer p.t.Talk()()
	for _, proof := range proofs {
		if proof.Type == inkan.DNS01 {
			p.t.Asker().Say("No longer needed: the TXT record %s\n  with the value %s\n", strings.TrimSuffix(proof.Where, "."), proof.Value)
		} else {
			p.t.Asker().Say("No longer needed:\n  %s\n", proof.Where)
		}
	}
}

// placeText tells what to put where.
func placeText(p solve.Proof) string {
	if p.Type == inkan.DNS01 {
		return "\nTo show control over " + p.Identifier.Value + ", put a TXT record into the DNS.\n" +
			"Others at that name stay.\n" +
			"  name   " + strings.TrimSuffix(p.Where, ".") + "\n" +
			"  value  " + p.Value + "\n"
	}
	path := p.Where
	if u, err := url.Parse(p.Where); err == nil {
		path = strings.TrimPrefix(u.Path, "/")
	}
	return "\nTo show control over " + p.Identifier.Value + ", let its web server answer on port 80.\n" +
		"  address\n    " + p.Where + "\n" +
		"  file below the document root\n    " + path + "\n" +
		"  content\n    " + p.Value + "\n"
}

// askSure asks whether what was to be done is done. Unlike other questions it
// ends with ctx: the order may be given up while nobody answers.
func askSure(ctx context.Context, q *term.Asker) (sure bool, err error) {
	text, err := q.AskUntil(ctx, "Press Enter when it is there; it is looked for before the CA is asked. (sure: ask the CA at once)", "", nil)
	if err != nil && ctx.Err() == nil { // an order is on record, so the usual hint (nothing was changed) is wrong
		return false, inkan.Errorf(inkan.Operator, "waiting for you", "there was no answer").
			WithHint("inkan renew --name NAME asks again, at a terminal")
	}
	return strings.EqualFold(text, "sure"), err
}
