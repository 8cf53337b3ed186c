package doctor

import (
	"cmp"
	"slices"
	"sync"

	"github.com/inkan-acme/inkan"
)

// Severity says what a Finding means.
type Severity string

// The severities. Something that would be an error is a warning where another
// way, or another CA, is left.
const (
	Error   Severity = "error"   // a certificate would not be issued or not be put in place
	Warning Severity = "warning" // it may go well, but should be looked at
)

// Finding is one thing that was found. Everything in it that came from outside
// has passed inkan.Printable.
type Finding struct {
	ID       string   `json:"id"` // of its Kind
	Severity Severity `json:"severity"`
	Name     string   `json:"name"` // what it is about: a name, a zone, a CA, a path
	Seen     string   `json:"seen"` // who answered what
	Do       string   `json:"do"`   // what to do about it
}

// maxSeen bounds what a person is shown of one finding in bytes.
const maxSeen = 1 << 10

// findings collects what was found, each once. It is safe for concurrent use.
type findings struct {
	mu   sync.Mutex
	list []Finding
}

// findingOf returns a finding of the kind id. An id that is not in the table is
// a mistake in this package.
func findingOf(id, name, seen, do string) Finding {
	for _, k := range Kinds() {
		if k.ID == id {
			return Finding{id, k.Severity, inkan.Printable(name, 300), inkan.Printable(seen, maxSeen), inkan.Printable(cmp.Or(do, k.Remedy), maxSeen)}
		}
	}
	panic("doctor: no finding " + id)
}

func (f *findings) add(more ...Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range more {
		i := slices.IndexFunc(f.list, func(o Finding) bool { return o.ID == one.ID && o.Name == one.Name && o.Seen == one.Seen })
		if i < 0 {
			f.list = append(f.list, one)
		} else if one.Severity == Error {
			f.list[i].Severity = Error
		}
	}
}

// sorted returns what was found: the errors of a name before its warnings, else
// by name.
func (f *findings) sorted() []Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.list)
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Seen, b.Seen))
	})
	return list
}

// warnings returns the findings with errors turned into warnings.
func warnings(list []Finding) []Finding {
	out := slices.Clone(list)
	for i := range out {
		out[i].Severity = Warning
	}
	return out
}

func anyError(list []Finding) bool {
	return slices.ContainsFunc(list, func(f Finding) bool { return f.Severity == Error })
}
