package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/durable/crashfs"
	"github.com/inkan-acme/inkan/internal/testsign"
)

// The world around the shipped engine over the shipped store: a CA, a solver
// and a target, every change of which is an operation of the disk too, so that
// it can be put back to the moment of a power loss.

var worldStart = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// outside is what the CA, the solver and the target remember. It is only
// touched in operations of the disk.
type outside struct {
	Orders map[string]remoteOrder
	Shown  map[string]bool
	Placed map[string]int // fingerprint -> times
	Lost   int            // orders whose URL the client may not have journalled
}

type remoteOrder struct {
	Validated bool
	Chain     []byte
}

func newOutside() *outside {
	return &outside{Orders: map[string]remoteOrder{}, Shown: map[string]bool{}, Placed: map[string]int{}}
}

func (o *outside) clone() *outside {
	return &outside{maps.Clone(o.Orders), maps.Clone(o.Shown), maps.Clone(o.Placed), o.Lost}
}

func (o *outside) issued() (n int) {
	for _, order := range o.Orders {
		if order.Chain != nil {
			n++
		}
	}
	return n
}

// scene is a machine with its disk and the world outside.
type scene struct {
	disk *crashfs.Disk
	l    *ledger // nil: nobody takes notes
	ca   *testsign.Authority
	out  *outside
	now  time.Time
	req  inkan.CertificateRequest

	mu    sync.Mutex
	pids  int
	alive map[int]*crashfs.Process
	open  func(p *crashfs.Process, dir string) inkan.Store
}

func newScene(disk *crashfs.Disk, ca *testsign.Authority, out *outside) *scene {
	s := &scene{disk: disk, ca: ca, out: out, now: worldStart, alive: map[int]*crashfs.Process{}}
	s.req = inkan.CertificateRequest{Name: "example.com", Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: "example.com"}, {Type: inkan.DNS, Value: "www.example.com"}},
		CAs: []string{"model"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "model"}}, Targets: []string{"there"}}
	s.open = func(p *crashfs.Process, dir string) inkan.Store {
		if s.l == nil {
			return plain{over(p, dir)}
		}
		return witnessed{over(p, dir), s.l, dir + "/"}
	}
	return s
}

// plain hides that the file store can check the space: its trial writes a
// mebibyte, which makes every state large and none interesting.
type plain struct{ inkan.Store }

// start returns the engine of a new process.
func (s *scene) start() (*engine.Manager, *crashfs.Process) {
	p := s.disk.Start()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pids++
	s.alive[s.pids] = p
	return &engine.Manager{
		Store: s.open(p, "store"), Host: s.open(p, "host"),
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return remoteCA{s, p}, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return remoteSolver{s, p}, nil },
		Target: func(context.Context, string) (*engine.Target, error) {
			return &engine.Target{Deployer: remoteTarget{s, p}}, nil
		},
		Now: func() time.Time { return s.now }, Owner: inkan.Owner{Host: "model", Boot: "b", PIDNS: "n", PID: s.pids},
		Alive: func(o inkan.Owner) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.alive[o.PID] != nil
		},
	}, p
}

// bury makes it known that all processes are gone.
func (s *scene) bury() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.alive {
		p.Kill()
	}
	clear(s.alive)
}

// issue is what `inkan issue` does, renew what `inkan renew` does.
func (s *scene) issue(m *engine.Manager) error {
	ctx := context.Background()
	if _, err := m.Record(ctx, s.req, inkan.OriginCLI); err != nil {
		return err
	}
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(s.req.Name), ByPerson: true})
	if err != nil {
		return err
	}
	return m.Run(ctx, p).Err()
}

func (s *scene) renew(m *engine.Manager) error {
	p, err := m.Plan(context.Background(), engine.PlanOptions{})
	if err != nil {
		return err
	}
	return m.Run(context.Background(), p).Err()
}

// recover does what a person or a timer does after a crash.
func (s *scene) recover() error {
	m, _ := s.start()
	defer s.bury()
	r, err := m.Request(context.Background(), s.req.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !slices.Equal(r.Identifiers, s.req.Identifiers):
		return s.issue(m) // what was asked was not recorded: it is asked again
	case err != nil:
		return err
	}
	return s.renew(m)
}

// lost returns what is wrong once all is calm (V1 to V4, V7): version n must
// be in force and deployed, the CA has issued certs certificates and was sent
// at most orders orders besides those whose answer was lost.
func (s *scene) lost(n uint64, certs, orders int) (wrong []string) {
	ctx := context.Background()
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	m, p := s.start()
	defer s.bury()
	o, err := m.Observe(ctx, s.req.Name)
	if err != nil {
		return []string{err.Error()}
	}
	if o.Version == nil { // reading it checks that key and leaf belong together
		return []string{fmt.Sprintf("no version in force: %v", o.VersionErr)}
	}
	if o.Current.N != n {
		say("n is %d, want %d", o.Current.N, n)
	}
	if key, err := (&inkan.Deployment{Version: o.Version}).KeyPEM(context.Background(), &o.Version.Pairs[0]); err != nil || key == nil {
		say("a certificate without its key: %v", err)
	}
	if !slices.Equal(o.Version.Identifiers, s.req.Identifiers) {
		say("the certificate is for %v, want %v", o.Version.Identifiers, s.req.Identifiers)
	}
	p.Do("look", func() error {
		if got := s.out.issued(); got != certs {
			say("the CA issued %d certificates, want %d", got, certs)
		}
		if got := len(s.out.Orders); got > orders+s.out.Lost {
			say("the CA has %d orders, want at most %d and %d lost ones", got, orders, s.out.Lost)
		}
		if len(s.out.Shown) > 0 {
			say("challenges are still shown: %v", s.out.Shown)
		}
		if s.out.Placed[o.Version.Pairs[0].Fingerprint().String()] == 0 {
			say("the target has another certificate")
		}
		return nil
	})
	if len(o.Orders) > 0 || o.State.Running != "" || o.State.Lease != nil {
		say("left over: %d journals, running %q, lease %v", len(o.Orders), o.State.Running, o.State.Lease)
	}
	if _, _, err := m.Store.Get(ctx, o.State.Due); err != nil {
		say("the due entry in force: %v", err)
	}
	if d := o.Targets[0].Deployed; d.Accepted != n || d.Status != inkan.DeployAccepted {
		say("deployed is n %d, %s, want %d", d.Accepted, d.Status, n)
	}
	return wrong
}

// undue reports a request without any due entry, which no later run would
// find.
func (s *scene) undue() []string {
	ctx := context.Background()
	m, _ := s.start()
	defer s.bury()
	if _, _, err := m.Store.Get(ctx, "request/"+s.req.Name); err != nil {
		return nil
	}
	for range m.Store.List(ctx, "due/", "") {
		return nil
	}
	return []string{"a request and no due entry"}
}

// remoteCA journals what the contract of Issuer asks for, one operation for
// each request.
type remoteCA struct {
	s *scene
	p *crashfs.Process
}

func (c remoteCA) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	rec, err := r.Journal.Load(ctx)
	if err != nil {
		return nil, err
	}
	url, out := rec.OrderURL, c.s.out
	if url == "" {
		err := c.p.Do("ca newOrder", func() error {
			url = fmt.Sprintf("order-%d", len(out.Orders))
			out.Orders[url] = remoteOrder{}
			out.Lost++
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.OrderURL = url }); err != nil {
			return nil, err
		}
		if err := c.p.Do("ca order known", func() error { out.Lost--; return nil }); err != nil {
			return nil, err
		}
	}
	var order remoteOrder
	if err := c.p.Do("ca order", func() error { order = out.Orders[url]; return nil }); err != nil {
		return nil, err
	}
	if !order.Validated {
		if err := c.validate(ctx, r, rec, url); err != nil {
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
	err = c.p.Do("ca finalize", func() (err error) {
		order = out.Orders[url]
		if order.Chain == nil {
			order.Chain, err = c.s.ca.Sign(csr, int64(100+len(out.Orders)), c.s.now.Add(-time.Hour), c.s.now.Add(90*24*time.Hour-time.Hour))
			out.Orders[url] = order
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = c.p.Do("ca download", func() error { return nil })
	return &inkan.Issued{Chains: [][]byte{order.Chain}}, err
}

func (c remoteCA) validate(ctx context.Context, r inkan.IssueRequest, rec inkan.OrderRecord, url string) error {
	cs := rec.Challenges
	if cs == nil {
		for n, id := range r.Request.Identifiers {
			cs = append(cs, inkan.Challenge{Solver: "model", Type: inkan.HTTP01, Identifier: id, Token: fmt.Sprintf("token-%s-%s-%d", rec.Attempt, rec.KeyType, n)})
		}
		if err := r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.Challenges = cs }); err != nil {
			return err
		}
	}
	if _, err := r.Solvers["model"].Present(ctx, cs); err != nil {
		return err
	}
	return c.p.Do("ca answer", func() error {
		order := c.s.out.Orders[url]
		order.Validated = true
		c.s.out.Orders[url] = order
		return nil
	})
}

type remoteSolver struct {
	s *scene
	p *crashfs.Process
}

func (v remoteSolver) Present(_ context.Context, cs []inkan.Challenge) ([]inkan.Undo, error) {
	return nil, v.p.Do("present", func() error {
		for _, c := range cs {
			v.s.out.Shown[c.Token] = true
		}
		return nil
	})
}

func (v remoteSolver) CleanUp(_ context.Context, cs []inkan.Challenge) error {
	return v.p.Do("clean up", func() error {
		for _, c := range cs {
			delete(v.s.out.Shown, c.Token)
		}
		return nil
	})
}

type remoteTarget struct {
	s *scene
	p *crashfs.Process
}

func (d remoteTarget) Deploy(_ context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	return inkan.Receipt(`{}`), d.p.Do("deploy", func() error {
		d.s.out.Placed[dep.Version.Pairs[0].Fingerprint().String()]++
		return nil
	})
}
