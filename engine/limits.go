package engine

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
	"github.com/inkan-acme/inkan/internal/state"
)

// storeLimiter is the Limiter over a Store. Takers of one bucket in one process
// are served together by one write, at most 20 at once.
type storeLimiter struct {
	s   inkan.Store
	now func() time.Time

	mu     sync.Mutex
	queues map[string]*takeQueue
}

// takeQueue holds the takers that wait for one bucket. The answer nil says that a
// token was deducted for the taker.
type takeQueue struct {
	busy    bool
	waiting []chan error
}

const maxTogether = 20

func newLimiter(s inkan.Store, now func() time.Time) *storeLimiter {
	return &storeLimiter{s: s, now: now, queues: map[string]*takeQueue{}}
}

func (l *storeLimiter) Take(ctx context.Context, buckets []inkan.Bucket) error {
	var taken []inkan.Bucket
	for _, b := range buckets {
		var err error
		if b.Capacity == 0 {
			err = l.blocked(ctx, b)
		} else if err = l.takeOne(ctx, b); err == nil {
			taken = append(taken, b)
		}
		if err != nil {
			return errors.Join(err, l.Refund(context.WithoutCancel(ctx), taken))
		}
	}
	return nil
}

// blocked only reads: a bucket without a known limit costs no write.
func (l *storeLimiter) blocked(ctx context.Context, b inkan.Bucket) error {
	r, err := state.Load[state.Bucket](ctx, l.s, b.Key)
	if err != nil {
		return err
	}
	if r.Value.BlockedAt(l.now()) {
		return limited(b, r.Value.Until, "the CA asked to wait")
	}
	return nil
}

func limited(b inkan.Bucket, until time.Time, why string) error {
	return inkan.Errorf(inkan.RateLimited, "limit on "+b.What, "%s until %s", why, stamp(until)).After(until)
}

// takeOne joins the takers that wait for the bucket; the first of them serves
// all that have come until it writes.
func (l *storeLimiter) takeOne(ctx context.Context, b inkan.Bucket) error {
	me := make(chan error, 1)
	l.mu.Lock()
	q := l.queues[b.Key]
	if q == nil {
		q = &takeQueue{}
		l.queues[b.Key] = q
	}
	q.waiting = append(q.waiting, me)
	if q.busy {
		l.mu.Unlock()
		return <-me
	}
	q.busy = true
	for len(q.waiting) > 0 {
		n := min(len(q.waiting), maxTogether)
		batch := q.waiting[:n:n]
		q.waiting = q.waiting[n:]
		l.mu.Unlock()
		l.serve(ctx, b, batch)
		l.mu.Lock()
	}
	q.busy = false
	delete(l.queues, b.Key)
	l.mu.Unlock()
	return <-me
}

// serve takes a token for each of batch in one write. The write must not be
// cancelled by one of the takers.
func (l *storeLimiter) serve(ctx context.Context, b inkan.Bucket, batch []chan error) {
	errs := make([]error, len(batch))
	// A Store that panics must not leave the others waiting for ever.
	err := guard.Call("limit on "+b.What, func() error { return l.deduct(context.WithoutCancel(ctx), b, errs) })
	for i, taker := range batch {
		if err != nil {
			errs[i] = err
		}
		taker <- errs[i]
	}
}

// deduct takes a token for each of errs, in one write, and says there who got
// none.
func (l *storeLimiter) deduct(ctx context.Context, b inkan.Bucket, errs []error) error {
	_, err := state.Update(ctx, l.s, b.Key, func(v *state.Bucket, exists bool) error {
		now := l.now()
		v.Fill(b, now, exists)
		given := false
		for i := range errs {
			switch {
			case v.BlockedAt(now):
				errs[i] = limited(b, v.Until, "the CA asked to wait")
			case v.Tokens < 1:
				wait := time.Duration((1 - v.Tokens) * float64(b.Refill))
				errs[i] = limited(b, now.Add(wait).Add(time.Second), "used up")
			default:
				v.Tokens--
				errs[i], given = nil, true
			}
		}
		if !given {
			return state.ErrUnchanged
		}
		return nil
	})
	return err
}

func (l *storeLimiter) Refund(ctx context.Context, buckets []inkan.Bucket) error {
	var errs []error
	for _, b := range buckets {
		if b.Capacity == 0 {
			continue
		}
		_, err := state.Update(ctx, l.s, b.Key, func(v *state.Bucket, exists bool) error {
			v.Fill(b, l.now(), exists)
			full := float64(b.Capacity)
			if v.Tokens >= full {
				return state.ErrUnchanged
			}
			v.Tokens = math.Min(full, v.Tokens+1)
			return nil
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (l *storeLimiter) Block(ctx context.Context, b inkan.Bucket, until time.Time) error {
	_, err := state.Update(ctx, l.s, b.Key, func(v *state.Bucket, exists bool) error {
		now := l.now()
		until := clampTime(until, now.Add(time.Second), now.Add(maxRetryAfter))
		if v.BlockedAt(now) && !until.After(v.Until) {
			return state.ErrUnchanged
		}
		v.Fill(b, now, exists)
		v.Until = until
		return nil
	})
	return err
}
