package aws

import (
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan"
)

// maxTXT is what Route 53 takes for one TXT value, in characters.
const maxTXT = 4000

// quoteTXT returns a value as Route 53 wants it: quoted strings of at most 255
// bytes each, with a space between them.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat
func quoteTXT(value string) string {
	var b strings.Builder
	for {
		piece := value[:min(len(value), 255)]
		value = value[len(piece):]
		b.WriteByte('"')
		for _, c := range []byte(piece) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, "\\%03o", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
		if value == "" {
			return b.String()
		}
		b.WriteByte(' ')
	}
}

// unquoteTXT returns the value of what Route 53 holds. What is not well formed
// stands for itself: it is somebody else's and only compared.
func unquoteTXT(text string) string {
	var b strings.Builder
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inside = !inside
		case !inside && (c == ' ' || c == '\t'):
		case !inside:
			return text
		case c == '\\' && i+3 < len(text) && isOctal(text[i+1:i+4]):
			b.WriteByte((text[i+1]-'0')<<6 | (text[i+2]-'0')<<3 | (text[i+3] - '0'))
			i += 3
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	if inside {
		return text
	}
	return b.String()
}

// isOctal reports whether three characters are an octal number below 256.
func isOctal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '7' {
			return false
		}
	}
	return s[0] <= '3'
}

// checkTXT refuses what does not belong into the zone: before anything is
// asked, so that nothing of such a call is done.
func checkTXT(op, zone string, r inkan.TXT) error {
	name := strings.ToLower(r.Name)
	fail := func(format string, args ...any) error { return inkan.Errorf(inkan.Operator, op, format, args...) }
	if name != zone && !strings.HasSuffix(name, "."+zone) {
		return inkan.Errorf(inkan.Operator, op, "the name %s is not in the zone %s", inkan.Printable(r.Name, 260), inkan.Printable(zone, 260)).
			WithHint("the zone must be the one that holds the name; see inkan's solver options for a delegated name")
	}
	if len(name) > 254 {
		return fail("the name %s is longer than 253 characters", inkan.Printable(r.Name, 80))
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fail("%s is not the name of a record", inkan.Printable(r.Name, 260))
		}
	}
	if r.Value == "" || len(r.Value) > maxTXT {
		return inkan.Errorf(inkan.Rejected, op, "the value for %s has %d bytes; Route 53 takes 1 to %d", r.Name, len(r.Value), maxTXT)
	}
	for _, c := range []byte(r.Value) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return inkan.Errorf(inkan.Rejected, op, "the value for %s holds the byte %#02x, which no challenge has", r.Name, c)
		}
	}
	return nil
}
