package doctor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	rfc2136 "github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
)

// program finds one of BIND's; without it the test is skipped, in CI it fails.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin", "/usr/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("SKIPPED: %s is missing", name)
	return ""
}

// TestDNSSECByBIND: a zone signed by BIND's tools, served by BIND, asked through
// a BIND that validates: sound, then with signatures that have run out.
func TestDNSSECByBIND(t *testing.T) {
	named := program(t, "named")
	dir := t.TempDir()
	signZone(t, dir, "good", "now+86400")
	signed := dnskey(t, filepath.Join(dir, "good.signed"))
	signZone(t, dir, "old", "now-3600")
	ca := testca.Start(t, testca.Options{})
	for name, says := range map[string]string{"good": "", "old": "told not to check signatures"} {
		t.Run(name, func(t *testing.T) {
			own := startNamed(t, named, "recursion no;", fmt.Sprintf("zone %q { type primary; file %q; };", zoneOwn, filepath.Join(dir, name+".signed")))
			resolver := startNamed(t, named, "recursion yes; dnssec-validation yes;",
				fmt.Sprintf("trust-anchors { %q static-key 257 3 13 %q; };\nzone %q { type forward; forward only; forwarders { 127.0.0.1 port %d; }; };",
					zoneOwn, signed.PublicKey, zoneOwn, own))
			w := newWorld(t, ca)
			w.register()
			w.doctor.AuthorityPort = own
			w.doctor.Resolvers = []string{testport.Addr(resolver)}
			serves(t, w.doctor.Resolvers[0])
			found := w.examine()
			if says == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			expect(t, found, "dnssec-bogus", scenario{says: says})
			if found[0].Name != host || found[0].Severity != doctor.Error {
				t.Errorf("%+v", found)
			}
		})
	}
}

// signZone makes <name>.signed, whose signatures hold until end, with one key
// for all.
func signZone(t *testing.T, dir, name, end string) {
	t.Helper()
	run := func(tool string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program(t, tool), args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", tool, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	keys, err := filepath.Glob(filepath.Join(dir, "K*.key"))
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) == 0 {
		run("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", strings.TrimSuffix(zoneOwn, "."))
		if keys, err = filepath.Glob(filepath.Join(dir, "K*.key")); err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
	}
	zone := fmt.Sprintf("$ORIGIN %s\n$TTL 60\n@ SOA ns hostmaster 1 60 1 3600 30\n@ NS ns\nns A 127.0.0.1\nwww A 127.0.0.1\n", zoneOwn)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(zone), 0o600); err != nil {
		t.Fatal(err)
	}
	run("dnssec-signzone", "-q", "-P", "-z", "-S", "-K", dir, "-o", strings.TrimSuffix(zoneOwn, "."), "-s", "now-86400", "-e", end, "-f", name+".signed", name)
}

// dnskey reads the key of a signed zone.
func dnskey(t *testing.T, path string) *dns.DNSKEY {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := dns.NewZoneParser(f, "", path)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if k, ok := rr.(*dns.DNSKEY); ok {
			return k
		}
	}
	t.Fatalf("no DNSKEY record in %s: %v", path, p.Err())
	return nil
}

// startNamed starts BIND at 127.0.0.1 until the test ends and returns its port.
func startNamed(t *testing.T, path, options, rest string) int {
	t.Helper()
	for range 5 { // between the reservation and named another may take the port
		p, err := testport.Reserve()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Release(); err != nil {
			t.Fatal(err)
		}
		if runNamed(t, path, p.Number, options, rest) {
			return p.Number
		}
	}
	t.Fatal("named found no port")
	return 0
}

// runNamed reports whether named runs.
func runNamed(t *testing.T, path string, port int, options, rest string) bool {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf("options { directory %q; pid-file none; lock-file none; session-keyfile %q; geoip-directory none; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; empty-zones-enable no; %s };\ncontrols { };\n%s\n",
		dir, filepath.Join(dir, "session.key"), port, options, rest)
	file := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command(path, "-g", "-4", "-n", "1", "-c", file)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), " running\n") {
			return !strings.Contains(string(text), "address in use")
		}
		select {
		case <-ended:
			t.Logf("named said:\n%s", text)
			return false
		case <-tick.C:
		}
	}
}

// serves waits until a resolver answers for the zone.
func serves(t *testing.T, addr string) {
	t.Helper()
	c := &dnslookup.Client{Timeout: time.Second}
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := c.Ask(t.Context(), dnslookup.Question{Server: addr, Name: zoneOwn, Type: dns.TypeSOA, Recurse: true, NoCheck: true})
		if err == nil && len(a.Records) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s answers %v", addr, err)
		}
		<-tick.C
	}
}

// TestDNS01ByBIND: a trial record at a real server with a secondary; then with a
// key that the server does not know, and with a secondary that keeps silent.
func TestDNS01ByBIND(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	n := testdns.New(t)
	bind := n.BIND(1, testdns.Zone{Name: zoneOwn, Records: []string{"www A 192.0.2.1"}})
	resolver := n.Resolver()
	w := newWorld(t, ca)
	w.register()
	w.listen = nil
	w.doctor.AuthorityPort, w.doctor.Resolvers = n.Port, []string{resolver}
	use := func(secret string) {
		host, err := rfc2136.RFC2136(plug.Env{}, rfc2136.RFC2136Config{Server: bind.Addrs[0], Key: bind.Key.Name, Algorithm: bind.Key.Algorithm, Secret: plug.NewSecret(secret)})
		if err != nil {
			t.Fatal(err)
		}
		w.solver = func() (inkan.Solver, error) {
			ref := plug.Ref[inkan.DNSProvider]{Value: host}
			return solve.DNS01(plug.Env{}, solve.DNS01Config{DNS: ref, Zones: []solve.DNS01Zone{{Zone: zoneOwn, Servers: bind.Addrs}},
				Propagation: solve.Propagation{Resolvers: []string{resolver}, Timeout: plug.Duration(3 * time.Second)}})
		}
	}
	w.names(inkan.DNS01, host, "*.www.shop.example", "shop.example")
	use(bind.Key.Secret)
	if found := w.examine(); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	for _, name := range []string{"_acme-challenge.www.shop.example.", "_acme-challenge.shop.example."} {
		if left := testdns.TXT(t, bind.Addrs[0], name); len(left) > 0 {
			t.Errorf("left at %s: %q", name, left)
		}
	}
	w.names(inkan.DNS01, host)
	use("d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I=")
	expect(t, w.look(), "dns-write-refused", scenario{says: "BADSIG"})
	if os.Getenv("INKAN_LONG") == "" {
		return // silence takes its time
	}
	bind.Silence(1, true)
	use(bind.Key.Secret)
	expect(t, w.look(), "dns-not-visible", scenario{also: []string{"delegation-lame"}, says: "no answer within"})
}
