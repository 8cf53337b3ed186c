package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/txt"
)

// zone is a zone as a host knows it.
type zone struct {
	name string // "example.org", without the last dot
	id   string // the host's id, where it has one
	data any    // what find read besides
}

// relative returns name without the zone, apex for the zone's own name.
func (z zone) relative(name, apex string) string {
	name = strings.TrimSuffix(name, ".")
	if name == z.name {
		return apex
	}
	return strings.TrimSuffix(name, "."+z.name)
}

// absolute is the reverse of relative; it takes "", "@" and absolute names too.
func (z zone) absolute(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	switch {
	case name == "" || name == "@" || name == z.name:
		return z.name + "."
	case strings.HasSuffix(name, "."+z.name):
		return name + "."
	}
	return name + "." + z.name + "."
}

// checked returns the zone and the records in lower case, by name and each once,
// or says what is wrong with them.
func checked(zoneName string, records []inkan.TXT) (zone, []inkan.TXT, error) {
	apex, records, err := txt.Check(zoneName, records)
	return zone{name: strings.TrimSuffix(apex, ".")}, records, err
}

// record is one TXT record at a host that gives each an id.
type record struct {
	id    string
	name  string // absolute, ends in a dot
	value string // unquoted
}

// recordHost is a DNS host that keeps single records.
type recordHost interface {
	// find finds the zone. A zone that is not there is an Operator error.
	find(ctx context.Context, z zone) (zone, error)
	// list returns the TXT records at the names; others among them do no harm.
	// several says that they came on more than one page.
	list(ctx context.Context, z zone, names []string) (there []record, several bool, err error)
	// change creates and deletes. A single record that is gone is success; a
	// batch that failed because one is gone is errConflict.
	change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error
}

// records is a DNSProvider over a recordHost. Two processes may work at one
// name at once: neither writes what the other wrote.
type records struct {
	host  recordHost
	name  string // of the host
	locks txt.Locks
}

// AddTXT implements inkan.DNSProvider.
func (p *records) AddTXT(ctx context.Context, zoneName string, txts []inkan.TXT) error {
	return p.run(ctx, "adding", zoneName, txts, func(z zone, txts []inkan.TXT, there []record) error {
		missing := slices.DeleteFunc(txts, func(t inkan.TXT) bool {
			return slices.ContainsFunc(there, func(r record) bool { return r.name == t.Name && r.value == t.Value })
		})
		if len(missing) == 0 {
			return nil
		}
		return p.host.change(ctx, z, missing, nil)
	})
}

// RemoveTXT implements inkan.DNSProvider.
func (p *records) RemoveTXT(ctx context.Context, zoneName string, txts []inkan.TXT) error {
	return p.run(ctx, "removing", zoneName, txts, func(z zone, txts []inkan.TXT, there []record) error {
		ours := slices.DeleteFunc(there, func(r record) bool {
			return !slices.ContainsFunc(txts, func(t inkan.TXT) bool { return r.name == t.Name && r.value == t.Value })
		})
		if len(ours) == 0 {
			return nil
		}
		return p.host.change(ctx, z, nil, ours)
	})
}

func (p *records) run(ctx context.Context, what, zoneName string, txts []inkan.TXT, f func(zone, []inkan.TXT, []record) error) error {
	z, txts, err := checked(zoneName, txts)
	if err != nil || len(txts) == 0 {
		return err
	}
	names := txt.Names(txts)
	unlock, err := p.locks.Lock(ctx, names)
	if err != nil {
		return err
	}
	defer unlock()
	err = settle(ctx, func() error {
		z, err := p.host.find(ctx, z)
		if err != nil {
			return err
		}
		there, err := p.steady(ctx, z, names)
		if err != nil {
			return err
		}
		return f(z, slices.Clone(txts), there)
	})
	return about(what, p.name, zoneName, err)
}

// maxListings is how often a listing of several pages is repeated at most.
const maxListings = 8

// steady lists the records at the names. Pages are no snapshot: when a record
// on the first is deleted, one moves from the second to it and is seen on
// neither. So a listing of several pages is used only if the next one is equal.
func (p *records) steady(ctx context.Context, z zone, names []string) ([]record, error) {
	var last []record
	for n := 0; ; n++ {
		there, several, err := p.host.list(ctx, z, names)
		if err != nil {
			return nil, err
		}
		there = slices.DeleteFunc(there, func(r record) bool { return !slices.Contains(names, r.name) })
		slices.SortFunc(there, func(a, b record) int { return cmp.Compare(a.id, b.id) })
		there = slices.Compact(there) // a record may be seen on both pages
		if !several || n > 0 && slices.Equal(there, last) || n == maxListings {
			return there, nil
		}
		last = there
	}
}

// maxByName is how many names are asked for one by one, at hosts that can
// filter, before the whole zone is listed instead.
const maxByName = 10

// byName is list for hosts that can filter: one lists the records at a name, or
// for "" all.
func byName(ctx context.Context, names []string, one func(ctx context.Context, name string) ([]record, bool, error)) (there []record, several bool, err error) {
	if len(names) > maxByName {
		return one(ctx, "")
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, name := range names {
		g.Go(func() error {
			found, more, err := one(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			there, several = append(there, found...), several || more
			return err
		})
	}
	err = g.Wait()
	return there, several, err
}

// errConflict: somebody else wrote between our reading and our writing.
var errConflict = errors.New("somebody else changed the records at the same time")

// maxConflicts is how often one call reads again after a conflict. Each one
// means that another writer succeeded.
const maxConflicts = 20

// settle calls f, which reads and writes, until nobody writes in between.
func settle(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if !errors.Is(err, errConflict) {
			return err
		}
		if try == maxConflicts {
			return inkan.Errorf(inkan.Temporary, "", "%w, %d times", err, try)
		}
		select { // so that the losers of one round do not meet in the next
		case <-time.After(rand.N(time.Duration(try) * 10 * time.Millisecond)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// about puts in front of an error what was tried.
func about(what, host, zoneName string, err error) error {
	if err == nil {
		return nil
	}
	if strings.HasPrefix(err.Error(), host+":") { // of a request, which names the host
		return fmt.Errorf("%s TXT records in the zone %s: %w", what, strings.TrimSuffix(zoneName, "."), err)
	}
	return fmt.Errorf("%s TXT records in the zone %s at %s: %w", what, strings.TrimSuffix(zoneName, "."), host, err)
}

// oneByOne is change for hosts that take one record at a time.
func oneByOne(ctx context.Context, create []inkan.TXT, remove []record, post func(context.Context, inkan.TXT) error, del func(context.Context, record) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, t := range create {
		g.Go(func() error { return post(ctx, t) })
	}
	for _, r := range remove {
		g.Go(func() error { return gone(del(ctx, r)) })
	}
	return g.Wait()
}

// gone makes 404 to a deletion a success.
func gone(err error) error {
	if statusOf(err) == 404 {
		return nil
	}
	return err
}

// rrset is all TXT values at one name.
type rrset struct {
	name   string   // absolute, ends in a dot
	ttl    int      // seconds
	values []string // in presentation format, as the host gave them
	rev    string   // the host's revision of it, where it has one
	extra  any      // what else the host needs to write it again
}

// setHost is a DNS host that replaces whole RRsets.
type setHost interface {
	// find finds the zone. A zone that is not there is an Operator error.
	find(ctx context.Context, z zone) (zone, error)
	// read returns the TXT RRsets at the names; names without one are left out.
	read(ctx context.Context, z zone, names []string) ([]rrset, error)
	// replace writes RRsets: will[i] in place of was[i], which was read. No
	// values stand for no RRset. If the host sees that the RRset has changed
	// since, it returns errConflict.
	replace(ctx context.Context, z zone, was, will []rrset) error
}

// readEach is read for hosts that are asked name by name. one returns no values
// where there is no RRset.
func readEach(ctx context.Context, names []string, one func(context.Context, string) (rrset, error)) ([]rrset, error) {
	sets := make([]rrset, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, name := range names {
		g.Go(func() (err error) {
			sets[i], err = one(ctx, name)
			return err
		})
	}
	return sets, g.Wait()
}

// writeEach is replace for hosts that take one RRset at a time.
func writeEach(ctx context.Context, was, will []rrset, one func(ctx context.Context, was, will rrset) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range will {
		g.Go(func() error { return one(ctx, was[i], will[i]) })
	}
	return g.Wait()
}

// rrsets is a DNSProvider over a setHost.
type rrsets struct {
	host  setHost
	name  string // of the host
	ttl   int    // of a new RRset, in seconds
	min   int    // the least TTL that the host takes
	whole bool   // one call at a time in a zone, not only at a name
	locks txt.Locks
}

// AddTXT implements inkan.DNSProvider.
func (p *rrsets) AddTXT(ctx context.Context, zoneName string, txts []inkan.TXT) error {
	return p.run(ctx, "adding", zoneName, txts, func(values []string, t inkan.TXT) []string {
		if slices.ContainsFunc(values, func(v string) bool { return unquote(v) == t.Value }) {
			return values
		}
		return append(values, quote(t.Value))
	})
}

// RemoveTXT implements inkan.DNSProvider.
func (p *rrsets) RemoveTXT(ctx context.Context, zoneName string, txts []inkan.TXT) error {
	return p.run(ctx, "removing", zoneName, txts, func(values []string, t inkan.TXT) []string {
		return slices.DeleteFunc(values, func(v string) bool { return unquote(v) == t.Value })
	})
}

func (p *rrsets) run(ctx context.Context, what, zoneName string, txts []inkan.TXT, edit func([]string, inkan.TXT) []string) error {
	asked, txts, err := checked(zoneName, txts)
	if err != nil || len(txts) == 0 {
		return err
	}
	keys := txt.Names(txts)
	if p.whole {
		keys = []string{asked.name}
	}
	unlock, err := p.locks.Lock(ctx, keys)
	if err != nil {
		return err
	}
	defer unlock()
	err = settle(ctx, func() error { return p.once(ctx, asked, txts, edit) })
	return about(what, p.name, zoneName, err)
}

func (p *rrsets) once(ctx context.Context, z zone, txts []inkan.TXT, edit func([]string, inkan.TXT) []string) error {
	z, err := p.host.find(ctx, z)
	if err != nil {
		return err
	}
	there, err := p.host.read(ctx, z, txt.Names(txts))
	if err != nil {
		return err
	}
	var was, will []rrset
	for _, name := range txt.Names(txts) {
		old := rrset{name: name}
		if i := slices.IndexFunc(there, func(s rrset) bool { return s.name == name }); i >= 0 {
			old = there[i]
		}
		next := old
		next.values = slices.Clone(old.values)
		for _, t := range txts {
			if t.Name != name {
				continue
			}
			next.values = edit(next.values, t)
			if len(old.values) == 0 { // the TTL of what stands stays
				next.ttl = max(cmp.Or(t.TTL, p.ttl), p.min)
			}
		}
		if !slices.Equal(old.values, next.values) {
			was, will = append(was, old), append(will, next)
		}
	}
	if len(will) == 0 {
		return nil
	}
	return p.host.replace(ctx, z, was, will)
}
