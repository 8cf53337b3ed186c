package aws

import (
	"context"
	"sync"
	"time"
)

// window lets n requests begin in any second and makes the others wait their
// turn.
type window struct {
	every time.Duration // what n requests may begin in: a second and a little for the network
	turn  chan struct{} // one place: who looks at begun

	begun []time.Time // of the last n requests, a ring
	next  int
}

func newWindow(n int) *window {
	return &window{every: time.Second + 50*time.Millisecond, turn: make(chan struct{}, 1), begun: make([]time.Time, n)}
}

// wait returns when a request may begin.
func (w *window) wait(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if oldest := w.begun[w.next]; !oldest.IsZero() {
		if d := w.every - time.Since(oldest); d > 0 {
			if err := sleep(ctx, d); err != nil {
				return err
			}
		}
	}
	w.begun[w.next] = time.Now()
	w.next = (w.next + 1) % len(w.begun)
	return ctx.Err()
}

// Pace is how fast Route 53 is asked. AWS takes five requests a second from a
// whole account, whatever they ask for, and refuses more; so the instances of
// one program that work for one account share a Pace. Its zero value is ready.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html
type Pace struct {
	PerSecond int           // requests; 0 means 5
	Poll      time.Duration // between two looks at a change that is not everywhere yet; 0 means 2 s, growing to 5 s

	mu      sync.Mutex
	windows map[paceKey]*window
}

// paceKey tells accounts apart, as far as their options do.
type paceKey struct{ profile, accessKey, role, endpoint string }

func (p *Pace) perSecond() int {
	if p.PerSecond > 0 {
		return p.PerSecond
	}
	return 5
}

func (p *Pace) window(c Route53Config) *window {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := paceKey{c.Profile, c.AccessKeyID, c.RoleARN, c.Endpoint}
	if p.windows[key] == nil {
		if p.windows == nil {
			p.windows = map[paceKey]*window{}
		}
		p.windows[key] = newWindow(p.perSecond())
	}
	return p.windows[key]
}

// throttledWait is how long to wait after the (n+1)-th refusal in a row: the
// time of 2 requests, doubled each time up to that of 40.
func (p *Pace) throttledWait(n int) time.Duration {
	one := time.Second / time.Duration(p.perSecond())
	return one * time.Duration(min(2<<min(n, 10), 40))
}

func (p *Pace) poll(n int) time.Duration {
	first := 2 * time.Second
	if p.Poll > 0 {
		first = p.Poll
	}
	d := first
	for range min(n, 8) {
		d += d / 4
	}
	return min(d, first*5/2)
}
