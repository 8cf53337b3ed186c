package acme

import (
	"context"
	"time"

	"github.com/inkan-acme/inkan"
)

const (
	longestWait  = 10 * time.Second       // between looks that nobody asked to space
	earlyLook    = 200 * time.Millisecond // when the one look before a Retry-After comes
	settle       = 5 * time.Millisecond   // from the CA's question until it has judged the answer
	seenPatience = 2 * time.Second        // for evidence that does not come
	maxPatience  = 5 * time.Minute        // longer waits are handed back as Pending
	lostLooks    = 3                      // failed looks in a row that are taken for a hiccup
	defaultLife  = 24 * time.Hour         // of an order whose expiry the CA did not say
)

// pace says how long to wait before the next look at an order.
type pace struct {
	looks int
	early bool // the one look before a Retry-After was spent
}

// next returns the wait, given the Retry-After of the last answer (0 for
// none): 10, 25, 60, 150, 300 ms and then half as much again each time. Once
// the CA gives a Retry-After it is obeyed, but for one early look: most CAs
// say seconds where they need milliseconds.
func (p *pace) next(retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		if p.early {
			return retryAfter
		}
		p.early = true
		return min(retryAfter/4, earlyLook)
	}
	steps := [...]time.Duration{10 * time.Millisecond, 25 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond}
	i := p.looks
	p.looks++
	if i < len(steps) {
		return steps[i]
	}
	wait := steps[len(steps)-1]
	for ; i >= len(steps) && wait < longestWait; i-- {
		wait += wait / 2
	}
	return min(wait, longestWait)
}

// poll looks at the order until it has another status than last, or expires.
// The first look waits for seen: when all are closed, the CA has asked for
// every proof.
func (o *order) poll(ctx context.Context, op string, last *orderObject, seen []<-chan struct{}) (*orderObject, error) {
	var p pace
	expires := last.expires()
	if expires.IsZero() {
		expires = o.c.caNow().Add(defaultLife)
	}
	hint := last.retryAfter
	if last.Status == statusPending {
		hint = 0 // said before the challenges were answered
	}
	wait := settle
	if !awaitSeen(ctx, seen) {
		wait = p.next(hint)
	}
	for lost := 0; ; {
		if wait > maxPatience {
			return nil, inkan.Errorf(inkan.Pending, op, "the CA wants to be asked again in %s", wait.Round(time.Second)).After(o.c.engineNow().Add(wait))
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, interrupted(ctx, op, err)
		}
		obj, err := o.read(ctx, op)
		switch {
		case err == nil && obj.Status != last.Status:
			return obj, nil
		case err == nil:
			lost = 0
			wait = p.next(obj.retryAfter)
		case notFound(err):
			return nil, inkan.Errorf(inkan.Rejected, op, "%w: %w", err, inkan.ErrOrderDead)
		case inkan.KindOf(err) == inkan.Temporary && lost < lostLooks && inkan.RetryAfterOf(err).IsZero():
			// A look is no retry: it only asks for news again, as polling does.
			lost++
			wait = max(p.next(0), earlyLook)
		default:
			return nil, err
		}
		if o.c.caNow().After(expires) {
			return nil, inkan.Errorf(inkan.Temporary, op, "the order is still %s after it expired at %s", last.Status, expires.Format(time.RFC3339))
		}
	}
}

// awaitSeen waits until all channels are closed, at most [seenPatience]. It
// returns false if there are none or one stays open.
func awaitSeen(ctx context.Context, seen []<-chan struct{}) bool {
	if len(seen) == 0 {
		return false
	}
	timer := time.NewTimer(seenPatience)
	defer timer.Stop()
	for _, ch := range seen {
		select {
		case <-ch:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}
