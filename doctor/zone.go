package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// zoneReport is what was found out about a zone.
type zoneReport struct{ found []Finding }

// zoneOf looks at the zone of a name: who serves it and how it is signed. A
// missing zone is reported only if needed is true: names inside a network often
// have no zone that can be seen.
func (x *examination) zoneOf(ctx context.Context, name, about string, needed bool) []Finding {
	zone, err := x.finder.Zone(ctx, name)
	if err != nil {
		switch _, code := errors.AsType[*dnslookup.CodeError](err); {
		case ended(ctx, err), !needed:
			return nil
		case inkan.KindOf(err) == inkan.Operator && !code:
			return []Finding{failure("nxdomain", about, "", err)}
		}
		return x.unanswered(ctx, about, name, dns.TypeSOA, err)
	}
	return x.zones.get(zone, func() zoneReport { return x.zone(ctx, zone) }).found
}

// zone asks every server of a zone, and its parent.
func (x *examination) zone(ctx context.Context, zone string) (r zoneReport) {
	about := undotted(zone)
	x.progress(about, "the zone's servers")
	servers, err := x.finder.Servers(ctx, zone)
	if err != nil {
		if !ended(ctx, err) && inkan.KindOf(err) == inkan.Operator {
			f := failure("delegation-lame", about, "", err)
			f.Severity = Error
			r.found = append(r.found, f)
		}
		return r
	}
	good, list := x.served(ctx, zone, servers)
	r.found = append(r.found, list...)
	r.found = append(r.found, x.delegated(ctx, zone)...)
	if len(good) > 0 {
		r.found = append(r.found, x.signed(ctx, zone, good)...)
	}
	return r
}

// served asks every server for the SOA record of the zone and returns those
// that have it.
func (x *examination) served(ctx context.Context, zone string, servers []dnslookup.Server) (good []dnslookup.Server, list []Finding) {
	said := make([]string, len(servers)) // "": it serves the zone
	silent := make([]bool, len(servers))
	skip := make([]bool, len(servers))
	var g errgroup.Group
	for i, s := range servers {
		g.Go(func() error {
			a, err := x.client.Ask(ctx, dnslookup.Question{Server: s.Addr, Name: zone, Type: dns.TypeSOA})
			_, silent[i] = errors.AsType[*dnslookup.SilentError](err)
			switch {
			case unroutable(err):
				skip[i] = true
			case err != nil:
				said[i] = cause(err)
			case !a.Authoritative:
				said[i] = "it is not authoritative"
			case !slices.ContainsFunc(a.Records, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA }):
				said[i] = "it does not know the zone (" + dnslookup.CodeName(a.Code) + ")"
			}
			return nil
		})
	}
	_ = g.Wait()
	if ctx.Err() != nil {
		return nil, nil
	}
	var bad []string
	quiet := true
	for i, s := range servers {
		switch {
		case skip[i]:
		case said[i] == "":
			good = append(good, s)
		default:
			quiet = quiet && silent[i]
			bad = append(bad, fmt.Sprintf("%s: %s", s, said[i]))
		}
	}
	if len(bad) == 0 {
		return good, nil
	}
	about, seen := undotted(zone), strings.Join(bad, "; ")
	if len(good) == 0 && quiet {
		return nil, []Finding{findingOf("authority-silent", about, seen, "")}
	}
	f := findingOf("delegation-lame", about, seen, "")
	if len(good) == 0 {
		f.Severity = Error
	}
	return good, []Finding{f}
}

// unroutable reports whether this machine has no way to an address: no IPv6,
// mostly.
func unroutable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// cause is the message of an error without the step, which its place tells.
func cause(err error) string {
	if e, ok := errors.AsType[*inkan.Error](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// delegated compares the NS records of a zone with those that its parent has.
func (x *examination) delegated(ctx context.Context, zone string) []Finding {
	labels := dns.SplitDomainName(zone)
	if len(labels) < 2 {
		return nil
	}
	parent, err := x.finder.Zone(ctx, strings.Join(labels[1:], "."))
	if err != nil {
		return nil // one that cannot be seen says nothing
	}
	servers, err := x.finder.Servers(ctx, parent)
	if err != nil {
		return nil
	}
	own := x.ask(ctx, zone, dns.TypeNS)
	if own.err != nil {
		return nil
	}
	child := nameServers(own.Records, zone)
	if len(child) == 0 {
		return nil
	}
	for _, s := range servers {
		a, err := x.client.Ask(ctx, dnslookup.Question{Server: s.Addr, Name: zone, Type: dns.TypeNS})
		if err != nil {
			continue
		}
		above := nameServers(a.Authority, zone)
		if a.Authoritative || len(above) == 0 {
			return nil // it serves the zone too, or knows it otherwise
		}
		if slices.Equal(above, child) {
			return nil
		}
		return []Finding{findingOf("ns-mismatch", undotted(zone), fmt.Sprintf("%s, of %s, names %s; the zone itself names %s",
			s, undotted(parent), strings.Join(above, ", "), strings.Join(child, ", ")), "")}
	}
	return nil
}

// nameServers returns the sorted targets of the NS records of a zone.
func nameServers(rrs []dns.RR, zone string) []string {
	var names []string
	for _, rr := range rrs {
		if ns, ok := rr.(*dns.NS); ok && strings.EqualFold(ns.Hdr.Name, zone) {
			names = append(names, undotted(ns.Ns))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
