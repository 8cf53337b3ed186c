package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
	"github.com/inkan-acme/inkan/internal/testsign"
)

// served is what serves the certificates of a Store.
type served struct {
	t   *testing.T
	s   *testkit.Store
	c   *Certificates
	ca  *testsign.CA
	key *inkan.PrivateKey
}

func newServed(t *testing.T) *served {
	s := testkit.New()
	return &served{t, s, &Certificates{Store: s}, testsign.NewCA(t, "root", nil, time.Now().Add(3650*day)), testkit.Key(t, inkan.ECDSAP256)}
}

func (s *served) publish(name string, n uint64, names ...string) {
	s.t.Helper()
	publishFor(s.t, s.s, s.ca, s.key, name, n, time.Now(), names...)
}

// leaf asks for a server name and returns the names of what came.
func (s *served) leaf(hello *tls.ClientHelloInfo) string {
	s.t.Helper()
	c, err := s.c.GetCertificate(hello)
	if err != nil {
		return err.Error()
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	names = append(names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return fmt.Sprintf("%s #%s", strings.Join(names, ","), leaf.SerialNumber)
}

func sni(name string) *tls.ClientHelloInfo { return &tls.ClientHelloInfo{ServerName: name} }

type addressed struct {
	net.Conn
	addr net.Addr
}

func (c addressed) LocalAddr() net.Addr { return c.addr }

func at(addr string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{Conn: addressed{nil, &net.TCPAddr{IP: net.ParseIP(addr), Port: 443}}}
}

func TestGetCertificate(t *testing.T) {
	s := newServed(t)
	s.publish("example.com", 1, "example.com", "www.example.com") // 101
	s.publish("_.example.com", 1, "*.example.com")                // 102
	s.publish("addresses", 1, "192.0.2.1", "2001:db8::1")         // 103
	s.publish("default", 1, "default.example")                    // 104
	const none = "no certificate for this server name"
	for _, round := range []string{"loading", "hot"} {
		for _, c := range []struct {
			hello *tls.ClientHelloInfo
			want  string
		}{
			{sni("example.com"), "example.com,www.example.com #101"},
			{sni("www.example.com"), "example.com,www.example.com #101"}, // exact before wildcard
			{sni("WWW.Example.COM"), "example.com,www.example.com #101"},
			{sni("example.com."), "example.com,www.example.com #101"},
			{sni("a.example.com"), "*.example.com #102"},
			{sni("A.Example.Com."), "*.example.com #102"},
			{sni("a.b.example.com"), none}, // one label only
			{sni("com"), none},
			{sni("example.org"), none},
			{sni("192.0.2.1"), "192.0.2.1,2001:db8::1 #103"},
			{at("192.0.2.1"), "192.0.2.1,2001:db8::1 #103"},
			{at("2001:db8::1"), "192.0.2.1,2001:db8::1 #103"},
			{at("192.0.2.2"), none},
			{sni(""), none},
			{&tls.ClientHelloInfo{Conn: addressed{nil, &net.UnixAddr{Name: "/run/x"}}}, none},
		} {
			if got := s.leaf(c.hello); got != c.want {
				t.Errorf("%s: %q: %s, want %s", round, c.hello.ServerName, got, c.want)
			}
		}
	}
	ctx := t.Context()
	if err := s.c.SetDefault(ctx, "none"); err == nil {
		t.Error("a certificate that is not there became the default")
	}
	if err := s.c.SetDefault(ctx, "../x"); err == nil {
		t.Error("a bad name became the default")
	}
	if err := s.c.SetDefault(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	for _, hello := range []*tls.ClientHelloInfo{sni("example.org"), sni(""), at("192.0.2.2"), sni("../etc"), sni("a.b.example.com")} {
		if got := s.leaf(hello); got != "default.example #104" {
			t.Errorf("%q with a default: %s", hello.ServerName, got)
		}
	}
	if got := s.leaf(sni("example.com")); got != "example.com,www.example.com #101" {
		t.Errorf("the default hides others: %s", got)
	}
	if err := s.c.SetDefault(ctx, ""); err != nil || s.leaf(sni("example.org")) != none {
		t.Errorf("taken back: %v", err)
	}
}

// TestH01ServerNames: what a client makes up never becomes part of a key.
func TestH01ServerNames(t *testing.T) {
	s := newServed(t)
	var asked []string
	s.s.Before = func(op, key string) error { asked = append(asked, op+" "+key); return nil }
	for _, name := range []string{"../../etc/passwd", "a/b", "a\\b", ".", "..", "...", "a..b", "-", "a b", "a\x00b", "\xff\xfe", "*", "*.*.a", "%2e", "a:b", "1.2.3", "0x7f.1", "bücher.example",
		strings.Repeat("a", 64), strings.Repeat("a.", 500), "_acme.example", "ａ.example", "fe80::1%eth0", "[::1]", "\n"} {
		if got := s.leaf(sni(name)); got != ErrNoCertificate.Error() {
			t.Errorf("%q: %s", name, got)
		}
	}
	if asked != nil {
		t.Errorf("the Store was asked for %v", asked)
	}
}

// TestHintsAreHints: a hint to a certificate that lacks the name, or that is not
// there, serves nothing; of two the one that lasts longer is served.
func TestHintsAreHints(t *testing.T) {
	s := newServed(t)
	ctx := t.Context()
	s.publish("a", 1, "a.example")
	for _, liar := range []string{"a", "nobody", "../x"} {
		s.s.Set(state.NameIndexPrefix(inkan.Identifier{Type: inkan.DNS, Value: "b.example"})+liar, []byte("x"))
	}
	if got := s.leaf(sni("b.example")); got != ErrNoCertificate.Error() {
		t.Errorf("a lying hint: %s", got)
	}
	publishFor(t, s.s, s.ca, s.key, "old", 1, time.Now().Add(-30*day), "c.example")
	publishFor(t, s.s, s.ca, s.key, "young", 1, time.Now(), "c.example")
	publishFor(t, s.s, s.ca, s.key, "zold", 1, time.Now().Add(-20*day), "c.example")
	if got := s.leaf(sni("c.example")); got != "c.example #103" {
		t.Errorf("of three: %s", got)
	}
	// The version of somebody's own CSR has no key to serve with.
	if _, err := state.Update(ctx, s.s, state.CurrentKey("a"), func(c *inkan.Current, _ bool) error {
		c.N, c.Pairs = 2, map[inkan.KeyType]inkan.PairSum{inkan.ECDSAP256: {Cert: c.Pairs[inkan.ECDSAP256].Cert}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.s.Delete(ctx, state.VersionID{Name: "a", Seq: 1, ID: fmt.Sprintf("%016x", 1)}.Key(inkan.ECDSAP256)); err != nil {
		t.Fatal(err)
	}
	if got := s.leaf(sni("a.example")); got != ErrNoCertificate.Error() {
		t.Errorf("without a key: %s", got)
	}
}

// TestJ05MadeUpNames: names without a certificate, and names below a wildcard,
// take bounded memory however many come, and never push out real ones.
func TestJ05MadeUpNames(t *testing.T) {
	s := newServed(t)
	s.publish("_.wild.example", 1, "*.wild.example")
	s.publish("real", 1, "real.example")
	s.leaf(sni("real.example"))
	c := s.c
	bound := maxGuests / len(c.guests)
	for _, domain := range []string{"nobody.example", "wild.example"} {
		for i, n := 0, 0; n < 2*bound; i++ {
			name := fmt.Sprintf("h%d.%s", i, domain)
			if c.shard(name) != 7 {
				continue
			}
			n++
			s.leaf(sni(name))
			if got := len(*c.guests[7].Load()); got > bound {
				t.Fatalf("%d names in one shard, at most %d", got, bound)
			}
		}
	}
	for i := range c.named {
		if p := c.named[i].Load(); p != nil {
			for name := range *p {
				if name != "real.example" {
					t.Errorf("%s is among the names of certificates", name)
				}
			}
		}
	}
	// The names of one certificate share one parsed key.
	a, errA := s.c.GetCertificate(sni("a.wild.example"))
	b, errB := s.c.GetCertificate(sni("b.wild.example"))
	if a != b || errA != nil || errB != nil {
		t.Errorf("two names of one certificate have %p %v and %p %v", a, errA, b, errB)
	}
}

// TestNegativeIsForgotten: a name without a certificate is asked for again after
// a while, without Watch too.
func TestNegativeIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(t)
		for range 100 {
			s.leaf(sni("a.example"))
		}
		if s.s.Lists > 2 { // the name and its wildcard
			t.Errorf("%d looks into the Store for 100 handshakes", s.s.Lists)
		}
		s.publish("a", 1, "a.example")
		if got := s.leaf(sni("a.example")); got != ErrNoCertificate.Error() {
			t.Errorf("not remembered: %s", got)
		}
		time.Sleep(emptyLife + time.Second)
		if got := s.leaf(sni("a.example")); got != "a.example #101" {
			t.Errorf("after a while: %s", got)
		}
	})
}

// TestServeWhileStoreFails: what is in memory is served on, nothing is
// remembered as absent, and damage is not served.
func TestServeWhileStoreFails(t *testing.T) {
	s := newServed(t)
	ctx := t.Context()
	s.publish("a", 1, "a.example")
	s.publish("b", 1, "b.example")
	s.publish("_.example", 1, "*.example")
	s.leaf(sni("a.example"))
	if err := s.c.SetDefault(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{state.FamilyNames, "current/", "v/"} {
		s.s.Before = func(op, key string) error {
			if strings.HasPrefix(key, family) {
				return errors.New("503")
			}
			return nil
		}
		s.c.sharedMu.Lock()
		clear(s.c.versions)
		s.c.sharedMu.Unlock()
		for range 2 {
			s.c.Refresh(ctx, []string{"a", "b"})
			s.c.get("a.example").used.Store(true)
			s.c.Refresh(ctx, nil)
		}
		if got := s.leaf(sni("a.example")); got != "a.example #101" {
			t.Errorf("%s: %s", family, got)
		}
		if got := s.leaf(sni("b.example")); got != "a.example #101" { // the default
			t.Errorf("%s: not loaded: %s", family, got)
		}
		s.s.Before = nil
	}
	if got := s.leaf(sni("b.example")); got != "b.example #102" {
		t.Errorf("afterwards: %s", got)
	}
	s.publish("d", 1, "d.example")
	key := state.VersionID{Name: "d", Seq: 1, ID: fmt.Sprintf("%016x", 1)}.Cert(inkan.ECDSAP256)
	data, _, err := s.s.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	s.s.Set(key, data)
	if got := s.leaf(sni("d.example")); got != "*.example #103" {
		t.Errorf("D07: a damaged certificate: %s, want the wildcard's", got)
	}
}

// TestWatch: new versions arrive by events within the interval, without events
// within five minutes; what is deleted goes.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(t)
		ctx, stop := context.WithCancel(t.Context())
		s.publish("a", 1, "a.example", "old.example")
		s.publish("b", 1, "b.example")
		for _, n := range []string{"a.example", "old.example", "b.example", "new.example"} {
			s.leaf(sni(n))
		}
		if err := s.c.SetDefault(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- s.c.Watch(ctx, 2*time.Second) }()
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		expect := func(when, name, want string) {
			t.Helper()
			if got := s.leaf(sni(name)); got != want {
				t.Errorf("%s: %s: %s, want %s", when, name, got, want)
			}
		}
		wait(time.Minute)
		s.publish("a", 2, "a.example", "new.example") // 103
		wait(3 * time.Second)
		expect("by an event", "a.example", "a.example,new.example #103")
		expect("a name that had none", "new.example", "a.example,new.example #103")
		expect("a name that it lost", "old.example", "b.example #102") // the default

		s.publish("b", 2, "b.example") // 104, and its event is lost
		for k := range s.s.List(ctx, state.FamilyEvents, "") {
			if err := s.s.Delete(ctx, k); err != nil {
				t.Fatal(err)
			}
		}
		wait(3 * time.Second)
		expect("no event", "b.example", "b.example #102")
		gets := s.s.Count(&s.s.Gets)
		wait(watchRecheck)
		expect("at the re-check", "b.example", "b.example #104")
		expect("the default too", "nobody.example", "b.example #104")
		if n := s.s.Count(&s.s.Gets) - gets; n > 12 {
			t.Errorf("%d reads for a re-check of a few names", n)
		}

		for _, n := range []string{"a", "b"} { // deleted
			if _, err := state.Update(ctx, s.s, state.CurrentKey(n), func(c *inkan.Current, _ bool) error { *c = inkan.Current{N: c.N + 1, Top: c.Top}; return nil }); err != nil {
				t.Fatal(err)
			}
			if err := state.WriteEvent(ctx, s.s, inkan.Event{ID: "deleted-" + n, At: time.Now(), Kind: inkan.EventDeleted, Name: n}); err != nil {
				t.Fatal(err)
			}
		}
		wait(3 * time.Second)
		expect("deleted", "a.example", ErrNoCertificate.Error())
		expect("deleted", "b.example", ErrNoCertificate.Error())
		expect("deleted default", "nobody.example", ErrNoCertificate.Error())
		s.publish("b", 4, "b.example") // 105: it comes back
		wait(3 * time.Second)
		expect("back", "b.example", "b.example #105")
		expect("back as the default", "nobody2.example", "b.example #105")

		wait(3 * watchRecheck)
		for i := range s.c.named {
			if p := s.c.named[i].Load(); p != nil && len(*p) > 0 {
				t.Errorf("unused names stay: %v", *p)
			}
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
		if n := len(s.c.versions); n != 1 { // the default's
			t.Errorf("%d versions stay", n)
		}
	})
}

// TestChooseByClient: of several pairs the one that the client can use.
func TestChooseByClient(t *testing.T) {
	s := newServed(t)
	v := &inkan.Version{Name: "a", N: 1, Identifiers: testkit.IDs("a.example")}
	for _, kt := range []inkan.KeyType{inkan.ECDSAP256, inkan.RSA2048} {
		key := testkit.Key(t, kt)
		data, err := key.PEM()
		if err != nil {
			t.Fatal(err)
		}
		leaf := s.ca.Leaf(t, key.Public(), []string{"a.example"}, time.Now().Add(-time.Hour), time.Now().Add(day), nil)
		v.Pairs = append(v.Pairs, inkan.Pair{KeyType: kt, Leaf: leaf, Chains: [][]byte{testsign.PEM(leaf, s.ca.Cert)}, Key: &inkan.StoredKey{Form: inkan.PlainKey, Data: data}})
	}
	s.c.once.Do(s.c.init)
	p, err := s.c.pairsOf(t.Context(), v, 0)
	if err != nil {
		t.Fatal(err)
	}
	e := &tlsEntry{}
	e.set(p)
	hello := func(schemes ...tls.SignatureScheme) *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{ServerName: "a.example", SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: schemes}
	}
	if e.choose(hello(tls.PSSWithSHA256)) != p.certs[1] || e.choose(hello(tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256)) != p.certs[0] || e.choose(hello(tls.Ed25519)) != p.certs[0] {
		t.Error("the wrong pair was chosen")
	}
	if &p.certs[0].Certificate[1][0] != &p.certs[1].Certificate[1][0] {
		t.Error("the issuer stands in memory twice")
	}
}

// TestGetCertificateAllocates: a hit allocates nothing, and a loaded certificate
// takes at most 4 KB.
func TestGetCertificateAllocates(t *testing.T) {
	c, hellos, perCertificate := loadedCertificates(t, 500)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.GetCertificate(hellos[i%len(hellos)]); err != nil {
			t.Error(err)
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations for a hit", n)
	}
	if perCertificate > 4<<10 {
		t.Errorf("%d bytes for a certificate", perCertificate)
	}
	names := slices.Collect(func(yield func(string) bool) {
		for i := range c.named {
			if p := c.named[i].Load(); p != nil {
				for n := range *p {
					if !yield(n) {
						return
					}
				}
			}
		}
	})
	if len(names) != len(hellos) {
		t.Errorf("%d names are remembered, want %d", len(names), len(hellos))
	}
}
