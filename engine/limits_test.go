package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// fakeClock is a wall clock that only moves when told.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var (
	orders = inkan.Bucket{Key: inkan.LimitKey("ca", "account", "orders"), Capacity: 5, Refill: 36 * time.Second, What: "new orders"}
	domain = inkan.Bucket{Key: inkan.LimitKey("ca", "domain", inkan.LimitHash("example.com")), Capacity: 3, Refill: 202 * time.Minute, What: "certificates of example.com"}
)

func limiterFor(t *testing.T) (*storeLimiter, *testkit.Store, *fakeClock) {
	s, c := testkit.New(), &fakeClock{t: chainNow}
	return newLimiter(s, c.now), s, c
}

// takeAll takes with fresh ids until the bucket is empty.
func takeAll(t *testing.T, l inkan.Limiter, b inkan.Bucket, prefix string) (n int, err error) {
	t.Helper()
	for ; ; n++ {
		if err = l.Take(t.Context(), fmt.Sprint(prefix, n), []inkan.Bucket{b}); err != nil {
			return n, err
		}
		if n > 10_000 {
			t.Fatal("the bucket has no bottom")
		}
	}
}

func TestV5Refill(t *testing.T) {
	l, _, clock := limiterFor(t)
	n, err := takeAll(t, l, orders, "a")
	if n != 5 || inkan.KindOf(err) != inkan.RateLimited {
		t.Fatalf("%d tokens in a full bucket, then %v", n, err)
	}
	wait := inkan.RetryAfterOf(err).Sub(clock.now())
	if wait <= 36*time.Second-time.Second || wait > 38*time.Second {
		t.Errorf("told to come back in %v, want about %v", wait, orders.Refill)
	}
	clock.add(wait)
	if n, _ := takeAll(t, l, orders, "b"); n != 1 {
		t.Errorf("%d tokens after %v", n, wait)
	}
	clock.add(10 * 36 * time.Second)
	if n, _ := takeAll(t, l, orders, "c"); n != 5 {
		t.Errorf("%d tokens after a long time, want no more than the capacity", n)
	}
	clock.add(90 * time.Second)
	if n, _ := takeAll(t, l, orders, "d"); n != 2 {
		t.Errorf("%d tokens after 2.5 refills", n)
	}
	// Many small steps give no more than one long one.
	got := 0
	for range 360 {
		clock.add(time.Second)
		n, _ := takeAll(t, l, orders, fmt.Sprint("e", got, clock.now().Unix()))
		got += n
	}
	if got < 9 || got > 11 {
		t.Errorf("%d tokens in 360 s, want 10", got)
	}
}

// TestV5OncePerID: also in another process.
func TestV5OncePerID(t *testing.T) {
	l, s, clock := limiterFor(t)
	ctx := t.Context()
	for range 3 {
		if err := l.Take(ctx, "order", []inkan.Bucket{orders, domain}); err != nil {
			t.Fatal(err)
		}
		l = newLimiter(s, clock.now)
	}
	puts := s.Puts
	if err := l.Take(ctx, "order", []inkan.Bucket{orders, domain}); err != nil || s.Puts != puts {
		t.Errorf("the second take of an id: %v, %d writes", err, s.Puts-puts)
	}
	if n, _ := takeAll(t, l, orders, "x"); n != 4 {
		t.Errorf("%d tokens left, want 4", n)
	}
	// Ids do not pile up: after a whole refill they are forgotten.
	clock.add(24 * time.Hour)
	if err := l.Take(ctx, "new", []inkan.Bucket{orders}); err != nil {
		t.Fatal(err)
	}
	r, err := state.Load[state.Bucket](ctx, s, orders.Key)
	if err != nil || len(r.Value.Taken) != 1 {
		t.Errorf("%d ids are remembered, %v", len(r.Value.Taken), err)
	}
}

// TestV5AllOrNone: what one bucket refuses is not lost at the others.
func TestV5AllOrNone(t *testing.T) {
	l, _, _ := limiterFor(t)
	ctx := t.Context()
	if n, _ := takeAll(t, l, domain, "d"); n != 3 {
		t.Fatal(n)
	}
	for i := range 10 {
		err := l.Take(ctx, fmt.Sprint("both", i), []inkan.Bucket{orders, domain})
		if inkan.KindOf(err) != inkan.RateLimited || !inkan.RetryAfterOf(err).After(chainNow.Add(200*time.Minute)) {
			t.Fatalf("got %v, back at %v", err, inkan.RetryAfterOf(err))
		}
	}
	if n, _ := takeAll(t, l, orders, "o"); n != 5 {
		t.Errorf("%d tokens, want all 5: nothing was used", n)
	}
}

// TestV5TakenStays: a token that an earlier Take of the same id took, and the CA
// may have counted, does not come back because a later Take is refused.
func TestV5TakenStays(t *testing.T) {
	l, _, clock := limiterFor(t)
	ctx := t.Context()
	if err := l.Take(ctx, "order", []inkan.Bucket{orders, domain}); err != nil {
		t.Fatal(err)
	}
	if err := l.Answer(ctx, domain, clock.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := l.Take(ctx, "order", []inkan.Bucket{orders, domain}); inkan.KindOf(err) != inkan.RateLimited {
		t.Fatalf("in spite of the CA's answer: %v", err)
	}
	if n, _ := takeAll(t, l, orders, "o"); n != 4 {
		t.Errorf("%d tokens, want 4", n)
	}
}

func TestV5Back(t *testing.T) {
	l, s, _ := limiterFor(t)
	ctx := t.Context()
	both := []inkan.Bucket{orders, domain, {Key: inkan.LimitKey("ca", "none"), What: "nothing known"}}
	if err := l.Take(ctx, "order", both); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Back(ctx, "order", both); err != nil {
			t.Fatal(err)
		}
	}
	puts := s.Puts
	if err := l.Back(ctx, "never taken", both); err != nil || s.Puts != puts {
		t.Errorf("back of what was never taken: %v, %d writes", err, s.Puts-puts)
	}
	if n, _ := takeAll(t, l, orders, "o"); n != 5 {
		t.Errorf("%d tokens, want 5", n)
	}
}

// TestA04Answer: what a 429 said is obeyed by every process, also later, clamped.
func TestA04Answer(t *testing.T) {
	for _, b := range []inkan.Bucket{orders, {Key: inkan.LimitKey("ca", "unknown"), What: "a limit of which only the answer is known"}} {
		l, s, clock := limiterFor(t)
		ctx := t.Context()
		until := clock.now().Add(time.Hour)
		if err := l.Answer(ctx, b, until); err != nil {
			t.Fatal(err)
		}
		if err := l.Answer(ctx, b, until.Add(-time.Minute)); err != nil { // an older answer
			t.Fatal(err)
		}
		l = newLimiter(s, clock.now)
		clock.add(59 * time.Minute)
		if err := l.Take(ctx, "a", []inkan.Bucket{b}); inkan.KindOf(err) != inkan.RateLimited || !inkan.RetryAfterOf(err).Equal(until) {
			t.Errorf("%s: %v at %v, want until %v", b.What, err, inkan.RetryAfterOf(err), until)
		}
		clock.add(time.Minute)
		if err := l.Take(ctx, "a", []inkan.Bucket{b}); err != nil {
			t.Errorf("%s: when the time has come: %v", b.What, err)
		}
		if err := l.Answer(ctx, b, clock.now().Add(99999999*time.Second)); err != nil {
			t.Fatal(err)
		}
		err := l.Take(ctx, "b", []inkan.Bucket{b})
		if wait := inkan.RetryAfterOf(err).Sub(clock.now()); wait != 24*time.Hour {
			t.Errorf("%s: a wait of %v, want it clamped to a day", b.What, wait)
		}
	}
}

// TestV5Group: takers of one process share writes.
func TestV5Group(t *testing.T) {
	wide := inkan.Bucket{Key: inkan.LimitKey("ca", "account", "orders"), Capacity: 70, Refill: 36 * time.Second, What: "new orders"}
	l, s, _ := limiterFor(t)
	var wg sync.WaitGroup
	errs := make([]error, 100)
	// Nobody is served until all have come: the first put waits.
	arrived := make(chan struct{})
	var once sync.Once
	s.Before = func(op, key string) error {
		if op == "put" {
			once.Do(func() { <-arrived })
		}
		return nil
	}
	for i := range errs {
		wg.Go(func() { errs[i] = l.Take(t.Context(), fmt.Sprint("id", i), []inkan.Bucket{wide}) })
	}
	for {
		l.mu.Lock()
		q, n := l.queues[wide.Key], 0
		if q != nil {
			n = len(q.waiting)
		}
		l.mu.Unlock()
		if n >= 80 { // the first 1 to 20 are being served
			break
		}
		runtime.Gosched()
	}
	close(arrived)
	wg.Wait()
	got := 0
	for _, err := range errs {
		if err == nil {
			got++
		} else if inkan.KindOf(err) != inkan.RateLimited {
			t.Error(err)
		}
	}
	if got != 70 {
		t.Errorf("%d tokens were given, want 70", got)
	}
	if s.Puts > 12 {
		t.Errorf("%d writes for 100 takers", s.Puts)
	}
	if len(l.queues) != 0 {
		t.Errorf("%d queues are left", len(l.queues))
	}
}

// TestV5Race: several processes on one store never give more than there is.
func TestV5Race(t *testing.T) {
	_, s, clock := limiterFor(t)
	wide := inkan.Bucket{Key: inkan.LimitKey("ca", "account", "orders"), Capacity: 50, Refill: 36 * time.Second, What: "new orders"}
	given := make(chan string, 1000)
	var wg sync.WaitGroup
	for p := range 4 {
		l := newLimiter(s, clock.now)
		for i := range 40 {
			wg.Go(func() {
				id := fmt.Sprintf("p%d-%d", p, i)
				err := l.Take(t.Context(), id, []inkan.Bucket{wide, domain})
				if err == nil {
					given <- id
				} else if inkan.KindOf(err) != inkan.RateLimited {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if n := len(given); n != domain.Capacity {
		t.Errorf("%d takers got both tokens, want %d", n, domain.Capacity)
	}
	n, _ := takeAll(t, newLimiter(s, clock.now), wide, "rest")
	if n != wide.Capacity-domain.Capacity {
		t.Errorf("%d tokens are left, want %d", n, wide.Capacity-domain.Capacity)
	}
}

// TestG02ClockBack: a clock that goes back gives nothing away, one that jumps
// ahead no more than the capacity, once.
func TestG02ClockBack(t *testing.T) {
	l, _, clock := limiterFor(t)
	total, _ := takeAll(t, l, orders, "a")
	for i, jump := range []time.Duration{-2 * time.Hour, -24 * time.Hour, time.Hour, 25 * time.Hour} {
		clock.add(jump)
		n, _ := takeAll(t, l, orders, fmt.Sprint("j", i))
		total += n
	}
	if total != 5 { // it is the same instant again
		t.Errorf("%d tokens were given, want 5", total)
	}
	clock.add(24 * time.Hour)
	n, _ := takeAll(t, l, orders, "b")
	clock.add(-24 * time.Hour)
	m, _ := takeAll(t, l, orders, "c")
	if n != 5 || m != 0 {
		t.Errorf("%d tokens after a jump ahead and %d more after the way back", n, m)
	}
}

// TestLimiterStoreFails: every waiting taker hears of it, and nobody hangs.
func TestLimiterStoreFails(t *testing.T) {
	l, s, _ := limiterFor(t)
	broken := errors.New("disk full")
	s.Before = func(op, _ string) error {
		if op == "put" {
			return broken
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if err := l.Take(t.Context(), fmt.Sprint(i), []inkan.Bucket{orders}); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
}

// panickingStore panics at its next Put.
type panickingStore struct {
	inkan.Store
	now bool
}

func (s *panickingStore) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	if s.now {
		s.now = false
		panic("out of its mind")
	}
	return s.Store.Put(ctx, key, data, old)
}

// TestC30PanicInLimiter: a Store that panics fails the takers of that moment; it
// keeps nobody waiting.
func TestC30PanicInLimiter(t *testing.T) {
	s := &panickingStore{testkit.New(), true}
	l := newLimiter(s, (&fakeClock{t: chainNow}).now)
	if err := l.Take(t.Context(), "a", []inkan.Bucket{orders}); inkan.KindOf(err) != inkan.Bug {
		t.Errorf("got %v", err)
	}
	if n, err := takeAll(t, l, orders, "b"); n != 5 || inkan.KindOf(err) != inkan.RateLimited {
		t.Errorf("afterwards %d tokens, %v", n, err)
	}
}
