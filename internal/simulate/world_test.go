package simulate

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testsign"
	"github.com/inkan-acme/inkan/store"
)

const day = 24 * time.Hour

// long reports whether the long form was asked for.
func long() bool { return os.Getenv("INKAN_LONG") != "" }

// few is the size of a test in the quick and in the long form.
func few(quick, all int) int {
	if long() {
		return all
	}
	return quick
}

// world is one machine, its store and a CA. It lives inside a synctest bubble,
// whose clock is the monotonic clock of the machine.
type world struct {
	t     *testing.T
	store inkan.Store
	ca    *modelCA
	log   *slog.Logger

	mu    sync.Mutex
	slept time.Duration // how long the machine slept: all clocks but the monotonic went on
	off   time.Duration // by how much the clock on the wall is wrong
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: store.Mem()}
	w.ca = newModelCA(w.truth)
	return w
}

// truth is the time of the world outside.
func (w *world) truth() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.slept)
}

// wall is what the machine takes for the time.
func (w *world) wall() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.slept + w.off)
}

func (w *world) setClock(off time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = off
}

func (w *world) suspend(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slept += d
}

// process starts a process on the machine.
func (w *world) process() *engine.Manager {
	i := &modelIssuer{ca: w.ca, wall: w.wall}
	return &engine.Manager{Store: w.store, Now: w.wall, Log: w.log,
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return i, nil }}
}

func request(name string) inkan.CertificateRequest {
	return inkan.CertificateRequest{Name: name, Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: name}},
		CAs: []string{"model"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}
}

func (w *world) record(m *engine.Manager, names ...string) {
	w.t.Helper()
	for _, n := range names {
		if _, err := m.Record(w.t.Context(), request(n), inkan.OriginCLI); err != nil {
			w.t.Fatal(err)
		}
	}
}

// renew is what a timer starts.
func (w *world) renew(m *engine.Manager) *engine.Report {
	w.t.Helper()
	p, err := m.Plan(w.t.Context(), engine.PlanOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Run(w.t.Context(), p)
}

func (w *world) observe(m *engine.Manager, name string) *engine.Observed {
	w.t.Helper()
	o, err := m.Observe(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// nextDue reads the head of the due index; zero if it is empty.
func (w *world) nextDue() time.Time {
	w.t.Helper()
	const queue, stamp = "due/cert/0/", "20060102/15/0405"
	for key, err := range w.store.List(w.t.Context(), queue, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		at, err := time.Parse(stamp, key[len(queue):len(queue)+len(stamp)])
		if err != nil {
			w.t.Fatal(err)
		}
		return at
	}
	return time.Time{}
}

// clockwork says how long to sleep between two runs.
type clockwork struct {
	name string
	next func(w *world) time.Duration
}

// timers are the ways in which runs are started: by an hourly timer, and by a
// daemon that sleeps until something is due.
func timers() []clockwork {
	return []clockwork{
		{"hourly", func(*world) time.Duration { return time.Hour }},
		{"exact", func(w *world) time.Duration {
			if at := w.nextDue(); !at.IsZero() {
				return max(at.Sub(w.wall()), time.Second)
			}
			return time.Hour
		}},
	}
}

// modelCA signs whatever it is asked for, when it is up.
type modelCA struct {
	now  func() time.Time
	root *testsign.Authority

	mu       sync.Mutex
	life     time.Duration
	backdate time.Duration
	fail     func(name string, now time.Time) error                                 // before anything is done; nil: never
	failAt   func(what, name string, now time.Time) error                           // the same, for one kind of request
	advice   func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error) // nil: the CA has none
	orders   map[string]string                                                      // URL -> name
	chains   map[string][]byte
	issued   []issuance
	last     map[string]issuance
	counts   map[string]int
	looks    []time.Time
	serial   int64
}

type issuance struct {
	name     string
	at       time.Time
	notAfter time.Time
	replaces bool
}

func newModelCA(now func() time.Time) *modelCA {
	return &modelCA{now: now, root: testsign.New(now()), life: 90 * day, backdate: time.Hour,
		orders: map[string]string{}, chains: map[string][]byte{}, last: map[string]issuance{}, counts: map[string]int{}}
}

// count returns how many certificates were issued for the name; "" counts all.
func (ca *modelCA) count(name string) int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if name == "" {
		return len(ca.issued)
	}
	return ca.counts[name]
}

// sign answers finalize. The caller holds mu.
func (ca *modelCA) sign(name string, csrDER []byte, replaces bool) ([]byte, error) {
	ca.serial++
	now := ca.now()
	end := now.Add(ca.life - ca.backdate)
	chain, err := ca.root.Sign(csrDER, ca.serial+100, now.Add(-ca.backdate), end)
	if err != nil {
		return nil, err
	}
	i := issuance{name, now, end, replaces}
	ca.issued = append(ca.issued, i)
	ca.last[name] = i
	ca.counts[name]++
	return chain, nil
}

// modelIssuer is the ACME flow in its barest form, as one process sees it.
type modelIssuer struct {
	ca   *modelCA
	wall func() time.Time
	step func(what string) // before each request; may stop the process

	mu    sync.Mutex
	skew  time.Duration
	known bool
}

// call makes one request. What the CA answers tells its time.
func (i *modelIssuer) call(what, name string, f func() error) error {
	if i.step != nil {
		i.step(what)
	}
	i.ca.mu.Lock()
	defer i.ca.mu.Unlock()
	now := i.ca.now()
	if i.ca.fail != nil {
		if err := i.ca.fail(name, now); err != nil {
			return err
		}
	}
	if i.ca.failAt != nil {
		if err := i.ca.failAt(what, name, now); err != nil {
			return err
		}
	}
	i.mu.Lock()
	i.skew, i.known = now.Sub(i.wall()), true
	i.mu.Unlock()
	return f()
}

// ClockSkew implements inkan.SkewMeter.
func (i *modelIssuer) ClockSkew() (time.Duration, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.skew, i.known
}

func (i *modelIssuer) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	name := r.Request.Name
	rec, err := r.Journal.Load(ctx)
	if err != nil {
		return nil, err
	}
	url := rec.OrderURL
	if url == "" {
		err := i.call("newOrder", name, func() error {
			url = fmt.Sprintf("order-%d", len(i.ca.orders))
			i.ca.orders[url] = name
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.OrderURL = url }); err != nil {
			return nil, err
		}
	}
	csr, err := r.CSR(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.Finalizing = true }); err != nil {
		return nil, err
	}
	var chain []byte
	err = i.call("finalize", name, func() (err error) {
		if i.ca.chains[url] == nil {
			i.ca.chains[url], err = i.ca.sign(name, csr, r.Replaces != nil)
		}
		chain = i.ca.chains[url]
		return err
	})
	if err != nil {
		return nil, err
	}
	err = i.call("download", name, func() error { return nil })
	return &inkan.Issued{Chains: [][]byte{chain}}, err
}

func (i *modelIssuer) RenewalInfo(ctx context.Context, leaf *x509.Certificate) (info *inkan.RenewalInfo, err error) {
	err = i.call("advice", leaf.DNSNames[0], func() error {
		now := i.ca.now()
		i.ca.looks = append(i.ca.looks, now)
		if i.ca.advice == nil {
			return inkan.Errorf(inkan.Rejected, "renewal information", "the CA has none").After(now.Add(day))
		}
		ri, err := i.ca.advice(leaf, now)
		info = &ri
		return err
	})
	if err != nil {
		return nil, err
	}
	return info, nil
}

// Revoke implements inkan.Revoker.
func (i *modelIssuer) Revoke(ctx context.Context, leaf *x509.Certificate, _ inkan.RevocationReason, _ *inkan.PrivateKey) error {
	return i.call("revoke", leaf.DNSNames[0], func() error { return nil })
}
