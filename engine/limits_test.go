package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
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

// takeAll takes until the bucket is empty.
func takeAll(t *testing.T, l inkan.Limiter, b inkan.Bucket) (n int, err error) {
	t.Helper()
	for ; ; n++ {
		if err = l.Take(t.Context(), []inkan.Bucket{b}); err != nil {
			return n, err
		}
		if n > 10_000 {
			t.Fatal("the bucket has no bottom")
		}
	}
}

func TestV5Refill(t *testing.T) {
	l, _, clock := limiterFor(t)
	n, err := takeAll(t, l, orders)
	if n != 5 || inkan.KindOf(err) != inkan.RateLimited {
		t.Fatalf("%d tokens in a full bucket, then %v", n, err)
	}
	wait := inkan.RetryAfterOf(err).Sub(clock.now())
	if wait <= 36*time.Second-time.Second || wait > 38*time.Second {
		t.Errorf("told to come back in %v, want about %v", wait, orders.Refill)
	}
	clock.add(wait)
	if n, _ := takeAll(t, l, orders); n != 1 {
		t.Errorf("%d tokens after %v", n, wait)
	}
	clock.add(10 * 36 * time.Second)
	if n, _ := takeAll(t, l, orders); n != 5 {
		t.Errorf("%d tokens after a long time, want no more than the capacity", n)
	}
	clock.add(90 * time.Second)
	if n, _ := takeAll(t, l, orders); n != 2 {
		t.Errorf("%d tokens after 2.5 refills", n)
	}
	// Many small steps give no more than one long one.
	got := 0
	for range 360 {
		clock.add(time.Second)
		n, _ := takeAll(t, l, orders)
		got += n
	}
	if got < 9 || got > 11 {
		t.Errorf("%d tokens in 360 s, want 10", got)
	}
}

// TestV5EveryTakeDeducts: also that of another process, and by the same caller.
func TestV5EveryTakeDeducts(t *testing.T) {
	l, s, clock := limiterFor(t)
	for range 3 {
		if err := l.Take(t.Context(), []inkan.Bucket{orders, domain}); err != nil {
			t.Fatal(err)
		}
		l = newLimiter(s, clock.now)
	}
	if n, _ := takeAll(t, l, orders); n != 2 {
		t.Errorf("%d tokens left, want 2", n)
	}
	if n, _ := takeAll(t, l, domain); n != 0 {
		t.Errorf("%d tokens left, want none", n)
	}
}

// TestV5OnlyAsked: whoever gives no capacity takes nothing, from an empty bucket
// neither, and writes nothing.
func TestV5OnlyAsked(t *testing.T) {
	l, s, clock := limiterFor(t)
	ctx := t.Context()
	asked := orders
	asked.Capacity = 0
	puts := s.Puts
	for range 10 {
		if err := l.Take(ctx, []inkan.Bucket{asked}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Refund(ctx, []inkan.Bucket{asked}); err != nil || s.Puts != puts {
		t.Errorf("%v, %d writes", err, s.Puts-puts)
	}
	if n, _ := takeAll(t, l, orders); n != 5 {
		t.Errorf("%d tokens, want 5", n)
	}
	if err := l.Take(ctx, []inkan.Bucket{asked}); err != nil {
		t.Errorf("it is empty, and nothing was to be taken: %v", err)
	}
	until := clock.now().Add(time.Hour)
	if err := l.Block(ctx, orders, until); err != nil {
		t.Fatal(err)
	}
	if err := l.Take(ctx, []inkan.Bucket{asked}); inkan.KindOf(err) != inkan.RateLimited || !inkan.RetryAfterOf(err).Equal(until) {
		t.Errorf("while a 429 says to wait: %v at %v", err, inkan.RetryAfterOf(err))
	}
}

// TestV5AllOrNone: what one bucket refuses, or cannot write, is not lost at the
// others.
func TestV5AllOrNone(t *testing.T) {
	l, s, _ := limiterFor(t)
	ctx := t.Context()
	broken := errors.New("disk full")
	s.Before = func(op, key string) error {
		if op == "put" && key == domain.Key {
			return broken
		}
		return nil
	}
	if err := l.Take(ctx, []inkan.Bucket{orders, domain}); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	s.Before = nil
	if n, _ := takeAll(t, l, domain); n != 3 {
		t.Fatal(n)
	}
	for range 10 {
		err := l.Take(ctx, []inkan.Bucket{orders, domain})
		if inkan.KindOf(err) != inkan.RateLimited || !inkan.RetryAfterOf(err).After(chainNow.Add(200*time.Minute)) {
			t.Fatalf("got %v, back at %v", err, inkan.RetryAfterOf(err))
		}
	}
	if n, _ := takeAll(t, l, orders); n != 5 {
		t.Errorf("%d tokens, want all 5: nothing was used", n)
	}
}

// TestV5TakenStays: a token that an earlier Take took, and the CA may have
// counted, does not come back because a later Take is refused.
func TestV5TakenStays(t *testing.T) {
	l, _, clock := limiterFor(t)
	ctx := t.Context()
	if err := l.Take(ctx, []inkan.Bucket{orders, domain}); err != nil {
		t.Fatal(err)
	}
	if err := l.Block(ctx, domain, clock.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := l.Take(ctx, []inkan.Bucket{orders, domain}); inkan.KindOf(err) != inkan.RateLimited {
		t.Fatalf("in spite of the CA's answer: %v", err)
	}
	if n, _ := takeAll(t, l, orders); n != 4 {
		t.Errorf("%d tokens, want 4", n)
	}
}

// TestV5Refund: one token comes back to each bucket, to a full one none.
func TestV5Refund(t *testing.T) {
	l, s, clock := limiterFor(t)
	ctx := t.Context()
	both := []inkan.Bucket{orders, domain, {Key: inkan.LimitKey("ca", "none"), What: "nothing known"}}
	puts := s.Puts
	if err := l.Refund(ctx, both); err != nil || s.Puts != puts {
		t.Errorf("refund to buckets that were never touched: %v, %d writes", err, s.Puts-puts)
	}
	for range 3 {
		if err := l.Take(ctx, both); err != nil {
			t.Fatal(err)
		}
	}
	if err := newLimiter(s, clock.now).Refund(ctx, both); err != nil { // another process
		t.Fatal(err)
	}
	if n, _ := takeAll(t, l, orders); n != 3 {
		t.Errorf("%d tokens, want 3", n)
	}
	if n, _ := takeAll(t, l, domain); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	// What came back with time is not given twice.
	clock.add(5*36*time.Second - time.Second)
	for range 3 {
		if err := l.Refund(ctx, []inkan.Bucket{orders}); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := takeAll(t, l, orders); n != 5 {
		t.Errorf("%d tokens, want no more than the capacity", n)
	}
}

// TestA04Answer: what a 429 said is obeyed by every process, also later, clamped.
func TestA04Answer(t *testing.T) {
	for _, b := range []inkan.Bucket{orders, {Key: inkan.LimitKey("ca", "unknown"), What: "a limit of which only the answer is known"}} {
		l, s, clock := limiterFor(t)
		ctx := t.Context()
		until := clock.now().Add(time.Hour)
		if err := l.Block(ctx, b, until); err != nil {
			t.Fatal(err)
		}
		if err := l.Block(ctx, b, until.Add(-time.Minute)); err != nil { // an older answer
			t.Fatal(err)
		}
		l = newLimiter(s, clock.now)
		clock.add(59 * time.Minute)
		if err := l.Take(ctx, []inkan.Bucket{b}); inkan.KindOf(err) != inkan.RateLimited || !inkan.RetryAfterOf(err).Equal(until) {
			t.Errorf("%s: %v at %v, want until %v", b.What, err, inkan.RetryAfterOf(err), until)
		}
		clock.add(time.Minute)
		if err := l.Take(ctx, []inkan.Bucket{b}); err != nil {
			t.Errorf("%s: when the time has come: %v", b.What, err)
		}
		if err := l.Block(ctx, b, clock.now().Add(99999999*time.Second)); err != nil {
			t.Fatal(err)
		}
		err := l.Take(ctx, []inkan.Bucket{b})
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
		wg.Go(func() { errs[i] = l.Take(t.Context(), []inkan.Bucket{wide}) })
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
	given := make(chan bool, 1000)
	var wg sync.WaitGroup
	for range 4 {
		l := newLimiter(s, clock.now)
		for range 40 {
			wg.Go(func() {
				err := l.Take(t.Context(), []inkan.Bucket{wide, domain})
				if err == nil {
					given <- true
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
	n, _ := takeAll(t, newLimiter(s, clock.now), wide)
	if n != wide.Capacity-domain.Capacity {
		t.Errorf("%d tokens are left, want %d", n, wide.Capacity-domain.Capacity)
	}
}

// TestG02ClockBack: a clock that goes back gives nothing away, one that jumps
// ahead no more than the capacity, once.
func TestG02ClockBack(t *testing.T) {
	l, _, clock := limiterFor(t)
	total, _ := takeAll(t, l, orders)
	for _, jump := range []time.Duration{-2 * time.Hour, -24 * time.Hour, time.Hour, 25 * time.Hour} {
		clock.add(jump)
		n, _ := takeAll(t, l, orders)
		total += n
	}
	if total != 5 { // it is the same instant again
		t.Errorf("%d tokens were given, want 5", total)
	}
	clock.add(24 * time.Hour)
	n, _ := takeAll(t, l, orders)
	clock.add(-24 * time.Hour)
	m, _ := takeAll(t, l, orders)
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
	for range 30 {
		wg.Go(func() {
			if err := l.Take(t.Context(), []inkan.Bucket{orders}); !errors.Is(err, broken) {
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
	if err := l.Take(t.Context(), []inkan.Bucket{orders}); inkan.KindOf(err) != inkan.Bug {
		t.Errorf("got %v", err)
	}
	if n, err := takeAll(t, l, orders); n != 5 || inkan.KindOf(err) != inkan.RateLimited {
		t.Errorf("afterwards %d tokens, %v", n, err)
	}
}
