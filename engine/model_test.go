package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testsign"
	"github.com/inkan-acme/inkan/store"
)

// The model of design.md 6: the shipped engine over an in-memory store, killed
// before and after every write and every call to the CA, alone and in pairs,
// and paused before every one while another worker runs.

// errKilled is what a dead process sees of the world: nothing.
var errKilled = errors.New("killed")

// gate stands between one process and the world. It counts the points at which
// the world changes and kills, fails or pauses the process at one of them.
type gate struct {
	mu    sync.Mutex
	n     int
	at    int  // the point, counted from 1; 0 never
	after bool // the world changes, the reply is lost
	once  bool // fail this call only; the process lives
	dead  bool
	pause func() // instead of a kill
	names []string
}

// do passes one change through the gate.
func (g *gate) do(name string, change func() error) error {
	g.mu.Lock()
	if g.dead {
		g.mu.Unlock()
		return errKilled
	}
	g.n++
	g.names = append(g.names, name)
	hit := g.n == g.at
	if hit && g.pause == nil && !g.once {
		g.dead = true
	}
	g.mu.Unlock()
	switch {
	case !hit:
		return change()
	case g.pause != nil:
		g.pause()
		return change()
	case g.after:
		change()
	}
	return errKilled
}

func (g *gate) read() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return errKilled
	}
	return nil
}

// gatedStore is a Store as one process sees it.
type gatedStore struct {
	inkan.Store
	g *gate
}

func (s gatedStore) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	if err := s.g.read(); err != nil {
		return nil, "", err
	}
	return s.Store.Get(ctx, key)
}

func (s gatedStore) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (rev inkan.Rev, err error) {
	gateErr := s.g.do("put "+family(key), func() error {
		rev, err = s.Store.Put(ctx, key, data, old)
		return err
	})
	return rev, gateErr
}

func (s gatedStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if err := s.g.read(); err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return s.Store.List(ctx, prefix, after)
}

func (s gatedStore) Delete(ctx context.Context, key string) error {
	return s.g.do("delete "+family(key), func() error { return s.Store.Delete(ctx, key) })
}

func family(key string) string { return key[:strings.IndexByte(key, '/')] }

// modelCA is a CA that keeps orders and signs what is finalized. It answers
// newOrder with a fresh order each time, so that a lost reply shows.
type modelCA struct {
	mu     sync.Mutex
	root   *testsign.Authority
	orders map[string]*modelOrder
	serial int64
	life   time.Duration
	now    func() time.Time
}

type modelOrder struct {
	validated bool
	csr       []byte
	chain     []byte
}

func newModelCA(now func() time.Time) *modelCA {
	return &modelCA{root: testsign.New(now()), orders: map[string]*modelOrder{}, life: 90 * 24 * time.Hour, now: now}
}

func (ca *modelCA) issued() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	n := 0
	for _, o := range ca.orders {
		if o.chain != nil {
			n++
		}
	}
	return n
}

func (ca *modelCA) sign(csrDER []byte) ([]byte, error) {
	ca.serial++
	return ca.root.Sign(csrDER, ca.serial+100, ca.now().Add(-time.Hour), ca.now().Add(ca.life-time.Hour))
}

// modelIssuer is the ACME flow in its barest form: the journalling that the
// contract of Issuer asks for, one gated call for each request.
type modelIssuer struct {
	ca *modelCA
	g  *gate
}

func (i modelIssuer) call(name string, f func() error) error {
	return i.g.do("ca "+name, func() error {
		i.ca.mu.Lock()
		defer i.ca.mu.Unlock()
		return f()
	})
}

func (i modelIssuer) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	rec, err := r.Journal.Load(ctx)
	if err != nil {
		return nil, err
	}
	url := rec.OrderURL
	if url == "" {
		err := i.call("newOrder", func() error {
			url = fmt.Sprintf("order-%d", len(i.ca.orders))
			i.ca.orders[url] = &modelOrder{}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.OrderURL = url }); err != nil {
			return nil, err
		}
	}
	var order *modelOrder
	if err := i.call("order", func() error { order = i.ca.orders[url]; return nil }); err != nil {
		return nil, err
	}
	if !order.validated && order.chain == nil {
		if err := i.validate(ctx, r, rec, order); err != nil {
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
	err = i.call("finalize", func() (err error) {
		if order.chain == nil {
			order.csr = csr
			order.chain, err = i.ca.sign(csr)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var chain []byte
	err = i.call("download", func() error { chain = order.chain; return nil })
	return &inkan.Issued{Chains: [][]byte{chain}}, err
}

func (i modelIssuer) validate(ctx context.Context, r inkan.IssueRequest, rec inkan.OrderRecord, order *modelOrder) error {
	cs := rec.Challenges
	if cs == nil {
		for n, id := range r.Request.Identifiers {
			cs = append(cs, inkan.Challenge{Solver: "model", Type: inkan.HTTP01, Identifier: id, Token: fmt.Sprintf("token-%s-%d", rec.Attempt, n)})
		}
		if err := r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.Challenges = cs }); err != nil {
			return err
		}
	}
	if _, err := r.Solvers["model"].Present(ctx, cs); err != nil {
		return err
	}
	return i.call("answer", func() error { order.validated = true; return nil })
}

// modelSolver remembers what it shows; the world outside the processes.
type modelSolver struct {
	mu    *sync.Mutex
	shown map[string]bool
	g     *gate
}

func (s modelSolver) Present(ctx context.Context, cs []inkan.Challenge) ([]inkan.Undo, error) {
	return nil, s.g.do("present", func() error { s.set(cs, true); return nil })
}

func (s modelSolver) CleanUp(ctx context.Context, cs []inkan.Challenge) error {
	return s.g.do("clean up", func() error { s.set(cs, false); return nil })
}

func (s modelSolver) set(cs []inkan.Challenge, shown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cs {
		if shown {
			s.shown[c.Token] = true
		} else {
			delete(s.shown, c.Token)
		}
	}
}

// world is what survives every process.
type world struct {
	t     *testing.T
	store inkan.Store
	host  inkan.Store
	ca    *modelCA
	mu    sync.Mutex
	shown map[string]bool
	clock time.Time
	pids  int
	alive map[int]bool
	req   inkan.CertificateRequest
	put   map[string]int // what the deployer took: fingerprint -> times
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: store.Mem(), host: store.Mem(), shown: map[string]bool{}, alive: map[int]bool{}, put: map[string]int{},
		clock: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	w.ca = newModelCA(w.now)
	w.req = inkan.CertificateRequest{Name: "example.com", Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: "example.com"}, {Type: inkan.DNS, Value: "www.example.com"}},
		CAs: []string{"model"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "model"}}, Targets: []string{"there"}}
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// process starts a Manager behind the gate.
func (w *world) process(g *gate) *engine.Manager {
	w.mu.Lock()
	w.pids++
	pid := w.pids
	w.alive[pid] = true
	w.mu.Unlock()
	return &engine.Manager{
		Store: gatedStore{w.store, g}, Host: gatedStore{w.host, g},
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return modelIssuer{w.ca, g}, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return modelSolver{&w.mu, w.shown, g}, nil },
		Target: func(context.Context, string) (*engine.Target, error) {
			return &engine.Target{Deployer: modelDeployer{w, g}}, nil
		},
		Now: w.now, Owner: inkan.Owner{Host: "model", Boot: "b", PIDNS: "n", PID: pid},
		Alive: func(o inkan.Owner) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.alive[o.PID]
		},
	}
}

// bury makes the death of a process known.
func (w *world) bury(m *engine.Manager) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive[m.Owner.PID] = false
}

type modelDeployer struct {
	w *world
	g *gate
}

func (d modelDeployer) Deploy(ctx context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	return inkan.Receipt(`{}`), d.g.do("deploy", func() error {
		d.w.mu.Lock()
		defer d.w.mu.Unlock()
		d.w.put[dep.Version.Pairs[0].Fingerprint().String()]++
		return nil
	})
}

// issue is what `inkan issue` does.
func issue(ctx context.Context, m *engine.Manager, req inkan.CertificateRequest) error {
	if _, err := m.Record(ctx, req, inkan.OriginCLI); err != nil {
		return err
	}
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(req.Name), ByPerson: true})
	if err != nil {
		return err
	}
	return m.Run(ctx, p).Err()
}

// renew is what `inkan renew` does.
func renew(ctx context.Context, m *engine.Manager) error {
	p, err := m.Plan(ctx, engine.PlanOptions{})
	if err != nil {
		return err
	}
	return m.Run(ctx, p).Err()
}

// check holds the invariants: one certificate, one matching pair, deployed,
// at most extra more orders, nothing left over, and a due entry in force.
func (w *world) check(what string, wantN uint64, maxCerts, maxOrders int) {
	w.t.Helper()
	ctx := w.t.Context()
	m := w.process(&gate{})
	o, err := m.Observe(ctx, w.req.Name)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	if o.Version == nil {
		w.t.Fatalf("%s: no version in force: %v", what, o.VersionErr)
	}
	if o.Current.N != wantN {
		w.t.Errorf("%s: current n is %d, want %d", what, o.Current.N, wantN)
	}
	if n := w.ca.issued(); n > maxCerts {
		w.t.Errorf("%s: the CA issued %d certificates, want %d", what, n, maxCerts)
	}
	if n := len(w.ca.orders); n > maxOrders {
		w.t.Errorf("%s: the CA has %d orders, want at most %d", what, n, maxOrders)
	}
	if len(o.Orders) != 0 || o.State.Running != "" || o.State.Lease != nil {
		w.t.Errorf("%s: left over: %d journals, running %q, lease %v", what, len(o.Orders), o.State.Running, o.State.Lease)
	}
	if len(w.shown) != 0 {
		w.t.Errorf("%s: challenges still shown: %v", what, w.shown)
	}
	if _, _, err := w.store.Get(ctx, o.State.Due); err != nil {
		w.t.Errorf("%s: the due entry in force %q: %v", what, o.State.Due, err)
	}
	if d := o.Targets[0].Deployed; d.Accepted != wantN || d.Status != inkan.DeployAccepted {
		w.t.Errorf("%s: deployed %+v, want n %d accepted", what, d, wantN)
	}
	if w.put[o.Version.Pairs[0].Fingerprint().String()] == 0 {
		w.t.Errorf("%s: the target has another certificate", what)
	}
}

// dueInvariant: whoever is recorded and not deleted has a due entry that
// stands, at every moment.
func (w *world) dueInvariant(what string) {
	w.t.Helper()
	ctx := w.t.Context()
	if _, _, err := w.store.Get(ctx, "request/"+w.req.Name); err != nil {
		return
	}
	for _, err := range w.store.List(ctx, "due/", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.t.Errorf("%s: no due entry at all", what)
}

// recorded runs the script once without harm and returns the names of its
// points.
func recorded(t *testing.T) []string {
	w := newWorld(t)
	g := &gate{}
	if err := issue(t.Context(), w.process(g), w.req); err != nil {
		t.Fatal(err)
	}
	w.check("undisturbed", 1, 1, 1)
	return g.names
}

// recover does what a person or a timer does after a crash, until all is calm.
func (w *world) recover(what string) {
	w.t.Helper()
	ctx := w.t.Context()
	m := w.process(&gate{})
	if _, err := m.Request(ctx, w.req.Name); err != nil {
		// Killed before the request was recorded: issue it again.
		if err := issue(ctx, m, w.req); err != nil {
			w.t.Fatalf("%s: issue again: %v", what, err)
		}
		return
	}
	if err := renew(ctx, m); err != nil {
		w.t.Fatalf("%s: renew: %v", what, err)
	}
}

func lostOrder(names []string, at int) int {
	if names[at-1] == "ca newOrder" || at >= 2 && names[at-2] == "ca newOrder" {
		return 1
	}
	return 0
}

// TestModelC01ToC20Kill kills at every point, before and after (C01-C20, V1-V4, V7).
func TestModelC01ToC20Kill(t *testing.T) {
	points := recorded(t)
	t.Logf("%d points: %s", len(points), strings.Join(points, ", "))
	for at := 1; at <= len(points); at++ {
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			g := &gate{at: at, after: after}
			m := w.process(g)
			what := fmt.Sprintf("killed at %d (%s, after=%v)", at, points[at-1], after)
			if err := issue(t.Context(), m, w.req); err == nil && !after && points[at-1] != "delete due" { // which may stay
				t.Errorf("%s: no error", what)
			}
			w.bury(m)
			w.dueInvariant(what)
			w.recover(what)
			w.check(what, 1, 1, 1+lostOrder(points, at))
		}
	}
}

// TestModelC21KillPairs kills the recovery too (C21).
func TestModelC21KillPairs(t *testing.T) {
	points := recorded(t)
	for at := 1; at <= len(points); at++ {
		for _, after := range []bool{false, true} {
			for second := 1; ; second++ {
				w := newWorld(t)
				m := w.process(&gate{at: at, after: after})
				issue(t.Context(), m, w.req)
				w.bury(m)
				g := &gate{at: second, after: second%2 == 0}
				m = w.process(g)
				what := fmt.Sprintf("killed at %d (%s, after=%v) and again at %d", at, points[at-1], after, second)
				if _, err := m.Request(t.Context(), w.req.Name); err != nil {
					issue(t.Context(), m, w.req)
				} else {
					renew(t.Context(), m)
				}
				w.bury(m)
				w.dueInvariant(what)
				w.recover(what)
				w.check(what, 1, 1, 3)
				if !g.dead || t.Failed() {
					break
				}
			}
		}
	}
}

// TestModelF02Pause pauses a worker before every point while another one, who
// takes it for dead, does the whole work (F02).
func TestModelF02Pause(t *testing.T) {
	points := recorded(t)
	for at := 1; at <= len(points); at++ {
		w := newWorld(t)
		what := fmt.Sprintf("paused before %d (%s)", at, points[at-1])
		g := &gate{at: at}
		a := w.process(g)
		g.pause = func() {
			w.bury(a)
			w.recover(what)
		}
		issue(t.Context(), a, w.req) // it may find that somebody was faster
		w.bury(a)
		w.dueInvariant(what)
		w.recover(what)
		w.check(what, 1, 1, 1+lostOrder(points, at))
	}
}

// TestModelE01StoreLies fails every write once, not done and done, and lets the
// process live.
func TestModelE01StoreLies(t *testing.T) {
	points := recorded(t)
	for at := 1; at <= len(points); at++ {
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			m := w.process(&gate{at: at, after: after, once: true})
			what := fmt.Sprintf("failed at %d (%s, done=%v)", at, points[at-1], after)
			issue(t.Context(), m, w.req)
			w.dueInvariant(what)
			w.bury(m)
			w.advance(2 * time.Minute)
			w.recover(what)
			w.check(what, 1, 1, 1+lostOrder(points, at))
		}
	}
}
