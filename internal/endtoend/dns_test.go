package endtoend

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testdns"
)

// TestDNS01 issues a name with its wildcard through BIND with two secondaries,
// Knot and PowerDNS, and through a CNAME record at BIND that leads to Knot.
// Pebble asks a resolver which remembers what was absent, as those of CAs may.
func TestDNS01(t *testing.T) {
	n := testdns.New(t)
	bind := n.BIND(2, testdns.Zone{Name: "bind.example.", Records: []string{"_acme-challenge.away CNAME away.acme.knot.example."}})
	knot := n.Knot(testdns.Zone{Name: "knot.example.", Records: []string{"acme TXT delegated"}})
	pdns := n.PowerDNS(testdns.Zone{Name: "pdns.example."})
	resolver := n.Resolver()
	r := newRig(t, testca.Options{DNSServer: resolver})
	dir := filepath.Dir(r.data)
	write(t, filepath.Join(dir, "secret"), bind.Key.Secret+"\n", 0o600)
	var zones []string
	hosts := "dns:\n"
	for zone, s := range map[string]*testdns.Server{"bind": bind, "knot": knot, "pdns": pdns} {
		hosts += fmt.Sprintf("  %s: {type: rfc2136, server: %q, key: inkan, secret: {file: %s/secret}}\n", zone, s.Addrs[0], dir)
		zones = append(zones, fmt.Sprintf("{zone: %s.example, dns: %s, servers: [%s]}", zone, zone, `"`+strings.Join(s.Addrs, `", "`)+`"`))
	}
	config := filepath.Join(dir, "inkan.yaml")
	write(t, config, hosts+fmt.Sprintf(`cas:
  test: {directory: %q, roots: %q}
accounts:
  ops: {email: ops@example.com, agree_terms: true}
solvers:
  dns: {type: dns-01, zones: [%s], resolvers: [%q]}
defaults: {ca: test, account: ops, validate: dns}
certificates:
  bind: {names: [www.bind.example, "*.www.bind.example", bind.example]}
  knot: {names: [knot.example, "*.knot.example"]}
  pdns: {names: [pdns.example, "*.pdns.example"]}
  away: {names: [away.bind.example, "*.away.bind.example"]}
`, r.ca.DirectoryURL, r.root, strings.Join(zones, ", "), resolver), 0o600)
	r.run("--config", config, "apply")
	for name, want := range map[string]string{"bind": "*.www.bind.example", "knot": "*.knot.example", "pdns": "*.pdns.example", "away": "*.away.bind.example"} {
		if certs := r.issuedFor(want); len(certs) != 1 {
			t.Errorf("%s: the CA issued %d certificates for %s", name, len(certs), want)
		}
	}
	for name, s := range map[string]*testdns.Server{
		"_acme-challenge.www.bind.example.": bind, "_acme-challenge.bind.example.": bind, "_acme-challenge.knot.example.": knot,
		"away.acme.knot.example.": knot, "_acme-challenge.pdns.example.": pdns,
	} {
		if left := testdns.TXT(t, s.Addrs[0], name); len(left) > 0 { // V7
			t.Errorf("left at %s: %q", name, left)
		}
	}
	t.Log("proof: base and wildcard issued by Pebble through BIND with two secondaries, Knot, PowerDNS and a CNAME record into a second server")
}
