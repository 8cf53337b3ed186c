package engine

import (
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
	leaseHeld // perhaps: time will tell
)

// watchedLease is the last movement of a lease that this process saw.
type watchedLease struct {
	token   string
	counter uint64
	since   time.Time // keeps its monotonic reading
}

// holderOf judges a lease. It remembers what it saw, so that a counter that
// stands still is noticed at a later call.
func (m *Manager) holderOf(name string, l *inkan.Lease) holder {
	if l == nil {
		return leaseFree
	}
	me := m.Owner
	if l.Owner.Boot != "" && l.Owner.Boot == me.Boot && l.Owner.PIDNS == me.PIDNS && m.Alive != nil && !m.Alive(l.Owner) {
		return leaseDead
	}
	m.leaseMu.Lock()
	defer m.leaseMu.Unlock()
	if working, ours := m.holds[l.Token]; ours && !working {
		return leaseDead // our own, that could not be given back
	}
	now := time.Now() // the monotonic clock, never m.Now
	w, ok := m.leases[name]
	if !ok || w.token != l.Token || w.counter != l.Counter {
		if m.leases == nil {
			m.leases = map[string]watchedLease{}
		}
		m.leases[name] = watchedLease{l.Token, l.Counter, now}
		return leaseHeld
	}
	if now.Sub(w.since) >= leaseTTL {
		return leaseDead
	}
	return leaseHeld
}

// newLease makes a lease of this process. done must be called when the work
// ends: from then on, a lease that could not be given back is known to be dead.
func (m *Manager) newLease() (l *inkan.Lease, done func()) {
	l = &inkan.Lease{Owner: m.Owner, Token: state.NewID(), Counter: 1}
	m.leaseMu.Lock()
	defer m.leaseMu.Unlock()
	if m.holds == nil {
		m.holds = map[string]bool{}
	}
	m.holds[l.Token] = true
	return l, func() {
		m.leaseMu.Lock()
		defer m.leaseMu.Unlock()
		if m.holds[l.Token] {
			m.holds[l.Token] = false
		}
	}
}

// forget drops a lease that was given back.
func (m *Manager) forget(token string) {
	m.leaseMu.Lock()
	defer m.leaseMu.Unlock()
	delete(m.holds, token)
}
