package simulate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/store"
)

// TestF06Everything renews, revokes, deletes and reconfigures the same names in
// many processes at once. Whatever the order, what is published only moves
// forward, every version in force is whole, and when all is over each name is
// as the last request wants it, with nothing left over.
func TestF06Everything(t *testing.T) {
	t.Parallel()
	workers, rounds, worlds := 8, 25, 2
	if long() {
		worlds = 40
	}
	for seed := range worlds {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			names := fleet(3)
			process := func() *engine.Manager {
				m := w.process()
				i := &modelIssuer{ca: w.ca, wall: w.wall, step: func(string) { time.Sleep(rand.N(2 * time.Second)) }}
				m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return i, nil }
				return m
			}
			ctx := t.Context()
			var wg sync.WaitGroup
			done := make(chan struct{})
			var conflicts, published int
			var mu sync.Mutex
			for worker := range workers {
				rng := rand.New(rand.NewPCG(uint64(seed), uint64(worker)))
				wg.Go(func() {
					for range rounds {
						time.Sleep(time.Duration(rng.Int64N(int64(10 * time.Second))))
						m, name := process(), names[rng.IntN(len(names))]
						var err error
						switch rng.IntN(5) {
						case 0:
							r := request(name)
							for i := range rng.IntN(3) {
								r.Identifiers = append(r.Identifiers, inkan.Identifier{Type: inkan.DNS, Value: fmt.Sprintf("x%d.example", i)})
							}
							_, err = m.Record(ctx, r, inkan.OriginCLI)
						case 1:
							var p *engine.Plan
							if p, err = m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(name), ByPerson: true, Renew: true}); err == nil {
								err = m.Run(ctx, p).Err()
							}
						case 2:
							err = w.renew(m).Err()
						case 3:
							err = m.Revoke(ctx, name, inkan.Superseded, false)
						case 4:
							err = m.Delete(ctx, name)
						}
						if err != nil {
							mu.Lock()
							conflicts++
							mu.Unlock()
						}
						tolerable(t, err)
					}
				})
			}
			// A reader: n only grows, and what it names is whole.
			readerEnded := make(chan struct{})
			go func() {
				defer close(readerEnded)
				last := map[string]uint64{}
				m := process()
				for {
					select {
					case <-done:
						return
					case <-time.After(100 * time.Millisecond):
					}
					for _, name := range names {
						o, err := m.Observe(ctx, name)
						if errors.Is(err, fs.ErrNotExist) {
							continue
						}
						if err != nil {
							t.Errorf("reading %s: %v", name, err)
							continue
						}
						if o.Current.N < last[name] {
							t.Errorf("n of %s went from %d to %d", name, last[name], o.Current.N)
						}
						mu.Lock()
						published += int(o.Current.N - last[name])
						mu.Unlock()
						last[name] = o.Current.N
					}
				}
			}()
			wg.Wait()
			close(done)
			<-readerEnded
			for range 30 {
				w.renew(process())
				time.Sleep(time.Hour)
			}
			m := process()
			for _, name := range names {
				o, err := m.Observe(ctx, name)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", name, err)
				}
				r, err := m.Request(ctx, name)
				if errors.Is(err, fs.ErrNotExist) {
					if o != nil && (o.Version != nil || len(o.Orders) > 0 || o.State.Lease != nil || o.State.Running != "") {
						t.Errorf("%s was deleted, and left over: version %v, %d journals, state %+v", name, o.Version, len(o.Orders), o.State)
					}
					if n := countKeys(t, w.store, "v/"+name+"/"); n > 0 {
						t.Errorf("%s was deleted, and %d keys of versions are left", name, n)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if o == nil || o.Version == nil {
					t.Errorf("%s: no version in force (%v)", name, err)
					continue
				}
				if p := o.Version.Pairs[0]; p.OrderHash != r.OrderHash("model", p.KeyType) {
					t.Errorf("%s: %v is in force, %v was asked for last", name, o.Version.Identifiers, r.Identifiers)
				}
				if len(o.Orders) != 0 || o.State.Lease != nil || o.State.Running != "" {
					t.Errorf("%s: left over: %d journals, lease %v, running %q", name, len(o.Orders), o.State.Lease, o.State.Running)
				}
				if key := o.State.Due; key == "" {
					if len(o.State.Revoked) == 0 { // what was revoked is not renewed by itself
						t.Errorf("%s has no due entry: %+v", name, o.State)
					}
				} else if _, _, err := w.store.Get(ctx, key); err != nil {
					t.Errorf("%s: its due entry: %v", name, err)
				}
			}
			findings, err := m.Verify(ctx, false)
			if err != nil {
				t.Error(err)
			}
			for _, f := range findings {
				if f.Severity == engine.Broken {
					t.Errorf("fsck: %+v", f)
				}
			}
			t.Logf("proof: %d operations, %d told that another was at it, %d changes of what is in force, %d certificates",
				workers*rounds, conflicts, published, w.ca.count(""))
		})
	}
}

// tolerable lets pass what a person is told who comes at the same time as
// others.
func tolerable(t *testing.T, err error) {
	t.Helper()
	for _, e := range flatten(err) {
		var kind *inkan.Error
		switch {
		case errors.Is(e, inkan.Pending), errors.Is(e, fs.ErrNotExist):
		case errors.As(e, &kind) && kind.Kind == inkan.Operator: // no such certificate
		default:
			t.Errorf("%v", e)
		}
	}
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// TestF07OneAccount: 20 workers without an account, each a client of its own as
// in a process of its own, over one store: one newAccount.
func TestF07OneAccount(t *testing.T) {
	ca := testca.Start(t, testca.Options{AlwaysValid: true, NonceReject: 5})
	shared := store.Mem()
	const workers = 20
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range workers {
		c, err := acme.New(plug.Env{}, acme.Config{Name: "test", Directory: ca.DirectoryURL, Roots: ca.Roots, AgreeTerms: true}, engine.Accounts(shared, "test", "default"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m := &engine.Manager{Store: shared,
			Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return c, nil },
			Solver: func(context.Context, string) (inkan.Solver, error) { return nothing{}, nil }}
		wg.Go(func() {
			r := request(fmt.Sprintf("n%d.example", i))
			r.CAs, r.Validations = []string{"test"}, []inkan.Validation{{Type: inkan.HTTP01, Solver: "none"}}
			if _, errs[i] = m.Record(t.Context(), r, inkan.OriginCLI); errs[i] != nil {
				return
			}
			p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.Named(r.Name), ByPerson: true})
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = m.Run(t.Context(), p).Err()
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	var made, asked int
	var accounts []string
	for _, r := range ca.Requests() {
		if r.Account != "" && !slices.Contains(accounts, r.Account) {
			accounts = append(accounts, r.Account)
		}
		if r.Path == testca.PathNewAccount && r.Method == http.MethodPost {
			asked++
			if r.Status == http.StatusCreated {
				made++
			}
		}
	}
	t.Logf("proof: %d workers, %d requests to newAccount, %d accounts made, %d used", workers, asked, made, len(accounts))
	if made != 1 || len(accounts) != 1 {
		t.Errorf("%d accounts were made, %d used; want 1", made, len(accounts))
	}
	if n := len(ca.Certificates()); n != workers {
		t.Errorf("%d certificates, want %d", n, workers)
	}
}

// nothing is a Solver for a CA that does not look.
type nothing struct{}

func (nothing) Present(_ context.Context, cs []inkan.Challenge) ([]inkan.Undo, error) {
	return nil, nil
}
func (nothing) CleanUp(context.Context, []inkan.Challenge) error { return nil }
