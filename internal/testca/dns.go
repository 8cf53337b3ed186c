package testca

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/miekg/dns"
)

// DNS is an authoritative-looking server for every name there is, on UDP and
// TCP. Unless told otherwise, A is 127.0.0.1 and everything else is empty.
// All methods are safe for concurrent use; names may end in a dot or not, in
// any case.
type DNS struct {
	addr    string
	servers []*dns.Server

	mu    sync.Mutex
	txt   map[string][]string
	addrs map[string][]net.IP
	rcode map[string]int
}

func newDNS() (*DNS, error) {
	d := &DNS{txt: map[string][]string{}, addrs: map[string][]net.IP{}, rcode: map[string]int{}}
	packets, stream, err := listenBoth()
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	d.addr = stream.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		started := make(chan struct{})
		failed := make(chan error, 1)
		s.Handler = dns.HandlerFunc(d.answer)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { failed <- s.ActivateAndServe() }()
		select {
		case <-started:
			d.servers = append(d.servers, s)
		case err := <-failed:
			return nil, errors.Join(fmt.Errorf("dns: %w", err), d.close())
		}
	}
	return d, nil
}

// listenBoth listens on a port of UDP and TCP. Another program may take the TCP
// port between its being found free and its being taken: then there is another.
func listenBoth() (net.PacketConn, net.Listener, error) {
	var last error
	for range 10 {
		port, err := testport.Reserve()
		if err != nil {
			return nil, nil, err
		}
		stream, err := net.Listen("tcp", testport.Addr(port.Number))
		if err == nil {
			return port.Packets(), stream, nil
		}
		last = errors.Join(err, port.Release())
	}
	return nil, nil, last
}

func (d *DNS) close() error {
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Shutdown())
	}
	return errors.Join(errs...)
}

// AddTXT adds one TXT value at name beside those already there.
func (d *DNS) AddTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = canonical(name)
	d.txt[name] = append(d.txt[name], value)
}

// RemoveTXT removes one value, or all values at name if value is "".
func (d *DNS) RemoveTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = canonical(name)
	d.txt[name] = slices.DeleteFunc(d.txt[name], func(v string) bool { return value == "" || v == value })
}

// TXT returns the values at name.
func (d *DNS) TXT(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.txt[canonical(name)])
}

// SetAddrs makes ips (IPv4 for A, IPv6 for AAAA) the addresses of name; none:
// the name has no address.
func (d *DNS) SetAddrs(name string, ips ...net.IP) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs[canonical(name)] = ips
}

// SetRcode makes every question about name end in that code (dns.RcodeSuccess
// undoes it).
func (d *DNS) SetRcode(name string, code int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rcode[canonical(name)] = code
}

func (d *DNS) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	d.mu.Lock()
	for _, question := range q.Question {
		m.Answer = append(m.Answer, d.records(question)...)
		if code := d.rcode[canonical(question.Name)]; code != dns.RcodeSuccess {
			m.Rcode, m.Answer = code, nil
		}
	}
	d.mu.Unlock()
	if w.LocalAddr().Network() == "udp" {
		m.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(m)
}

// records returns the answer to one question. d.mu is held.
func (d *DNS) records(q dns.Question) (rr []dns.RR) {
	name := canonical(q.Name)
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
	addrs, set := d.addrs[name]
	if !set {
		addrs = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	switch q.Qtype {
	case dns.TypeA:
		for _, ip := range addrs {
			if ip.To4() != nil {
				rr = append(rr, &dns.A{Hdr: header, A: ip.To4()})
			}
		}
	case dns.TypeAAAA:
		for _, ip := range addrs {
			if ip.To4() == nil {
				rr = append(rr, &dns.AAAA{Hdr: header, AAAA: ip})
			}
		}
	case dns.TypeTXT:
		for _, value := range d.txt[name] {
			rr = append(rr, &dns.TXT{Hdr: header, Txt: characterStrings(value)})
		}
	}
	return rr
}

// characterStrings cuts a value into pieces of at most 255 octets (RFC 1035
// section 3.3).
func characterStrings(value string) []string {
	var out []string
	for len(value) > 255 {
		out = append(out, value[:255])
		value = value[255:]
	}
	return append(out, value)
}

func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
