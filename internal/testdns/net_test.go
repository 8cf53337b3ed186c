package testdns

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// TestServers starts every server; the resolver follows a CNAME record from one
// into another.
func TestServers(t *testing.T) {
	n := New(t)
	n.BIND(2, Zone{Name: "bind.example.", Records: []string{"text TXT hello", "away CNAME text.knot.example."}})
	n.Knot(Zone{Name: "knot.example.", Records: []string{"text TXT there"}})
	p := n.PowerDNS(Zone{Name: "pdns.example.", Records: []string{`text TXT "again"`}})
	r := n.Resolver()
	for name, want := range map[string]string{
		"text.bind.example.": "hello", "away.bind.example.": "there", "text.knot.example.": "there", "text.pdns.example.": "again",
	} {
		a, err := new(dnslookup.Client).Query(t.Context(), r, name, dns.TypeTXT)
		if err != nil || len(a.TXT()) != 1 || a.TXT()[0] != want {
			t.Errorf("%s: %+v, %v; want %s", name, a, err, want)
		}
	}
	if p.API == "" || p.APIKey == "" {
		t.Errorf("%+v", p)
	}
}
