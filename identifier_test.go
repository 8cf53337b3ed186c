package inkan

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/idna"
)

// TestH01Names: refused with the rule that is broken, or shown back in
// canonical form.
func TestH01Names(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ in, want, fault string }{
		{"example.com", "example.com", ""},
		{"EXAMPLE.Com", "example.com", ""},
		{"example.com.", "example.com", ""},
		{"*.example.com", "*.example.com", ""},
		{"*.Example.com.", "*.example.com", ""},
		{"host", "host", ""},
		{"printer.local", "printer.local", ""},
		{"bücher.example", "xn--bcher-kva.example", ""},
		{"XN--bcher-KVA.example", "xn--bcher-kva.example", ""},
		{"*.bücher.example", "*.xn--bcher-kva.example", ""},
		{"straße.de", "xn--strae-oqa.de", ""}, // IDNA2008; IDNA2003 would go to strasse.de
		{"faß.de", "xn--fa-hia.de", ""},
		{"www。example。com", "www.example.com", ""},
		{"ｅｘａｍｐｌｅ.com", "example.com", ""},
		{"💩.example", "xn--ls8h.example", ""}, // the CA will refuse it; here it is only harmless
		{"пример.example", "xn--e1afmkfd.example", ""},
		{long + ".com", long + ".com", ""},
		{strings.Repeat(long+".", 3) + strings.Repeat("b", 61), strings.Repeat(long+".", 3) + strings.Repeat("b", 61), ""},

		{"", "", "empty"},
		{".", "", "only a dot"},
		{"*", "", "a wildcard needs a domain"},
		{"*.", "", "a wildcard needs a domain"},
		{"*.*.a", "", "only be the whole first label"},
		{"a.*.example.com", "", "only be the whole first label"},
		{"w*.example.com", "", "only be the whole first label"},
		{"＊.example.com", "", "not a valid domain name"},
		{"../../etc/x", "", "it contains '/'"},
		{"a/b", "", "it contains '/'"},
		{`a\b`, "", `it contains '\\'`},
		{"%2e%2e", "", "it contains '%'"},
		{"a\x00b.example", "", "the character U+0000"},
		{"-rf", "", "not a valid domain name"},
		{"a-.example", "", "not a valid domain name"},
		{"$(id)", "", "it contains '$'"},
		{"`id`.example", "", "it contains '`'"},
		{"a b.example", "", "the character U+0020"},
		{"a\nb.example", "", "the character U+000A"},
		{"a\r\nSet-Cookie:x", "", "the character U+000D"},
		{"_acme-challenge.example.com", "", "it contains '_'"},
		{"ops@example.com", "", "it contains '@'"},
		{"https://example.com", "", "not an IP address"},
		{"example.com:443", "", "not an IP address"},
		{strings.Repeat("a", 64) + ".example", "", "not a valid domain name"},
		{strings.Repeat(long+".", 3) + strings.Repeat("b", 62), "", "not a valid domain name"},
		{"*." + strings.Repeat(long+".", 3) + strings.Repeat("b", 60), "", "254 bytes"}, // 252 without the wildcard
		{strings.Repeat("a.", 600), "", "1200 bytes"},
		{"a..example", "", ""},
		{".example.com", "", ""},
		{"example..", "", ""},
		{"xn--a.example", "", "not a valid domain name"},
		{"xn--zzzzzz99999.example", "", "not a valid domain name"},
		{"ab--cd.example", "", "not a valid domain name"},
		{"a\u202eb.example", "", "the character U+202E"}, // bidi override
		{"a\u200db.example", "", "the character U+200D"},
		{"אabc.example", "", "not a valid domain name"}, // bidi rule
		{"a\u00a0b.example", "", "the character U+00A0"},
		{"\xff.example", "", "not valid UTF-8"},
		{"example.123", "", "last label is a number"},
		{"*.1.2.3.4", "", "last label is a number"},
		{"１２７.１", "", "last label is a number"},
		{"1.０x7f", "", "last label is a number"},
	} {
		id, err := ParseIdentifier(c.in)
		switch {
		case c.want != "":
			if err != nil || id != (Identifier{DNS, c.want}) {
				t.Errorf("%q: got %v %v, want %s", c.in, id, err, c.want)
			}
		case err == nil:
			t.Errorf("%q: got %v, want an error", c.in, id)
		case KindOf(err) != Operator:
			t.Errorf("%q: kind %v", c.in, KindOf(err))
		case !strings.Contains(err.Error(), c.fault):
			t.Errorf("%q: %q does not name the rule %q", c.in, err, c.fault)
		}
	}
}

// TestH10Addresses: canonical, or refused.
func TestH10Addresses(t *testing.T) {
	for _, c := range []struct{ in, want, fault string }{
		{"192.0.2.1", "192.0.2.1", ""},
		{"2001:db8::1", "2001:db8::1", ""},
		{"2001:DB8:0:0:0:0:0:1", "2001:db8::1", ""},
		{"::1", "::1", ""},
		{"::ffff:1.2.3.4", "", "write 1.2.3.4"},
		{"::ffff:102:304", "", "write 1.2.3.4"},
		{"127.1", "", "not an IP address"},
		{"0x7f.1", "", "not an IP address"},
		{"0x7f000001", "", "not an IP address"},
		{"2130706433", "", "not an IP address"},
		{"0177.0.0.1", "", "not an IP address"},
		{"192.0.2.1.", "", "not an IP address"},
		{"192.0.2.256", "", "not an IP address"},
		{"192.0.2.01", "", "not an IP address"},
		{"192.0.2.1/24", "", "it contains '/'"},
		{"fe80::1%eth0", "", "a zone (%eth0)"},
		{"[2001:db8::1]", "", "not an IP address"},
		{"2001:db8::g", "", "not an IP address"},
	} {
		id, err := ParseIdentifier(c.in)
		switch {
		case c.want != "":
			if err != nil || id != (Identifier{IP, c.want}) {
				t.Errorf("%q: got %v %v, want %s", c.in, id, err, c.want)
			}
		case err == nil:
			t.Errorf("%q: got %v, want an error", c.in, id)
		case !strings.Contains(err.Error(), c.fault):
			t.Errorf("%q: %q does not say %q", c.in, err, c.fault)
		}
	}
}

// TestH14Injection: whatever a name holds, its error is one printable line.
func TestH14Injection(t *testing.T) {
	for _, in := range []string{"a\r\nb.example", "\x1b[31mred.example", "a\u2028b", "a\u202eb", "\x9b31m.example", strings.Repeat("\x00", 900), "aA--" + strings.Repeat("a", 900)} {
		_, err := ParseIdentifier(in)
		if err == nil {
			t.Errorf("%q was accepted", in)
			continue
		}
		if msg := err.Error(); len(msg) > 400 || strings.ContainsFunc(msg, hidden) {
			t.Errorf("%q: the error is %q", in, msg)
		}
		if err := CheckName(in); err == nil || strings.ContainsFunc(err.Error(), hidden) {
			t.Errorf("%q as a name: %v", in, err)
		}
	}
}

func TestParseIdentifiers(t *testing.T) {
	ids, err := ParseIdentifiers([]string{"B.example", "a.example", "b.example.", "192.0.2.1"})
	if err != nil || len(ids) != 3 || ids[0].Value != "b.example" || ids[1].Value != "a.example" || ids[2].Type != IP {
		t.Errorf("got %v %v, want the order kept and repeats dropped", ids, err)
	}
	if _, err := ParseIdentifiers(nil); err == nil {
		t.Error("no names were accepted")
	}
	if _, err := ParseIdentifiers([]string{"a.example", "b/c"}); err == nil {
		t.Error("a bad name among good ones was accepted")
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = "h" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + "-" + strings.Repeat("y", 1+i/50) + ".example"
	}
	if _, err := ParseIdentifiers(many); err == nil {
		t.Error("1001 names were accepted")
	}
}

// TestD12Names: different identifiers have different names, every one is a
// checked name, and no key made from one exceeds what stores allow.
func TestD12Names(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 62)+".", 3)
	values := []string{"a", "_.a", "example.com", "*.example.com", "wildcard.example.com", "a.b", "a-b", "a--b.example", "192.0.2.1", "2001:db8::1", "::1", "2001:db8:1::",
		long + "example.com", "*." + long + "example.com", long + "example.org", "b." + long + "example.com", strings.Repeat("a.", 126) + "b"}
	seen := map[string]string{}
	for _, v := range values {
		id := Identifier{DNS, v}
		if v == "_.a" {
			id.Value = "*.a"
		} else if parsed, err := ParseIdentifier(v); err != nil {
			t.Fatal(err)
		} else {
			id = parsed
		}
		name := NameFor(id)
		if err := CheckName(name); err != nil {
			t.Errorf("%s: %v", v, err)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s share the name %s", v, other, name)
		}
		seen[name] = v
	}
	for want, v := range map[string]string{"_.example.com": "*.example.com", "2001-db8--1": "2001:db8::1", "ip--1": "::1", "192.0.2.1": "192.0.2.1"} {
		id, err := ParseIdentifier(v)
		if err != nil || NameFor(id) != want {
			t.Errorf("%s: the name is %s, want %s", v, NameFor(id), want)
		}
	}
}

func TestD12NameBounds(t *testing.T) {
	name := strings.Repeat("n", maxName)
	if err := CheckName(name); err != nil {
		t.Fatal(err)
	}
	if CheckName(name+"n") == nil {
		t.Error("a name of 201 bytes was accepted")
	}
}

func TestCheckName(t *testing.T) {
	for _, n := range []string{"a", "0", "_", "_.example.com", "a-b_c.d", "xn--bcher-kva.example"} {
		if err := CheckName(n); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	for _, n := range []string{"", ".", "..", ".a", "a.", "a..b", "-a", "A", "a/b", `a\b`, "a b", "a\x00", "a:b", "*.a", "é", "a%", "a$", "a\n"} {
		if err := CheckName(n); err == nil || KindOf(err) != Operator {
			t.Errorf("%q: %v, want an error of kind operator", n, err)
		}
	}
}

func TestCheckKey(t *testing.T) {
	for _, k := range []string{"", "/", "a/", "/a", "a//b", "a/./b", "../a", "a/..", "a b", "a\x00", "a*", strings.Repeat("a", 256), strings.Repeat("a/", 513) + "a"} {
		if CheckKey(k) == nil {
			t.Errorf("%q was accepted", k)
		}
	}
}

func TestPrintable(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain text", 80, "plain text"},
		{"grüße, 世界", 80, "grüße, 世界"},
		{"a\r\nb\x1b[0m", 80, `a\u000d\u000ab\u001b[0m`},
		{"\x9b\u202e\u2028", 80, `\ufffd\u202e\u2028`},
		{"abcdef", 6, "abcdef"},
		{"abcdefg", 6, "abc..."},
		{"abc\n", 6, "abc..."},
		{"ab世界", 6, "ab..."},
		{"abcdef", 2, ".."},
		{"", 5, ""},
		{"x", 0, ""},
	} {
		if got := Printable(c.in, c.max); got != c.want {
			t.Errorf("Printable(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

// FuzzParseIdentifier: an error, or a canonical value that parses to itself, in
// the alphabet, and that x/net/idna or net/netip read alike.
func FuzzParseIdentifier(f *testing.F) {
	for _, s := range []string{"example.com", "*.Example.com.", "bücher.example", "xn--bcher-kva.example", "straße.de", "1.０x7f", "１２７.１", "::ffff:1.2.3.4", "2001:DB8::1", "0x7f.1",
		"a。b", "*.*.a", "$(id)", "a\x00", "אabc", "xn--a", "faß.de", "a..b", "K.example", "ſ.example", "a\u00adb", "xn--ls8h.example", "١.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseIdentifier(s)
		if err != nil {
			if msg := err.Error(); KindOf(err) != Operator || len(msg) > 400 || strings.ContainsFunc(msg, hidden) {
				t.Errorf("%q: error %q of kind %v", s, msg, KindOf(err))
			}
			return
		}
		again, err := ParseIdentifier(id.Value)
		if err != nil || again != id {
			t.Errorf("%q -> %q, which parses to %v, %v", s, id.Value, again, err)
		}
		if len(id.Value) == 0 || len(id.Value) > 253 {
			t.Errorf("%q -> %q of %d bytes", s, id.Value, len(id.Value))
		}
		name := NameFor(id)
		if err := CheckName(name); err != nil {
			t.Errorf("%q -> %q: %v", s, name, err)
		}
		if id.Type == IP {
			if a, err := netip.ParseAddr(id.Value); err != nil || a.String() != id.Value {
				t.Errorf("%q -> address %q: %v", s, id.Value, err)
			}
			return
		}
		base := id.Base()
		for i := range len(base) {
			if c := base[i]; !isNameByte(c) || c >= 'A' && c <= 'Z' {
				t.Errorf("%q -> %q has the byte %q", s, id.Value, c)
			}
		}
		if _, err := netip.ParseAddr(base); err == nil {
			t.Errorf("%q -> the DNS name %q is an address", s, id.Value)
		}
		input := strings.TrimPrefix(strings.TrimSuffix(s, "."), "*.")
		if want, err := idna.Lookup.ToASCII(input); err != nil || want != base {
			t.Errorf("%q -> %q, but x/net/idna says %q, %v", s, base, want, err)
		}
	})
}

// The example of draft-ietf-acme-dns-account-label section 3.2.
func TestDNSAccountLabel(t *testing.T) {
	if got := DNSAccountLabel("https://example.com/acme/acct/ExampleAccount"); got != "_ujmmovf2vn55tgye._acme-challenge" {
		t.Error(got)
	}
}

func dnsIDs(names ...string) []Identifier {
	ids := make([]Identifier, len(names))
	for i, n := range names {
		var err error
		if ids[i], err = ParseIdentifier(n); err != nil {
			panic(err)
		}
	}
	return ids
}
