package doctor_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan/internal/dnspersist"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testdns"
)

type netURL = url.URL

// fake is testdns.Fake with the address first.
func fake(t testing.TB, addr string, handle func(*dns.Msg, bool) *dns.Msg) {
	t.Helper()
	testdns.Fake(t, addr, handle)
}

// failsFor answers address questions about a name with SERVFAIL, whatever is
// asked for; with cname, only those of another type than CNAME.
func failsFor(name string, addressesOnly bool) func(*dns.Msg) *dns.Msg {
	return func(q *dns.Msg) *dns.Msg {
		if !strings.EqualFold(q.Question[0].Name, name+".") || addressesOnly && q.Question[0].Qtype == dns.TypeCNAME {
			return nil
		}
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
}

// bogus is a validating resolver that finds the signatures of a name wrong.
func bogus(w *world, name string) func(*dns.Msg) *dns.Msg {
	fails := failsFor(name, false)
	return func(q *dns.Msg) *dns.Msg {
		if q.CheckingDisabled {
			return nil
		}
		return fails(q)
	}
}

// persistValue is a record for the account of the world that runs out later.
func (w *world) persistValue(after time.Duration) string {
	rec, err := w.accounts.Load(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	r := dnspersist.Record{Issuer: "pebble.letsencrypt.org", Account: rec.URL}
	if after != 0 {
		r.Until = time.Now().Add(after)
	}
	return strings.ReplaceAll(dnspersist.Current().Value(r), ";", `\;`)
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// signedZone signs what the server of shop.example answers, with one key.
type signedZone struct {
	key         *dns.DNSKEY
	private     crypto.Signer
	from, until time.Time
	spoil       bool // the signatures are of something else
	unsigned    bool // there are none
	noKeys      bool // there is no DNSKEY record
}

func newSignedZone(t *testing.T) *signedZone {
	t.Helper()
	z := &signedZone{from: time.Now().Add(-time.Hour), until: time.Now().Add(24 * time.Hour)}
	z.key, z.private = newKey(t)
	return z
}

func newKey(t *testing.T) (*dns.DNSKEY, crypto.Signer) {
	t.Helper()
	key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: zoneOwn, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 60}, Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	return key, private.(crypto.Signer)
}

// use makes w's zone a signed one whose DS record is that of anchor.
func (z *signedZone) use(t *testing.T, w *world, anchor *dns.DNSKEY) {
	plain := func(q *dns.Msg, tcp bool) *dns.Msg { return w.mem.Authority(zoneOwn)(q, tcp) }
	w.serve = func(q *dns.Msg, tcp bool) *dns.Msg {
		m := plain(q, tcp)
		if asks(q, dns.TypeDNSKEY, zoneOwn) && !z.noKeys {
			m.Answer, m.Ns = []dns.RR{z.key}, nil
		}
		if opt := q.IsEdns0(); opt != nil && opt.Do() && len(m.Answer) > 0 && !z.unsigned {
			m.Answer = append(m.Answer, z.sign(t, m.Answer))
		}
		return m
	}
	ds := anchor.ToDS(dns.SHA256)
	w.ask = func(q *dns.Msg) *dns.Msg {
		if !asks(q, dns.TypeDS, zoneOwn) {
			return nil
		}
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{ds}
		return m
	}
}

func (z *signedZone) sign(t *testing.T, set []dns.RR) *dns.RRSIG {
	sig := &dns.RRSIG{Hdr: dns.RR_Header{Name: zoneOwn, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 60}, Algorithm: z.key.Algorithm,
		KeyTag: z.key.KeyTag(), SignerName: zoneOwn, Inception: uint32(z.from.Unix()), Expiration: uint32(z.until.Unix())}
	if err := sig.Sign(z.private, set); err != nil {
		t.Error(err)
	}
	if z.spoil {
		sig.OrigTtl++
	}
	return sig
}

// TestDNSSECBogus: what is wrong with a signed zone is told, whether or not the
// resolver of this machine checks signatures.
func TestDNSSECBogus(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	other, _ := newKey(t)
	for name, c := range map[string]struct {
		says  string // "": it is sound
		spoil func(z *signedZone) (anchor *dns.DNSKEY)
	}{
		"sound":     {"", func(z *signedZone) *dns.DNSKEY { return z.key }},
		"expired":   {"holds from", func(z *signedZone) *dns.DNSKEY { z.until = time.Now().Add(-time.Minute); return z.key }},
		"future":    {"holds from", func(z *signedZone) *dns.DNSKEY { z.from = time.Now().Add(time.Hour); return z.key }},
		"wrong":     {"is wrong", func(z *signedZone) *dns.DNSKEY { z.spoil = true; return z.key }},
		"unsigned":  {"are not signed", func(z *signedZone) *dns.DNSKEY { z.unsigned = true; return z.key }},
		"other DS":  {"no DNSKEY record of the zone belongs to a DS record", func(*signedZone) *dns.DNSKEY { return other }},
		"no DNSKEY": {"has no DNSKEY record", func(z *signedZone) *dns.DNSKEY { z.noKeys = true; return z.key }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ca)
			w.register()
			z := newSignedZone(t)
			z.use(t, w, c.spoil(z))
			found := w.examine()
			if c.says == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			expect(t, found, "dnssec-bogus", scenario{says: c.says})
			if found[0].Name != "shop.example" {
				t.Errorf("it is about %s", found[0].Name)
			}
		})
	}
}

// serveHTTPS serves h with a certificate that nobody trusts.
func serveHTTPS(t *testing.T, address string, port int, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.StartTLS()
	t.Cleanup(s.Close)
}
