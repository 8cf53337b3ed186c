package dnslookup

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// maxAliases bounds a chain of CNAME records.
const maxAliases = 8

// TXT returns the values of the TXT records at the name that was asked for, or
// where the CNAME records in the answer lead. The character-strings of a record
// are joined, as RFC 8555 section 8.4 and RFC 7208 section 3.3 have it.
func (a *Answer) TXT() []string {
	name := a.Question.Name
	for range maxAliases + 1 {
		var values []string
		for _, rr := range a.Records {
			if t, ok := rr.(*dns.TXT); ok && same(t.Hdr.Name, name) {
				values = append(values, TXTValue(t))
			}
		}
		if values != nil {
			return values
		}
		next := a.alias(name)
		if next == "" {
			return nil
		}
		name = next
	}
	return nil
}

// alias returns where a CNAME record in the answer leads from name, or "".
func (a *Answer) alias(name string) string {
	for _, rr := range a.Records {
		if c, ok := rr.(*dns.CNAME); ok && same(c.Hdr.Name, name) {
			return strings.ToLower(dns.Fqdn(c.Target))
		}
	}
	return ""
}

// TXTValue returns the value of a record, its character-strings joined. The
// library keeps them in presentation format (RFC 1035 section 5.1).
func TXTValue(t *dns.TXT) string {
	var b strings.Builder
	for _, s := range t.Txt {
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] != '\\':
				b.WriteByte(s[i])
			case i+3 < len(s) && digits(s[i+1:i+4]):
				b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
				i += 3
			case i+1 < len(s):
				i++
				b.WriteByte(s[i])
			}
		}
	}
	return b.String()
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// NewTXT returns the record that holds value at name: cut into
// character-strings of at most 255 octets (RFC 1035 section 3.3).
func NewTXT(name, value string, ttl uint32) *dns.TXT {
	t := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl}}
	for first := true; first || value != ""; first = false {
		piece := value[:min(len(value), 255)]
		value = value[len(piece):]
		var b strings.Builder
		for i := range len(piece) {
			switch c := piece[i]; {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		t.Txt = append(t.Txt, b.String())
	}
	return t
}

func same(a, b string) bool { return strings.EqualFold(dns.Fqdn(a), dns.Fqdn(b)) }

// within reports whether name is zone or below it. Both are absolute.
func within(name, zone string) bool {
	return zone == "." || same(name, zone) || strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(zone))
}

// parent returns name without its first label; "." has none and is its own.
func parent(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[i:]
}

// ValidName reports whether name is one that may have TXT records or be a
// zone: letters, digits, hyphen and underscore in every label.
func ValidName(name string) bool {
	odd := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	_, ok := dns.IsDomainName(name)
	return ok && name != "" && name != "." && !strings.ContainsFunc(name, odd)
}
