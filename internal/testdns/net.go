// Package testdns starts the DNS servers that people run, BIND, Knot and
// PowerDNS, on loopback addresses of a test's own: authoritative ones that take
// updates, and a resolver that finds them.
package testdns

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/testport"
)

// Net is a handful of DNS servers that answer at one port of different
// addresses 127.0.0.x, so that they can be found by NS and address records.
type Net struct {
	Port int

	t     testing.TB
	next  byte // last byte of the next address
	zones map[string]string
}

// Zone is a zone to serve. Its name servers are ns1, ns2 ... below it.
type Zone struct {
	Name    string   // absolute
	Records []string // in zone file syntax, beside SOA, NS and their addresses
	Policy  string   // BIND's update-policy; "": Key may change every TXT record
}

// Server is a running authoritative server with its secondaries.
type Server struct {
	Addrs  []string // host:port, the primary first
	Key    Key      // may update the zones
	API    string   // PowerDNS: the URL of its HTTP API
	APIKey string

	fronts []*front // BIND
}

// Silence makes the i-th server of BIND swallow every question, or answer again.
func (s *Server) Silence(i int, silent bool) { s.fronts[i].silent.Store(silent) }

// Key is a TSIG key (RFC 8945).
type Key struct{ Name, Algorithm, Secret string }

// New returns a Net. It skips the test, or fails it in CI, where the system has
// one loopback address only.
func New(t testing.TB) *Net {
	t.Helper()
	n := &Net{t: t, Port: testport.For(t), next: 2, zones: map[string]string{}}
	c, err := net.ListenPacket("udp", n.at(2))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: DNS servers for tests need the address 127.0.0.2: %v", err)
	}
	_ = c.Close()
	return n
}

// Addr sets an address aside.
func (n *Net) Addr() string {
	n.next++
	return n.at(n.next - 1)
}

func (n *Net) at(last byte) string { return fmt.Sprintf("127.0.0.%d:%d", last, n.Port) }

// Serve tells the Net of a server of the test's own.
func (n *Net) Serve(addr string, zones ...string) {
	for _, z := range zones {
		n.zones[z] = addr
	}
}

// file returns the zone file of z, whose servers are at the addresses.
func (z Zone) file(addrs []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s\n$TTL 60\n@ SOA ns1 hostmaster 1 60 1 3600 30\n", z.Name)
	for i, addr := range addrs {
		host, _, _ := net.SplitHostPort(addr)
		fmt.Fprintf(&b, "@ NS ns%d\nns%d A %s\n", i+1, i+1, host)
	}
	for _, r := range z.Records {
		b.WriteString(r + "\n")
	}
	return b.String()
}

// program finds a daemon. Without it the test is skipped, in CI it fails.
func program(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path := filepath.Join("/usr/sbin", name); exec.Command("test", "-x", path).Run() == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("SKIPPED: %s is missing", name)
	return ""
}

// start runs a daemon until the test ends.
func start(t testing.TB, path string, args ...string) *daemon {
	t.Helper()
	d := &daemon{name: filepath.Base(path), ended: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &d.log, &d.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-d.ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", d.name, d.log.String())
		}
	})
	return d
}

type daemon struct {
	name  string
	log   lockedBuffer
	ended chan struct{}
}

// says waits until the daemon has said a text, or has ended.
func (d *daemon) says(t testing.TB, text string) bool {
	t.Helper()
	said := eventually(t, func() bool {
		select {
		case <-d.ended:
			return true
		default:
			return strings.Contains(d.log.String(), text)
		}
	})
	if !said {
		t.Fatalf("%s does not say %q:\n%s", d.name, text, d.log.String())
	}
	return strings.Contains(d.log.String(), text)
}

// serves waits until a server answers for the zones.
func serves(t testing.TB, addr string, zones ...Zone) {
	t.Helper()
	c := &dnslookup.Client{Timeout: time.Second}
	for _, z := range zones {
		var err error
		if !eventually(t, func() bool {
			var a *dnslookup.Answer
			a, err = c.Ask(t.Context(), dnslookup.Question{Server: addr, Name: z.Name, Type: dns.TypeSOA, Recurse: true})
			return err == nil && len(a.Records) > 0
		}) {
			t.Fatalf("%s is not served at %s: %v", z.Name, addr, err)
		}
	}
}

// eventually reports whether cond becomes true within 20 seconds.
func eventually(t testing.TB, cond func() bool) bool {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// lockedBuffer is what a daemon has said so far.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// write puts a file into dir and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TXT returns the values at name that the server at addr has.
func TXT(t testing.TB, addr, name string) []string {
	t.Helper()
	rrs := lookup(t, addr, name)
	var values []string
	for _, rr := range rrs {
		values = append(values, dnslookup.TXTValue(rr))
	}
	return values
}

// TTL returns the TTL of the TXT records at name, in seconds.
func TTL(t testing.TB, addr, name string) int {
	t.Helper()
	for _, rr := range lookup(t, addr, name) {
		return int(rr.Hdr.Ttl)
	}
	return -1
}

func lookup(t testing.TB, addr, name string) (txt []*dns.TXT) {
	t.Helper()
	a, err := new(dnslookup.Client).Ask(context.WithoutCancel(t.Context()), dnslookup.Question{Server: addr, Name: name, Type: dns.TypeTXT})
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range a.Records {
		if rr, ok := rr.(*dns.TXT); ok {
			txt = append(txt, rr)
		}
	}
	return txt
}

// newKey returns the key that all servers know.
func newKey() Key {
	return Key{Name: "inkan.", Algorithm: "hmac-sha256", Secret: "bm90IGEgc2VjcmV0LCBpdCBpcyBpbiB0aGUgc291cmNlIQ=="}
}
