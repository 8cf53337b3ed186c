// Package libdns makes a DNSProvider of Inkan from any provider of the libdns
// project (https://github.com/libdns), for programs that embed Inkan: there are
// about a hundred. Inkan's own hosts in package dns need none of it.
package libdns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/txt"
)

// Provider is what a libdns provider must be able to do. If it can also list
// ([libdns.RecordGetter]), a value that stands is not added again, which many
// hosts refuse and others store twice.
type Provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// New returns a DNSProvider over p. name stands in errors: "Name.com".
//
// libdns says less than the contract of inkan.DNSProvider wants, and providers
// differ. What New does about it:
//
//   - Names are relative to the zone in libdns, "@" is the apex.
//   - AppendRecords is not idempotent: New asks GetRecords first, where there is
//     one. Without it, a repeated add is left to the provider.
//   - DeleteRecords compares the TTL too, unless it is 0, which it is here: the
//     TTL is not known at clean-up, and hosts round it.
//   - SetRecords is never used: it would remove the values of others.
//   - Some providers read an RRset and write it back without any guard. Calls
//     of one process that touch a name wait for each other; two processes at
//     one name may lose a value with such a provider.
//   - Providers return plain errors, so most count as Temporary.
func New(name string, p Provider) inkan.DNSProvider { return &adapter{name: name, provider: p} }

type adapter struct {
	name     string
	provider Provider
	locks    txt.Locks
}

// AddTXT implements inkan.DNSProvider.
func (a *adapter) AddTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	return a.run(ctx, "adding", zone, records, func(zone string, records []inkan.TXT) error {
		if g, ok := a.provider.(libdns.RecordGetter); ok {
			there, err := g.GetRecords(ctx, zone)
			if err != nil {
				return err
			}
			records = slices.DeleteFunc(records, func(r inkan.TXT) bool {
				return slices.ContainsFunc(there, func(t libdns.Record) bool { return same(t.RR(), zone, r) })
			})
		}
		if len(records) == 0 {
			return nil
		}
		var list []libdns.Record
		for _, r := range records {
			list = append(list, libdns.TXT{Name: libdns.RelativeName(r.Name, zone), TTL: time.Duration(r.TTL) * time.Second, Text: r.Value})
		}
		_, err := a.provider.AppendRecords(ctx, zone, list)
		return err
	})
}

// RemoveTXT implements inkan.DNSProvider.
func (a *adapter) RemoveTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	return a.run(ctx, "removing", zone, records, func(zone string, records []inkan.TXT) error {
		var list []libdns.Record
		for _, r := range records {
			list = append(list, libdns.TXT{Name: libdns.RelativeName(r.Name, zone), Text: r.Value})
		}
		_, err := a.provider.DeleteRecords(ctx, zone, list)
		return err
	})
}

// same reports whether a record at the host is r. Names should be relative and
// values unquoted; providers that return them otherwise are understood.
func same(rr libdns.RR, zone string, r inkan.TXT) bool {
	name := strings.TrimSuffix(libdns.AbsoluteName(rr.Name, zone), ".")
	want := strings.TrimSuffix(r.Name, ".")
	full := strings.TrimSuffix(rr.Name, ".")
	return rr.Type == "TXT" && (strings.EqualFold(name, want) || strings.EqualFold(full, want)) &&
		(rr.Data == r.Value || rr.Data == `"`+r.Value+`"`)
}

func (a *adapter) run(ctx context.Context, what, zone string, records []inkan.TXT, f func(string, []inkan.TXT) error) error {
	apex, records, err := txt.Check(zone, records)
	if err != nil || len(records) == 0 {
		return err
	}
	unlock, err := a.locks.Lock(ctx, txt.Names(records))
	if err != nil {
		return err
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		return err // not every provider looks
	}
	err = f(apex, records)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return inkan.Errorf(inkan.Pending, a.name, "%w", err)
	}
	return fmt.Errorf("%s TXT records in the zone %s at %s: %w", what, strings.TrimSuffix(apex, "."), a.name, err)
}
