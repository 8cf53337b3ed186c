package engine

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
)

// alternative is what can be tried instead of the order that failed.
type alternative struct {
	at     time.Time // when; now, if no limit stands against it
	reason string

	newKey     bool               // another key
	without    []inkan.Identifier // fewer names
	failedCA   string             // another CA than this one; "" stays with it
	retryAfter time.Time          // the Retry-After of that CA; zero if none
}

// maxAlternatives bounds the alternatives between two pauses. Otherwise a CA that
// refuses the names of a certificate one by one would get an order for each without
// a pause.
const maxAlternatives = 8

// apply notes in the state that the alternative is taken.
func (alt *alternative) apply(st *inkan.State, now time.Time) {
	st.Alternatives++
	st.NewKey = st.NewKey || alt.newKey
	st.Without = append(slices.Clone(st.Without), alt.without...)
	if alt.failedCA != "" {
		st.Round = withoutCA(st.Round, alt.failedCA, alt.retryAfter, now)
	}
}

// withoutCA returns the round after one more CA has failed in it.
func withoutCA(r inkan.Round, ca string, retryAfter, now time.Time) inkan.Round {
	r.FailedCAs, r.Without = append(slices.Clone(r.FailedCAs), ca), nil
	r.RetryAfter = stillAhead(r.RetryAfter, now)
	if !retryAfter.IsZero() {
		if r.RetryAfter == nil {
			r.RetryAfter = map[string]time.Time{}
		}
		r.RetryAfter[ca] = retryAfter
	}
	return r
}

// failure is what an order failed with, and all that decides what follows.
type failure struct {
	cause      error
	o          *Observed
	req        inkan.CertificateRequest
	order      inkan.OrderRecord
	asked      bool // the order failed while the CA was asked; see attempt
	finalizing bool // the CA may have issued
}

// alternative decides whether another key, another way of validation, fewer names
// or another CA may bring the certificate. Nil leaves the next try to the
// back-off.
func (f failure) alternative(st inkan.State, now time.Time) *alternative {
	refusals, wait := refusalsOf(f.cause), waitOf(f.cause, now)
	all := withRefusals(st.Refusals, refusals, now)
	at := now // from then on, one more failure of a refused name is within the limit
	for _, r := range refusals {
		at = later(at, refusedUntil(all, r.Identifier, now))
	}
	keyRefused := errors.Is(f.cause, inkan.ErrKeyRefused) && f.req.Key.Mode == inkan.KeyReuse && f.req.CSR == nil && f.o.Version != nil && !st.NewKey
	mayHaveIssued := f.finalizing && !errors.Is(f.cause, inkan.ErrOrderDead)
	caHadNoPart := !f.asked || inkan.KindOf(f.cause) == inkan.Pending || errors.Is(f.cause, inkan.ErrOurSide)

	switch {
	case keyRefused:
		return &alternative{at: later(now, wait), reason: "with a new key, as the CA refused the one in use", newKey: true}
	case st.Alternatives >= maxAlternatives, caHadNoPart, mayHaveIssued:
		return nil
	}
	if way := f.otherWay(st, refusals, now); way != "" {
		return &alternative{at: later(at, wait), reason: way}
	}
	if without := f.fewerNames(refusals); len(without) > 0 {
		return &alternative{at: later(now, wait), reason: fmt.Sprintf("going on without %s, which the CA refused", joinIdentifiers(without, 3)), without: without}
	}
	ca := f.order.CA
	st.Round = withoutCA(st.Round, ca, wait, now)
	if next, ok := nextCA(f.o, st, now); ok {
		return &alternative{at: at, reason: fmt.Sprintf("asking %s instead of %s", next, ca), failedCA: ca, retryAfter: wait}
	}
	return nil
}

// waitOf returns the instant before which the CA wants no request; zero if it
// named none.
func waitOf(cause error, now time.Time) time.Time {
	ra := inkan.RetryAfterOf(cause)
	if ra.IsZero() {
		return ra
	}
	return clampTime(ra, now.Add(time.Second), now.Add(maxRetryAfter))
}

// stillAhead returns a copy of what has not passed; nil if nothing is left.
func stillAhead(until map[string]time.Time, now time.Time) map[string]time.Time {
	var left map[string]time.Time
	for ca, at := range until {
		if at.After(now) && !farAhead(at, now) {
			if left == nil {
				left = map[string]time.Time{}
			}
			left[ca] = at
		}
	}
	return left
}

// otherWay says how control over every refused identifier can be shown differently.
// It returns "" if one of them has no way left that no CA refused lately. If a way
// that was refused before was taken again, the ways before it cannot be taken: the
// CA does not offer them, or their solvers do not work. So each alternative of this
// kind uses up a way, and their number is limited.
func (f failure) otherWay(st inkan.State, refusals []inkan.Refusal, now time.Time) string {
	before, all := withRefusals(st.Refusals, nil, now), withRefusals(st.Refusals, refusals, now)
	words := ""
	for _, r := range refusals {
		if r.Type == "" || !inkan.LastRefused(before, r.Identifier, inkan.Validation{Type: r.Type, Solver: r.Solver}).IsZero() {
			return ""
		}
		ways := inkan.Ways(f.req.Validations, all, r.Identifier)
		if len(ways) == 0 || !inkan.LastRefused(all, r.Identifier, ways[0]).IsZero() {
			return ""
		}
		words = fmt.Sprintf("showing control over %s by %s (solver %s)", r.Identifier, ways[0].Type, ways[0].Solver)
	}
	return words
}

// fewerNames returns the identifiers to leave out, if the request allows it and
// any are left.
func (f failure) fewerNames(refusals []inkan.Refusal) []inkan.Identifier {
	if !f.req.AllowSubset {
		return nil
	}
	var out []inkan.Identifier
	for _, r := range refusals {
		if slices.Contains(f.order.Identifiers, r.Identifier) && !slices.Contains(out, r.Identifier) {
			out = append(out, r.Identifier)
		}
	}
	if len(out) >= len(f.order.Identifiers) {
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

// nextCA returns the CA to order from: the first of the allowed ones (see
// allowedCAs) that has not failed in this round and whose Retry-After has passed.
// If there is none, it returns the first of all and false.
func nextCA(o *Observed, st inkan.State, now time.Time) (ca string, ok bool) {
	cas, waits := o.Request.CAs, stillAhead(st.RetryAfter, now)
	allowed := cas[:allowedCAs(o, len(cas), now)]
	for _, ca := range allowed {
		if _, waiting := waits[ca]; !waiting && !slices.Contains(st.FailedCAs, ca) {
			return ca, true
		}
	}
	return cas[0], false
}

// leftAlone returns the CA whose Retry-After passes first, and when, if no allowed
// CA may be asked now. It returns zero values if one may, or if none waits.
func leftAlone(o *Observed, st inkan.State, now time.Time) (ca string, until time.Time) {
	if _, ok := nextCA(o, st, now); ok {
		return "", time.Time{}
	}
	waits := stillAhead(st.RetryAfter, now)
	for _, c := range o.Request.CAs[:allowedCAs(o, len(o.Request.CAs), now)] {
		if at, waiting := waits[c]; waiting && (until.IsZero() || at.Before(until)) {
			ca, until = c, at
		}
	}
	return ca, until
}

// allowedCAs returns how many of n CAs may be asked. The time that is left decides,
// not the number of failures: with two CAs, the second may be asked when half of
// the time between renewal and expiry has passed; with three, the others after a
// third and two thirds. All may be asked when no certificate answers the request,
// when it has expired, or when it is urgent and its CA's window has passed, since
// the CA may then revoke it at any hour.
func allowedCAs(o *Observed, n int, now time.Time) int {
	if n < 2 || o.Version == nil || o.Request == nil || !o.answersRequest() {
		return n
	}
	end := o.Version.ValidUntil()
	r := o.renewal(now)
	lead, left := end.Sub(r.at), end.Sub(now)
	if left <= 0 || lead <= 0 || o.urgent(now) && o.advice().End.Before(now) {
		return n
	}
	k := 1
	for k < n && left <= lead*time.Duration(n-k)/time.Duration(n) {
		k++
	}
	return k
}

// urgent reports whether the CA wants the version in force replaced much earlier
// than by its age.
func (o *Observed) urgent(now time.Time) bool {
	return o.Version != nil && o.renewal(now).byCA && early(o.firstToExpire(), o.advice().End)
}

// early reports whether a window that ends then is too early to be due to age: CAs
// suggest the time around two thirds of the life, or half of a short one.
func early(leaf *x509.Certificate, end time.Time) bool {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	usual := life / 2
	if life < shortLife {
		usual = life * 2 / 3
	}
	return leaf.NotAfter.Sub(end) > usual
}

// answersRequest reports whether the version in force is what the request asks for.
func (o *Observed) answersRequest() bool {
	return whatChanged(o.Version, o.Request.CertificateRequest) == ""
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
