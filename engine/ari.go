package engine

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

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

// advise updates a by the CA's answer about the version n. The renewal instant is
// picked once per window and kept.
func advise(a inkan.ARIState, n uint64, leaf *x509.Certificate, info *inkan.RenewalInfo, err error, now time.Time) inkan.ARIState {
	next := a
	if next.N != n {
		next = unheard(a, n)
	}
	next.Looked, next.Look, next.Error = now, now.Add(ariLook), ""
	if err != nil {
		next.Error = inkan.Printable(err.Error(), 500)
		if inkan.KindOf(err) == inkan.Rejected { // an answer: there is no advice
			return until(heard(next), err, now)
		}
		if next.Failing.IsZero() || state.FarAhead(next.Failing, now) {
			next = heard(next)
			next.Failing = now
		}
		next.Misses++
		if inkan.KindOf(err) == inkan.Temporary && now.Sub(next.Failing) < ariPatience {
			next.Look = now.Add(ariRetry)
		}
		return until(next, err, now)
	}
	if !info.RetryAfter.IsZero() {
		next.Look = clampTime(info.RetryAfter, now.Add(ariLookMin), now.Add(ariLookMax))
	}
	next = heard(next)
	next.ExplanationURL = inkan.Printable(info.ExplanationURL, 500)
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
func until(a inkan.ARIState, err error, now time.Time) inkan.ARIState {
	if ra := inkan.RetryAfterOf(err); !ra.IsZero() {
		a.Look = clampTime(ra, now.Add(ariLookMin), now.Add(ariLookMax))
	}
	return a
}

// missed reports whether the CA has not answered for a day and no event has said
// so yet. It needs several failed looks, because a machine that slept between two
// did not ask.
func missed(a inkan.ARIState) bool {
	return !a.Told && a.Misses >= ariMisses && a.Looked.Sub(a.Failing) >= ariMissed
}

// heard returns a as it is once the CA has answered.
func heard(a inkan.ARIState) inkan.ARIState {
	a.Failing, a.Misses, a.Told = time.Time{}, 0, false
	return a
}

// unheard returns what stays of a when another version comes into force: whether
// the CA answers at all.
func unheard(a inkan.ARIState, n uint64) inkan.ARIState {
	return inkan.ARIState{N: n, Failing: a.Failing, Misses: a.Misses, Told: a.Told}
}
