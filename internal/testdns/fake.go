package testdns

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// Fake serves a handler at addr, over UDP and TCP, until the test ends, and
// returns the address. addr may be 127.0.0.1:0. A handler that returns nil
// keeps silent. UDP answers are cut as the question allows.
func Fake(t testing.TB, addr string, handle func(q *dns.Msg, tcp bool) *dns.Msg) string {
	t.Helper()
	var packets net.PacketConn
	var stream net.Listener
	var err error
	for range 20 { // a free TCP port may be taken on UDP
		if stream, err = net.Listen("tcp", addr); err != nil {
			continue
		}
		if packets, err = net.ListenPacket("udp", stream.Addr().String()); err == nil {
			break
		}
		_ = stream.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	serve := func(w dns.ResponseWriter, q *dns.Msg) {
		tcp := w.LocalAddr().Network() == "tcp"
		m := handle(q, tcp)
		if m == nil {
			return
		}
		if opt := q.IsEdns0(); !tcp && !m.Truncated && opt != nil {
			m.Truncate(int(opt.UDPSize()))
		}
		_ = w.WriteMsg(m)
	}
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		s.Handler = dns.HandlerFunc(serve)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return stream.Addr().String()
}

// Memory are zones in memory that take TXT values. It is safe for concurrent
// use.
type Memory struct {
	mu    sync.Mutex
	zones map[string][]dns.RR // by apex
	codes map[string]int      // by name
	asked map[string]int      // by "TYPE name"
}

// NewMemory returns zones with records in zone file syntax. Each has SOA and NS
// records besides, the servers being ns.<apex>.
func NewMemory(t testing.TB, zones ...Zone) *Memory {
	t.Helper()
	m := &Memory{zones: map[string][]dns.RR{}, codes: map[string]int{}, asked: map[string]int{}}
	for _, z := range zones {
		p := dns.NewZoneParser(strings.NewReader(z.file(nil)+"@ NS ns\n"), z.Name, "")
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			m.zones[z.Name] = append(m.zones[z.Name], rr)
		}
		if err := p.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// Add puts a TXT value at a name.
func (m *Memory) Add(zone, name, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.zones[zone], is(name, value)) {
		m.zones[zone] = append(m.zones[zone], dnslookup.NewTXT(name, value, 60))
	}
}

// Remove takes a TXT value away.
func (m *Memory) Remove(zone, name, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.zones[zone] = slices.DeleteFunc(m.zones[zone], is(name, value))
}

func is(name, value string) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		t, ok := rr.(*dns.TXT)
		return ok && rr.Header().Name == name && dnslookup.TXTValue(t) == value
	}
}

// TXT returns the values at a name.
func (m *Memory) TXT(name string) (values []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rrs := range m.zones {
		for _, rr := range rrs {
			if t, ok := rr.(*dns.TXT); ok && rr.Header().Name == name {
				values = append(values, dnslookup.TXTValue(t))
			}
		}
	}
	return values
}

// Fail makes every question about name end in a code; success undoes it.
func (m *Memory) Fail(name string, code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.codes[name] = code
}

// Asked returns how often a question came: Asked("TXT", "a.example.").
func (m *Memory) Asked(qtype, name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[qtype+" "+name]
}

// Authority serves some of the zones with authority, none: all, and returns the
// handler for [Fake].
func (m *Memory) Authority(zones ...string) func(*dns.Msg, bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg {
		m.mu.Lock()
		defer m.mu.Unlock()
		r := new(dns.Msg).SetReply(q)
		name := strings.ToLower(q.Question[0].Name)
		m.asked[dns.TypeToString[q.Question[0].Qtype]+" "+name]++
		if r.Rcode = m.codes[name]; r.Rcode == dns.RcodeSuccess {
			m.answer(r, name, func(z string) bool { return len(zones) == 0 || slices.Contains(zones, z) }, false)
		}
		return r
	}
}

// Resolver answers for all zones, following CNAME records from one into
// another; it is a handler for [Fake].
func (m *Memory) Resolver(q *dns.Msg, _ bool) *dns.Msg {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := new(dns.Msg).SetReply(q)
	r.RecursionAvailable = true
	name := strings.ToLower(q.Question[0].Name)
	m.asked["resolver "+dns.TypeToString[q.Question[0].Qtype]+" "+name]++
	for range 10 {
		if r.Rcode = m.codes[name]; r.Rcode != dns.RcodeSuccess {
			return r
		}
		target := m.answer(r, name, func(string) bool { return true }, true)
		if target == "" || r.Question[0].Qtype == dns.TypeCNAME {
			break
		}
		name = target
	}
	r.Authoritative = false
	return r
}

// answer adds to r what the zones say about name, and returns where a CNAME
// record leads. m.mu is held.
func (m *Memory) answer(r *dns.Msg, name string, serves func(zone string) bool, recurse bool) string {
	qtype := r.Question[0].Qtype
	apex := ""
	for z := range m.zones {
		if serves(z) && dns.IsSubDomain(z, name) && len(z) > len(apex) {
			apex = z
		}
	}
	if apex == "" {
		r.Rcode = dns.RcodeRefused
		if recurse {
			r.Rcode = dns.RcodeNameError
			soa, _ := dns.NewRR(". SOA root. root. 1 1 1 1 1")
			r.Ns = append(r.Ns, soa)
		}
		return ""
	}
	exists := false
	var soa dns.RR
	for _, rr := range m.zones[apex] {
		h := rr.Header()
		switch {
		case h.Rrtype == dns.TypeSOA:
			soa = rr
		case h.Rrtype == dns.TypeNS && h.Name != apex && dns.IsSubDomain(h.Name, name) && !recurse:
			r.Ns = append(r.Ns, rr) // a referral
		}
		exists = exists || dns.IsSubDomain(name, h.Name)
		if h.Name == name && (h.Rrtype == qtype || h.Rrtype == dns.TypeCNAME) {
			r.Answer = append(r.Answer, rr)
			if c, ok := rr.(*dns.CNAME); ok {
				r.Authoritative = true
				return c.Target
			}
		}
	}
	if len(r.Ns) > 0 {
		return ""
	}
	r.Authoritative = true
	if len(r.Answer) == 0 || r.Answer[len(r.Answer)-1].Header().Rrtype != qtype {
		r.Ns = append(r.Ns, soa)
		if !exists {
			r.Rcode = dns.RcodeNameError
		}
	}
	return ""
}
