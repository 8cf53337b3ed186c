package engine

import (
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

const (
	leaseTTL       = 60 * time.Second // a counter that stood still this long is abandoned
	leaseHeartbeat = 15 * time.Second
)

type holder int

const (
	leaseFree holder = iota
	leaseDead
	leaseHeld // or not known to be dead yet
)

// leases is what a process knows of its own leases and has seen of others'.
type leases struct {
	mu   sync.Mutex
	seen map[string]watchedLease // by certificate or deployment
	ours map[string]bool         // by token; false: the work has ended
}

// watchedLease is the last movement of a lease that this process saw.
type watchedLease struct {
	token   string
	counter uint64
	since   time.Time // keeps its monotonic reading
}

// holder judges the lease of a certificate or a deployment. It remembers what it
// saw, so that a counter that stands still is noticed at a later call.
func (m *Manager) holder(name string, l *inkan.Lease) holder {
	ls := &m.leases
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l == nil {
		delete(ls.seen, name)
		return leaseFree
	}
	sameMachine := l.Owner.Boot != "" && l.Owner.Boot == m.Owner.Boot && l.Owner.PIDNS == m.Owner.PIDNS
	if sameMachine && m.Alive != nil && !m.Alive(l.Owner) {
		return leaseDead
	}
	if working, ours := ls.ours[l.Token]; ours && !working {
		return leaseDead // our own, that could not be given back
	}
	now := time.Now() // the monotonic clock, never m.Now
	w, ok := ls.seen[name]
	if !ok || w.token != l.Token || w.counter != l.Counter {
		if ls.seen == nil {
			ls.seen = map[string]watchedLease{}
		}
		ls.seen[name] = watchedLease{l.Token, l.Counter, now}
		return leaseHeld
	}
	if now.Sub(w.since) >= leaseTTL {
		return leaseDead
	}
	return leaseHeld
}

// lease makes a lease of this process. done must be called when the work ends:
// from then on, a lease that could not be given back is known to be dead.
func (m *Manager) lease() (l *inkan.Lease, done func()) {
	l = &inkan.Lease{Owner: m.Owner, Token: state.NewID(), Counter: 1}
	ls := &m.leases
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.ours == nil {
		ls.ours = map[string]bool{}
	}
	ls.ours[l.Token] = true
	return l, func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		if ls.ours[l.Token] {
			ls.ours[l.Token] = false
		}
	}
}

// forget drops a lease that was given back.
func (ls *leases) forget(token string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.ours, token)
}
