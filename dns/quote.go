package dns

import (
	"fmt"
	"strings"
)

// quote returns a value in presentation format (RFC 1035 section 5.1): quoted
// character-strings of at most 255 bytes each.
func quote(value string) string {
	var pieces []string
	for len(value) > 255 {
		pieces, value = append(pieces, value[:255]), value[255:]
	}
	return quoteAll(append(pieces, value))
}

// quoteAll is quote for a value that is cut already.
func quoteAll(pieces []string) string {
	var b strings.Builder
	for i, piece := range pieces {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for _, c := range []byte(piece) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// unquote returns the value that stands in presentation format. Hosts differ in
// what they quote, so what does not begin with a quote, or is not well formed,
// stands for itself.
func unquote(text string) string {
	pieces, ok := unquoteAll(text)
	if !ok {
		return text
	}
	return strings.Join(pieces, "")
}

// unquoteAll returns the character-strings of a quoted value.
func unquoteAll(text string) (pieces []string, ok bool) {
	rest := strings.Trim(text, " \t")
	if !strings.HasPrefix(rest, `"`) {
		return nil, false
	}
	for rest != "" {
		if rest[0] != '"' {
			return nil, false
		}
		var b strings.Builder
		i := 1
		for ; i < len(rest) && rest[i] != '"'; i++ {
			if rest[i] != '\\' {
				b.WriteByte(rest[i])
				continue
			}
			i++
			if c, ok := decimal(rest[i:]); ok {
				b.WriteByte(c)
				i += 2
			} else if i < len(rest) && (rest[i] < '0' || rest[i] > '9') {
				b.WriteByte(rest[i])
			} else {
				return nil, false
			}
		}
		if i >= len(rest) {
			return nil, false
		}
		pieces = append(pieces, b.String())
		rest = strings.TrimLeft(rest[i+1:], " \t")
	}
	return pieces, true
}

// decimal reads the three digits of an escaped byte.
func decimal(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return byte(n), n < 256
}
