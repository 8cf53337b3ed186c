// Package txt holds what every DNSProvider needs before it talks to its host:
// the check of zone and records, and locks by name.
package txt

import (
	"cmp"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// MaxValue bounds a value in bytes. The longest that a challenge wants is that
// of dns-persist-01, with an account's URL in it.
const MaxValue = 2048

// Check returns the zone and the records in lower case, sorted by name and each
// once, or an error of kind Operator. No value of a challenge needs quoting, so
// what does is refused, and no name can reach out of its place in a URL or a
// command.
func Check(zone string, records []inkan.TXT) (string, []inkan.TXT, error) {
	fail := func(format string, args ...any) (string, []inkan.TXT, error) {
		return "", nil, inkan.Errorf(inkan.Operator, "", format, args...)
	}
	apex := strings.ToLower(zone)
	if !isName(apex) {
		return fail("%q is no name of a zone", inkan.Printable(zone, 80))
	}
	records = slices.Clone(records)
	for i := range records {
		r := &records[i]
		r.Name = strings.ToLower(r.Name)
		odd := func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }
		switch {
		case !isName(r.Name):
			return fail("%q is no absolute name", inkan.Printable(r.Name, 80))
		case r.Name != apex && !strings.HasSuffix(r.Name, "."+apex):
			return fail("the name %s is outside the zone %s", r.Name, apex)
		case r.Value == "" || len(r.Value) > MaxValue || strings.ContainsFunc(r.Value, odd):
			return fail("the value for %s is not 1 to %d characters of plain ASCII: %q", r.Name, MaxValue, inkan.Printable(r.Value, 80))
		case r.TTL < 0:
			return fail("the TTL of %s is negative", r.Name)
		}
	}
	slices.SortStableFunc(records, func(a, b inkan.TXT) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value)) })
	records = slices.CompactFunc(records, func(a, b inkan.TXT) bool { return a.Name == b.Name && a.Value == b.Value })
	return apex, records, nil
}

// isName reports whether name is an absolute name of labels that DNS hosts
// take: letters, digits, hyphen, underscore, and the asterisk of a wildcard.
func isName(name string) bool {
	labels := strings.Split(name, ".")
	if len(name) > 254 || len(labels) < 2 || labels[len(labels)-1] != "" {
		return false
	}
	for _, l := range labels[:len(labels)-1] {
		odd := func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '*'
		}
		if l == "" || len(l) > 63 || strings.ContainsFunc(l, odd) {
			return false
		}
	}
	return true
}

// Names returns the names of records that [Check] sorted, each once.
func Names(records []inkan.TXT) []string {
	var names []string
	for _, r := range records {
		names = append(names, r.Name)
	}
	return slices.Compact(names)
}
