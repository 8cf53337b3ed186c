package dnslookup

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
)

const (
	maxServers = 20 // name servers of a zone that are looked at
	maxAddrs   = 8  // addresses of one of them
)

// Finder finds zones, their servers and where names lead. It remembers what it
// found: make one for one piece of work. It is safe for concurrent use.
type Finder struct {
	Client *Client
	// Known are zones that need no finding: the apex, absolute and in lower
	// case, and the servers to ask, host:port; none: those of its NS records.
	Known map[string][]string
	// Indirect asks the resolvers only, where authoritative servers cannot be
	// reached. They remember for a while that a name was absent.
	Indirect bool

	zones   memo[string]
	servers memo[[]Server]
}

// Server is one address of an authoritative server.
type Server struct {
	Host string // its name in the NS record, or as it was configured
	Addr string // host:port
}

func (s Server) String() string {
	if s.Host == "" || s.Host == s.Addr {
		return s.Addr
	}
	return strings.TrimSuffix(inkan.Printable(s.Host, 260), ".") + " (" + s.Addr + ")"
}

// Place is where the records of a name are kept.
type Place struct {
	Name    string   // at the end of all CNAME records
	Zone    string   // its zone's apex
	Aliases []string // the names that led there
}

// Zone returns the apex of the zone that name is in: the nearest name above it,
// or it, that has an SOA record.
func (f *Finder) Zone(ctx context.Context, name string) (string, error) {
	name = strings.ToLower(dns.Fqdn(name))
	if zone := f.known(name); zone != "" {
		return zone, nil
	}
	return f.zones.get(name, func() (string, error) {
		for n := name; n != "."; n = parent(n) {
			a, err := f.Client.Recurse(ctx, n, dns.TypeSOA)
			if err != nil {
				return "", err
			}
			if zone := a.apex(n); zone != "" {
				return zone, nil
			}
		}
		return "", inkan.Errorf(inkan.Operator, "finding the zone of "+inkan.Printable(name, 260), "no zone above it exists").
			WithHint("check that the domain is registered; for a zone that only your own servers know, give resolvers or zones")
	})
}

// apex returns the apex of the zone of name that the answer to a question for
// its SOA tells, or "".
func (a *Answer) apex(name string) string {
	if hasSOA(a.Records, name) {
		return name
	}
	if a.alias(name) != "" {
		return "" // what else stands there is about another name
	}
	return a.childApex(name, ".")
}

// childApex returns the owner of the SOA record that comes with a negative
// answer (RFC 2308), if it lies below the zone above and not below name.
func (a *Answer) childApex(name, above string) string {
	for _, rr := range a.Authority {
		owner := strings.ToLower(rr.Header().Name)
		if _, ok := rr.(*dns.SOA); ok && within(name, owner) && within(owner, above) && owner != "." {
			return owner
		}
	}
	return ""
}

func hasSOA(rrs []dns.RR, name string) bool {
	return slices.ContainsFunc(rrs, func(rr dns.RR) bool {
		_, ok := rr.(*dns.SOA)
		return ok && same(rr.Header().Name, name)
	})
}

// known returns the nearest known zone above name, or "".
func (f *Finder) known(name string) string {
	best := ""
	for zone := range f.Known {
		if within(name, zone) && len(zone) > len(best) {
			best = zone
		}
	}
	return best
}

// Servers returns every address of every server that the zone is delegated to.
func (f *Finder) Servers(ctx context.Context, zone string) ([]Server, error) {
	if list := f.Known[zone]; len(list) > 0 {
		var servers []Server
		for _, s := range list {
			servers = append(servers, Server{Host: s, Addr: withPort(s, 53)})
		}
		return servers, nil
	}
	return f.servers.get(zone, func() ([]Server, error) {
		a, err := f.Client.Recurse(ctx, zone, dns.TypeNS)
		if err != nil {
			return nil, err
		}
		op := "finding the name servers of " + inkan.Printable(zone, 260)
		var hosts []string
		for _, rr := range a.Records {
			if ns, ok := rr.(*dns.NS); ok && same(ns.Hdr.Name, zone) && len(hosts) < maxServers {
				hosts = append(hosts, strings.ToLower(ns.Ns))
			}
		}
		if len(hosts) == 0 {
			return nil, inkan.Errorf(inkan.Operator, op, "the zone has no NS record").
				WithHint("check the delegation of the zone, or name its servers in zones")
		}
		slices.Sort(hosts)
		found := make([][]Server, len(hosts))
		var g errgroup.Group
		var first error
		var mu sync.Mutex
		for i, host := range hosts {
			g.Go(func() error {
				var err error
				if found[i], err = f.addresses(ctx, host); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
				return nil
			})
		}
		_ = g.Wait()
		servers := slices.Concat(found...)
		switch {
		case ctx.Err() != nil:
			return nil, &inkan.Error{Op: op, Kind: inkan.KindOf(ctx.Err()), Err: ctx.Err()}
		case len(servers) == 0 && first != nil:
			return nil, first
		case len(servers) == 0:
			return nil, inkan.Errorf(inkan.Operator, op, "none of %s has an address", inkan.Printable(strings.Join(hosts, " "), 400)).
				WithHint("check the delegation of the zone, or name its servers in zones")
		}
		return servers, nil // of a server without an address nobody gets an answer
	})
}

// addresses returns those of one name server, IPv4 and IPv6.
func (f *Finder) addresses(ctx context.Context, host string) ([]Server, error) {
	port := f.Client.Port
	if port == 0 {
		port = 53
	}
	var servers []Server
	var failed error
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		a, err := f.Client.Recurse(ctx, host, qtype)
		if err != nil {
			failed = err
			continue
		}
		for _, rr := range a.Records {
			var ip net.IP
			switch rr := rr.(type) {
			case *dns.A:
				ip = rr.A
			case *dns.AAAA:
				ip = rr.AAAA
			}
			if ip != nil && len(servers) < maxAddrs {
				servers = append(servers, Server{Host: host, Addr: withPort(ip.String(), port)})
			}
		}
	}
	if len(servers) > 0 {
		return servers, nil
	}
	return nil, failed
}

// Locate follows the CNAME records of name, and delegations on the way, to the
// zone in which a record at name is kept. Unless f is Indirect, the
// authoritative servers are asked, so that no resolver remembers the absence of
// a name that is to appear.
func (f *Finder) Locate(ctx context.Context, name string) (Place, error) {
	p := Place{Name: strings.ToLower(dns.Fqdn(name))}
	for {
		next, err := f.step(ctx, &p)
		if err != nil || next == "" {
			return p, err
		}
		p.Aliases = append(p.Aliases, p.Name)
		circle := slices.Contains(p.Aliases, next)
		if circle || len(p.Aliases) > maxAliases {
			what := "go in a circle"
			if !circle {
				what = "are too many"
			}
			return p, inkan.Errorf(inkan.Operator, "following "+inkan.Printable(p.Aliases[0], 260), "the CNAME records %s: %s", what,
				inkan.Printable(strings.Join(append(p.Aliases, next), " -> "), 600)).
				WithHint("mend the CNAME record of %s", inkan.Printable(p.Name, 260))
		}
		p.Name = next
	}
}

// step finds the zone of p.Name and returns where a CNAME record leads from it,
// or "".
func (f *Finder) step(ctx context.Context, p *Place) (string, error) {
	if f.Indirect {
		a, err := f.Client.Recurse(ctx, p.Name, dns.TypeCNAME)
		if err != nil {
			return "", err
		}
		if next := a.alias(p.Name); next != "" {
			return next, nil
		}
		p.Zone, err = f.Zone(ctx, p.Name)
		return "", err
	}
	from := parent(p.Name)
	if from == "." || f.Known[p.Name] != nil {
		from = p.Name
	}
	zone, err := f.Zone(ctx, from)
	if err != nil {
		return "", err
	}
	for {
		p.Zone = zone
		a, err := f.askZone(ctx, zone, p.Name)
		if err != nil {
			return "", err
		}
		if next := a.alias(p.Name); next != "" {
			return next, nil
		}
		// A zone of its own may begin at the name: served here too, or
		// delegated to other servers.
		below := a.childApex(p.Name, zone)
		if !a.Authoritative && below == "" {
			below = a.referral(p.Name, zone)
		}
		if below == "" || below == zone {
			return "", nil
		}
		zone = below // longer each time, so this ends
	}
}

// askZone asks the servers of a zone which CNAME record name has.
func (f *Finder) askZone(ctx context.Context, zone, name string) (*Answer, error) {
	servers, err := f.Servers(ctx, zone)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr
	}
	return f.Client.ask(ctx, addrs, Question{Name: name, Type: dns.TypeCNAME})
}

// referral returns the apex of the zone below the zone above to which the
// answer sends us for name, or "".
func (a *Answer) referral(name, above string) string {
	for _, rr := range a.Authority {
		owner := strings.ToLower(rr.Header().Name)
		if _, ok := rr.(*dns.NS); ok && within(name, owner) && within(owner, above) && owner != above {
			return owner
		}
	}
	return ""
}

// memo remembers what a function returned for a key, and calls it once.
type memo[T any] struct {
	mu      sync.Mutex
	entries map[string]func() (T, error)
}

func (m *memo[T]) get(key string, f func() (T, error)) (T, error) {
	m.mu.Lock()
	if m.entries == nil {
		m.entries = map[string]func() (T, error){}
	}
	once, ok := m.entries[key]
	if !ok {
		once = sync.OnceValues(f)
		m.entries[key] = once
	}
	m.mu.Unlock()
	return once()
}
