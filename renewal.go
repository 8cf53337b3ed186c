package inkan

import (
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// shortLife is the lifetime below which half of it is left at renewal, not a
// third (Let's Encrypt's integration guide).
const shortLife = 10 * 24 * time.Hour

// renewal says when a certificate is renewed and why.
type renewal struct {
	at     time.Time
	reason string
	byCA   bool // the instant comes from the CA's advice
}

// whenToRenew decides by the CA's advice if it is sane, else by the life that
// is left. Never by a fixed number of days.
func whenToRenew(name string, leaf *x509.Certificate, ari ARIState) renewal {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if !ari.Pick.IsZero() && saneWindow(leaf, ari.Start, ari.End) {
		return renewal{earlier(ari.Pick, ari.End), fmt.Sprintf("the CA suggests %s to %s", stamp(ari.Start), stamp(ari.End)), true}
	}
	left, words := life/3, "a third"
	if life < shortLife {
		left, words = life/2, "half"
	}
	spread := time.Duration(float64(life) * 0.02 * float64(hashOf(name)%1000) / 1000)
	return renewal{leaf.NotAfter.Add(-left - spread), words + " of its life is left then", false}
}

// saneWindow refuses windows that would let the certificate run out: it must
// end with at least a fifth of the life left, two fifths under ten days.
func saneWindow(leaf *x509.Certificate, start, end time.Time) bool {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	floor := life / 5
	if life < shortLife {
		floor = life * 2 / 5
	}
	return !start.IsZero() && end.After(start) && !end.After(leaf.NotAfter.Add(-floor))
}

const (
	ariLook    = 6 * time.Hour // the CA said nothing, or failed (RFC 9773 section 4.3)
	ariLookMin = time.Minute
	ariLookMax = 24 * time.Hour
	// A CA that gives no service is asked more often at first (RFC 9773 section
	// 4.3.3), so that a revocation is not learned of six hours late.
	ariRetry    = time.Hour
	ariPatience = 12 * time.Hour
	ariMissed   = 24 * time.Hour // without an answer, until somebody is told
	ariMisses   = 3              // and looks in that time
)

// advise takes in what the CA answered about the version n. The instant is
// picked once per window and kept.
func advise(a ARIState, n uint64, leaf *x509.Certificate, info *RenewalInfo, err error, now time.Time) ARIState {
	next := a
	if next.N != n {
		next = unheard(a, n)
	}
	next.Looked, next.Look, next.Error = now, now.Add(ariLook), ""
	if err != nil {
		next.Error = Printable(err.Error(), 500)
		if KindOf(err) == Rejected { // an answer: there is no advice
			return until(heard(next), err, now)
		}
		if next.Failing.IsZero() || farAhead(next.Failing, now) {
			next = heard(next)
			next.Failing = now
		}
		next.Misses++
		if KindOf(err) == Temporary && now.Sub(next.Failing) < ariPatience {
			next.Look = now.Add(ariRetry)
		}
		return until(next, err, now)
	}
	if !info.RetryAfter.IsZero() {
		next.Look = clampTime(info.RetryAfter, now.Add(ariLookMin), now.Add(ariLookMax))
	}
	next = heard(next)
	next.ExplanationURL = Printable(info.ExplanationURL, 500)
	if !info.Start.Equal(next.Start) || !info.End.Equal(next.End) || next.Pick.IsZero() {
		next.Start, next.End = info.Start, info.End
		next.Pick = time.Time{}
		if saneWindow(leaf, info.Start, info.End) {
			next.Pick = info.Start.Add(rand.N(info.End.Sub(info.Start)))
		} else {
			next.Error = fmt.Sprintf("the suggested window %s to %s is not usable", stamp(info.Start), stamp(info.End))
		}
	}
	return next
}

// until heeds what an error says about when to look again.
func until(a ARIState, err error, now time.Time) ARIState {
	if ra := RetryAfterOf(err); !ra.IsZero() {
		a.Look = clampTime(ra, now.Add(ariLookMin), now.Add(ariLookMax))
	}
	return a
}

// missed reports that the CA has been asked in vain for a day, and that nobody
// was told so yet. A few looks belong to that: a machine that slept between two
// did not ask.
func missed(a ARIState) bool {
	return !a.Told && a.Misses >= ariMisses && a.Looked.Sub(a.Failing) >= ariMissed
}

// heard is a when the CA has answered.
func heard(a ARIState) ARIState {
	a.Failing, a.Misses, a.Told = time.Time{}, 0, false
	return a
}

// unheard is what stays of a when another version is in force: whether the CA
// answers at all.
func unheard(a ARIState, n uint64) ARIState {
	return ARIState{N: n, Failing: a.Failing, Misses: a.Misses, Told: a.Told}
}

// afterRenewals postpones a renewal that the CA's advice asks for again and
// again: at most one a day and two a week. A first issuance is not a renewal.
func afterRenewals(at time.Time, renewals []time.Time) time.Time {
	n := len(renewals)
	if n >= 1 {
		at = later(at, renewals[n-1].Add(24*time.Hour))
	}
	if n >= 2 {
		at = later(at, renewals[n-2].Add(7*24*time.Hour))
	}
	return at
}

// notAtOnce postpones a renewal when the last one brought a certificate that was
// due again on the day it came: some CAs hand out once more what they have, date
// back, or end with their own issuer. Asking them again at once would never end.
// Half of what is left of it is waited, an hour at least.
func notAtOnce(r renewal, leaf *x509.Certificate, renewals []time.Time) renewal {
	if len(renewals) == 0 {
		return r
	}
	last := renewals[len(renewals)-1]
	if r.at.After(last) {
		return r
	}
	r.at = last.Add(max(time.Hour, leaf.NotAfter.Sub(last)/2))
	r.reason = "it was due already when the last renewal brought it, and half of its life is left then"
	return r
}

// stamp writes an instant for people: in UTC, to the minute.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// hashOf spreads names evenly over numbers, the same in every process.
func hashOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}
