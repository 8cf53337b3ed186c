package acme

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// task is a challenge to meet.
type task struct {
	inkan.Challenge
	id       inkan.Identifier // as it was ordered
	offered  []string         // the types that the CA offers for it
	answered bool             // the CA is at it already
}

// way is one way of showing control over an identifier.
type way struct {
	id          inkan.Identifier
	typ, solver string
}

// choose picks a challenge for each pending authorization: that of the first
// of its ways whose type the CA offers and whose solver is here and has not
// failed in this call. Types that nobody configured are ignored.
func (o *order) choose(authzs []*authzObject) ([]*task, error) {
	var tasks []*task
	for _, a := range authzs {
		if a.Status == statusValid {
			continue
		}
		id, ok := a.name(o.ids)
		if !ok {
			return nil, inkan.Errorf(inkan.Bug, o.c.op("authorization"), "it wants proof for %s, which was not ordered", inkan.Printable(id.Value, 100))
		}
		t, err := o.chooseFor(a, id)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	slices.SortFunc(tasks, func(a, b *task) int { return strings.Compare(a.URL, b.URL) })
	return slices.CompactFunc(tasks, func(a, b *task) bool { return a.URL == b.URL }), nil
}

func (o *order) chooseFor(a *authzObject, id inkan.Identifier) (*task, error) {
	for _, v := range inkan.Ways(o.r.Request.Validations, o.r.Refusals, id) {
		if o.r.Solvers[v.Solver] == nil || o.unshown[way{id, v.Type, v.Solver}] {
			continue
		}
		i := slices.IndexFunc(a.Challenges, func(ch challengeObject) bool {
			return ch.Type == v.Type && (ch.Status == statusPending || ch.Status == statusProcessing || ch.Status == "")
		})
		if i < 0 {
			continue
		}
		return o.task(a, id, v, &a.Challenges[i])
	}
	return nil, o.noChallenge(a, id)
}

// maxIssuers bounds the issuer domain names of a challenge
// (draft-ietf-acme-dns-persist section 3.1).
const maxIssuers = 10

// task checks a challenge, which is untrusted, before it is used.
func (o *order) task(a *authzObject, id inkan.Identifier, v inkan.Validation, ch *challengeObject) (*task, error) {
	op := o.c.op("challenge for " + id.Value)
	if err := o.c.hosts.check(ch.URL); err != nil {
		return nil, badAnswer(op, err)
	}
	t := &task{
		Challenge: inkan.Challenge{
			Solver: v.Solver, Type: v.Type,
			Identifier: inkan.Identifier{Type: id.Type, Value: id.Base()}, Wildcard: id.Wildcard(),
			URL: ch.URL, Authz: a.url,
		},
		id:       id,
		answered: ch.Status == statusProcessing,
	}
	for i := range a.Challenges {
		t.offered = append(t.offered, a.Challenges[i].Type)
	}
	if v.Type == inkan.DNSAccount01 || v.Type == inkan.DNSPersist01 {
		t.Account = o.acct.kid
	}
	if v.Type == inkan.DNSPersist01 {
		return t, o.persistent(op, &t.Challenge, ch)
	}
	// The token becomes a file name, a DNS value or part of a URL at the
	// solver: nothing else may ever leave this function (reliability H02).
	if !inkan.IsToken(ch.Token) {
		return nil, inkan.Errorf(inkan.Bug, op, "the token of the %s challenge is not 22 to 255 characters of base64url: %s",
			v.Type, inkan.Printable(ch.Token, 40)).
			WithHint("no CA may send this; nothing was written. Do not use this CA until it is explained")
	}
	t.Token, t.KeyAuthorization = ch.Token, ch.Token+"."+o.acct.thumbprint
	return t, nil
}

// persistent fills in what a dns-persist-01 challenge says. A record for another
// account would let that account issue for the name.
func (o *order) persistent(op string, c *inkan.Challenge, ch *challengeObject) error {
	// Read only here: what a CA gets wrong about this type hurts no other.
	var account string
	var issuers, newIssuers []string
	for _, field := range []struct {
		raw  json.RawMessage
		into any
	}{{ch.AccountURI, &account}, {ch.IssuerDomainNames, &issuers}, {ch.NewIssuerDomainNames, &newIssuers}} {
		if len(field.raw) > 0 && json.Unmarshal(field.raw, field.into) != nil {
			return inkan.Errorf(inkan.Bug, op, "the dns-persist-01 challenge is not of the form of its draft")
		}
	}
	if account != "" && account != o.acct.kid {
		return inkan.Errorf(inkan.Operator, op, "the challenge wants a record for the account %s, which is not ours (%s)",
			inkan.Printable(account, 200), inkan.Printable(o.acct.kid, 200)).
			WithHint("publish no such record: it would let that account get certificates for the name")
	}
	for _, name := range slices.Concat(issuers, newIssuers) {
		id, err := inkan.ParseIdentifier(name)
		if err != nil || id.Type != inkan.DNS || id.Wildcard() || len(c.Issuers) == maxIssuers {
			return inkan.Errorf(inkan.Bug, op, "the issuer domain names of the dns-persist-01 challenge are not at most %d domain names", maxIssuers)
		}
		if !slices.Contains(c.Issuers, id.Value) {
			c.Issuers = append(c.Issuers, id.Value)
		}
	}
	if len(c.Issuers) == 0 {
		return inkan.Errorf(inkan.Bug, op, "the dns-persist-01 challenge names no issuer domain")
	}
	return nil
}

// noChallenge explains why no challenge can be met.
func (o *order) noChallenge(a *authzObject, id inkan.Identifier) error {
	op := o.c.op("challenge for " + id.Value)
	var offered, known []string
	for _, ch := range a.Challenges[:min(len(a.Challenges), 20)] {
		offered = append(offered, inkan.Printable(ch.Type, 40))
	}
	slices.Sort(offered)
	for _, v := range o.r.Request.Validations {
		if v.Matches(id) {
			word := v.Type
			if o.r.Solvers[v.Solver] == nil {
				word += " (solver " + v.Solver + " is not configured here)"
			}
			known = append(known, word)
		}
	}
	e := inkan.Errorf(inkan.Operator, op, "no way to validate it: the CA offers %s, configured is %s",
		orNone(slices.Compact(offered)), orNone(known))
	if id.Wildcard() {
		return e.WithHint("a wildcard name needs a way by DNS: dns-01, dns-account-01 or dns-persist-01")
	}
	return e.WithHint("configure one of the offered ways for this name")
}

// notShownError is the error of a solver that could not show a proof.
type notShownError struct {
	marked
	solver string
}

// fallBack gives up what a solver could not show, before the CA looked at it,
// and reports whether there is another way for each of its names. The order
// goes on: nothing failed at the CA.
func (o *order) fallBack(ctx context.Context, cause error) bool {
	failed, ok := errors.AsType[*notShownError](cause)
	if !ok || ctx.Err() != nil {
		return false
	}
	given := map[way]bool{}
	for _, t := range o.tasks {
		if t.Solver != failed.solver {
			continue
		}
		given[way{t.id, t.Type, t.Solver}] = true
		if !slices.ContainsFunc(inkan.Ways(o.r.Request.Validations, nil, t.id), func(v inkan.Validation) bool {
			w := way{t.id, v.Type, v.Solver}
			return o.r.Solvers[v.Solver] != nil && v.Solver != failed.solver && !o.unshown[w] && slices.Contains(t.offered, v.Type)
		}) {
			return false
		}
	}
	if o.unshown == nil {
		o.unshown = map[way]bool{}
	}
	maps.Copy(o.unshown, given)
	o.c.log.DebugContext(ctx, "a proof could not be shown; another way is tried", "name", o.rec.Name, "error", cause)
	o.progress("solver " + failed.solver + " failed, showing the proof in another way")
	return len(given) > 0
}

// refusals are the ways, and the names, that the CA refused in these
// authorizations.
func (o *order) refusals(authzs []*authzObject) []inkan.Refusal {
	var list []inkan.Refusal
	for _, a := range authzs {
		if a == nil || a.Status != statusInvalid {
			continue
		}
		id, ok := a.name(o.ids)
		if !ok {
			continue
		}
		r := inkan.Refusal{Identifier: id, Type: a.failedType()}
		if _, p := a.reason(id); p != nil && p.is(caaProblem, rejectedIdentifier, unsupportedIdentifier) {
			r.Type = "" // no other way helps
		}
		if r.Solver = o.solverOf(a.url, r.Type); r.Solver == "" {
			r.Type = "" // the CA's word, for what nobody here has shown
		}
		list = append(list, r)
	}
	return list
}

// solverOf returns the solver that was to show the proof, "" if none was.
func (o *order) solverOf(authz, challenge string) string {
	for _, t := range o.tasks {
		if t.Authz == authz && t.Type == challenge {
			return t.Solver
		}
	}
	for _, c := range slices.Backward(o.rec.Challenges) { // of an earlier process; the last solver counts
		if c.Authz == authz && c.Type == challenge {
			return c.Solver
		}
	}
	return ""
}

// refusalsIn are the names that the CA refused to order.
func (o *order) refusalsIn(p *Problem) []inkan.Refusal {
	var list []inkan.Refusal
	note := func(id inkan.Identifier) {
		if id = canonical(id); slices.Contains(o.ids, id) {
			list = append(list, inkan.Refusal{Identifier: id})
		}
	}
	for _, sub := range p.Subproblems {
		if sub.is(rejectedIdentifier, unsupportedIdentifier, caaProblem) {
			note(sub.Identifier)
		}
	}
	if len(list) == 0 && p.is(rejectedIdentifier, unsupportedIdentifier, caaProblem) {
		note(p.Identifier)
		if len(list) == 0 && len(o.ids) == 1 {
			note(o.ids[0])
		}
	}
	return list
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
