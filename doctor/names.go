package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// maxAliases is how many CNAME records are followed: as many as resolvers do.
const maxAliases = 16

// answered is what the resolvers said, or why they said nothing.
type answered struct {
	*dnslookup.Answer
	err error
}

// ask asks the resolvers, once for each question.
func (x *examination) ask(ctx context.Context, name string, qtype uint16) answered {
	name = strings.ToLower(dns.Fqdn(name))
	return x.answers.get(fmt.Sprint(name, " ", qtype), func() answered {
		a, err := x.client.Recurse(ctx, name, qtype)
		return answered{a, err}
	})
}

// unchecked asks the resolvers for the answer without DNSSEC validation.
func (x *examination) unchecked(ctx context.Context, name string, qtype uint16) (*dnslookup.Answer, error) {
	var first error
	for _, s := range x.client.Asked(ctx) {
		a, err := x.client.Ask(ctx, dnslookup.Question{Server: s.Addr, Name: name, Type: qtype, Recurse: true, NoCheck: true})
		if err == nil {
			return a, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// resolve looks at a name in the DNS: whether it leads anywhere, its zone and
// the zone's servers. For challenges to which the CA connects it returns the
// addresses.
func (x *examination) resolve(ctx context.Context, id inkan.Identifier, challenge string, a *authority) ([]Finding, []netip.Addr) {
	if id.Type == inkan.IP {
		addr, err := netip.ParseAddr(id.Value)
		if err != nil {
			return nil, nil // no such identifier passes the request's check
		}
		return notReachable(id, []netip.Addr{addr}, a), []netip.Addr{addr}
	}
	connects := challenge == inkan.HTTP01 || challenge == inkan.TLSALPN01
	if x.quick && !connects {
		return nil, nil
	}
	if !connects {
		// A zone that a private CA sees, this machine may know from its solver only.
		list := x.zoneOf(ctx, id.Base(), id.Value, a.public)
		if challenge == inkan.DNS01 && !anyError(list) {
			list = append(list, x.delegatedAlias(ctx, "_acme-challenge."+id.Base(), id.Value)...)
		}
		return list, nil
	}
	addrs, list := x.addresses(ctx, id.Base(), id.Value)
	if anyError(list) || ctx.Err() != nil {
		return list, nil
	}
	if list = append(list, notReachable(id, addrs, a)...); anyError(list) {
		return list, nil
	}
	if a.public {
		addrs = slices.DeleteFunc(addrs, func(addr netip.Addr) bool { return !isPublic(addr) }) // it asks the others
	}
	if len(addrs) == 0 || x.quick { // nobody answered, or there is no time to ask more
		return list, addrs
	}
	return append(list, x.zoneOf(ctx, id.Base(), id.Value, false)...), addrs
}

// addresses returns the addresses of a name, or why it has none.
func (x *examination) addresses(ctx context.Context, name, about string) ([]netip.Addr, []Finding) {
	var addrs []netip.Addr
	v4, v6 := x.ask(ctx, name, dns.TypeA), x.ask(ctx, name, dns.TypeAAAA)
	for _, ans := range []answered{v4, v6} {
		if ans.err != nil {
			continue
		}
		for _, rr := range ans.Records {
			switch rr := rr.(type) {
			case *dns.A:
				if ip, ok := netip.AddrFromSlice(rr.A.To4()); ok {
					addrs = append(addrs, ip)
				}
			case *dns.AAAA:
				if ip, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
					addrs = append(addrs, ip.Unmap())
				}
			}
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	for _, ans := range []answered{v4, v6} {
		if ans.err != nil {
			return nil, x.unanswered(ctx, about, name, dns.TypeA, ans.err)
		}
	}
	chain, fault := x.aliases(ctx, name)
	who := "the resolver " + v4.Question.Server
	switch {
	case fault != "":
		return nil, []Finding{findingOf("cname-loop", about, fault+": "+strings.Join(chain, " -> "), "")}
	case v4.Code == dns.RcodeNameError || v6.Code == dns.RcodeNameError:
		end, seen := chain[len(chain)-1], fmt.Sprintf("%s says that %s does not exist (NXDOMAIN)", who, chain[0])
		if len(chain) > 1 {
			seen = fmt.Sprintf("%s says that %s does not exist (NXDOMAIN), to which the CNAME records of %s lead", who, end, chain[0])
		}
		return nil, []Finding{findingOf("nxdomain", about, seen, nxdomainRemedy(chain))}
	}
	return nil, []Finding{findingOf("no-address", about, fmt.Sprintf("%s knows neither A nor AAAA records of %s", who, chain[len(chain)-1]), "")}
}

func nxdomainRemedy(chain []string) string {
	if len(chain) > 1 {
		return fmt.Sprintf("mend the CNAME record of %s, or create %s", chain[len(chain)-2], chain[len(chain)-1])
	}
	return ""
}

// aliases follows the CNAME records of a name, asking for each by itself, and
// returns the names on the way. fault says what is wrong with them.
func (x *examination) aliases(ctx context.Context, name string) (chain []string, fault string) {
	chain = []string{undotted(name)}
	for len(chain) <= maxAliases {
		ans := x.ask(ctx, chain[len(chain)-1], dns.TypeCNAME)
		if ans.err != nil {
			return chain, ""
		}
		next := ""
		for _, rr := range ans.Records {
			if c, ok := rr.(*dns.CNAME); ok && undotted(c.Hdr.Name) == chain[len(chain)-1] {
				next = undotted(c.Target)
			}
		}
		if next == "" {
			return chain, ""
		}
		chain = append(chain, next)
		if slices.Contains(chain[:len(chain)-1], next) {
			return chain, "the CNAME records lead in a circle"
		}
	}
	return chain, "the CNAME records lead through too many names"
}

// delegatedAlias follows the CNAME records of a name at which a record is to
// appear. It asks the authoritative servers, so that no resolver remembers that
// the name was absent.
func (x *examination) delegatedAlias(ctx context.Context, name, about string) []Finding {
	p, err := x.finder.Locate(ctx, name)
	if err == nil || ended(ctx, err) || !slices.Contains(p.Aliases, p.Name) {
		return nil // the solver tells what else is wrong
	}
	return []Finding{failure("cname-loop", about, "", err)}
}

// undotted is a name as people write it.
func undotted(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unanswered turns an error of the resolvers into a finding.
func (x *examination) unanswered(ctx context.Context, about, name string, qtype uint16, err error) []Finding {
	if ended(ctx, err) {
		return nil
	}
	code, ok := errors.AsType[*dnslookup.CodeError](err)
	if !ok || code.Code != dns.RcodeServerFailure {
		return []Finding{findingOf("resolver-silent", "resolvers", err.Error(), "")}
	}
	if chain, fault := x.aliases(ctx, name); fault != "" {
		return []Finding{findingOf("cname-loop", about, fault+": "+strings.Join(chain, " -> "), "")}
	}
	if a, err := x.unchecked(ctx, name, qtype); err == nil {
		return []Finding{findingOf("dnssec-bogus", about, fmt.Sprintf("the resolver %s refuses its answer for %s (SERVFAIL), and gives it when told not to check signatures", a.Question.Server, undotted(name)), "")}
	}
	return []Finding{findingOf("servfail", about, err.Error(), "")}
}

// namesFailed reports whether the DNS gave no answers about a name.
func namesFailed(list []Finding) bool {
	return slices.ContainsFunc(list, func(f Finding) bool {
		switch f.ID {
		case "nxdomain", "servfail", "cname-loop", "dnssec-bogus", "resolver-silent":
			return true
		}
		return false
	})
}

// notReachable says that a public CA reaches none of the addresses.
func notReachable(id inkan.Identifier, addrs []netip.Addr, a *authority) []Finding {
	if !a.public || len(addrs) == 0 || slices.ContainsFunc(addrs, isPublic) {
		return nil
	}
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return []Finding{findingOf("private-address", id.Value, "it has only "+strings.Join(words, ", "), "")}
}

// special are the ranges besides those that netip knows which no public CA
// connects to (IANA special-purpose registries).
func special() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32", "64:ff9b:1::/48", "100::/64"} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func isPublic(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsGlobalUnicast() && !addr.IsPrivate() &&
		!slices.ContainsFunc(special(), func(p netip.Prefix) bool { return p.Contains(addr) })
}

// asCode returns the code of an error that is an answer.
func asCode(err error) (code int, ok bool) {
	e, ok := errors.AsType[*dnslookup.CodeError](err)
	if !ok {
		return 0, false
	}
	return e.Code, true
}
