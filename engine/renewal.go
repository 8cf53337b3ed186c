package engine

import (
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
)

// Renewal tells when the version in force will be renewed and why then; zero if
// it will not be, because there is none, it was revoked, or nobody here renews it.
func (o *Observed) Renewal(now time.Time) (at time.Time, reason string) {
	if o.Version == nil || o.Request == nil || o.Request.Deleted || o.Request.Unmanaged || o.Revoked() || o.foreign() {
		return time.Time{}, ""
	}
	r := o.renewal(now)
	return r.at, r.reason
}

// renewal decides when to renew the version in force.
func (o *Observed) renewal(now time.Time) renewal {
	leaf := o.firstToExpire()
	r := whenToRenew(o.Name, leaf, o.advice())
	if !r.byCA {
		return notAtOnce(r, leaf, o.State.Renewals)
	}
	if r.at.After(now) {
		return r
	}
	at := afterRenewals(r.at, o.State.Renewals)
	if !at.After(now) {
		return r
	}
	r = notAtOnce(whenToRenew(o.Name, leaf, inkan.ARIState{}), leaf, o.State.Renewals)
	if at.Before(r.at) {
		r = renewal{at, "the CA suggests it again, but once a day and twice a week is enough", false}
	}
	return r
}

// advice is what the CA last said about the version in force.
func (o *Observed) advice() inkan.ARIState {
	if o.State.ARI.N == o.Current.N {
		return o.State.ARI
	}
	return inkan.ARIState{N: o.Current.N, Look: firstLook(o)}
}

func (o *Observed) firstToExpire() *x509.Certificate {
	leaf := o.Version.Pairs[0].Leaf
	for i := range o.Version.Pairs {
		if o.Version.Pairs[i].Leaf.NotAfter.Before(leaf.NotAfter) {
			leaf = o.Version.Pairs[i].Leaf
		}
	}
	return leaf
}

// Revoked reports whether we revoked what is in force.
func (o *Observed) Revoked() bool {
	return o.Version != nil && slices.ContainsFunc(o.Version.Pairs, func(p inkan.Pair) bool {
		return slices.Contains(o.State.Revoked, p.Fingerprint().String())
	})
}

// foreign reports whether the version in force was brought by somebody else, who
// renews it too.
func (o *Observed) foreign() bool {
	return o.Version != nil && slices.ContainsFunc(o.Version.Pairs, func(p inkan.Pair) bool { return p.Source == inkan.SourceForeign })
}

// firstLook spreads the first look at the CA's advice over the six hours after
// the publication. CAs want looks six hours apart, so certificates that were issued
// together would otherwise ask together for ever. The hash differs from that of the
// renewal instant, so that the two spreads do not cancel each other out.
func firstLook(o *Observed) time.Time {
	const soonest = 30 * time.Minute
	return o.Current.At.Add(soonest + time.Duration(hashOf("look "+o.Name)%1000)*(ariLook-soonest)/1000)
}

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
func whenToRenew(name string, leaf *x509.Certificate, ari inkan.ARIState) renewal {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if !ari.Pick.IsZero() && saneWindow(leaf, ari.Start, ari.End) {
		return renewal{earlier(ari.Pick, ari.End), fmt.Sprintf("the CA suggests %s to %s", stamp(ari.Start), stamp(ari.End)), true}
	}
	left, words := life/3, "a third"
	if life < shortLife {
		left, words = life/2, "half"
	}
	spread := time.Duration(float64(life) * 0.02 * float64(hashOf(name)%1000) / 1000)
	return renewal{leaf.NotAfter.Add(-left - spread), words + " of its life is left", false}
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
// already due when it came: some CAs return the same certificate again, backdate
// it, or let it expire with its issuer. To ask them again at once would never end.
// The renewal waits for half of the remaining life, an hour at least.
func notAtOnce(r renewal, leaf *x509.Certificate, renewals []time.Time) renewal {
	if len(renewals) == 0 {
		return r
	}
	last := renewals[len(renewals)-1]
	if r.at.After(last) {
		return r
	}
	r.at = last.Add(max(time.Hour, leaf.NotAfter.Sub(last)/2))
	r.reason = "it was due already when the last renewal brought it, and half of its life is left"
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
