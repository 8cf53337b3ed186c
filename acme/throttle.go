package acme

import (
	"context"

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
// per address, and few while the CA comes back from an outage. All Clients of
// one CA should share one. Safe for concurrent use.
type Throttle struct {
	limits map[endpoint]*bucket
	all    *rate.Limiter // nil: only the limits
	easing easing
}

// NewThrottle returns a Throttle for the published limits of a CA.
func NewThrottle(l Limits) *Throttle {
	t := &Throttle{limits: map[endpoint]*bucket{}, easing: easing{perSecond: easeRate}}
	for ep, r := range map[endpoint]Rate{
		epOther: l.Other, epDirectory: l.Directory, epNewNonce: l.NewNonce, epNewAccount: l.NewAccount,
		epNewOrder: l.NewOrder, epRevoke: l.Revoke, epRenewalInfo: l.RenewalInfo,
	} {
		if r.PerSecond > 0 {
			// Other clients may share the address, so stay just below.
			t.limits[ep] = newBucket(r.PerSecond*0.95, max(1, int(float64(r.Burst)*0.9)))
		}
	}
	if l.All.PerSecond > 0 {
		t.all = rate.NewLimiter(rate.Limit(l.All.PerSecond), max(1, l.All.Burst))
	}
	return t
}

// wait returns when a request of the class may go out. The function that it
// returns must be called when the request is over, or will never be sent.
func (t *Throttle) wait(ctx context.Context, ep endpoint) (over func(sent bool), err error) {
	over = func(bool) {}
	if b := t.limits[ep]; b != nil {
		if over, err = b.take(ctx); err != nil {
			return nil, err
		}
	}
	if t.all != nil {
		err = t.all.Wait(ctx)
	}
	if err == nil {
		err = t.easing.wait(ctx)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		over(false)
		return nil, err
	}
	return over, nil
}
