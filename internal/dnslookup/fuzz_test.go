package dnslookup

import (
	"errors"
	"testing"

	"github.com/miekg/dns"
)

// FuzzParse reads whatever a server sends: it never panics or hangs (B06,
// GHSA-gx3x-vq4p-mhhv), and what it takes for an answer answers the question.
func FuzzParse(f *testing.F) {
	q := Question{Name: "a.example.", Type: dns.TypeTXT}
	query := newQuery(q)
	query.Id = 0x1234
	query.Question[0].Name = "a.Example."
	good := new(dns.Msg).SetReply(query)
	good.Answer = append(good.Answer, NewTXT("a.example.", "value", 60))
	alias, _ := dns.NewRR("a.example. CNAME a.example.")
	circle := new(dns.Msg).SetReply(query)
	circle.Answer = append(circle.Answer, alias)
	negative := new(dns.Msg).SetReply(query)
	soa, _ := dns.NewRR("example. SOA a. b. 1 2 3 4 5")
	ns, _ := dns.NewRR("example. NS ns.example.")
	negative.Ns = append(negative.Ns, soa, ns)
	for _, m := range []*dns.Msg{good, circle, negative, query} {
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, true)
		f.Add(wire[:len(wire)-3], false)
	}
	f.Fuzz(func(t *testing.T, wire []byte, tcp bool) {
		a, err := parse(query, q, wire, tcp)
		if err != nil {
			if a != nil {
				t.Error("an answer with an error")
			}
			return
		}
		if len(wire) < 12 || wire[0] != 0x12 || wire[1] != 0x34 || wire[2]&0x80 == 0 {
			t.Error("no answer to the question was taken for one")
		}
		if e := a.refusal(); e == nil {
			for _, v := range a.TXT() {
				if len(v) > 64<<10 {
					t.Error("a value larger than the message")
				}
			}
			for _, zone := range []string{a.apex(q.Name), a.childApex(q.Name, "."), a.referral(q.Name, ".")} {
				if zone != "" && !within(q.Name, zone) {
					t.Errorf("the zone %q is not above the name", zone)
				}
			}
			_ = a.alias(q.Name)
			_ = describe(a, nil, a.TXT())
		} else if errors.Unwrap(e) == nil {
			t.Error("a refusal without a cause")
		}
	})
}
