package acme

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/inkan-acme/inkan"
)

// After an outage everybody's orders wait at once, and a CA that gets them all
// in its first seconds goes down again.
const (
	outageTime = time.Minute // without service, from the first failure on
	easeTime   = time.Minute // for which a CA is spared once it serves again
	easeRate   = 4.8         // requests a second: with the burst below five a second over the minute
	easeBurst  = 10          // a single order goes through as fast as ever
)

// easing spares a CA that comes back from an outage (reliability A25). A process
// that was there knows of the outage by itself; one that has just begun is told
// by the orders that failed in it. Safe for concurrent use.
type easing struct {
	perSecond rate.Limit // while the CA is spared

	mu      sync.Mutex
	limiter *rate.Limiter // nil while the CA is not spared
	serving time.Time     // since when the CA serves this process, after an outage or at all; zero before
	failing time.Time     // since when it does not; zero while it does
}

// told is called for an order whose last try ended in an outage.
func (e *easing) told() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.limiter == nil && (e.serving.IsZero() || time.Since(e.serving) < easeTime) {
		e.spare()
	}
}

// spare begins to hold requests back. The caller holds mu.
func (e *easing) spare() { e.limiter = rate.NewLimiter(e.perSecond, easeBurst) }

// note takes in how a request ended: whether the CA served it.
func (e *easing) note(served bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if !served {
		if e.failing.IsZero() {
			e.failing = now
		}
		return
	}
	if !e.failing.IsZero() && now.Sub(e.failing) >= outageTime {
		e.serving = now
		e.spare()
	}
	if e.serving.IsZero() {
		e.serving = now
	}
	e.failing = time.Time{}
}

// wait returns when a request may go out: at once while the CA is still away.
func (e *easing) wait(ctx context.Context) error {
	e.mu.Lock()
	if !e.serving.IsZero() && time.Since(e.serving) >= easeTime {
		e.limiter = nil
	}
	limiter := e.limiter
	if e.serving.IsZero() {
		limiter = nil
	}
	e.mu.Unlock()
	if limiter == nil {
		return nil
	}
	return limiter.Wait(ctx)
}

// noService marks err as an [inkan.ErrNoService].
type noService struct{ error }

func (e noService) Unwrap() error { return e.error }

// Is implements the interface of errors.Is.
func (noService) Is(target error) bool { return target == inkan.ErrNoService }
