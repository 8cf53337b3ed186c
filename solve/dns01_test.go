package solve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
)

// keptTXT is a record that the host has accepted and does not show yet.
type keptTXT struct {
	zone string
	inkan.TXT
}

// memoryHost is a DNS host over a DNS in memory.
type memoryHost struct {
	*testdns.Memory
	late bool // what is added becomes visible by publish only

	mu    sync.Mutex
	calls []string // "add zone count"
	kept  []keptTXT
	fail  error
}

func (h *memoryHost) note(verb, zone string, records []inkan.TXT) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf("%s %s %d", verb, zone, len(records)))
	if h.fail == nil && verb == "add" {
		for _, r := range records {
			h.kept = append(h.kept, keptTXT{zone, r})
		}
	}
	return h.fail
}

func (h *memoryHost) AddTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	if err := h.note("add", zone, records); err != nil {
		return err
	}
	if !h.late {
		h.publish()
	}
	return ctx.Err()
}

func (h *memoryHost) publish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.kept {
		h.Add(r.zone, r.Name, r.Value)
	}
	h.kept = nil
}

func (h *memoryHost) RemoveTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	if err := h.note("remove", zone, records); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = slices.DeleteFunc(h.kept, func(r keptTXT) bool { return r.zone == zone && slices.Contains(records, r.TXT) })
	for _, r := range records {
		h.Remove(zone, r.Name, r.Value)
	}
	return ctx.Err()
}

func ref[T any](v T) plug.Ref[T] { return plug.Ref[T]{Value: v} }

// dnsWorld is a DNS in memory, found over a resolver.
func dnsWorld(t *testing.T, zones ...testdns.Zone) (host *memoryHost, open func(solve.DNS01Config) inkan.Solver) {
	t.Helper()
	for i := range zones {
		zones[i].Records = append(zones[i].Records, "ns A 127.0.0.1")
	}
	host = &memoryHost{Memory: testdns.NewMemory(t, zones...)}
	_, port, err := net.SplitHostPort(testdns.Fake(t, "127.0.0.1:0", host.Authority()))
	if err != nil {
		t.Fatal(err)
	}
	resolver := testdns.Fake(t, "127.0.0.1:0", host.Resolver)
	return host, func(c solve.DNS01Config) inkan.Solver {
		t.Helper()
		if c.DNS.Value == nil {
			c.DNS = ref[inkan.DNSProvider](host)
		}
		if c.Resolvers == nil {
			c.Resolvers = []string{resolver}
		}
		s, err := solve.DNS01(plug.Env{}, c)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(port, &n); err != nil {
			t.Fatal(err)
		}
		solve.SetDNSPort(s, n)
		return s
	}
}

// dns01Harness is the conformance suite's view of a solver for dns-01.
func dns01Harness(open func() inkan.Solver, values func(t *testing.T, name string) []string) solvetest.Harness {
	return solvetest.Harness{
		Type:  inkan.DNS01,
		Place: func(*testing.T) func() inkan.Solver { return open },
		Visible: func(t *testing.T, _ inkan.Solver, c inkan.Challenge) []string {
			return values(t, "_acme-challenge."+c.Identifier.Base()+".")
		},
		Proof: solve.DNS01Value,
	}
}

func TestDNS01Conformance(t *testing.T) {
	host, open := dnsWorld(t, testdns.Zone{Name: "example.com."})
	solvetest.Run(t, dns01Harness(
		func() inkan.Solver { return open(solve.DNS01Config{}) },
		func(_ *testing.T, name string) []string { return host.TXT(name) }))
}

// dns-account-01 is the same with a name for each account.
func TestDNSAccount01Conformance(t *testing.T) {
	const account = "https://example.com/acme/acct/ExampleAccount"
	host, open := dnsWorld(t, testdns.Zone{Name: "example.com."})
	h := dns01Harness(func() inkan.Solver { return open(solve.DNS01Config{}) }, nil)
	h.Type, h.Account = inkan.DNSAccount01, account
	h.Visible = func(_ *testing.T, _ inkan.Solver, c inkan.Challenge) []string {
		return host.TXT("_ujmmovf2vn55tgye._acme-challenge." + c.Identifier.Base() + ".")
	}
	solvetest.Run(t, h)
}

func dnsChallenge(name string, n int) inkan.Challenge {
	c := solvetest.Harness{Type: inkan.DNS01}.Challenge(strings.TrimPrefix(name, "*."), n)
	c.Wildcard = strings.HasPrefix(name, "*.")
	return c
}

// F09: a name and its wildcard put two values at one name; all challenges of a
// zone are one call; a CNAME record leads into another zone with its own host.
func TestF09OneCallForEachZone(t *testing.T) {
	host, open := dnsWorld(t,
		testdns.Zone{Name: "example.com.", Records: []string{"_acme-challenge.away CNAME away.acme.example.net."}},
		testdns.Zone{Name: "example.net.", Records: []string{"acme A 127.0.0.1"}}, testdns.Zone{Name: "example.org."})
	other := &memoryHost{Memory: host.Memory}
	s := open(solve.DNS01Config{TTL: 30, Zones: []solve.DNS01Zone{{Zone: "Example.NET", DNS: ref[inkan.DNSProvider](other)}}})
	cs := []inkan.Challenge{
		dnsChallenge("example.com", 1), dnsChallenge("*.example.com", 2), dnsChallenge("www.example.com", 3),
		dnsChallenge("away.example.com", 4), dnsChallenge("example.org", 5),
	}
	undo, err := s.Present(t.Context(), cs)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(slices.Sorted(slices.Values(host.calls)), other.calls), "[add example.com. 3 add example.org. 1] [add example.net. 1]"; got != want {
		t.Errorf("calls %s; want %s", got, want)
	}
	if got := host.TXT("_acme-challenge.example.com."); !slices.Contains(got, solve.DNS01Value(cs[0])) || !slices.Contains(got, solve.DNS01Value(cs[1])) {
		t.Errorf("at the name and its wildcard there is %q", got)
	}
	if got := host.TXT("away.acme.example.net."); !slices.Equal(got, []string{solve.DNS01Value(cs[3])}) {
		t.Errorf("where the CNAME record leads there is %q", got)
	}
	for i := range cs {
		cs[i].Undo = undo[i]
	}
	if err := s.(inkan.Waiter).Wait(t.Context(), cs); err != nil {
		t.Errorf("Wait: %v", err)
	}
	// The record is removed where it was put, also if the CNAME record has
	// gone and no server can be asked.
	blind := open(solve.DNS01Config{Propagation: solve.Propagation{Resolvers: []string{"127.0.0.1:1"}}, Zones: []solve.DNS01Zone{{Zone: "example.net", DNS: ref[inkan.DNSProvider](other)}}})
	if err := blind.CleanUp(t.Context(), cs); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"_acme-challenge.example.com.", "away.acme.example.net.", "_acme-challenge.example.org.", "_acme-challenge.www.example.com."} {
		if got := host.TXT(name); len(got) > 0 {
			t.Errorf("left at %s: %q", name, got)
		}
	}
}

// The errors of B06 at a solver: each names the step, the name and the host,
// and has a hint where a person must act.
func TestB06DNS01Errors(t *testing.T) {
	host, open := dnsWorld(t, testdns.Zone{Name: "example.com.", Records: []string{
		"_acme-challenge.circle CNAME _acme-challenge.circle.example.com.", "_acme-challenge.lost CNAME x.nowhere.invalid.", "broken A 127.0.0.1",
	}})
	host.Fail("broken.example.com.", miekg.RcodeServerFailure)
	for _, c := range []struct {
		name   string
		config solve.DNS01Config
		kind   inkan.Kind
		want   string
	}{
		{name: "circle.example.com", kind: inkan.Operator, want: "dns-01 for circle.example.com: following _acme-challenge.circle.example.com.: the CNAME records go in a circle"},
		{name: "lost.example.com", kind: inkan.Operator, want: "finding the zone of nowhere.invalid.: no zone above it exists"},
		{name: "www.example.invalid", kind: inkan.Operator, want: "dns-01 for www.example.invalid: finding the zone of www.example.invalid.: no zone above it exists"},
		{name: "broken.example.com", want: "for SOA broken.example.com.: it failed to find out (SERVFAIL)"},
		{name: "www.example.com", config: solve.DNS01Config{Propagation: solve.Propagation{Resolvers: []string{"127.0.0.1:1"}}}, want: "asking 127.0.0.1:1 for SOA"},
		{name: "www.example.com", config: solve.DNS01Config{Zones: []solve.DNS01Zone{{Zone: "example.com", Servers: []string{"127.0.0.1:1"}}}}, want: "asking 127.0.0.1:1 for CNAME"},
	} {
		_, err := open(c.config).Present(t.Context(), []inkan.Challenge{dnsChallenge(c.name, 1)})
		if err == nil || !strings.Contains(err.Error(), c.want) || inkan.KindOf(err) != c.kind || len(inkan.HintsOf(err)) == 0 {
			t.Errorf("error %v of kind %v, hints %q; want %q of kind %v", err, inkan.KindOf(err), inkan.HintsOf(err), c.want, c.kind)
		}
	}
	if len(host.calls) > 0 {
		t.Errorf("the host was called: %q", host.calls)
	}
	// What was never put anywhere needs no clean-up; what may have been does.
	s := open(solve.DNS01Config{})
	if err := s.CleanUp(t.Context(), []inkan.Challenge{dnsChallenge("circle.example.com", 1), dnsChallenge("www.example.invalid", 1)}); err != nil {
		t.Error(err)
	}
	if err := s.CleanUp(t.Context(), []inkan.Challenge{dnsChallenge("broken.example.com", 1), dnsChallenge("www.example.com", 1)}); err == nil || !strings.Contains(err.Error(), "SERVFAIL") || !slices.Equal(host.calls, []string{"remove example.com. 1"}) {
		t.Errorf("error %v, calls %q", err, host.calls)
	}
	// The host's own error keeps its kind.
	host.fail = inkan.Errorf(inkan.RateLimited, "host", "slowly")
	if _, err := s.Present(t.Context(), []inkan.Challenge{dnsChallenge("www.example.com", 1)}); !errors.Is(err, inkan.RateLimited) || !strings.Contains(err.Error(), "dns-01 in the zone example.com: host: slowly") {
		t.Errorf("error %v", err)
	}
}

// B07: a record that does not appear is waited for, and the server is named.
func TestB07DNS01Timeout(t *testing.T) {
	host, open := dnsWorld(t, testdns.Zone{Name: "example.com."})
	host.late = true
	s := open(solve.DNS01Config{Propagation: solve.Propagation{Timeout: plug.Duration(time.Second)}})
	cs := []inkan.Challenge{dnsChallenge("www.example.com", 1)}
	undo, err := s.Present(t.Context(), cs)
	if err != nil {
		t.Fatal(err)
	}
	cs[0].Undo = undo[0]
	err = s.(inkan.Waiter).Wait(t.Context(), cs)
	if want := "1 of 1 servers do not show it: ns.example.com (127.0.0.1:"; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "NXDOMAIN") || inkan.KindOf(err) != inkan.Temporary {
		t.Errorf("error %v; want %q", err, want)
	}
	if n := host.Asked("resolver TXT", "_acme-challenge.www.example.com."); n > 0 {
		t.Errorf("the resolver was asked %d times", n)
	}
	host.publish()
	if err := s.(inkan.Waiter).Wait(t.Context(), cs); err != nil {
		t.Error(err)
	}
	// Where only resolvers can be asked they are, and with none nobody is.
	for _, at := range []string{"resolvers", "none"} {
		s := open(solve.DNS01Config{Propagation: solve.Propagation{CheckAt: at, Timeout: plug.Duration(5 * time.Second)}})
		before := host.Asked("TXT", "_acme-challenge.www.example.com.")
		if err := s.(inkan.Waiter).Wait(t.Context(), cs); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		if host.Asked("TXT", "_acme-challenge.www.example.com.") != before {
			t.Errorf("%s: an authoritative server was asked", at)
		}
	}
}

// H02: tokens of path tricks, names that are none, other types.
func TestH02DNS01(t *testing.T) {
	host, open := dnsWorld(t, testdns.Zone{Name: "example.com."})
	s := open(solve.DNS01Config{})
	good := dnsChallenge("www.example.com", 1)
	for what, change := range map[string]func(*inkan.Challenge){
		"path":    func(c *inkan.Challenge) { c.Token = "../../../../../../etc/passwd" },
		"short":   func(c *inkan.Challenge) { c.Token = "short" },
		"foreign": func(c *inkan.Challenge) { c.KeyAuthorization = "x" + c.KeyAuthorization },
		"type":    func(c *inkan.Challenge) { c.Type = inkan.HTTP01 },
		"address": func(c *inkan.Challenge) { c.Identifier = inkan.Identifier{Type: inkan.IP, Value: "192.0.2.1"} },
		"name":    func(c *inkan.Challenge) { c.Identifier.Value = "a b.example.com" },
	} {
		c := good
		change(&c)
		if _, err := s.Present(t.Context(), []inkan.Challenge{good, c}); !errors.Is(err, inkan.Bug) {
			t.Errorf("%s: error %v", what, err)
		}
		if err := s.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Errorf("%s: CleanUp: %v", what, err)
		}
	}
	// An undo that somebody has tampered with is not followed.
	for _, u := range []string{`{"zone":"example.com.","name":"victim.example.org."}`, `{"zone":".","name":"x."}`, `{"zone":"","name":""}`, `[]`, `{"zone":"example.com.","name":"a/b.example.com."}`} {
		c := good
		c.Undo = json.RawMessage(u)
		if err := s.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, call := range host.calls {
		if call != "remove example.com. 1" {
			t.Errorf("call %q", call)
		}
	}
}

func TestDNS01Options(t *testing.T) {
	host := ref[inkan.DNSProvider](&memoryHost{})
	for want, c := range map[string]solve.DNS01Config{
		"no DNS host given":               {},
		`"a b" is not the name of a zone`: {DNS: host, Zones: []solve.DNS01Zone{{Zone: "a b"}}},
		"stands there twice":              {DNS: host, Zones: []solve.DNS01Zone{{Zone: "a.b"}, {Zone: "A.b."}}},
		"is not a server such as":         {DNS: host, Propagation: solve.Propagation{Resolvers: []string{"a b"}}},
		`"a/b:53x" is not a server`:       {DNS: host, Zones: []solve.DNS01Zone{{Zone: "a.b", Servers: []string{"a/b:53x"}}}},
		`check: "often" is none of`:       {DNS: host, Propagation: solve.Propagation{CheckAt: "often"}},
		"ttl must be from 0":              {DNS: host, TTL: -1},
	} {
		if _, err := solve.DNS01(plug.Env{}, c); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Operator) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
}

// TestDNS01AtBIND runs the suite over DNS updates to BIND, its zones and
// servers found by SOA, NS and address records, and measures how soon Wait
// notices what all three servers show.
func TestDNS01AtBIND(t *testing.T) {
	n := testdns.New(t)
	s := n.BIND(2, testdns.Zone{Name: "example.com."})
	resolver := n.Resolver()
	open := func() inkan.Solver {
		host, err := dns.RFC2136(plug.Env{}, dns.RFC2136Config{Server: s.Addrs[0], Key: s.Key.Name, Secret: plug.NewSecret(s.Key.Secret)})
		if err != nil {
			t.Fatal(err)
		}
		solver, err := solve.DNS01(plug.Env{}, solve.DNS01Config{DNS: ref(host), Propagation: solve.Propagation{Resolvers: []string{resolver}}})
		if err != nil {
			t.Fatal(err)
		}
		solve.SetDNSPort(solver, n.Port)
		return solver
	}
	t.Run("suite", func(t *testing.T) {
		solvetest.Run(t, dns01Harness(open, func(t *testing.T, name string) []string { return testdns.TXT(t, s.Addrs[0], name) }))
	})
	var worst time.Duration
	rounds := 5
	for round := range rounds {
		c := dnsChallenge(fmt.Sprintf("m%d.example.com", round), round)
		solver := open()
		undo, err := solver.Present(t.Context(), []inkan.Challenge{c})
		if err != nil {
			t.Fatal(err)
		}
		c.Undo = undo[0]
		everywhere := make(chan time.Time, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			everywhere <- visibleAt(ctx, s.Addrs, "_acme-challenge."+c.Identifier.Value, solve.DNS01Value(c))
		}()
		if err := solver.(inkan.Waiter).Wait(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Fatal(err)
		}
		returned := time.Now()
		at := <-everywhere
		if at.IsZero() {
			t.Fatal("the record is not visible everywhere, and Wait has returned")
		}
		worst = max(worst, returned.Sub(at))
		if err := solver.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("proof: dns-01 at BIND with two secondaries, %d rounds: Wait returned at most %d ms after the value was visible at all three", rounds, worst.Milliseconds())
}

// visibleAt returns when the last of the servers showed a value.
func visibleAt(ctx context.Context, servers []string, name, value string) time.Time {
	var last time.Time
	for _, addr := range servers {
		for {
			if ctx.Err() != nil {
				return time.Time{}
			}
			a, err := new(dnslookup.Client).Ask(ctx, dnslookup.Question{Server: addr, Name: name, Type: miekg.TypeTXT})
			if err == nil && slices.Contains(a.TXT(), value) {
				break
			}
		}
		last = time.Now()
	}
	return last
}
