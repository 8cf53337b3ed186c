package testaws

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan/internal/testport"
)

// badTXT says what Route 53 has against a TXT value, or "".
func badTXT(value string) string {
	if len(value) > 4000 {
		return "TooLong (Value is longer than 4000 characters)"
	}
	pieces, ok := characterStrings(value)
	if !ok {
		return "InvalidCharacterString (Value should be enclosed in quotation marks)"
	}
	for _, p := range pieces {
		if len(p) > 255 {
			return "CharacterStringTooLong (Value is too long)"
		}
	}
	return ""
}

// characterStrings returns the quoted strings of a TXT value in Route 53's
// notation, without their escapes.
func characterStrings(value string) (pieces []string, ok bool) {
	for value = strings.TrimSpace(value); value != ""; value = strings.TrimLeft(value, " \t") {
		if value[0] != '"' {
			return nil, false
		}
		var b strings.Builder
		i := 1
		for ; i < len(value) && value[i] != '"'; i++ {
			switch {
			case value[i] < ' ' || value[i] > '~':
				return nil, false
			case value[i] != '\\':
				b.WriteByte(value[i])
			case i+3 < len(value) && value[i+1] >= '0' && value[i+1] <= '3':
				b.WriteByte((value[i+1]-'0')<<6 | (value[i+2]-'0')<<3 | (value[i+3] - '0'))
				i += 3
			case i+1 < len(value):
				i++
				b.WriteByte(value[i])
			}
		}
		if i >= len(value) {
			return nil, false
		}
		pieces, value = append(pieces, b.String()), value[i+1:]
	}
	return pieces, len(pieces) > 0
}

// Unquoted returns a TXT value without Route 53's quotes and escapes.
func Unquoted(value string) string {
	pieces, _ := characterStrings(value)
	return strings.Join(pieces, "")
}

// ServeDNS starts a name server, on UDP and TCP until t ends, that is
// authoritative for the public zones: SOA and NS at the apex, TXT as far as it
// is INSYNC, A is 127.0.0.1. It returns host:port.
func (f *Route53) ServeDNS(t testing.TB) string {
	t.Helper()
	port, err := testport.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	addr := testport.Addr(port.Number)
	stream, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: port.Packets()}, {Listener: stream}} {
		started := make(chan struct{})
		s.Handler = dns.HandlerFunc(f.answer)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return addr
}

func (f *Route53) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	if len(q.Question) == 1 {
		f.mu.Lock()
		f.settle()
		f.resolve(m, q.Question[0])
		f.mu.Unlock()
	} else {
		m.Rcode = dns.RcodeFormatError
	}
	if w.LocalAddr().Network() == "udp" {
		m.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(m)
}

// resolve answers one question. f.mu is held.
func (f *Route53) resolve(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	var z *zone
	for _, c := range f.zones {
		if !c.private && dns.IsSubDomain(c.name, name) && (z == nil || len(c.name) > len(z.name)) {
			z = c
		}
	}
	if z == nil {
		m.Rcode = dns.RcodeRefused
		return
	}
	m.Authoritative = true
	header := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
	}
	soa := &dns.SOA{Hdr: header(z.name, dns.TypeSOA), Ns: "ns." + z.name, Mbox: "hostmaster." + z.name, Serial: 1, Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: 60}
	switch {
	case q.Qtype == dns.TypeSOA && name == z.name:
		m.Answer = append(m.Answer, soa)
	case q.Qtype == dns.TypeNS && name == z.name:
		m.Answer = append(m.Answer, &dns.NS{Hdr: header(z.name, dns.TypeNS), Ns: "ns." + z.name})
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header(q.Name, dns.TypeA), A: net.IPv4(127, 0, 0, 1)})
	case q.Qtype == dns.TypeTXT:
		for _, value := range z.live[name].Values {
			pieces, _ := characterStrings(value)
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: pieces})
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, soa)
	}
}
