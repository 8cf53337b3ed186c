package endtoend

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/plug"
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

// TestDNSOfTheAccount issues by the two ways whose records name the account: a
// record that Inkan writes under the account's own label, and one that a person
// published once, which is what `inkan dns records` prints.
func TestDNSOfTheAccount(t *testing.T) {
	n := testdns.New(t)
	knot := n.Knot(testdns.Zone{Name: "knot.example."})
	resolver := n.Resolver()
	r := newRig(t, testca.Options{DNSServer: resolver})
	dir := filepath.Dir(r.data)
	write(t, filepath.Join(dir, "secret"), knot.Key.Secret+"\n", 0o600)
	config := filepath.Join(dir, "inkan.yaml")
	write(t, config, fmt.Sprintf(`cas:
  test: {directory: %q, roots: %q}
accounts:
  ops: {email: ops@example.com, agree_terms: true}
dns:
  knot: {type: rfc2136, server: %q, key: inkan, secret: {file: %s/secret}}
solvers:
  own: {type: dns-account-01, zones: [{zone: knot.example, dns: knot, servers: [%q]}], resolvers: [%q]}
  once: {type: dns-persist-01, resolvers: [%q]}
defaults: {ca: test, account: ops}
certificates:
  own: {names: [own.knot.example, "*.own.knot.example"], validate: own}
  once: {names: [once.knot.example, "*.once.knot.example"], validate: once}
`, r.ca.DirectoryURL, r.root, knot.Addrs[0], dir, knot.Addrs[0], resolver, resolver), 0o600)
	r.run("--config", config, "account", "register", "--ca", "test", "--account", "ops")
	var records []struct{ Name, Value string }
	if err := json.Unmarshal([]byte(r.run("--config", config, "--json", "dns", "records", "--ca", "test", "--account", "ops", "--wildcard", "once.knot.example")), &records); err != nil {
		t.Fatal(err)
	}
	host, err := dns.RFC2136(plug.Env{}, dns.RFC2136Config{Server: knot.Addrs[0], Key: knot.Key.Name, Algorithm: knot.Key.Algorithm, Secret: plug.NewSecret(knot.Key.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	if err := host.AddTXT(t.Context(), "knot.example.", []inkan.TXT{{Name: records[0].Name, Value: records[0].Value}}); err != nil {
		t.Fatal(err)
	}
	r.run("--config", config, "apply")
	for _, name := range []string{"*.own.knot.example", "*.once.knot.example"} {
		if certs := r.issuedFor(name); len(certs) != 1 {
			t.Errorf("the CA issued %d certificates for %s", len(certs), name)
		}
	}
	if left := testdns.TXT(t, knot.Addrs[0], records[0].Name); len(left) != 1 {
		t.Errorf("the record that somebody published is now %q", left)
	}
	t.Log("proof: base and wildcard issued by Pebble through dns-account-01 and dns-persist-01 at Knot")
}
