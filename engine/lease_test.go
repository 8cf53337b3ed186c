package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
)

func stranger(token string, counter uint64) *inkan.Lease {
	return &inkan.Lease{Owner: inkan.Owner{Host: "other", Boot: "b2", PID: 1}, Token: token, Counter: counter}
}

// TestF03StandsStill: a counter that stands still for 60 s is abandoned; one
// that moves is held for ever. No wall clock decides (G02).
func TestF03StandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := chainNow
		m := &Manager{Owner: inkan.Owner{Host: "me", Boot: "b1", PID: 2}, Now: func() time.Time { return wall }}
		if got := m.holder("a", nil); got != leaseFree {
			t.Errorf("no lease: %v", got)
		}
		if got := m.holder("a", stranger("t", 1)); got != leaseHeld {
			t.Errorf("at first sight: %v", got)
		}
		wall = wall.Add(1000 * time.Hour)
		time.Sleep(leaseTTL - time.Second)
		if got := m.holder("a", stranger("t", 1)); got != leaseHeld {
			t.Errorf("after 59 s: %v", got)
		}
		wall = wall.Add(-2000 * time.Hour)
		time.Sleep(time.Second)
		if got := m.holder("a", stranger("t", 1)); got != leaseDead {
			t.Errorf("after 60 s: %v", got)
		}
		if got := m.holder("b", stranger("t", 1)); got != leaseHeld {
			t.Errorf("another certificate: %v", got)
		}
		for i := range uint64(40) {
			if got := m.holder("a", stranger("t", 2+i)); got != leaseHeld {
				t.Errorf("moved %d times: %v", i, got)
			}
			time.Sleep(leaseTTL - time.Second)
		}
		// The same counter of another hold is another lease.
		if got := m.holder("a", stranger("u", 41)); got != leaseHeld {
			t.Errorf("a new hold: %v", got)
		}
	})
}

// TestF03OwnerGone: what the kernel knows needs no waiting.
func TestF03OwnerGone(t *testing.T) {
	alive := map[int]bool{1: true}
	m := &Manager{Owner: inkan.Owner{Host: "me", Boot: "b1", PIDNS: "n1", PID: 2}, Alive: func(o inkan.Owner) bool { return alive[o.PID] }}
	for what, c := range map[string]struct {
		owner inkan.Owner
		want  holder
	}{
		"alive":                   {inkan.Owner{Boot: "b1", PIDNS: "n1", PID: 1}, leaseHeld},
		"gone":                    {inkan.Owner{Boot: "b1", PIDNS: "n1", PID: 9}, leaseDead},
		"another boot":            {inkan.Owner{Boot: "b0", PIDNS: "n1", PID: 9}, leaseHeld},
		"another pid namespace":   {inkan.Owner{Boot: "b1", PIDNS: "n2", PID: 9}, leaseHeld},
		"nobody can tell":         {inkan.Owner{}, leaseHeld},
		"no boot id, same nspace": {inkan.Owner{PIDNS: "n1", PID: 9}, leaseHeld},
	} {
		if got := m.holder(what, &inkan.Lease{Owner: c.owner, Token: "t", Counter: 1}); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
	m.Alive = nil
	if got := m.holder("a", &inkan.Lease{Owner: inkan.Owner{Boot: "b1", PIDNS: "n1", PID: 9}, Token: "t"}); got != leaseHeld {
		t.Errorf("without Alive: %v", got)
	}
}

// TestLeaseOwn: our own lease is held while we work and dead when the work
// ended without giving it back.
func TestLeaseOwn(t *testing.T) {
	m := &Manager{Owner: inkan.Owner{Host: "me", PID: 2}}
	l, done := m.lease()
	if got := m.holder("a", l); got != leaseHeld {
		t.Errorf("while we work: %v", got)
	}
	done()
	if got := m.holder("a", l); got != leaseDead {
		t.Errorf("afterwards: %v", got)
	}
	again, done := m.lease()
	m.leases.forget(again.Token)
	done()
	if len(m.leases.ours) != 1 {
		t.Errorf("%d holds are remembered, want the one that was not given back", len(m.leases.ours))
	}
}

// TestD11Heartbeat: the counter moves every 15 s, through lost replies, and
// stays still once it is stopped.
func TestD11Heartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		s := testkit.New()
		m := &Manager{Store: s}
		lease, done := m.lease()
		defer done()
		a := &attempt{m: m, mu: make(chan struct{}, 1), name: "a", token: lease.Token, state: state.Record[inkan.State]{Key: state.StateKey("a")}}
		if err := a.state.Save(ctx, s, inkan.State{Lease: lease}); err != nil {
			t.Fatal(err)
		}
		counter := func() uint64 {
			r, err := state.Load[inkan.State](ctx, s, state.StateKey("a"))
			if err != nil {
				t.Fatal(err)
			}
			return r.Value.Lease.Counter
		}
		stop := a.heartbeat(ctx)
		for i := range uint64(8) {
			if got := counter(); got != 1+i {
				t.Errorf("after %d s the counter is %d, want %d", i*15, got, 1+i)
			}
			if i == 3 { // somebody records a request meanwhile
				if _, err := m.takeDue(ctx, "a", state.DueKey(state.CertQueue, chainNow, "a")); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(leaseHeartbeat)
			synctest.Wait()
		}
		stop()
		last := counter()
		time.Sleep(10 * leaseHeartbeat)
		if got := counter(); got != last {
			t.Errorf("the counter moved from %d to %d after the end", last, got)
		}
		if a.lastState().Due == "" {
			t.Error("the due entry of the request was overwritten")
		}
	})
}
