package dns_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

const testZone = "example.com."

func rfc2136Config(s *testdns.Server) dns.RFC2136Config {
	return dns.RFC2136Config{Server: s.Addrs[0], Key: s.Key.Name, Algorithm: s.Key.Algorithm, Secret: plug.NewSecret(s.Key.Secret)}
}

func openRFC2136(t *testing.T, c dns.RFC2136Config) inkan.DNSProvider {
	t.Helper()
	p, err := dns.RFC2136(plug.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRFC2136 holds the contract against the servers that people run.
func TestRFC2136(t *testing.T) {
	servers := map[string]func(*testdns.Net, testdns.Zone) *testdns.Server{
		"BIND":     func(n *testdns.Net, z testdns.Zone) *testdns.Server { return n.BIND(0, z) },
		"Knot":     func(n *testdns.Net, z testdns.Zone) *testdns.Server { return n.Knot(z) },
		"PowerDNS": func(n *testdns.Net, z testdns.Zone) *testdns.Server { return n.PowerDNS(z) },
	}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			s := start(testdns.New(t), testdns.Zone{Name: testZone})
			dnstest.Run(t, dnstest.Harness{
				Open:   func(t *testing.T) inkan.DNSProvider { return openRFC2136(t, rfc2136Config(s)) },
				Zone:   testZone,
				Values: func(t *testing.T, name string) []string { return testdns.TXT(t, s.Addrs[0], name) },
				Foreign: func(t *testing.T, name, value string) {
					m := new(miekg.Msg).SetUpdate(testZone)
					m.Insert([]miekg.RR{dnslookup.NewTXT(name, value, 60)})
					m.SetTsig(s.Key.Name, s.Key.Algorithm+".", 300, time.Now().Unix())
					c := miekg.Client{Net: "tcp", TsigSecret: map[string]string{s.Key.Name: s.Key.Secret}}
					if r, _, err := c.Exchange(m, s.Addrs[0]); err != nil || r.Rcode != miekg.RcodeSuccess {
						t.Fatalf("%v: %v", r, err)
					}
				},
				TTL:  func(t *testing.T, name string) int { return testdns.TTL(t, s.Addrs[0], name) },
				Swap: true,
			})
		})
	}
}

// Wrong credentials, a foreign zone, a server that refuses or does not exist:
// each error says what to mend, and none holds the secret.
func TestRFC2136Refusals(t *testing.T) {
	n := testdns.New(t)
	s := n.BIND(0, testdns.Zone{Name: testZone, Policy: "grant inkan. name _acme-challenge.www.example.com. TXT;"})
	good := rfc2136Config(s)
	with := func(change func(*dns.RFC2136Config)) dns.RFC2136Config {
		c := good
		change(&c)
		return c
	}
	clock := func() time.Time { return time.Now().Add(-time.Hour) }
	for _, c := range []struct {
		what   string
		config dns.RFC2136Config
		env    plug.Env
		name   string
		zone   string
		kind   inkan.Kind
		want   string
	}{
		{what: "allowed", config: good, name: "_acme-challenge.www.example.com."},
		{what: "the policy", config: good, name: "_acme-challenge.example.com.", want: "REFUSED"},
		{what: "unknown key", config: with(func(c *dns.RFC2136Config) { c.Key = "other." }), want: "does not know the key other. (BADKEY)"},
		{what: "algorithm", config: with(func(c *dns.RFC2136Config) { c.Algorithm = "hmac-sha512" }), want: "(BADKEY)"},
		{what: "secret", config: with(func(c *dns.RFC2136Config) { c.Secret = plug.NewSecret("c2VjcmV0") }), want: "(BADSIG)"},
		{what: "clock", config: good, env: plug.Env{Now: clock}, want: "(BADTIME)"},
		{what: "no key", config: dns.RFC2136Config{Server: good.Server}, want: "REFUSED"},
		{what: "zone", config: good, zone: "example.net.", name: "_acme-challenge.example.net.", want: "NOTAUTH"},
		{what: "port", config: with(func(c *dns.RFC2136Config) { c.Server = n.Addr() }), kind: inkan.Temporary, want: "connection refused"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := dns.RFC2136(c.env, c.config)
			if err != nil {
				t.Fatal(err)
			}
			if c.zone == "" {
				c.zone = testZone
			}
			if c.name == "" {
				c.name = "_acme-challenge.www.example.com."
			}
			err = p.AddTXT(t.Context(), c.zone, []inkan.TXT{{Name: c.name, Value: "v"}})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if c.kind == 0 && c.what != "port" {
				c.kind = inkan.Operator
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || inkan.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.config.Server) {
				t.Errorf("error %v of kind %v; want %q of kind %v", err, inkan.KindOf(err), c.want, c.kind)
			}
			if c.kind == inkan.Operator && len(inkan.HintsOf(err)) == 0 {
				t.Errorf("%v: no hint", err)
			}
			if strings.Contains(err.Error(), c.config.Secret.Reveal()) && !c.config.Secret.IsZero() {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

// A server that says yes without a signature is not believed, and one that
// says nothing is given up.
func TestRFC2136Untrusted(t *testing.T) {
	answer := func(t *testing.T, reply func(q []byte) []byte) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				c := &miekg.Conn{Conn: conn}
				if q, err := c.ReadMsgHeader(nil); err == nil {
					if r := reply(q); r != nil {
						_, _ = c.Write(r)
						_ = conn.Close()
					}
				}
			}
		}()
		return l.Addr().String()
	}
	for want, reply := range map[string]func(q []byte) []byte{
		"it is not signed": func(q []byte) []byte {
			m := new(miekg.Msg)
			if m.Unpack(q) != nil {
				return nil
			}
			b, _ := new(miekg.Msg).SetReply(m).Pack()
			return b
		},
		"the server answered something else": func([]byte) []byte { return make([]byte, 12) },
		"no answer within 300ms":             func([]byte) []byte { return nil },
		"its answer is garbled":              func([]byte) []byte { return []byte(strings.Repeat("\xff", 40)) },
	} {
		p := openRFC2136(t, dns.RFC2136Config{Server: answer(t, reply), Key: "k.", Secret: plug.NewSecret("c2VjcmV0"), Timeout: plug.Duration(300 * time.Millisecond)})
		err := p.AddTXT(t.Context(), testZone, []inkan.TXT{{Name: "a." + testZone, Value: "v"}})
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Temporary) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p := openRFC2136(t, dns.RFC2136Config{Server: answer(t, func([]byte) []byte { return nil })})
	if err := p.AddTXT(ctx, testZone, []inkan.TXT{{Name: "a." + testZone, Value: "v"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestRFC2136Options(t *testing.T) {
	for want, c := range map[string]dns.RFC2136Config{
		"no server given":             {},
		`"a b:x" is not a server`:     {Server: "a b:x"},
		"key and secret belong":       {Server: "a", Key: "k."},
		"is not base64":               {Server: "a", Key: "k.", Secret: plug.NewSecret("%")},
		`"hmac-md5" is none of`:       {Server: "a", Key: "k.", Algorithm: "hmac-md5", Secret: plug.NewSecret("AAAA")},
		"is not the name of a key":    {Server: "a", Key: strings.Repeat("k", 70), Secret: plug.NewSecret("AAAA")},
		`"a:99999" is not a server`:   {Server: "a:99999"},
		`"[::1]:53:1" is not a serve`: {Server: "[::1]:53:1"},
	} {
		if _, err := dns.RFC2136(plug.Env{}, c); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Operator) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
}
