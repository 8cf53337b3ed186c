package inkan

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Identifier is a name that a certificate is for: RFC 8555 section 9.7.7
// ("dns") or RFC 8738 ("ip"), in canonical form: a lower-case A-label name
// without a trailing dot, perhaps with a leading "*.", or an address in the
// form of RFC 5952.
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// The identifier types.
const (
	DNS = "dns"
	IP  = "ip"
)

// String returns the value.
func (id Identifier) String() string { return id.Value }

// Wildcard reports whether id is a wildcard name.
func (id Identifier) Wildcard() bool { return strings.HasPrefix(id.Value, "*.") }

// Base returns the name without the "*." of a wildcard.
func (id Identifier) Base() string { return strings.TrimPrefix(id.Value, "*.") }

// ParseIdentifier checks a name or an address that a person wrote and returns
// it in canonical form. It refuses what cannot become part of a certificate, and
// names the rule that is broken. So its result is safe in a URL, a file name and an
// argument list. The error is of kind Operator.
func ParseIdentifier(s string) (Identifier, error) {
	fail := func(format string, args ...any) (Identifier, error) {
		return Identifier{}, Errorf(Operator, "name "+Printable(s, 80), format, args...)
	}
	switch {
	case s == "":
		return Identifier{}, Errorf(Operator, "name", "it is empty")
	case len(s) > 1024:
		return fail("it is %d bytes long; a DNS name has at most 253", len(s))
	case !utf8.ValidString(s):
		return fail("it is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp) {
			return fail("it contains the character %U, which no name may have", r)
		}
	}
	if strings.ContainsAny(s, ":") || looksNumeric(s) {
		return parseIP(s, fail)
	}
	name := strings.TrimSuffix(s, ".")
	base, wildcard := strings.CutPrefix(name, "*.")
	switch {
	case name == "":
		return fail("it is only a dot")
	case name == "*" || base == "":
		return fail("a wildcard needs a domain after it, as in *.example.com")
	case strings.Contains(base, "*"):
		return fail("a wildcard may only be the whole first label, as in *.example.com")
	}
	for _, r := range base {
		if r < utf8.RuneSelf && !isNameByte(byte(r)) {
			return fail("it contains %q; a DNS name has letters, digits, hyphens and dots", r)
		}
	}
	ascii, err := nameProfile().ToASCII(base)
	if err != nil {
		return fail("it is not a valid domain name: %v", Printable(strings.TrimPrefix(err.Error(), "idna: "), 160))
	}
	// idna maps some characters to others; what it returns is checked again.
	for label := range strings.SplitSeq(ascii, ".") {
		switch {
		case label == "":
			return fail("it has an empty label (two dots in a row)")
		case len(label) > 63:
			return fail("the label %s has %d bytes; at most 63 are allowed", Printable(label, 70), len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return fail("the label %s begins or ends with a hyphen", label)
		}
		for i := range len(label) {
			if c := label[i]; !isNameByte(c) || c == '.' || c >= 'A' && c <= 'Z' {
				return fail("it contains %q; a DNS name has letters, digits, hyphens and dots", c)
			}
		}
	}
	// Mapping may have made an address out of full-width digits.
	if last := ascii[strings.LastIndexByte(ascii, '.')+1:]; looksNumeric(last) {
		return fail("its last label is a number, so it is neither a name nor an address")
	}
	if wildcard {
		ascii = "*." + ascii
	}
	if len(ascii) > 253 {
		return fail("it has %d bytes; a DNS name has at most 253", len(ascii))
	}
	return Identifier{Type: DNS, Value: ascii}, nil
}

// nameProfile follows UTS #46 non-transitional lookup with every check on.
func nameProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.ValidateLabels(true),
		idna.CheckHyphens(true), idna.CheckJoiners(true), idna.StrictDomainName(true),
		idna.VerifyDNSLength(true), idna.Transitional(false))
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.'
}

// looksNumeric reports whether a resolver of the C library would read s as an
// IPv4 address, in whatever odd form: 127.1, 0x7f.1, 2130706433.
func looksNumeric(s string) bool {
	for label := range strings.SplitSeq(strings.TrimSuffix(strings.ToLower(s), "."), ".") {
		digits := strings.TrimPrefix(label, "0x")
		set := "0123456789"
		if digits != label {
			set = "0123456789abcdef"
		}
		if label == "" || strings.Trim(digits, set) != "" {
			return false
		}
	}
	return true
}

func parseIP(s string, fail func(string, ...any) (Identifier, error)) (Identifier, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return fail("it is not an IP address in its usual form, such as 192.0.2.1 or 2001:db8::1")
	case a.Zone() != "":
		return fail("an address with a zone (%%%s) means something on one machine only", Printable(a.Zone(), 20))
	case a.Is4In6():
		return fail("it is an IPv4-mapped IPv6 address; write %s", a.Unmap())
	}
	return Identifier{Type: IP, Value: a.String()}, nil
}

// ParseIdentifiers parses every name, drops repeats and keeps the order.
func ParseIdentifiers(names []string) ([]Identifier, error) {
	var ids []Identifier
	for _, n := range names {
		id, err := ParseIdentifier(n)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, Errorf(Operator, "names", "at least one name is needed")
	}
	if len(ids) > 1000 {
		return nil, Errorf(Operator, "names", "%d names in one certificate; CAs take 100 at most", len(ids))
	}
	return ids, nil
}

// maxName bounds certificate names so that every key and file name made from
// one stays within 255 bytes.
const maxName = 200

// NameFor returns the certificate name that is used when nobody chose one:
// the identifier with "*." written "_." and ":" written "-".
func NameFor(id Identifier) string {
	name := id.Value
	if base, ok := strings.CutPrefix(name, "*."); ok {
		name = "_." + base
	}
	name = strings.ReplaceAll(name, ":", "-")
	if strings.HasPrefix(name, "-") {
		name = "ip" + name
	}
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(name))
		name = name[:maxName-17] + "-" + hex.EncodeToString(sum[:8])
	}
	return name
}

// CheckName checks a name of a certificate, CA, account, solver or target:
// 1 to 200 of the bytes a-z 0-9 . _ -, beginning with a letter, a digit or an
// underscore, without two dots in a row and without a dot at the end. Such a
// name is safe as a file name and as part of a key on every system, and no two
// differ only by case. The error is of kind Operator.
func CheckName(name string) error {
	fail := func(format string, args ...any) *Error {
		return Errorf(Operator, "name "+Printable(name, 80), format, args...)
	}
	switch {
	case name == "":
		return Errorf(Operator, "name", "it is empty")
	case len(name) > maxName:
		return fail("it has %d bytes; at most %d are allowed", len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		case (c == '-' || c == '.') && i > 0:
		case c >= 'A' && c <= 'Z':
			return fail("it has the capital letter %q; write it in lower case", c)
		case c == '-' || c == '.':
			return fail("it begins with %q", c)
		default:
			return fail("it contains a character other than a-z, 0-9, '.', '_' and '-'")
		}
	}
	if strings.Contains(name, "..") || strings.HasSuffix(name, ".") {
		return fail("it has two dots in a row or a dot at the end")
	}
	return nil
}
