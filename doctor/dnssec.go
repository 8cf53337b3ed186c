package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// signed checks the signatures of a zone whose parent says that it is signed:
// as a validating resolver does, but for one zone only, with the parent's DS
// records taken for true. So it gives the reason for what is broken, even
// if the resolver of this machine does not validate.
func (x *examination) signed(ctx context.Context, zone string, servers []dnslookup.Server) []Finding {
	ds, err := x.unchecked(ctx, zone, dns.TypeDS)
	if err != nil {
		return nil // the resolver knows no DS records
	}
	var anchors []*dns.DS
	for _, rr := range ds.Records {
		if d, ok := rr.(*dns.DS); ok && strings.EqualFold(d.Hdr.Name, zone) {
			anchors = append(anchors, d)
		}
	}
	if len(anchors) == 0 {
		return nil
	}
	for _, s := range servers {
		why, err := x.verify(ctx, s, zone, anchors)
		if ended(ctx, err) {
			return nil
		}
		if err != nil {
			continue // another one may answer
		}
		if why == "" {
			return nil
		}
		return []Finding{findingOf("dnssec-bogus", undotted(zone), fmt.Sprintf("%s: %s", s, why), "")}
	}
	return nil
}

// verify says what is wrong with the signatures that one server gives; "" if
// nothing is, or nothing can be told.
func (x *examination) verify(ctx context.Context, s dnslookup.Server, zone string, anchors []*dns.DS) (why string, err error) {
	get := func(qtype uint16) (*dnslookup.Answer, error) {
		return x.client.Ask(ctx, dnslookup.Question{Server: s.Addr, Name: zone, Type: qtype, DNSSEC: true})
	}
	a, err := get(dns.TypeDNSKEY)
	if err != nil {
		return "", err
	}
	var keys []*dns.DNSKEY
	for _, rr := range a.Records {
		if k, ok := rr.(*dns.DNSKEY); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return "the parent has a DS record, but the zone has no DNSKEY record", nil
	}
	trusted, known := anchored(keys, anchors)
	switch {
	case !known:
		return "", nil // algorithms that we do not know: others may
	case len(trusted) == 0:
		return "no DNSKEY record of the zone belongs to a DS record of the parent", nil
	}
	if why := x.holds(a.Records, dns.TypeDNSKEY, trusted); why != "" {
		return why, nil
	}
	if a, err = get(dns.TypeSOA); err != nil {
		return "", err
	}
	return x.holds(a.Records, dns.TypeSOA, keys), nil
}

// anchored returns the keys that DS records speak of; known: at least one DS
// record is of a digest that we can make.
func anchored(keys []*dns.DNSKEY, anchors []*dns.DS) (trusted []*dns.DNSKEY, known bool) {
	for _, d := range anchors {
		for _, k := range keys {
			made := k.ToDS(d.DigestType)
			known = known || made != nil
			if made != nil && k.Algorithm == d.Algorithm && strings.EqualFold(made.Digest, d.Digest) {
				trusted = append(trusted, k)
			}
		}
	}
	return trusted, known
}

// holds says why no signature over the records of a type by one of the keys
// holds; "" if one does, or one is of an algorithm that we do not know.
func (x *examination) holds(rrs []dns.RR, qtype uint16, keys []*dns.DNSKEY) string {
	var set []dns.RR
	var sigs []*dns.RRSIG
	for _, rr := range rrs {
		if sig, ok := rr.(*dns.RRSIG); ok && sig.TypeCovered == qtype {
			sigs = append(sigs, sig)
		} else if rr.Header().Rrtype == qtype {
			set = append(set, rr)
		}
	}
	what := dns.TypeToString[qtype] + " records"
	if len(sigs) == 0 {
		return "the " + what + " are not signed"
	}
	why := "the " + what + " are signed by none of the zone's keys"
	for _, sig := range sigs {
		for _, k := range keys {
			if k.KeyTag() != sig.KeyTag || k.Algorithm != sig.Algorithm {
				continue
			}
			switch err := sig.Verify(k, set); {
			case errors.Is(err, dns.ErrAlg):
				return ""
			case err != nil:
				why = fmt.Sprintf("the signature over the %s by key %d is wrong", what, k.KeyTag())
			case !sig.ValidityPeriod(x.now()):
				why = fmt.Sprintf("the signature over the %s by key %d holds from %s to %s only", what, k.KeyTag(), dns.TimeToString(sig.Inception), dns.TimeToString(sig.Expiration))
			default:
				return ""
			}
		}
	}
	return why
}
