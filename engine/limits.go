package engine

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
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

type takeQueue struct {
	busy    bool
	waiting []*taker
}

type taker struct {
	id    string
	fresh bool // deducted just now, not by an earlier Take
	done  chan error
}

const maxTogether = 20

func newLimiter(s inkan.Store, now func() time.Time) *storeLimiter {
	return &storeLimiter{s: s, now: now, queues: map[string]*takeQueue{}}
}

func (l *storeLimiter) Take(ctx context.Context, id string, buckets []inkan.Bucket) error {
	var taken []inkan.Bucket // by this call: what an earlier one took may have been used
	for _, b := range buckets {
		var err error
		if b.Capacity == 0 {
			err = l.blocked(ctx, b)
		} else {
			var fresh bool
			if fresh, err = l.takeOne(ctx, id, b); fresh {
				taken = append(taken, b)
			}
		}
		if err != nil {
			return errors.Join(err, l.Back(context.WithoutCancel(ctx), id, taken))
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
// all that have come until it writes. fresh reports that a token was deducted.
func (l *storeLimiter) takeOne(ctx context.Context, id string, b inkan.Bucket) (fresh bool, err error) {
	me := &taker{id: id, done: make(chan error, 1)}
	l.mu.Lock()
	q := l.queues[b.Key]
	if q == nil {
		q = &takeQueue{}
		l.queues[b.Key] = q
	}
	q.waiting = append(q.waiting, me)
	if q.busy {
		l.mu.Unlock()
		err = <-me.done
		return me.fresh, err
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
	err = <-me.done
	return me.fresh, err
}

// serve takes a token for each of batch in one write. The write must not be
// cancelled by one of the takers.
func (l *storeLimiter) serve(ctx context.Context, b inkan.Bucket, batch []*taker) {
	errs := make([]error, len(batch))
	// A Store that panics must not leave the others waiting for ever.
	err := guarded("limit on "+b.What, func() error { return l.deduct(context.WithoutCancel(ctx), b, batch, errs) })
	for i, t := range batch {
		if err != nil {
			errs[i], t.fresh = err, false
		}
		t.done <- errs[i]
	}
}

// deduct writes what serve decides for each of batch into errs.
func (l *storeLimiter) deduct(ctx context.Context, b inkan.Bucket, batch []*taker, errs []error) error {
	_, err := state.Update(ctx, l.s, b.Key, func(v *state.Bucket, exists bool) error {
		now := l.now()
		v.Fill(b, now, exists)
		if v.Taken == nil {
			v.Taken = map[string]time.Time{}
		}
		changed := false
		for i, t := range batch {
			_, holds := v.Taken[t.id]
			t.fresh = false
			switch {
			case v.BlockedAt(now):
				errs[i] = limited(b, v.Until, "the CA asked to wait")
			case holds:
				errs[i] = nil
			case v.Tokens < 1:
				wait := time.Duration((1 - v.Tokens) * float64(b.Refill))
				errs[i] = limited(b, now.Add(wait).Add(time.Second), "used up")
			default:
				v.Tokens--
				v.Taken[t.id] = now
				errs[i], t.fresh, changed = nil, true, true
			}
		}
		if !changed {
			return state.ErrUnchanged
		}
		return nil
	})
	return err
}

func (l *storeLimiter) Back(ctx context.Context, id string, buckets []inkan.Bucket) error {
	var errs []error
	for _, b := range buckets {
		if b.Capacity == 0 {
			continue
		}
		_, err := state.Update(ctx, l.s, b.Key, func(v *state.Bucket, exists bool) error {
			if _, holds := v.Taken[id]; !holds {
				return state.ErrUnchanged
			}
			v.Fill(b, l.now(), exists)
			delete(v.Taken, id)
			v.Tokens = math.Min(float64(b.Capacity), v.Tokens+1)
			return nil
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (l *storeLimiter) Answer(ctx context.Context, b inkan.Bucket, until time.Time) error {
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
