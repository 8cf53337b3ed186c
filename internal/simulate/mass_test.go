package simulate

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/store"
)

// TestL01L05MassReplacement: the CA revokes everything at once: every renewal
// window lies in the past. All are replaced, with replaces, what expires first
// goes first, under kills and 5 % bad nonces; none twice.
func TestL01L05MassReplacement(t *testing.T) {
	t.Run("within Let's Encrypt's limits", func(t *testing.T) {
		replace(t, mass{count: few(30, 60), name: "letsencrypt", limits: true, workers: 3})
	})
	t.Run("killed", func(t *testing.T) { // L05
		m := mass{count: 60, name: "test", kill: time.Second}
		if long() {
			m.count, m.kill = 10_000, 30*time.Second
		}
		took := replace(t, m)
		if long() && took > 10*time.Minute {
			t.Errorf("%d were replaced in %s; the target is 10 minutes", m.count, took)
		}
	})
	t.Run("paced", func(t *testing.T) {
		m := mass{count: 25, name: "test", pace: 50}
		if long() {
			m.count = 200
		}
		replace(t, m)
	})
}

// mass says how a fleet is replaced.
type mass struct {
	count   int
	name    string        // of the CA
	limits  bool          // the CA has Let's Encrypt's, and judges
	kill    time.Duration // between kills; 0: none
	workers int           // at once; 0: the default, 16
	pace    float64       // requests per second; 0: as fast as possible
}

// fleetOf is the machine that the fleet belongs to.
type fleetOf struct {
	t      *testing.T
	m      mass
	config acme.Config
	store  inkan.Store
	proofs *proofs
	shift  time.Duration
	pid    atomic.Int64 // of the process that lives
}

func (f *fleetOf) now() time.Time { return time.Now().Add(f.shift) }

// process starts a process; kill ends it as SIGKILL does: from then on nothing
// that it does reaches the world.
func (f *fleetOf) process() (m *engine.Manager, kill func()) {
	f.t.Helper()
	pid := int(f.pid.Add(1))
	s := &mortal{Store: f.store}
	client, err := acme.New(plug.Env{Now: f.now}, f.config, engine.Accounts(s, f.m.name, "default"))
	if err != nil {
		f.t.Fatal(err)
	}
	m = &engine.Manager{Store: s, Now: f.now, Workers: f.m.workers,
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return client, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return f.proofs, nil },
		Owner:  inkan.Owner{Host: "here", Boot: "b", PIDNS: "n", PID: pid},
		Alive:  func(o inkan.Owner) bool { return int64(o.PID) == f.pid.Load() }}
	return m, func() {
		s.dead.Store(true)
		client.Close()
	}
}

var errKilled = errors.New("killed")

// mortal is a Store as a process sees it that may be dead.
type mortal struct {
	inkan.Store
	dead atomic.Bool
}

func (s *mortal) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	if s.dead.Load() {
		return nil, "", errKilled
	}
	return s.Store.Get(ctx, key)
}

func (s *mortal) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	if s.dead.Load() {
		return "", errKilled
	}
	return s.Store.Put(ctx, key, data, old)
}

func (s *mortal) Delete(ctx context.Context, key string) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.Store.Delete(ctx, key)
}

func (s *mortal) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if s.dead.Load() {
		return func(yield func(string, error) bool) { yield("", errKilled) }
	}
	return s.Store.List(ctx, prefix, after)
}

// run is what a timer does until nothing is left; it returns the kills.
func (f *fleetOf) run(kill time.Duration) (kills int) {
	f.t.Helper()
	for again := 0; again < 1000; again++ {
		m, end := f.process()
		ctx, cancel := context.WithCancel(f.t.Context())
		killed := make(chan struct{})
		var timer *time.Timer
		if kill > 0 {
			timer = time.AfterFunc(kill, func() {
				end()
				cancel()
				close(killed)
			})
		}
		p, err := m.Plan(ctx, engine.PlanOptions{})
		if err == nil {
			err = m.Run(ctx, p).Err()
		}
		if timer != nil && !timer.Stop() {
			<-killed
			kills++
			continue
		}
		end()
		cancel()
		if err != nil {
			f.t.Fatal(err)
		}
		if len(p.Certificates) == 0 {
			return kills
		}
	}
	f.t.Fatal("it does not come to an end")
	return 0
}

// replace issues the fleet, has the CA revoke it, and replaces it.
func replace(t *testing.T, ms mass) time.Duration {
	ca, before := startCA(t, caOptions{Limits: ms.limits})
	files, err := store.File(plug.Env{}, store.FileConfig{Dir: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(before.Roots)
	f := &fleetOf{t: t, m: ms, store: files, proofs: newProofs(t, before.HTTPPort),
		config: acme.Config{Name: ms.name, Directory: before.Directory, Roots: roots, AgreeTerms: true}}

	if ca, ok := acme.KnownCA(ms.name); ok {
		// The seven hours between the processes do not pass for the CA's limits.
		f.config.Throttle = acme.NewThrottle(ca.Limits)
	}
	setUp, end := f.process()
	names := fleet(ms.count)
	for i, name := range names {
		r := request(name)
		r.CAs, r.Validations = []string{ms.name}, []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}}
		r.Profile = []string{"default", "short"}[i%2] // asked for none, Pebble rolls the dice
		if _, err := setUp.Record(t.Context(), r, inkan.OriginConfig); err != nil {
			t.Fatal(err)
		}
	}
	end()
	start := time.Now()
	f.run(0)
	t.Logf("proof: %d certificates issued in %s", ms.count, time.Since(start).Round(time.Millisecond))

	// Seven hours later all looks at the CA's advice are due.
	before = ca.do("revoke")
	if before.Revoked != ms.count {
		t.Fatalf("%d certificates were revoked, want %d", before.Revoked, ms.count)
	}
	f.shift = 7 * time.Hour
	ca.do("advance 7h")
	if ms.pace > 0 {
		f.config.Throttle = acme.NewThrottle(acme.Limits{All: acme.Rate{PerSecond: ms.pace, Burst: 1}})
	}
	peak := watchMemory(t)
	start = time.Now()
	kills := f.run(ms.kill)
	took := time.Since(start)
	heap, system := peak()
	after := ca.do("facts")

	requests := after.Requests - before.Requests
	per := float64(requests) / float64(ms.count)
	t.Logf("proof: %d replaced in %s: %.1f a second, %.2f requests to the CA for each (%s)",
		ms.count, took.Round(time.Millisecond), float64(ms.count)/took.Seconds(), per, after.since(before))
	t.Logf("proof: %d kills, %d orders more than certificates; heap at most %.1f MiB in use, %.1f MiB from the system",
		kills, after.Orders-before.Orders-ms.count, heap, system)
	if ms.pace > 0 {
		rate := float64(requests) / took.Seconds()
		t.Logf("proof: %.1f requests a second; 10,000 would take %.1f minutes at %.0f", rate, per*10_000/ms.pace/60, ms.pace)
		if rate > ms.pace*1.02 {
			t.Errorf("%.1f requests a second, paced at %.0f", rate, ms.pace)
		}
		if m := per * 10_000 / ms.pace / 60; m > 40 {
			t.Errorf("10,000 would take %.1f minutes", m)
		}
	}
	if heap > 150 {
		t.Errorf("%.1f MiB of heap; the target is 150", heap)
	}
	for _, v := range after.Violations {
		t.Errorf("over a limit: %s", v)
	}

	// Every one, once, with replaces.
	workers := cmp.Or(ms.workers, 16)
	issued := map[string]int{}
	for _, name := range after.Issued {
		issued[name]++
	}
	m, end := f.process()
	defer end()
	for _, name := range names {
		if issued[name] != 2 {
			t.Errorf("%d certificates were issued for %s, want 2", issued[name], name)
		}
		if o, err := m.Observe(t.Context(), name); err != nil || o.Current.N != 2 || o.Version == nil || len(o.Orders) > 0 {
			t.Errorf("%s: %v, current %+v", name, err, o)
		}
		if t.Failed() {
			break
		}
	}
	// Pebble answers 500 to replaces if the serial number begins with a zero
	// byte; the order then goes without. All others say what they replace.
	plain, refused := after.Plain[len(before.Plain):], after.Refused[len(before.Refused):]
	if n := after.Replacing - before.Replacing + len(refused); n < ms.count || len(plain) > len(refused) || len(refused) > ms.count/50+3 {
		t.Errorf("%d of %d orders said what they replace; not those for %v; refused were %v", n, ms.count, plain, refused)
	}
	if extra := after.Orders - before.Orders - ms.count; extra > kills*workers {
		t.Errorf("%d orders more than certificates after %d kills", extra, kills)
	}
	if n := f.proofs.left(); n > 0 {
		t.Errorf("%d proofs are still shown", n)
	}
	// What expires in 30 days goes before what expires in 90, but for those in
	// work at once and those that were killed, which go on first. Without any
	// order a quarter of the fleet would be found here.
	late, may := 0, 2*workers*(kills+1)
	for _, name := range after.Issued[len(before.Issued):][:ms.count/2] {
		if r, err := m.Request(t.Context(), name); err == nil && r.Profile != "short" {
			late++
		}
	}
	t.Logf("proof: %d of the first half were not the urgent ones", late)
	if may < ms.count/8 && late > may {
		t.Errorf("%d of the first half were not the urgent ones, want at most %d", late, may)
	}
	return took
}

// watchMemory samples the memory of this process until the returned function
// is called, which gives the peaks in MiB.
func watchMemory(t *testing.T) (peak func() (heap, system float64)) {
	t.Helper()
	runtime.GC()
	done := make(chan struct{})
	var wg sync.WaitGroup
	var heap, system uint64
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			heap, system = max(heap, s.HeapInuse+s.StackInuse), max(system, s.Sys-s.HeapReleased)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() (float64, float64) {
		close(done)
		wg.Wait()
		return float64(heap) / (1 << 20), float64(system) / (1 << 20)
	}
}

// proofs is a Solver for http-01 with a server of its own.
type proofs struct {
	mu   sync.Mutex
	keys map[string]string
	seen map[string]chan struct{}
}

func newProofs(t *testing.T, port int) *proofs {
	t.Helper()
	p := &proofs{keys: map[string]string{}, seen: map[string]chan struct{}{}}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return p
}

func (p *proofs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	token := path.Base(r.URL.Path)
	key, ok := p.keys[token]
	if seen := p.seen[token]; seen != nil {
		close(seen)
		delete(p.seen, token)
	}
	p.mu.Unlock()
	if !ok || !strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
		http.NotFound(w, r)
		return
	}
	fmt.Fprint(w, key)
}

func (p *proofs) Present(_ context.Context, cs []inkan.Challenge) ([]inkan.Undo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		p.keys[c.Token] = c.KeyAuthorization
	}
	return nil, nil
}

func (p *proofs) CleanUp(_ context.Context, cs []inkan.Challenge) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		delete(p.keys, c.Token)
		delete(p.seen, c.Token)
	}
	return nil
}

// Seen implements the optional ability of a Solver.
func (p *proofs) Seen(c inkan.Challenge) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := make(chan struct{})
	if old := p.seen[c.Token]; old != nil {
		return old
	}
	p.seen[c.Token] = ch
	return ch
}

func (p *proofs) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.keys)
}
