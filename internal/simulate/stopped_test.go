package simulate

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// frozen is a process that is stopped (SIGSTOP) before its n-th contact with
// the world outside, and woken later. All that it does then waits: its
// heartbeat too.
type frozen struct {
	mu      sync.Mutex
	n, at   int
	what    string        // before which it was stopped
	woken   chan struct{} // closed when it goes on
	stopped chan struct{} // closed when it is stopped
}

func newFrozen(at int) *frozen {
	return &frozen{at: at, woken: make(chan struct{}), stopped: make(chan struct{})}
}

func (f *frozen) touch(what string) {
	f.mu.Lock()
	f.n++
	if f.n == f.at {
		f.what = what
		close(f.stopped)
	}
	waits := f.at > 0 && f.n >= f.at
	f.mu.Unlock()
	if waits {
		<-f.woken
	}
}

type frozenStore struct {
	inkan.Store
	f *frozen
}

func (s frozenStore) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	s.f.touch("get " + key)
	return s.Store.Get(ctx, key)
}

func (s frozenStore) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	s.f.touch("put " + key)
	return s.Store.Put(ctx, key, data, old)
}

func (s frozenStore) Delete(ctx context.Context, key string) error {
	s.f.touch("delete " + key)
	return s.Store.Delete(ctx, key)
}

func (s frozenStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	s.f.touch("list " + prefix)
	return s.Store.List(ctx, prefix, after)
}

func (w *world) frozenProcess(f *frozen) *engine.Manager {
	m := w.process()
	m.Store = frozenStore{w.store, f}
	i := &modelIssuer{ca: w.ca, wall: w.wall, step: func(what string) { f.touch("ca " + what) }}
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return i, nil }
	m.Owner = inkan.Owner{Host: "stopped", PID: 1}
	return m
}

// TestF02HolderStopped stops the holder of a lease for ten minutes before every
// contact with the store and the CA, in a first issuance and in a renewal. The
// other process takes over after 60 s; what the first does when it wakes is
// refused. One version is published, at most two orders are made, and nothing
// is left over.
func TestF02HolderStopped(t *testing.T) {
	t.Parallel()
	for _, renewal := range []bool{false, true} {
		t.Run(fmt.Sprintf("renewal=%v", renewal), func(t *testing.T) {
			points, taken, late := 0, 0, 0
			for at := 1; ; at++ {
				over := false
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.record(w.process(), "a.example")
					want := uint64(1)
					if renewal {
						w.renew(w.process())
						time.Sleep(61 * day)
						want = 2
					}
					before := w.ca.count("")
					f := newFrozen(at)
					a := w.frozenProcess(f)
					done := make(chan error, 1)
					go func() {
						p, err := a.Plan(t.Context(), engine.PlanOptions{})
						if err == nil {
							err = a.Run(t.Context(), p).Err()
						}
						done <- err
					}()
					synctest.Wait()
					select {
					case <-f.stopped:
					default:
						over = true // it never came that far
						<-done
						return
					}
					points++
					stopped := time.Now()
					var published time.Duration
					b := w.process()
					b.Owner = inkan.Owner{Host: "other", PID: 2}
					for time.Since(stopped) < 10*time.Minute {
						w.renew(b)
						if o := w.observe(b, "a.example"); o.Current.N == want && published == 0 {
							published = time.Since(stopped)
						}
						time.Sleep(20 * time.Second)
					}
					what := fmt.Sprintf("stopped before %d (%s)", at, f.what)
					if published == 0 || published > 90*time.Second {
						t.Errorf("%s: the other process published after %s", what, published)
					}
					if published > 50*time.Second {
						taken++
					}
					close(f.woken)
					if err := <-done; err != nil {
						late++ // it was told that another process was faster
					}
					for range 24 {
						w.renew(w.process())
						time.Sleep(time.Hour)
					}
					o := w.observe(w.process(), "a.example")
					if o.Current.N != want || o.Version == nil {
						t.Errorf("%s: current n is %d, want %d: %v", what, o.Current.N, want, o.VersionErr)
					}
					if n := w.ca.count("") - before; n < 1 || n > 2 {
						t.Errorf("%s: %d certificates were issued", what, n)
					}
					if n := len(w.ca.orders) - before; n > 2 {
						t.Errorf("%s: %d orders", what, n)
					}
					if len(o.Orders) != 0 || o.State.Lease != nil || o.State.Running != "" {
						t.Errorf("%s: left over: %d journals, lease %v, running %q", what, len(o.Orders), o.State.Lease, o.State.Running)
					}
					if n := countKeys(t, w.store, "due/cert/"); n != 1 {
						t.Errorf("%s: %d due entries, want 1", what, n)
					}
				})
				if over || t.Failed() {
					break
				}
			}
			t.Logf("proof: stopped at %d points; the lease was waited for at %d, the late process was refused at %d", points, taken, late)
			if points < 24 || taken < 10 {
				t.Errorf("stopped at %d points, the lease was waited for at %d", points, taken)
			}
		})
	}
}
