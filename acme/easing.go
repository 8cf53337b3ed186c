package acme

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// After an outage everybody's orders wait at once, and a CA that gets them all
// in its first seconds goes down again.
const (
	outageTime = time.Minute // without service, from the first failure on
	easeTime   = time.Minute // for which a CA is spared once it serves again
	easeRate   = 4.8         // requests a second: with the burst below five a second over the minute
	easeBurst  = 10          // the first order
)

// easing slows the requests to a CA that comes back from an outage (reliability
// A25), while orders that failed in the outage are tried again and the CA has
// served this process for less than a minute. Safe for concurrent use.
type easing struct {
	perSecond rate.Limit // while the CA is spared

	mu      sync.Mutex
	limiter *rate.Limiter // nil while the CA is not spared
	serving time.Time     // since when the CA serves this process, after an outage or at all; zero before
	failing time.Time     // since when it does not; zero while it does
}

// told is called for each of many orders whose last try ended in an outage.
func (e *easing) told() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.limiter == nil && (e.away() || time.Since(e.serving) < easeTime) {
		e.limiter = rate.NewLimiter(e.perSecond, easeBurst)
	}
}

// away reports whether the CA has not served this process at all, or not for as
// long as makes an outage. The caller holds mu.
func (e *easing) away() bool {
	return e.serving.IsZero() || !e.failing.IsZero() && time.Since(e.failing) >= outageTime
}

// note takes in how a request ended: whether the CA served it.
func (e *easing) note(served bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case served && e.away():
		e.serving, e.failing = time.Now(), time.Time{}
	case served:
		e.failing = time.Time{}
	case e.failing.IsZero():
		e.failing = time.Now()
	}
}

// wait returns when a request may go out: at once while the CA is still away.
func (e *easing) wait(ctx context.Context) error {
	for {
		pause := e.pause()
		if pause == 0 {
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// pause lets a request pass (0), or says when to ask again.
func (e *easing) pause() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.limiter == nil || e.away() {
		return 0
	}
	left := easeTime - time.Since(e.serving)
	if left <= 0 {
		e.limiter = nil
		return 0
	}
	if e.limiter.Allow() {
		return 0
	}
	// It reserves no token: that could delay it beyond the minute.
	return min(left, time.Duration(float64(time.Second)/float64(e.perSecond)))
}
