package inkan

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// alternative is what can be tried instead of the order that failed.
type alternative struct {
	at     time.Time // when; now, if no limit stands against it
	reason string
	change func(*State)
}

// maxInstead bounds the alternatives between two pauses, whatever a CA answers:
// one that refuses the names of a certificate one by one would otherwise get as
// many orders at once.
const maxInstead = 8

// errAlternative wraps the failure of an attempt after which another is made
// at once, in another way.
type errAlternative struct {
	error
	reason string
}

func (e *errAlternative) Unwrap() error { return e.error }

// alternative decides, after an order failed with cause, whether another way of
// validation, fewer names or another CA may bring the certificate. Nil leaves
// the next try to the back-off. Pure.
func (a *attempt) alternative(cause error, st State, now time.Time) *alternative {
	kind := KindOf(cause)
	if errors.Is(cause, ErrKeyRefused) && a.req.Key.Mode == KeyReuse && a.req.CSR == nil && a.o.Version != nil && !st.NewKey {
		return &alternative{later(now, waitOf(cause, now)), "with a new key, as the CA refused the one in use", func(s *State) { s.NewKey = true }}
	}
	if st.Instead >= maxInstead || !a.asked || kind == Pending || errors.Is(cause, ErrOurSide) ||
		slices.ContainsFunc(a.journals, func(j *journal) bool { return j.record().Finalizing }) && !errors.Is(cause, ErrOrderDead) {
		return nil // no CA was asked, or it may have issued
	}
	refusals := refusalsOf(cause)
	all := withRefusals(st.Refusals, refusals, now)
	at, wait := now, waitOf(cause, now)
	for _, r := range refusals {
		at = later(at, refusedUntil(all, r.Identifier, now))
	}
	if len(refusals) > 0 {
		if words := a.otherWays(st, refusals, now); words != "" {
			return &alternative{later(at, wait), words, func(*State) {}}
		}
		if left := a.otherNames(st, refusals); len(left) > 0 {
			return &alternative{later(now, wait), fmt.Sprintf("going on without %s, which the CA refused", joinIdentifiers(left, 3)), func(s *State) {
				s.Without = append(slices.Clone(s.Without), left...)
			}}
		}
	}
	ca := a.journals[0].record().CA
	left := st
	left.FailedCAs, left.Waits = append(slices.Clone(st.FailedCAs), ca), waitsAt(st.Waits, now)
	if !wait.IsZero() {
		left.Waits[ca] = wait
	}
	if next, ok := nextCA(a.o, left, now); ok {
		return &alternative{at, fmt.Sprintf("asking %s instead of %s", next, ca), func(s *State) {
			s.FailedCAs, s.Waits, s.Without = left.FailedCAs, left.Waits, nil
		}}
	}
	return nil
}

// waitOf is until when the CA asked to be left alone; zero if it did not.
func waitOf(cause error, now time.Time) time.Time {
	ra := RetryAfterOf(cause)
	if ra.IsZero() {
		return ra
	}
	return clampTime(ra, now.Add(time.Second), now.Add(maxRetryAfter))
}

// waitsAt returns a copy of what still holds of waits.
func waitsAt(waits map[string]time.Time, now time.Time) map[string]time.Time {
	left := map[string]time.Time{}
	for ca, at := range waits {
		if at.After(now) && !farAhead(at, now) {
			left[ca] = at
		}
	}
	return left
}

// otherWays says which ways are left for the identifiers that were refused; ""
// unless there is one for each that no CA refused of late. A way that was
// refused before, and was taken again all the same, shows that those before it
// cannot be taken: the CA does not offer them, or their solvers do not work.
// So each alternative of this kind uses up a way, and they come to an end.
func (a *attempt) otherWays(st State, refusals []Refusal, now time.Time) string {
	before, all := withRefusals(st.Refusals, nil, now), withRefusals(st.Refusals, refusals, now)
	words := ""
	for _, r := range refusals {
		if r.Type == "" || !lastRefused(before, r.Identifier, Validation{Type: r.Type, Solver: r.Solver}).IsZero() {
			return ""
		}
		ways := Ways(a.req.Validations, all, r.Identifier)
		if len(ways) == 0 || !lastRefused(all, r.Identifier, ways[0]).IsZero() {
			return ""
		}
		words = fmt.Sprintf("showing control over %s by %s (solver %s)", r.Identifier, ways[0].Type, ways[0].Solver)
	}
	return words
}

// otherNames returns the identifiers to leave out, if the request allows it and
// any are left.
func (a *attempt) otherNames(st State, refusals []Refusal) []Identifier {
	if !a.req.AllowSubset || len(a.journals) != 1 {
		return nil
	}
	var out []Identifier
	for _, r := range refusals {
		if slices.Contains(a.journals[0].record().Identifiers, r.Identifier) && !slices.Contains(out, r.Identifier) {
			out = append(out, r.Identifier)
		}
	}
	if len(out) >= len(a.journals[0].record().Identifiers) {
		return nil
	}
	return out
}

func refusalsOf(err error) []Refusal {
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e.Refusals
	}
	return nil
}

// wantedNow returns the identifiers to order: those of the request without the
// ones that this round leaves out.
func wantedNow(req CertificateRequest, st State) []Identifier {
	if !req.AllowSubset {
		return req.Identifiers
	}
	ids := slices.DeleteFunc(slices.Clone(req.Identifiers), func(id Identifier) bool { return slices.Contains(st.Without, id) })
	if len(ids) == 0 {
		return req.Identifiers
	}
	return ids
}

// nextCA returns the CA to order from: the first in the user's order that has
// not failed since the last pause and did not ask to be left alone, among those
// that the slack allows. If there is none, the first, and false.
func nextCA(o *Observed, st State, now time.Time) (ca string, ok bool) {
	cas, waits := o.Request.CAs, waitsAt(st.Waits, now)
	allowed := cas[:allowedCAs(o, len(cas), now)]
	for _, ca := range allowed {
		if _, waiting := waits[ca]; !waiting && !slices.Contains(st.FailedCAs, ca) {
			return ca, true
		}
	}
	return cas[0], false
}

// leftAlone returns the CA that may be asked first, and when, if each that the
// slack allows asked to be left alone until later; zero if one may be asked now.
func leftAlone(o *Observed, st State, now time.Time) (ca string, until time.Time) {
	if _, ok := nextCA(o, st, now); ok {
		return "", time.Time{}
	}
	waits := waitsAt(st.Waits, now)
	for _, c := range o.Request.CAs[:allowedCAs(o, len(o.Request.CAs), now)] {
		if at, waiting := waits[c]; waiting && (until.IsZero() || at.Before(until)) {
			ca, until = c, at
		}
	}
	return ca, until
}

// allowedCAs returns how many of n CAs may be asked. What decides is the slack
// that is left, not how often the first one failed: with two CAs the second is
// asked when half of the time between renewal and expiry has gone by, with
// three the others after a third and two thirds. All may be asked when there is
// no slack: no certificate that answers the request, one that has run out, or
// one that its CA wants replaced much earlier than by its age, since it may be
// revoked any hour.
func allowedCAs(o *Observed, n int, now time.Time) int {
	if n < 2 || o.Version == nil || o.Request == nil || !o.answers() {
		return n
	}
	end := o.Version.validUntil()
	r := o.renewal(now)
	lead, left := end.Sub(r.at), end.Sub(now)
	if left <= 0 || lead <= 0 || o.hurry(now) && o.advice().End.Before(now) {
		return n
	}
	k := 1
	for k < n && left <= lead*time.Duration(n-k)/time.Duration(n) {
		k++
	}
	return k
}

// hurry reports whether the CA wants the version in force replaced much earlier
// than by its age.
func (o *Observed) hurry(now time.Time) bool {
	return o.Version != nil && o.renewal(now).byCA && early(o.firstToExpire(), o.advice().End)
}

// early reports whether a window that ends then is no matter of age: CAs
// suggest the time around two thirds of the life, or half of a short one.
func early(leaf *x509.Certificate, end time.Time) bool {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	usual := life / 2
	if life < shortLife {
		usual = life * 2 / 3
	}
	return leaf.NotAfter.Sub(end) > usual
}

// answers reports whether the version in force is what the request asks for.
func (o *Observed) answers() bool {
	for _, kt := range o.Request.KeyTypes {
		if !slices.ContainsFunc(o.Version.Pairs, func(p Pair) bool {
			return p.KeyType == kt && slices.ContainsFunc(o.Request.CAs, func(ca string) bool { return p.Ask == o.Request.Ask(ca, kt) })
		}) {
			return false
		}
	}
	return true
}
