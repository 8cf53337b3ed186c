package acme

import (
	"context"
	"math"

	"golang.org/x/time/rate"
)

// endpoint is the class of a request, as the CA's limits know it.
type endpoint int

const (
	epOther endpoint = iota // everything that has an id: orders, authorizations, accounts, certificates
	epDirectory
	epNewNonce
	epNewAccount
	epNewOrder
	epRevoke
	epRenewalInfo
)

// Throttle keeps the requests of this process to one CA below the CA's limits
// per address. All Clients of one CA should share one. Safe for concurrent use.
type Throttle struct {
	limits map[endpoint]*rate.Limiter
	all    *rate.Limiter // nil: only the limits
}

// NewThrottle returns a Throttle for the published limits of a CA.
func NewThrottle(l Limits) *Throttle {
	t := &Throttle{limits: map[endpoint]*rate.Limiter{}}
	for ep, r := range map[endpoint]Rate{
		epOther: l.Other, epDirectory: l.Directory, epNewNonce: l.NewNonce, epNewAccount: l.NewAccount,
		epNewOrder: l.NewOrder, epRevoke: l.Revoke, epRenewalInfo: l.RenewalInfo,
	} {
		if r.PerSecond > 0 {
			// The network may bunch up what left here evenly, so stay just below.
			burst := max(1, int(math.Floor(float64(r.Burst)*0.9)))
			t.limits[ep] = rate.NewLimiter(rate.Limit(r.PerSecond*0.95), burst)
		}
	}
	if l.All.PerSecond > 0 {
		t.all = rate.NewLimiter(rate.Limit(l.All.PerSecond), max(1, l.All.Burst))
	}
	return t
}

// wait returns when a request of the class may go out.
func (t *Throttle) wait(ctx context.Context, ep endpoint) error {
	if l := t.limits[ep]; l != nil {
		if err := l.Wait(ctx); err != nil {
			return err
		}
	}
	if t.all != nil {
		return t.all.Wait(ctx)
	}
	return ctx.Err()
}
