package engine

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
)

// Manager carries plans out: it reads what the Store holds, decides with
// [PlanCertificate] and does the work. Fill in the exported fields and do not
// change them afterwards. All methods may be called concurrently.
type Manager struct {
	// Store is shared by everybody who works on the same certificates. It is
	// required; of the others what a program does not need may be left out.
	Store inkan.Store
	// Host belongs to this machine: what is deployed here. Nil: nothing is.
	Host inkan.Store

	// Issuer returns the CA of that name with the account of that name. It is
	// asked again for each piece of work and should answer from memory. Without
	// one nothing is ordered.
	Issuer func(ctx context.Context, ca, account string) (inkan.Issuer, error)
	// Solver returns the solver of that name.
	Solver func(ctx context.Context, name string) (inkan.Solver, error)
	// Target returns the target of that name. Nil, or fs.ErrNotExist, when this machine
	// has no such target: then another machine deploys there.
	Target func(ctx context.Context, name string) (*Target, error)

	// SealKey turns a new key into the form in which it is stored. Nil stores
	// it as it is (PlainKey).
	SealKey func(ctx context.Context, k *inkan.PrivateKey) (*inkan.StoredKey, error)
	// OpenKey opens keys that are not stored as they are.
	OpenKey inkan.KeyOpener

	// Owner identifies this process in leases; Alive reports whether the
	// process of an owner with our boot id and pid namespace still runs. Both
	// may be left out: then a dead owner's lease is noticed after 60 s.
	Owner inkan.Owner
	Alive func(inkan.Owner) bool

	// Workers bounds the certificates worked on at once; 0 means 16.
	Workers int
	// Now is the wall clock; nil means time.Now. Decisions are made by the CA's
	// clock where this one is off by more than MaxSkew.
	Now func() time.Time
	// Log receives decisions with their reasons; nil discards.
	Log *slog.Logger
	// Published, if not nil, is called at the end of a run with the certificates
	// that got a new version, so that a server reads them again.
	Published func(ctx context.Context, names []string)
	// Progress, if not nil, receives every step of every certificate. It may be
	// called concurrently and must return at once.
	Progress func(Progress)

	once    sync.Once
	limiter *storeLimiter

	identified atomic.Bool // the Store has its id

	leases leases

	clock hostClock

	spaceMu sync.Mutex
	spaceAt time.Time // when the stores were last seen to have room
}

// Progress is one step of one certificate.
type Progress struct {
	Name string
	Step string // "ordering", "validating www.example.com" ...
	Done bool   // the last one of this certificate
	Err  error  // only with Done
}

func (m *Manager) log() *slog.Logger {
	if m.Log != nil {
		return m.Log
	}
	return slog.New(slog.DiscardHandler)
}

func (m *Manager) progress(name, step string) { m.tell(Progress{Name: name, Step: step}) }

func (m *Manager) tell(p Progress) {
	if m.Progress != nil {
		m.logPanic(p.Name, guard.Call("progress", func() error { m.Progress(p); return nil }))
	}
}

func (m *Manager) limits() inkan.Limiter {
	m.once.Do(func() { m.limiter = newLimiter(m.Store, m.now) })
	return m.limiter
}

func (m *Manager) workers() int {
	if m.Workers > 0 {
		return m.Workers
	}
	return 16
}
