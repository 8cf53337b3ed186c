package dnslookup_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/testdns"
)

const anyPort = "127.0.0.1:0"

// ask asks a server of the test's own for the TXT record of a.example.
func ask(t *testing.T, handle func(q *dns.Msg, tcp bool) *dns.Msg) (*dnslookup.Answer, error) {
	t.Helper()
	c := &dnslookup.Client{Timeout: 500 * time.Millisecond}
	return c.Query(t.Context(), testdns.Fake(t, anyPort, handle), "a.example", dns.TypeTXT)
}

func reply(q *dns.Msg, values ...string) *dns.Msg {
	r := new(dns.Msg).SetReply(q)
	for _, v := range values {
		r.Answer = append(r.Answer, dnslookup.NewTXT(q.Question[0].Name, v, 60))
	}
	return r
}

// TestB06Answers: what does not fit, comes in odd order or in another case is
// read; the values keep every byte.
func TestB06Answers(t *testing.T) {
	long := strings.Repeat("x", 60_000)
	odd := "quoted \"and\" back\\slashed \x00\xff;"
	for name, c := range map[string]struct {
		handle func(q *dns.Msg, tcp bool) *dns.Msg
		want   []string
	}{
		"plain":   {func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, "v") }, []string{"v"}},
		"none":    {func(q *dns.Msg, _ bool) *dns.Msg { return reply(q) }, nil},
		"empty":   {func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, "") }, []string{""}},
		"several": {func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, "b", "a", "b") }, []string{"b", "a", "b"}},
		"bytes":   {func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, odd) }, []string{odd}},
		"60 KB":   {func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, long) }, []string{long}},
		"cut short": {func(q *dns.Msg, tcp bool) *dns.Msg {
			r := reply(q, "v")
			if r.Truncated = !tcp; !tcp {
				r.Answer = nil
			}
			return r
		}, []string{"v"}},
		"another name and type": {func(q *dns.Msg, _ bool) *dns.Msg {
			r := reply(q, "v")
			a, _ := dns.NewRR("a.example. A 127.0.0.1")
			r.Answer = append([]dns.RR{a, dnslookup.NewTXT("b.example.", "no", 1)}, r.Answer...)
			return r
		}, []string{"v"}},
		"behind CNAME records": {func(q *dns.Msg, _ bool) *dns.Msg {
			r := reply(q)
			c1, _ := dns.NewRR("A.example. CNAME b.example.")
			c2, _ := dns.NewRR("b.Example. CNAME c.example.")
			r.Answer = []dns.RR{dnslookup.NewTXT("C.example.", "v", 1), c2, c1}
			return r
		}, []string{"v"}},
		"circle": {func(q *dns.Msg, _ bool) *dns.Msg {
			r := reply(q)
			c1, _ := dns.NewRR("a.example. CNAME b.example.")
			c2, _ := dns.NewRR("b.example. CNAME a.example.")
			r.Answer = []dns.RR{c1, c2}
			return r
		}, nil},
		"case not kept": {func(q *dns.Msg, _ bool) *dns.Msg {
			r := reply(q, "v")
			r.Question[0].Name = "a.example."
			return r
		}, []string{"v"}},
		"NXDOMAIN": {func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q); r.Rcode = dns.RcodeNameError; return r }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ask(t, c.handle)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a.TXT(), c.want) {
				t.Errorf("values %.200q; want %.200q", a.TXT(), c.want)
			}
		})
	}
}

// TestB06Refusals: each error names the server, the question and what happened.
func TestB06Refusals(t *testing.T) {
	code := func(c int) func(q *dns.Msg, _ bool) *dns.Msg {
		return func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q); r.Rcode = c; return r }
	}
	for want, handle := range map[string]func(q *dns.Msg, tcp bool) *dns.Msg{
		"it failed to find out (SERVFAIL)":    code(dns.RcodeServerFailure),
		"it refuses to answer us (REFUSED)":   code(dns.RcodeRefused),
		"it answered with an error (code 11)": code(11),
		"it answered with an error (NOTAUTH)": func(q *dns.Msg, _ bool) *dns.Msg {
			r := reply(q)
			r.Rcode = dns.RcodeNotAuth
			r.Question = nil
			return r
		},
		"no answer within 500ms": func(*dns.Msg, bool) *dns.Msg { return nil },
		"it answered another question": func(q *dns.Msg, tcp bool) *dns.Msg {
			r := reply(q, "no")
			r.Question[0].Qtype = dns.TypeA
			r.Truncated = false
			if !tcp {
				r = reply(q)
				r.Truncated = true
			}
			return r
		},
		"it cut its answer short over TCP too": func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q); r.Truncated = true; return r },
	} {
		_, err := ask(t, handle)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "asking 127.0.0.1:") || !strings.Contains(err.Error(), "TXT a.example") {
			t.Errorf("error %v; want %q", err, want)
		}
	}
	c := new(dnslookup.Client)
	if _, err := c.Query(t.Context(), "127.0.0.1:1", strings.Repeat("a", 70)+".example", dns.TypeTXT); !errors.Is(err, inkan.Operator) {
		t.Errorf("a label of 70 letters: %v", err)
	}
	if _, err := c.Query(t.Context(), "127.0.0.1:1", "a.example", dns.TypeTXT); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Query(ctx, "127.0.0.1:1", "a.example", dns.TypeTXT); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestAskIgnoresGuesses: packets that do not answer the question do not end the
// wait for the one that does, whoever sent them.
func TestAskIgnoresGuesses(t *testing.T) {
	conn, err := net.ListenPacket("udp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil {
			return
		}
		send := func(change func(*dns.Msg)) {
			r := reply(q, "forged")
			change(r)
			b, _ := r.Pack()
			_, _ = conn.WriteTo(b, from)
		}
		send(func(r *dns.Msg) { r.Id++ })
		send(func(r *dns.Msg) { r.Response = false })
		send(func(r *dns.Msg) { r.Question[0].Name = "b.example." })
		_, _ = conn.WriteTo([]byte("noise"), from)
		send(func(r *dns.Msg) { r.Answer = []dns.RR{dnslookup.NewTXT("a.example.", "v", 1)} })
	}()
	a, err := new(dnslookup.Client).Query(t.Context(), conn.LocalAddr().String(), "a.example", dns.TypeTXT)
	if err != nil || !slices.Equal(a.TXT(), []string{"v"}) {
		t.Errorf("%+v, %v", a, err)
	}
}

// A lost packet is sent again.
func TestAskSendsAgain(t *testing.T) {
	var asked atomic.Int32
	addr := testdns.Fake(t, anyPort, func(q *dns.Msg, _ bool) *dns.Msg {
		if asked.Add(1) == 1 {
			return nil
		}
		return reply(q, "v")
	})
	if a, err := new(dnslookup.Client).Query(t.Context(), addr, "a.example", dns.TypeTXT); err != nil || len(a.TXT()) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// The ids of questions and the case of their letters are random.
func TestAskIsHardToGuess(t *testing.T) {
	var mu sync.Mutex
	ids, cases := map[uint16]bool{}, map[string]bool{}
	for range 20 {
		_, err := ask(t, func(q *dns.Msg, _ bool) *dns.Msg {
			mu.Lock()
			defer mu.Unlock()
			ids[q.Id], cases[q.Question[0].Name] = true, true
			return reply(q, "v")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) < 15 || len(cases) < 8 {
		t.Errorf("%d ids, %d cases of 20", len(ids), len(cases))
	}
}

// world is a DNS in memory with a resolver; the authoritative servers are found
// by its NS records, all at one address.
func world(t *testing.T, zones ...testdns.Zone) (*testdns.Memory, *dnslookup.Finder) {
	t.Helper()
	for i := range zones {
		zones[i].Records = append(zones[i].Records, "ns A 127.0.0.1")
	}
	m := testdns.NewMemory(t, zones...)
	addr := testdns.Fake(t, anyPort, m.Authority())
	c := &dnslookup.Client{Resolvers: []string{testdns.Fake(t, anyPort, m.Resolver)}, Timeout: time.Second, Port: portOf(t, addr)}
	return m, &dnslookup.Finder{Client: c}
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

func TestZone(t *testing.T) {
	m, f := world(t,
		testdns.Zone{Name: "example.org.", Records: []string{"www A 127.0.0.1", "alias CNAME www.example.net.", "a.b.c.d A 127.0.0.1"}},
		testdns.Zone{Name: "sub.example.org."}, testdns.Zone{Name: "example.net."}, testdns.Zone{Name: "co.uk."}, testdns.Zone{Name: "lan."})
	for name, want := range map[string]string{
		"example.org": "example.org.", "www.example.org.": "example.org.", "WWW.Example.ORG": "example.org.",
		"none.a.b.c.d.example.org": "example.org.", "x.sub.example.org": "sub.example.org.",
		"alias.example.org": "example.org.", "x.alias.example.org": "example.org.", "host.lan": "lan.", "unknown.co.uk": "co.uk.",
	} {
		if zone, err := f.Zone(t.Context(), name); err != nil || zone != want {
			t.Errorf("the zone of %s is %q, %v; want %s", name, zone, err, want)
		}
	}
	if _, err := f.Zone(t.Context(), "www.example.invalid"); !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), "no zone above it exists") {
		t.Errorf("error %v", err)
	}
	m.Fail("broken.example.org.", dns.RcodeServerFailure)
	if _, err := f.Zone(t.Context(), "broken.example.org"); err == nil || !strings.Contains(err.Error(), "SERVFAIL") || inkan.KindOf(err) != inkan.Temporary {
		t.Errorf("error %v", err)
	}
}

func TestLocate(t *testing.T) {
	_, f := world(t,
		testdns.Zone{Name: "example.org.", Records: []string{
			"_acme-challenge.away CNAME x.acme.example.net.", "_acme-challenge.far CNAME one.example.org.", "one CNAME two.example.net.",
			"_acme-challenge.cut NS ns._acme-challenge.cut.example.org.", "_acme-challenge.broken CNAME _acme-challenge.broken",
			"_acme-challenge.circle CNAME c1.example.net.", "www A 127.0.0.1",
			"_acme-challenge.many CNAME l1", "l1 CNAME l2", "l2 CNAME l3", "l3 CNAME l4", "l4 CNAME l5", "l5 CNAME l6", "l6 CNAME l7", "l7 CNAME l8", "l8 CNAME l9",
		}},
		testdns.Zone{Name: "_acme-challenge.cut.example.org."},
		testdns.Zone{Name: "example.net.", Records: []string{"two CNAME three.deep.example.net.", "acme A 127.0.0.1", "c1 CNAME _acme-challenge.circle.example.org."}},
		testdns.Zone{Name: "deep.example.net."})
	for _, indirect := range []bool{false, true} {
		f := &dnslookup.Finder{Client: f.Client, Indirect: indirect}
		for name, want := range map[string][2]string{
			"_acme-challenge.www.example.org":  {"_acme-challenge.www.example.org.", "example.org."},
			"_acme-challenge.example.org":      {"_acme-challenge.example.org.", "example.org."},
			"_acme-challenge.away.example.org": {"x.acme.example.net.", "example.net."},
			"_acme-challenge.far.example.org":  {"three.deep.example.net.", "deep.example.net."},
			"_acme-challenge.cut.example.org":  {"_acme-challenge.cut.example.org.", "_acme-challenge.cut.example.org."},
		} {
			if p, err := f.Locate(t.Context(), name); err != nil || p.Name != want[0] || p.Zone != want[1] {
				t.Errorf("indirect %t: %s leads to %+v, %v; want %v", indirect, name, p, err, want)
			}
		}
		for name, want := range map[string]string{
			"_acme-challenge.circle.example.org": "go in a circle: _acme-challenge.circle.example.org. -> c1.example.net. -> _acme-challenge.circle.example.org.",
			"_acme-challenge.many.example.org":   "are too many",
			"_acme-challenge.broken.example.org": "go in a circle",
		} {
			if _, err := f.Locate(t.Context(), name); !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), want) || len(inkan.HintsOf(err)) == 0 {
				t.Errorf("indirect %t: error %v; want %q", indirect, err, want)
			}
		}
	}
}

// No resolver hears of a name before it has its record, so none remembers that
// it was absent.
func TestLocateKeepsNamesFromResolvers(t *testing.T) {
	m, f := world(t, testdns.Zone{Name: "example.org.", Records: []string{"www A 127.0.0.1"}})
	if _, err := f.Locate(t.Context(), "_acme-challenge.www.example.org"); err != nil {
		t.Fatal(err)
	}
	for _, qtype := range []string{"TXT", "SOA", "CNAME", "NS"} {
		if n := m.Asked("resolver "+qtype, "_acme-challenge.www.example.org."); n > 0 {
			t.Errorf("the resolver was asked for %s", qtype)
		}
	}
}

func TestServers(t *testing.T) {
	_, f := world(t,
		testdns.Zone{Name: "example.org.", Records: []string{"@ NS ns2", "ns2 A 127.0.0.2", "ns2 AAAA 2001:db8::2", "@ NS gone.example.org."}},
		testdns.Zone{Name: "dark.example.", Records: []string{"@ NS ns.elsewhere.example."}})
	servers, err := f.Servers(t.Context(), "example.org.")
	if err != nil || len(servers) != 3 {
		t.Fatalf("%v, %v", servers, err)
	}
	if s := servers[2].String(); !strings.HasPrefix(s, "ns2.example.org ([2001:db8::2]:") {
		t.Errorf("%q", s)
	}
	f.Known = map[string][]string{"told.example.": {"192.0.2.1", "[2001:db8::1]:5353"}}
	told, err := f.Servers(t.Context(), "told.example.")
	if err != nil || len(told) != 2 || told[0].Addr != "192.0.2.1:53" || told[1].Addr != "[2001:db8::1]:5353" {
		t.Errorf("%v, %v", told, err)
	}
	if _, err := f.Servers(t.Context(), "none.example."); !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), "the zone has no NS record") {
		t.Errorf("error %v", err)
	}
}

// awaitOne waits for the value v at a.example. and returns how long it took.
func awaitOne(t *testing.T, limit time.Duration, servers ...dnslookup.Server) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	err := new(dnslookup.Client).Await(ctx, servers, []dnslookup.Wanted{{Name: "a.example.", Values: []string{"v"}}}, false)
	return time.Since(start), err
}

// TestB07Lagging: one server of three lags; it is waited for, and named when
// the time is over.
func TestB07Lagging(t *testing.T) {
	visible := func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q, "other", "v"); r.Authoritative = true; return r }
	one := dnslookup.Server{Host: "ns1.example.", Addr: testdns.Fake(t, anyPort, visible)}
	var asked atomic.Int32
	two := dnslookup.Server{Host: "ns2.example.", Addr: testdns.Fake(t, anyPort, func(q *dns.Msg, tcp bool) *dns.Msg {
		if asked.Add(1) < 4 {
			r := reply(q)
			r.Rcode, r.Authoritative = dns.RcodeNameError, true
			return r
		}
		return visible(q, tcp)
	})}
	if _, err := awaitOne(t, 20*time.Second, one, two); err != nil || asked.Load() != 4 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	for want, handle := range map[string]func(*dns.Msg, bool) *dns.Msg{
		"it answers that there is no such name (NXDOMAIN) at a.example": func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q); r.Rcode = dns.RcodeNameError; return r },
		"it answers that there is no TXT record at a.example":           func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q); r.Authoritative = true; return r },
		`it answers with another value, "old\\u001b" at a.example`:      func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, "old\x1b") },
		"it answers with 2 values, and one is missing at a.example":     func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, "x", "y") },
		"it refuses to answer us (REFUSED) at a.example":                func(q *dns.Msg, _ bool) *dns.Msg { r := reply(q); r.Rcode = dns.RcodeRefused; return r },
		"and is not authoritative for the name at a.example":            func(q *dns.Msg, _ bool) *dns.Msg { return reply(q) },
		"no answer yet": func(*dns.Msg, bool) *dns.Msg { return nil },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			lags := dnslookup.Server{Host: "ns3.example.", Addr: testdns.Fake(t, anyPort, handle)}
			_, err := awaitOne(t, 1500*time.Millisecond, one, lags)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "1 of 2 servers do not show it: ns3.example (127.0.0.1:") || inkan.KindOf(err) != inkan.Temporary {
				t.Errorf("error %v; want %q", err, want)
			}
		})
	}
}

// A server that cannot be reached from here says nothing about the record.
func TestAwaitWithoutIPv6(t *testing.T) {
	if c, err := net.Dial("udp", "[2001:db8::53]:53"); err == nil {
		_ = c.Close()
		t.Skip("SKIPPED: this machine has a route for IPv6")
	}
	visible := testdns.Fake(t, anyPort, func(q *dns.Msg, _ bool) *dns.Msg { return reply(q, "v") })
	took, err := awaitOne(t, 5*time.Second, dnslookup.Server{Addr: visible}, dnslookup.Server{Addr: "[2001:db8::53]:53"})
	if err != nil || took > 3*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if _, err := awaitOne(t, 200*time.Millisecond, dnslookup.Server{Addr: "[2001:db8::53]:53"}); err == nil || !strings.Contains(err.Error(), "unreachable") && !strings.Contains(err.Error(), "not supported") && !strings.Contains(err.Error(), "cannot assign") {
		t.Errorf("error %v", err)
	}
}

// Fifty names at one server: no more questions than needed while they are
// missing, all of them once they are there.
func TestAwaitMany(t *testing.T) {
	m := testdns.NewMemory(t, testdns.Zone{Name: "example."})
	s := dnslookup.Server{Addr: testdns.Fake(t, anyPort, m.Authority())}
	var wanted []dnslookup.Wanted
	for i := range 50 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example."
		wanted = append(wanted, dnslookup.Wanted{Name: name, Values: []string{"1", "2"}})
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() { done <- new(dnslookup.Client).Await(ctx, []dnslookup.Server{s}, wanted, false) }()
	for m.Asked("TXT", wanted[0].Name) < 3 {
		select {
		case err := <-done:
			t.Fatalf("returned early: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if n := m.Asked("TXT", wanted[49].Name); n != 0 {
		t.Errorf("asked %d times for the last name while the first was missing", n)
	}
	for _, w := range wanted {
		m.Add("example.", w.Name, "2")
		m.Add("example.", w.Name, "1")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := m.Asked("TXT", wanted[49].Name); n == 0 {
		t.Error("never asked for the last name")
	}
}

func TestSystemResolvers(t *testing.T) {
	servers := new(dnslookup.Client).Asked(t.Context())
	if len(servers) == 0 {
		t.Fatal("none")
	}
	for _, s := range servers {
		if err := dnslookup.CheckServer(s.Addr); err != nil {
			t.Error(err)
		}
	}
}
