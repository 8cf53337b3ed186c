package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/process"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// site is one machine with Inkan: a CA that it has an account at, a web server
// with a document root, and the two stores.
type site struct {
	*testca.CA
	ca      string // its name here
	web     *http.Server
	served  chan error
	roots   string // file with the roots of the CA's endpoint
	docroot string
	data    string // the data directory, as the inkan command lays it out
	store   *countingStore
	host    *countingStore
	webroot *countingStore
	workers int          // of a run; 0 is the default
	next    atomic.Int64 // numbers the names
}

const (
	caName  = "bench"
	account = "default"
)

// newSite makes a site with its files below dir, and the account at a CA of
// that name. Inkan keeps the published limits of a CA that it knows by name.
func newSite(ctx context.Context, dir, ca string, o testca.Options) (_ *site, err error) {
	s := &site{ca: ca, docroot: filepath.Join(dir, "html"), data: filepath.Join(dir, "data"), roots: filepath.Join(dir, "roots.pem"), served: make(chan error, 1)}
	if s.CA, err = testca.New(o); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.HTTPPort)))
	if err != nil {
		return nil, errors.Join(err, s.CA.Close())
	}
	s.web = &http.Server{Handler: http.FileServer(http.Dir(s.docroot)), ReadHeaderTimeout: time.Minute}
	go func() { s.served <- s.web.Serve(l) }()
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *site) open(ctx context.Context) error {
	for _, dir := range []string{s.docroot, s.data} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.roots, s.RootsPEM, 0o644); err != nil {
		return err
	}
	for _, f := range []struct {
		to  **countingStore
		cfg store.FileConfig
	}{
		{&s.store, store.FileConfig{Dir: filepath.Join(s.data, "store")}},
		{&s.host, store.FileConfig{Dir: filepath.Join(s.data, "host")}},
		{&s.webroot, store.FileConfig{Dir: s.docroot, Public: true}},
	} {
		st, err := store.File(plug.Env{}, f.cfg)
		if err != nil {
			return err
		}
		*f.to = &countingStore{Store: st}
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	_, err = client.Register(ctx, acme.RegisterOptions{AgreeTerms: true})
	return errors.Join(err, client.Close())
}

// Close ends the web server and the CA.
func (s *site) Close() error {
	err := s.web.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, s.CA.Close())
}

// client returns a client of the CA as a process makes it that starts anew: it
// knows nothing but what the store holds.
func (s *site) client() (*acme.Client, error) {
	return acme.New(plug.Env{}, acme.Config{Name: s.ca, Directory: s.DirectoryURL, Roots: s.Roots}, engine.Accounts(s.store, s.ca, account))
}

// manager returns a manager with default settings.
func (s *site) manager(client *acme.Client) (*engine.Manager, error) {
	solver, err := solve.HTTP01(plug.Env{}, solve.HTTP01Config{Store: plug.Ref[inkan.Store]{Value: s.webroot}})
	if err != nil {
		return nil, err
	}
	return &engine.Manager{
		Store:   s.store,
		Host:    s.host,
		Issuer:  func(context.Context, string, string) (inkan.Issuer, error) { return client, nil },
		Solver:  func(context.Context, string) (inkan.Solver, error) { return solver, nil },
		Workers: s.workers,
		Owner:   process.Self(),
		Alive:   process.Alive,
	}, nil
}

// names returns fresh names, all below one registered domain.
func (s *site) names(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("n%d.example.test", s.next.Add(1))
	}
	return list
}

// request asks for one certificate with these names from a CA.
func request(ca string, names []string) (inkan.CertificateRequest, error) {
	ids, err := inkan.ParseIdentifiers(names)
	if err != nil {
		return inkan.CertificateRequest{}, err
	}
	return inkan.CertificateRequest{
		Name: inkan.NameFor(ids[0]), Identifiers: ids, CAs: []string{ca}, Account: account,
		KeyTypes:    []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "webroot"}},
	}, nil
}

// cost is what one run took besides its time.
type cost struct {
	requests, connections int
	puts                  int64 // in the store and the host store
	proofs                int64 // in the webroot
}

func (c cost) String() string {
	return fmt.Sprintf("%d CA requests, %d connections, %d Puts and %d in the webroot", c.requests, c.connections, c.puts, c.proofs)
}

func (s *site) spent() cost {
	return cost{s.Count(""), s.Connections(), s.store.puts.Load() + s.host.puts.Load(), s.webroot.puts.Load()}
}

func (c cost) since(before cost) cost {
	return cost{c.requests - before.requests, c.connections - before.connections, c.puts - before.puts, c.proofs - before.proofs}
}

// issue gets the certificates in one run of a process that starts anew. The
// time is that from the recorded requests to the published versions.
func (s *site) issue(ctx context.Context, sets ...[]string) (took time.Duration, spent cost, err error) {
	client, err := s.client()
	if err != nil {
		return 0, cost{}, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	m, err := s.manager(client)
	if err != nil {
		return 0, cost{}, err
	}

	var names []string
	for _, set := range sets {
		req, err := request(s.ca, set)
		if err != nil {
			return 0, cost{}, err
		}
		if _, err := m.Record(ctx, req, inkan.OriginCLI); err != nil {
			return 0, cost{}, err
		}
		names = append(names, req.Name)
	}
	before := s.spent()
	start := time.Now()
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(names...), ByPerson: true})
	if err != nil {
		return 0, cost{}, err
	}
	report := m.Run(ctx, p)
	took = time.Since(start)
	spent = s.spent().since(before)
	for i := range report.Results {
		if r := &report.Results[i]; r.Err == nil && !r.Issued {
			err = errors.Join(err, fmt.Errorf("%s was not issued", r.Name))
		}
	}
	return took, spent, errors.Join(err, report.Err())
}

// countingStore counts what is written durably.
type countingStore struct {
	inkan.Store
	puts atomic.Int64
}

func (s *countingStore) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	s.puts.Add(1)
	return s.Store.Put(ctx, key, data, old)
}

// CheckSpace implements inkan.SpaceChecker, as the file store beneath does.
func (s *countingStore) CheckSpace(ctx context.Context, n int64) error {
	if c, ok := s.Store.(inkan.SpaceChecker); ok {
		return c.CheckSpace(ctx, n)
	}
	return nil
}
