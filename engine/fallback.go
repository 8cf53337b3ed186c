package engine

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// alternative is what can be tried instead of the order that failed.
type alternative struct {
	at     time.Time // when; now, if no limit stands against it
	reason string
	change func(*inkan.State)
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
func (a *attempt) alternative(cause error, st inkan.State, now time.Time) *alternative {
	kind := inkan.KindOf(cause)
	if errors.Is(cause, inkan.ErrKeyRefused) && a.req.Key.Mode == inkan.KeyReuse && a.req.CSR == nil && a.o.Version != nil && !st.NewKey {
		return &alternative{later(now, waitOf(cause, now)), "with a new key, as the CA refused the one in use", func(s *inkan.State) { s.NewKey = true }}
	}
	if st.Instead >= maxInstead || !a.asked || kind == inkan.Pending || errors.Is(cause, inkan.ErrOurSide) ||
		slices.ContainsFunc(a.journals, func(j *state.Journal) bool { return j.Record().Finalizing }) && !errors.Is(cause, inkan.ErrOrderDead) {
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
			return &alternative{later(at, wait), words, func(*inkan.State) {}}
		}
		if left := a.otherNames(st, refusals); len(left) > 0 {
			return &alternative{later(now, wait), fmt.Sprintf("going on without %s, which the CA refused", joinIdentifiers(left, 3)), func(s *inkan.State) {
				s.Without = append(slices.Clone(s.Without), left...)
			}}
		}
	}
	ca := a.journals[0].Record().CA
	left := st
	left.FailedCAs, left.Waits = append(slices.Clone(st.FailedCAs), ca), waitsAt(st.Waits, now)
	if !wait.IsZero() {
		left.Waits[ca] = wait
	}
	if next, ok := nextCA(a.o, left, now); ok {
		return &alternative{at, fmt.Sprintf("asking %s instead of %s", next, ca), func(s *inkan.State) {
			s.FailedCAs, s.Waits, s.Without = left.FailedCAs, left.Waits, nil
		}}
	}
	return nil
}

// waitOf is until when the CA asked to be left alone; zero if it did not.
func waitOf(cause error, now time.Time) time.Time {
	ra := inkan.RetryAfterOf(cause)
	if ra.IsZero() {
		return ra
	}
	return clampTime(ra, now.Add(time.Second), now.Add(maxRetryAfter))
}

// waitsAt returns a copy of what still holds of waits.
func waitsAt(waits map[string]time.Time, now time.Time) map[string]time.Time {
	left := map[string]time.Time{}
	for ca, at := range waits {
		if at.After(now) && !state.FarAhead(at, now) {
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
func (a *attempt) otherWays(st inkan.State, refusals []inkan.Refusal, now time.Time) string {
	before, all := withRefusals(st.Refusals, nil, now), withRefusals(st.Refusals, refusals, now)
	words := ""
	for _, r := range refusals {
		if r.Type == "" || !inkan.LastRefused(before, r.Identifier, inkan.Validation{Type: r.Type, Solver: r.Solver}).IsZero() {
			return ""
		}
		ways := inkan.Ways(a.req.Validations, all, r.Identifier)
		if len(ways) == 0 || !inkan.LastRefused(all, r.Identifier, ways[0]).IsZero() {
			return ""
		}
		words = fmt.Sprintf("showing control over %s by %s (solver %s)", r.Identifier, ways[0].Type, ways[0].Solver)
	}
	return words
}

// otherNames returns the identifiers to leave out, if the request allows it and
// any are left.
func (a *attempt) otherNames(st inkan.State, refusals []inkan.Refusal) []inkan.Identifier {
	if !a.req.AllowSubset || len(a.journals) != 1 {
		return nil
	}
	var out []inkan.Identifier
	for _, r := range refusals {
		if slices.Contains(a.journals[0].Record().Identifiers, r.Identifier) && !slices.Contains(out, r.Identifier) {
			out = append(out, r.Identifier)
		}
	}
	if len(out) >= len(a.journals[0].Record().Identifiers) {
		return nil
	}
	return out
}

func refusalsOf(err error) []inkan.Refusal {
	if e, ok := errors.AsType[*inkan.RefusedError](err); ok {
		return e.Refusals
	}
	return nil
}

// wantedNow returns the identifiers to order: those of the request without the
// ones that this round leaves out.
func wantedNow(req inkan.CertificateRequest, st inkan.State) []inkan.Identifier {
	if !req.AllowSubset {
		return req.Identifiers
	}
	ids := slices.DeleteFunc(slices.Clone(req.Identifiers), func(id inkan.Identifier) bool { return slices.Contains(st.Without, id) })
	if len(ids) == 0 {
		return req.Identifiers
	}
	return ids
}

// nextCA returns the CA to order from: the first in the user's order that has
// not failed since the last pause and did not ask to be left alone, among those
// that the slack allows. If there is none, the first, and false.
func nextCA(o *Observed, st inkan.State, now time.Time) (ca string, ok bool) {
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
func leftAlone(o *Observed, st inkan.State, now time.Time) (ca string, until time.Time) {
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
	end := o.Version.ValidUntil()
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
		if !slices.ContainsFunc(o.Version.Pairs, func(p inkan.Pair) bool {
			return p.KeyType == kt && slices.ContainsFunc(o.Request.CAs, func(ca string) bool { return p.Ask == o.Request.Ask(ca, kt) })
		}) {
			return false
		}
	}
	return true
}

const (
	// refusalsKept is how long a way that failed is tried last.
	refusalsKept = 30 * 24 * time.Hour
	// refusalsPerHour bounds the failed authorizations of one identifier that
	// are made without a person: Let's Encrypt allows five an hour for each
	// account, and people want some left when they look into it.
	refusalsPerHour = 2
	// refusalsOfOne bounds what is kept of one identifier.
	refusalsOfOne = 8
)

// withRefusals returns the state's refusals with new ones, without the old.
func withRefusals(have, fresh []inkan.Refusal, now time.Time) []inkan.Refusal {
	have = slices.DeleteFunc(slices.Clone(have), func(r inkan.Refusal) bool { return now.Sub(r.At) > refusalsKept })
	for _, r := range fresh {
		r.At = now.UTC()
		have = append(have, r)
	}
	seen := map[inkan.Identifier]int{}
	kept := slices.Collect(func(yield func(inkan.Refusal) bool) {
		for _, r := range slices.Backward(have) {
			if seen[r.Identifier]++; seen[r.Identifier] <= refusalsOfOne && !yield(r) {
				return
			}
		}
	})
	slices.Reverse(kept)
	return kept
}

// refusedUntil returns the instant from which one more failed authorization of
// id stays within refusalsPerHour; now, if it does already.
func refusedUntil(refusals []inkan.Refusal, id inkan.Identifier, now time.Time) time.Time {
	var recent []time.Time
	for _, r := range refusals {
		if r.Identifier == id && now.Sub(r.At) < time.Hour {
			recent = append(recent, r.At)
		}
	}
	if len(recent) < refusalsPerHour {
		return now
	}
	slices.SortFunc(recent, time.Time.Compare)
	// A clock that was ahead must not make it wait for longer.
	return earlier(recent[len(recent)-refusalsPerHour], now).Add(time.Hour)
}
