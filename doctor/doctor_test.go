package doctor_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// scenario provokes findings in a world that is sound but for it.
type scenario struct {
	// also are the kinds of findings that come with the one that is provoked.
	also    []string
	warning bool // it comes as a warning though the table says error
	error   bool // and the other way round
	says    string
	break_  func(t *testing.T, w *world)
}

// scenarios provoke the findings about requests, by the kind of finding; a word
// after a slash tells several apart.
func scenarios() map[string]scenario {
	return map[string]scenario{
		"ca-unusable":      {says: "no directory", break_: func(_ *testing.T, w *world) { w.caErr = inkan.Errorf(inkan.Operator, "CA test", "no directory") }},
		"ca-unusable/next": {says: "none of this name", warning: true, break_: func(_ *testing.T, w *world) { w.request.CAs = append(w.request.CAs, "other") }},
		"ca-unreachable": {says: "refused", break_: func(t *testing.T, w *world) {
			w.config.Directory = "https://" + testport.Addr(testport.For(t)) + "/dir"
			w.accounts = engine.Accounts(store.Mem(), "test", "default")
		}},
		"ca-untrusted": {says: "not trusted", break_: func(_ *testing.T, w *world) {
			w.config.Roots, w.config.Proxy = nil, func(*http.Request) (*netURL, error) { return nil, nil }
		}},
		"proxy-broken": {says: "through the proxy", break_: func(t *testing.T, w *world) {
			at := testport.Addr(testport.For(t))
			w.known.Proxy = at
			w.config.Proxy = func(*http.Request) (*netURL, error) { return &netURL{Scheme: "http", Host: at}, nil }
		}},
		"clock-off": {says: "3h0m0s behind the CA's; decisions are made by the CA's", break_: func(_ *testing.T, w *world) {
			w.doctor.Now = func() time.Time { return time.Now().Add(-3 * time.Hour).Round(time.Second) }
		}},
		"account-missing": {says: "nobody agreed to data:", break_: func(_ *testing.T, w *world) {
			w.accounts, w.known.AgreeTerms = engine.Accounts(store.Mem(), "test", "default"), false
		}},
		"account-lost": {says: "accountDoesNotExist", break_: func(_ *testing.T, w *world) {
			err := w.accounts.Update(w.t.Context(), func(r *inkan.AccountRecord) {
				r.URL = strings.TrimRight(r.URL, "0123456789abcdef") + "0000000000000000"
			})
			if err != nil {
				w.t.Fatal(err)
			}
		}},
		"account-unusable": {says: "deactivated", break_: func(_ *testing.T, w *world) {
			err := w.accounts.Update(w.t.Context(), func(r *inkan.AccountRecord) { r.Deactivated = time.Now() })
			if err != nil {
				w.t.Fatal(err)
			}
		}},
		"profile-unknown":          {says: "asks for the profile short; offered are: default", break_: func(_ *testing.T, w *world) { w.request.Profile = "short" }},
		"profile-unknown/required": {says: "short", error: true, break_: func(_ *testing.T, w *world) { w.request.Profile, w.request.RequireProfile = "short", true }},

		"resolver-silent": {says: "refuses", break_: func(_ *testing.T, w *world) {
			w.ask = func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) }
		}},
		"nxdomain":        {says: "says that gone.shop.example does not exist (NXDOMAIN)", break_: func(_ *testing.T, w *world) { w.names(inkan.HTTP01, "gone.shop.example") }},
		"nxdomain/target": {says: "gone.shop.example does not exist (NXDOMAIN), to which the CNAME records of alias.shop.example lead", break_: func(_ *testing.T, w *world) { w.alias("alias CNAME gone") }},
		"nxdomain/zone": {says: "no zone above it exists", break_: func(_ *testing.T, w *world) {
			w.dns01(&dnsHost{})
			w.known.Public = true
			w.names(inkan.DNS01, "nobody.registered.this")
		}},
		"servfail":   {says: "SERVFAIL", break_: func(_ *testing.T, w *world) { w.ask = failsFor(host, false) }},
		"cname-loop": {says: "alias.shop.example -> b.shop.example -> alias.shop.example", break_: func(_ *testing.T, w *world) { w.alias("alias CNAME b", "b CNAME alias") }},
		"cname-loop/fail": {says: "in a circle", break_: func(_ *testing.T, w *world) {
			w.alias("alias CNAME b", "b CNAME alias")
			w.ask = failsFor("alias.shop.example", true)
		}},
		"cname-loop/txt": {says: "in a circle", break_: func(_ *testing.T, w *world) {
			w.dns01(&dnsHost{})
			w.own = append(w.own, "_acme-challenge.www CNAME a", "a CNAME _acme-challenge.www")
		}},
		"cname-loop/long": {says: "too many", break_: func(_ *testing.T, w *world) {
			records := []string{"alias CNAME c0"}
			for i := range 20 {
				records = append(records, fmt.Sprintf("c%d CNAME c%d", i, i+1))
			}
			w.alias(records...)
		}},
		"no-address":      {says: "knows neither A nor AAAA", break_: func(_ *testing.T, w *world) { w.alias("alias TXT hello") }},
		"private-address": {says: "127.0.0.1", break_: func(_ *testing.T, w *world) { w.known.Public = true }},
		"private-address/ip": {says: "10.0.0.1", break_: func(_ *testing.T, w *world) {
			w.known.Public = true
			w.names(inkan.HTTP01, "10.0.0.1")
		}},
		"dnssec-bogus": {says: "told not to check signatures", break_: func(_ *testing.T, w *world) { w.ask = bogus(w, host) }},
		"delegation-lame": {says: "refuses to answer us", break_: func(_ *testing.T, w *world) {
			w.secondServer(func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) })
		}},
		"delegation-lame/unknowing": {says: "not authoritative", break_: func(_ *testing.T, w *world) {
			w.secondServer(func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetReply(q) })
		}},
		"delegation-lame/closed": {says: "refused", break_: func(_ *testing.T, w *world) { w.secondServer(nil) }},
		"delegation-lame/all": {says: "refuses to answer us", error: true, break_: func(_ *testing.T, w *world) {
			w.serve = func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) }
		}},
		"ns-mismatch": {says: "names ns.shop.example, old.example; the zone itself names ns.shop.example", break_: func(_ *testing.T, w *world) {
			w.above = append(w.above, "shop NS old", "old A 127.0.0.1")
		}},
		"authority-silent": {says: "refused", break_: func(_ *testing.T, w *world) {
			w.own[0] = "ns A 127.0.0.99"
		}},

		"caa-forbids": {says: `issue "other.example"; this CA goes by pebble.letsencrypt.org`, break_: func(_ *testing.T, w *world) {
			w.own = append(w.own, `@ CAA 0 issue "other.example"`)
		}},
		"caa-forbids/all": {says: `issue ";"`, break_: func(_ *testing.T, w *world) { w.own = append(w.own, `www CAA 0 issue ";"`) }},
		"caa-forbids/critical": {says: "critical property tbs", break_: func(_ *testing.T, w *world) {
			w.own = append(w.own, `www CAA 128 tbs "x"`)
		}},
		"caa-account": {says: "the account here is https://", break_: func(_ *testing.T, w *world) {
			w.own = append(w.own, `www CAA 0 issue "pebble.letsencrypt.org\; accounturi=https://ca.example/acct/1"`)
		}},
		"caa-method": {says: "here it would be http-01", break_: func(_ *testing.T, w *world) {
			w.own = append(w.own, `www CAA 0 issue "pebble.letsencrypt.org\; validationmethods=dns-01,tls-alpn-01"`)
		}},
		"caa-unanswered": {says: "CAA records of shop.example, the resolver answers SERVFAIL", break_: func(_ *testing.T, w *world) {
			w.ask = refuses(dns.TypeCAA, zoneOwn, dns.RcodeServerFailure)
		}},

		"solver-unusable": {says: "none of this name", break_: func(_ *testing.T, w *world) {
			w.solver = func() (inkan.Solver, error) {
				return nil, inkan.Errorf(inkan.Operator, "solver first", "this machine has none of this name")
			}
		}},
		"solver-unusable/other-way": {says: "none of this name", warning: true, break_: func(_ *testing.T, w *world) {
			good, err := w.solver()
			if err != nil {
				w.t.Fatal(err)
			}
			w.solverOf["second"] = good
			w.request.Validations = append(w.request.Validations, inkan.Validation{Type: inkan.HTTP01, Solver: "second"})
			w.solver = func() (inkan.Solver, error) {
				return nil, inkan.Errorf(inkan.Operator, "solver first", "this machine has none of this name")
			}
		}},
		"proof-refused": {says: "address already in use", break_: func(_ *testing.T, w *world) { // the web server
			w.solver = func() (inkan.Solver, error) {
				return solve.Standalone(plug.Env{}, solve.StandaloneConfig{Addr: testport.Addr(w.doctor.HTTPPort)})
			}
		}},
		"proof-left": {says: "not today", break_: func(_ *testing.T, w *world) { w.dns01(&dnsHost{forget: errors.New("not today")}) }},
		"port80-unreachable": {says: "refused", break_: func(_ *testing.T, w *world) {
			w.listen = nil
		}},
		"port443-unreachable": {says: "127.0.0.9", break_: func(_ *testing.T, w *world) {
			w.request.Validations[0].Type = inkan.TLSALPN01
			w.own = append(w.own[:1], "www A 127.0.0.9")
			w.doctor.Local = []netip.Addr{netip.MustParseAddr("127.0.0.9")}
			w.solver = func() (inkan.Solver, error) {
				return solve.NewTLSALPN(plug.Env{}, solve.TLSALPNConfig{Addr: testport.Addr(w.doctor.TLSPort)})
			}
		}},
		"hairpin": {says: "this machine serves the proof at 127.0.0.1", break_: func(_ *testing.T, w *world) { w.own[1] = "www A 127.0.0.9" }},
		"ipv6-broken": {says: "(::1): connection refused", break_: func(_ *testing.T, w *world) {
			w.own = append(w.own, "www AAAA ::1")
			w.doctor.Dial = dialBut("::1", syscall.ECONNREFUSED)
		}},
		"ipv6-unseen": {says: "2001:db8::1", break_: func(_ *testing.T, w *world) {
			w.own[1] = "www AAAA 2001:db8::1"
			w.doctor.Dial = dialBut("2001:db8::1", syscall.ENETUNREACH)
		}},
		"address-silent":     {says: "(127.0.0.9): connection refused", break_: func(_ *testing.T, w *world) { w.own = append(w.own, "www A 127.0.0.9") }},
		"webroot-not-served": {says: `answers 404: "404 page not found"`, break_: func(t *testing.T, w *world) { w.handler = http.FileServer(http.Dir(t.TempDir())) }},
		"webroot-not-served/one": {says: `(127.0.0.9) answers 200: "parked"`, break_: func(t *testing.T, w *world) {
			w.own = append(w.own, "www A 127.0.0.9")
			serveHTTP(t, "127.0.0.9", w.doctor.HTTPPort, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("parked\n")) }))
		}},
		"redirect-loop": {says: ".. -> http://www.shop.example/a -> http://www.shop.example/b -> http://www.shop.example/a (127.0.0.1)", break_: func(_ *testing.T, w *world) {
			w.handler = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
				to := "/a"
				if q.URL.Path == "/a" {
					to = "/b"
				}
				http.Redirect(rw, q, to, http.StatusFound)
			})
		}},
		"redirect-refused": {says: "port 8443 is neither 80 nor 443", break_: func(_ *testing.T, w *world) {
			w.handler = http.RedirectHandler("https://www.shop.example:8443/", http.StatusMovedPermanently)
		}},
		"redirect-refused/scheme": {says: "the scheme ftp is neither http nor https", break_: func(_ *testing.T, w *world) {
			w.handler = http.RedirectHandler("ftp://www.shop.example/", http.StatusFound)
		}},
		"alpn-not-served": {says: "does not speak the protocol acme-tls/1", break_: func(t *testing.T, w *world) {
			w.tlsALPN()
			w.own[1] = "www A 127.0.0.9"
			serveTLS(t, "127.0.0.9", w.doctor.TLSPort)
		}},
		"dns-write-refused": {says: "the key may not do this", break_: func(_ *testing.T, w *world) {
			w.dns01(&dnsHost{refuse: inkan.Errorf(inkan.Operator, "", "the key may not do this")})
		}},
		"dns-write-refused/alias": {says: "no DNS host is configured", break_: func(_ *testing.T, w *world) {
			w.own = append(w.own, "_acme-challenge.www CNAME www.else.example.")
			w.dns01(&dnsHost{})
			w.solver = func() (inkan.Solver, error) {
				ref := plug.Ref[inkan.DNSProvider]{Value: &dnsHost{w: w}}
				return solve.DNS01(plug.Env{}, solve.DNS01Config{Zones: []solve.DNS01Zone{{Zone: zoneOwn, DNS: ref, Servers: []string{w.addr}},
					{Zone: "else.example", Servers: []string{w.aboveAddr}}}})
			}
		}},
		"dns-not-visible": {says: "do not show it", break_: func(_ *testing.T, w *world) { w.dns01(&dnsHost{invisible: true}) }},
		"persist-missing": {says: "there is no record", break_: func(_ *testing.T, w *world) { w.persist() }},
		"persist-missing/account": {says: "for another account", break_: func(_ *testing.T, w *world) {
			w.persist(`pebble.letsencrypt.org\; accounturi=https://ca.example/acct/1`)
		}},
		"persist-missing/unknown": {says: "not known yet", break_: func(_ *testing.T, w *world) {
			w.persist()
			w.accounts = engine.Accounts(store.Mem(), "test", "default")
		}},
		"persist-expiring": {says: "runs out at 20", break_: func(_ *testing.T, w *world) { w.persist(w.persistValue(10 * 24 * time.Hour)) }},
	}
}

// TestEveryFinding provokes every finding that the table has, and nothing else
// is found then.
func TestEveryFinding(t *testing.T) {
	ca := testca.Start(t, testca.Options{Sleep: false})
	all := scenarios()
	provoked := map[string]bool{}
	for name := range all {
		kind, _, _ := strings.Cut(name, "/")
		provoked[kind] = true
	}
	for kind := range machineScenarios() {
		kind, _, _ = strings.Cut(kind, "/")
		provoked[kind] = true
	}
	for _, k := range doctor.Kinds() {
		if !provoked[k.ID] && k.ID != "eab-missing" { // TestEABMissing: it needs a CA of its own
			t.Errorf("%s is provoked by nothing", k.ID)
		}
		delete(provoked, k.ID)
	}
	for id := range provoked {
		t.Errorf("%s is no kind of finding", id)
	}
	accounts := 0
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ca)
			w.register()
			accounts++
			s.break_(t, w)
			expect(t, w.examine(), name, s)
		})
	}
	burnsNothing(t, ca, accounts)
}

func expect(t *testing.T, found []doctor.Finding, name string, s scenario) {
	t.Helper()
	kind, _, _ := strings.Cut(name, "/")
	want := append([]string{kind}, s.also...)
	slices.Sort(want)
	if diff := cmp.Diff(want, ids(found)); diff != "" {
		t.Fatalf("found (-want +got):\n%s\n%+v", diff, found)
	}
	i := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.ID == kind })
	f := found[i]
	severity := kindOf(kind).Severity
	if s.warning {
		severity = doctor.Warning
	} else if s.error {
		severity = doctor.Error
	}
	if f.Severity != severity {
		t.Errorf("%s is a %s, want %s", kind, f.Severity, severity)
	}
	if f.Name == "" || f.Do == "" || !strings.Contains(f.Seen, s.says) {
		t.Errorf("%+v; want it to say %q", f, s.says)
	}
}

func kindOf(id string) doctor.Kind {
	for _, k := range doctor.Kinds() {
		if k.ID == id {
			return k
		}
	}
	return doctor.Kind{}
}

// burnsNothing: no order, no challenge, and no account but those of the test.
func burnsNothing(t *testing.T, ca *testca.CA, accounts int) {
	t.Helper()
	for path, want := range map[string]int{testca.PathNewAccount: accounts, testca.PathNewOrder: 0, testca.PathChallenge: 0, testca.PathAuthz: 0} {
		if n := ca.Count(path); n != want {
			t.Errorf("%s was asked %d times, want %d", path, n, want)
		}
	}
}

func TestEABMissing(t *testing.T) {
	ca := testca.Start(t, testca.Options{EABRequired: true, EABKeys: map[string]string{"kid": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}})
	w := newWorld(t, ca)
	expect(t, w.examine(), "eab-missing", scenario{says: "externalAccountRequired"})
	w.known.EAB = true
	if found := w.look(); len(found) > 0 {
		t.Errorf("with a key: %+v", found)
	}
	burnsNothing(t, ca, 0)
}

// machineScenarios provoke the findings about this machine.
func machineScenarios() map[string]func(t *testing.T, m *doctor.Machine) {
	return map[string]func(t *testing.T, m *doctor.Machine){
		"config-invalid": func(_ *testing.T, m *doctor.Machine) { m.ConfigErr = errors.New("inkan.yaml:3:1: unknown key") },
		"config-writable": func(t *testing.T, m *doctor.Machine) {
			m.Config = file(t, 0o664)
		},
		"secret-open":    func(t *testing.T, m *doctor.Machine) { m.Secrets = []string{file(t, 0o644)} },
		"mode-open":      func(t *testing.T, m *doctor.Machine) { chmod(t, m.Dirs[0], 0o750) },
		"state-unusable": func(_ *testing.T, m *doctor.Machine) { m.StateErr = errors.New("it belongs to another user") },
		"owner-other": func(t *testing.T, m *doctor.Machine) {
			m.Dirs = []string{"/"} // of root; as root, one of somebody else's
			if os.Geteuid() == 0 {
				m.Dirs = []string{t.TempDir()}
				chmod(t, m.Dirs[0], 0o700)
				if err := os.Chown(m.Dirs[0], 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
		},
		"space-low": func(_ *testing.T, m *doctor.Machine) {
			m.Stores = map[string]inkan.Store{"store": fullStore{store.Mem()}}
		},
		"target-unwritable": func(t *testing.T, m *doctor.Machine) {
			m.Outputs = map[string][]string{"web": {filepath.Join(file(t, 0o600), "certs", "example.com")}}
		},
	}
}

type fullStore struct{ inkan.Store }

func (fullStore) CheckSpace(context.Context, int64) error {
	return inkan.Errorf(inkan.Operator, "store", "0 bytes are free")
}

func file(t *testing.T, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestMachine(t *testing.T) {
	sound := func(t *testing.T) *doctor.Machine {
		dir := t.TempDir()
		chmod(t, dir, 0o700)
		s, err := store.File(plug.Env{}, store.FileConfig{Dir: filepath.Join(dir, "store")})
		if err != nil {
			t.Fatal(err)
		}
		return &doctor.Machine{Config: file(t, 0o644), Secrets: []string{file(t, 0o600)}, Dirs: []string{dir, filepath.Join(dir, "host")},
			Stores: map[string]inkan.Store{"store": s}, Outputs: map[string][]string{"web": {filepath.Join(dir, "a", "b", "example.com")}}}
	}
	if found := sound(t).Examine(t.Context()); len(found) > 0 {
		t.Errorf("a sound machine: %+v", found)
	}
	for kind, break_ := range machineScenarios() {
		t.Run(kind, func(t *testing.T) {
			m := sound(t)
			break_(t, m)
			found := m.Examine(t.Context())
			if os.Geteuid() != 0 && kind == "owner-other" {
				found = slices.DeleteFunc(found, func(f doctor.Finding) bool { return f.ID == "mode-open" })
			}
			expect(t, found, kind, scenario{})
		})
	}
}

// alias makes the request one for alias.shop.example with these records.
func (w *world) alias(records ...string) {
	w.names(inkan.HTTP01, "alias.shop.example")
	w.own = append(w.own, records...)
}

// secondServer lets the zone have another server; nil: nothing is there.
func (w *world) secondServer(handle func(*dns.Msg, bool) *dns.Msg) {
	at := w.net.Addr()
	w.above = append(w.above, "shop NS ns2.shop", "ns2.shop A "+ip(at))
	w.own = append(w.own, "@ NS ns2", "ns2 A "+ip(at))
	if handle != nil {
		fake(w.t, at, handle)
	}
}

// tlsALPN makes the request one by tls-alpn-01 at 127.0.0.1.
func (w *world) tlsALPN() {
	w.request.Validations[0].Type = inkan.TLSALPN01
	w.solver = func() (inkan.Solver, error) {
		return solve.NewTLSALPN(plug.Env{}, solve.TLSALPNConfig{Addr: testport.Addr(w.doctor.TLSPort)})
	}
}

// persist makes the request one by dns-persist-01 with these records.
func (w *world) persist(values ...string) {
	w.request.Validations[0].Type = inkan.DNSPersist01
	for _, v := range values {
		w.own = append(w.own, `_validation-persist.www TXT "`+v+`"`)
	}
	w.solver = func() (inkan.Solver, error) {
		return solve.DNSPersist01(plug.Env{}, solve.DNSPersist01Config{Resolvers: w.doctor.Resolvers})
	}
}

// dialBut fails for one address.
func dialBut(addr string, errno syscall.Errno) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		if h, _, _ := net.SplitHostPort(to); h == addr {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errno}
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
}

// serveTLS is a web server that knows nothing of acme-tls/1.
func serveTLS(t *testing.T, address string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(conn, config).Handshake()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
}
