package doctor

import (
	"net/url"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// FuzzCAA: whatever stands in CAA records, a CA is let in only by a value that
// begins with its name.
func FuzzCAA(f *testing.F) {
	for _, s := range []string{"", ";", "ca.example", "ca.example; accounturi=https://a/1; validationmethods=http-01", "ca.example;=;;a", " \t; =", "ca.example; validationmethods="} {
		f.Add("issue", s, uint8(0), false)
		f.Add("issuewild", s, uint8(128), true)
	}
	f.Fuzz(func(t *testing.T, tag, value string, flag uint8, wildcard bool) {
		p := newPolicy([]*dns.CAA{{Tag: tag, Value: value, Flag: flag}}, wildcard)
		a := &authority{issuers: []string{"ca.example"}, url: "https://a/1"}
		kind, why := p.judge(a, []string{"http-01"})
		allowed := kind == "" && p.critical == "" && p.restricts
		if allowed && parseIssue(value).issuer != "ca.example" {
			t.Errorf("%q lets it in", value)
		}
		if kind != "" && (why == "" || !slices.ContainsFunc(Kinds(), func(k Kind) bool { return k.ID == kind })) {
			t.Errorf("%q: %q, %q", value, kind, why)
		}
		_ = p.remedy("caa-forbids", a, []string{"http-01"}, "x.example")
		if len(p.text()) > 400 {
			t.Errorf("%d bytes are shown", len(p.text()))
		}
	})
}

// FuzzFollow: redirects lead to http and https at the usual ports only.
func FuzzFollow(f *testing.F) {
	for _, s := range []string{"/a", "//b.example/c", "https://b.example:443/", "http://b.example:8080/", "ftp://b/", "http://u:p@b/#x", "http://[::1]/", "\x00", "http://%zz/", "?a=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, location string) {
		to, err := follow("http://www.example/.well-known/acme-challenge/x", location)
		if err != nil {
			return
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatalf("%q leads to %q, which is no URL", location, to)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !slices.Contains([]string{"", "80", "443"}, u.Port()) || u.User != nil {
			t.Errorf("%q leads to %q", location, to)
		}
	})
}
