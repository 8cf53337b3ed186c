package doctor_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

const (
	zoneAbove = "example."
	zoneOwn   = "shop.example."
	host      = "www.shop.example"
)

// world is a sound set-up: a CA with an account, the zone shop.example below
// example, a web server for www.shop.example with its webroot. What a test
// changes before examine is what is wrong.
type world struct {
	t   *testing.T
	ca  *testca.CA
	net *testdns.Net

	above, own []string // records of the zones
	addr       string   // of the server of shop.example, host:port
	aboveAddr  string
	mem        *testdns.Memory
	// ask, if not nil, answers a question to the resolver in the place of the
	// zones; nil answers are none of its business.
	ask func(q *dns.Msg) *dns.Msg
	// serve is the server of shop.example; nil: it serves its zone.
	serve func(q *dns.Msg, tcp bool) *dns.Msg

	webroot  string
	handler  http.Handler // nil: the webroot
	listen   []string     // addresses of the web server
	solver   func() (inkan.Solver, error)
	solverOf map[string]inkan.Solver

	accounts inkan.AccountStore
	config   acme.Config
	known    doctor.CA
	request  inkan.CertificateRequest
	doctor   doctor.Doctor
	caErr    error
}

// newWorld makes a world around a CA, with an account at it.
func newWorld(t *testing.T, ca *testca.CA) *world {
	t.Helper()
	w := &world{t: t, ca: ca, net: testdns.New(t), webroot: t.TempDir(), solverOf: map[string]inkan.Solver{}}
	w.aboveAddr, w.addr = w.net.Addr(), w.net.Addr()
	w.above = []string{"ns A " + ip(w.aboveAddr), "shop NS ns.shop", "ns.shop A " + ip(w.addr)}
	w.own = []string{"ns A " + ip(w.addr), "www A 127.0.0.1"}
	w.listen = []string{"127.0.0.1"}
	if err := os.Chmod(w.webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	w.config = acme.Config{Directory: ca.DirectoryURL, Roots: ca.Roots, AgreeTerms: true}
	w.accounts = engine.Accounts(store.Mem(), "test", "default")
	w.known.AgreeTerms = true
	w.request = inkan.CertificateRequest{Name: host, CAs: []string{"test"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}
	w.names(inkan.HTTP01, host)
	w.solver = func() (inkan.Solver, error) { return webroot(w.webroot) }
	w.doctor = doctor.Doctor{AuthorityPort: w.net.Port, HTTPPort: testport.For(t), TLSPort: testport.For(t), Local: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	return w
}

func ip(addr string) string {
	h, _, _ := net.SplitHostPort(addr)
	return h
}

// names sets what is asked for.
func (w *world) names(challenge string, names ...string) {
	w.t.Helper()
	ids, err := inkan.ParseIdentifiers(names)
	if err != nil {
		w.t.Fatal(err)
	}
	w.request.Identifiers = ids
	w.request.Validations = []inkan.Validation{{Type: challenge, Solver: "first"}}
}

func webroot(dir string) (inkan.Solver, error) {
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: dir, Public: true})
	if err != nil {
		return nil, err
	}
	return solve.HTTP01(plug.Env{}, solve.HTTP01Config{Store: plug.Ref[inkan.Store]{Value: s}})
}

// client makes the client of the account.
func (w *world) client() *acme.Client {
	w.t.Helper()
	c, err := acme.New(plug.Env{Now: w.doctor.Now}, w.config, w.accounts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// register makes the account.
func (w *world) register() acme.AccountInfo {
	w.t.Helper()
	info, err := w.client().Register(w.t.Context(), acme.RegisterOptions{AgreeTerms: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// start starts the servers.
func (w *world) start() {
	w.t.Helper()
	w.mem = testdns.NewMemory(w.t, testdns.Zone{Name: zoneAbove, Records: w.above}, testdns.Zone{Name: zoneOwn, Records: w.own})
	testdns.Fake(w.t, w.aboveAddr, w.mem.Authority(zoneAbove))
	if w.serve == nil {
		w.serve = w.mem.Authority(zoneOwn)
	}
	testdns.Fake(w.t, w.addr, w.serve)
	if w.doctor.Resolvers == nil {
		w.doctor.Resolvers = []string{testdns.Fake(w.t, "127.0.0.1:0", func(q *dns.Msg, tcp bool) *dns.Msg {
			if w.ask != nil {
				if m := w.ask(q); m != nil {
					return m
				}
			}
			return w.mem.Resolver(q, tcp)
		})}
	}
	if w.handler == nil {
		w.handler = http.FileServer(http.Dir(w.webroot))
	}
	for _, address := range w.listen {
		serveHTTP(w.t, address, w.doctor.HTTPPort, w.handler)
	}
}

func serveHTTP(t *testing.T, address string, port int, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
}

// examine starts the servers and examines the request.
func (w *world) examine() []doctor.Finding {
	w.t.Helper()
	w.start()
	return w.look()
}

// look examines the request.
func (w *world) look() []doctor.Finding {
	w.t.Helper()
	d := &w.doctor
	d.CA = func(ctx context.Context, name, _ string) (*doctor.CA, error) {
		if w.caErr != nil {
			return nil, w.caErr
		}
		if name != "test" {
			return nil, inkan.Errorf(inkan.Operator, "CA "+name, "this machine has none of this name")
		}
		ca := w.known
		if ca.Client == nil {
			ca.Client = w.client()
		}
		if rec, err := w.accounts.Load(ctx); err == nil {
			ca.Record = rec
		}
		return &ca, nil
	}
	first := sync.OnceValues(w.solver)
	d.Solver = func(_ context.Context, name string) (inkan.Solver, error) {
		if s := w.solverOf[name]; s != nil {
			return s, nil
		}
		return first()
	}
	found := d.Examine(w.t.Context(), []inkan.CertificateRequest{w.request})
	w.clean()
	return found
}

// clean checks that nothing of a trial is left.
func (w *world) clean() {
	w.t.Helper()
	left, err := filepath.Glob(filepath.Join(w.webroot, ".well-known/acme-challenge/*"))
	if err != nil || len(left) > 0 {
		w.t.Errorf("left in the webroot: %v, %v", left, err)
	}
	for _, name := range []string{"_acme-challenge.shop.example.", "_acme-challenge.www.shop.example."} {
		if values := w.mem.TXT(name); len(values) > 0 {
			w.t.Errorf("left at %s: %q", name, values)
		}
	}
}

// ids returns the kinds of findings, sorted.
func ids(found []doctor.Finding) []string {
	list := []string{}
	for _, f := range found {
		list = append(list, f.ID)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// dnsHost is a DNS host over the world's zones.
type dnsHost struct {
	w              *world
	refuse, forget error // what AddTXT and RemoveTXT answer
	invisible      bool  // it accepts and does nothing
}

func (h *dnsHost) AddTXT(_ context.Context, zone string, records []inkan.TXT) error {
	if h.refuse != nil || h.invisible {
		return h.refuse
	}
	for _, r := range records {
		h.w.mem.Add(zone, r.Name, r.Value)
	}
	return nil
}

func (h *dnsHost) RemoveTXT(_ context.Context, zone string, records []inkan.TXT) error {
	for _, r := range records {
		h.w.mem.Remove(zone, r.Name, r.Value)
	}
	return h.forget
}

// dns01 makes the request one by dns-01 through host.
func (w *world) dns01(h *dnsHost, more ...solve.DNS01Zone) {
	h.w = w
	w.request.Validations[0].Type = inkan.DNS01
	w.solver = func() (inkan.Solver, error) {
		p := solve.Propagation{Resolvers: w.doctor.Resolvers, Timeout: plug.Duration(2e9)}
		ref := plug.Ref[inkan.DNSProvider]{Value: h}
		zones := append([]solve.DNS01Zone{{Zone: zoneOwn, DNS: ref, Servers: []string{w.addr}}}, more...)
		return solve.DNS01(plug.Env{}, solve.DNS01Config{DNS: ref, Zones: zones, Propagation: p})
	}
}

// refuses returns what answers questions of a type about a name with a code.
func refuses(qtype uint16, name string, code int) func(*dns.Msg) *dns.Msg {
	return func(q *dns.Msg) *dns.Msg {
		if q.Question[0].Qtype != qtype || !strings.EqualFold(q.Question[0].Name, name) {
			return nil
		}
		return new(dns.Msg).SetRcode(q, code)
	}
}

func asks(q *dns.Msg, qtype uint16, name string) bool {
	return q.Question[0].Qtype == qtype && strings.EqualFold(q.Question[0].Name, name)
}
