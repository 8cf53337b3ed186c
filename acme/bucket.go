package acme

import (
	"context"
	"sync"
	"time"
)

// bucket keeps requests below a token bucket at the CA, whose moment of counting
// lies somewhere between sending and answer. A request holds its token while it
// is under way and spends it when it is answered. So requests that a slow
// network bunches up never reach the CA as more than one burst, and the CA's
// bucket is never believed to be fuller than it is. Safe for concurrent use.
type bucket struct {
	rate  float64 // tokens a second
	burst float64

	turn chan struct{} // held by the one who waits first

	mu       sync.Mutex
	level    float64 // tokens, those held included
	at       time.Time
	held     float64
	answered chan struct{} // a token is not held any more
}

func newBucket(rate float64, burst int) *bucket {
	return &bucket{rate: rate, burst: float64(burst), level: float64(burst), turn: make(chan struct{}, 1), answered: make(chan struct{}, 1)}
}

// take waits for a token. The function that it returns must be called when the
// request is over, or will never be sent.
func (b *bucket) take(ctx context.Context) (over func(sent bool), err error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		wait, ok := b.hold()
		if ok {
			return b.over, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-b.answered:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// hold takes a token, or says when to look again at the latest.
func (b *bucket) hold() (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	if b.level-b.held >= 1 {
		b.held++
		return 0, true
	}
	if b.held+1 > b.burst {
		return time.Minute, false // every token is held, so an answer comes first
	}
	return time.Duration((1+b.held-b.level)/b.rate*float64(time.Second)) + time.Microsecond, false
}

func (b *bucket) over(sent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	b.held--
	if sent {
		b.level--
	}
	select {
	case b.answered <- struct{}{}:
	default:
	}
}

// refill brings the level to the present. The caller holds mu.
func (b *bucket) refill() {
	now := time.Now()
	if !b.at.IsZero() {
		b.level = min(b.burst, b.level+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
}
