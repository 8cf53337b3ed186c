package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// caa checks the CAA records that are relevant for id (RFC 8659) against a CA,
// its account and the challenges that may be used, the first of ways first.
func (x *examination) caa(ctx context.Context, id inkan.Identifier, ways []inkan.Validation, a *authority) []Finding {
	at, records, err := x.relevant(ctx, id.Base())
	if err != nil {
		code, answered := asCode(err)
		if ended(ctx, err) || !answered || code == dns.RcodeRefused {
			return nil // told already: the resolver answers nothing
		}
		return []Finding{findingOf("caa-unanswered", id.Value, fmt.Sprintf("asked for the CAA records of %s, the resolver answers %s", undotted(at), dnslookup.CodeName(code)), "")}
	}
	if len(records) == 0 {
		return nil
	}
	policy := newPolicy(records, id.Wildcard())
	if policy.critical != "" {
		return []Finding{findingOf("caa-forbids", id.Value, fmt.Sprintf("the CAA records at %s have the critical property %s, which no CA may pass over", undotted(at), policy.critical), "take the property away or clear its critical flag")}
	}
	if !policy.restricts {
		return nil
	}
	var types []string
	for _, w := range ways {
		types = append(types, w.Type)
	}
	kind, why := policy.judge(a, types)
	if kind == "" {
		return nil
	}
	return []Finding{findingOf(kind, id.Value, fmt.Sprintf("at %s stands %s; %s", undotted(at), policy.text(), why), policy.remedy(kind, a, types, undotted(at)))}
}

// relevant climbs from name towards the root to the first CAA records (RFC 8659
// section 3). Resolvers follow the CNAME records. at is where they stand, or
// where the question failed.
func (x *examination) relevant(ctx context.Context, name string) (at string, records []*dns.CAA, err error) {
	name = dns.Fqdn(name)
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		at = name[off:]
		ans := x.ask(ctx, at, dns.TypeCAA)
		if ans.err != nil {
			return at, nil, ans.err
		}
		for _, rr := range ans.Records {
			if c, ok := rr.(*dns.CAA); ok {
				records = append(records, c)
			}
		}
		if len(records) > 0 {
			return records[0].Hdr.Name, records, nil
		}
	}
	return name, nil, nil
}

// policy is what CAA records say about one name.
type policy struct {
	restricts bool   // there is a property that restricts
	tag       string // issue or issuewild
	critical  string // an unknown property that must be understood
	issuers   []issueValue
}

// issueValue is the value of one property (RFC 8659 section 4.2, RFC 8657).
type issueValue struct {
	raw     string
	issuer  string // "" forbids everybody
	account string // accounturi; "" for all
	methods []string
	strange bool // malformed: it lets nobody
}

func newPolicy(records []*dns.CAA, wildcard bool) policy {
	p := policy{tag: "issue"}
	if wildcard && slices.ContainsFunc(records, func(c *dns.CAA) bool { return strings.EqualFold(c.Tag, "issuewild") }) {
		p.tag = "issuewild"
	}
	for _, c := range records {
		switch tag := strings.ToLower(c.Tag); tag {
		case p.tag:
			p.restricts = true
			p.issuers = append(p.issuers, parseIssue(c.Value))
		case "issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc":
		default:
			if c.Flag&128 != 0 {
				p.critical = inkan.Printable(c.Tag, 40)
			}
		}
	}
	return p
}

func parseIssue(value string) issueValue {
	v := issueValue{raw: value}
	issuer, rest, _ := strings.Cut(value, ";")
	v.issuer = undotted(strings.Trim(issuer, " \t"))
	for part := range strings.SplitSeq(rest, ";") {
		if part = strings.Trim(part, " \t"); part == "" {
			continue
		}
		tag, val, ok := strings.Cut(part, "=")
		if !ok {
			v.strange = true
			continue
		}
		switch val = strings.Trim(val, " \t"); strings.ToLower(strings.Trim(tag, " \t")) {
		case "accounturi":
			v.strange = v.strange || v.account != "" // RFC 8657 section 3
			v.account = val
		case "validationmethods":
			v.methods = append([]string{}, strings.Split(val, ",")...)
		}
	}
	return v
}

// judge returns the kind of finding that the policy makes for a CA, and the
// reason; "" if it may issue.
func (p *policy) judge(a *authority, types []string) (kind, why string) {
	if len(a.issuers) == 0 && slices.ContainsFunc(p.issuers, func(v issueValue) bool { return v.issuer != "" }) {
		return "", "" // the CA does not say which names it goes by
	}
	kind, why = "caa-forbids", fmt.Sprintf("this CA goes by %s", strings.Join(a.issuers, ", "))
	if len(a.issuers) == 0 {
		why = "no CA may issue"
	}
	for _, v := range p.issuers {
		mine := slices.ContainsFunc(a.issuers, func(s string) bool { return undotted(s) == v.issuer })
		switch {
		case !mine || v.strange:
		case v.account != "" && v.account != a.url:
			if kind != "caa-method" {
				kind, why = "caa-account", "the account here is "+a.url
				if a.url == "" {
					why = "there is no account here yet"
				}
			}
		case v.methods != nil && len(types) > 0 && !slices.ContainsFunc(types, func(t string) bool { return slices.Contains(v.methods, t) }):
			kind, why = "caa-method", "here it would be "+strings.Join(types, " or ")
		default:
			return "", ""
		}
	}
	return kind, why
}

// text is the policy as it stands in a zone file.
func (p *policy) text() string {
	var words []string
	for _, v := range p.issuers {
		words = append(words, fmt.Sprintf("%s %q", p.tag, inkan.Printable(v.raw, 200)))
	}
	return strings.Join(words, ", ")
}

// remedy is the record that would let the CA issue.
func (p *policy) remedy(kind string, a *authority, types []string, at string) string {
	if len(a.issuers) == 0 {
		return "take the record away, or name the CA in it"
	}
	value := undotted(a.issuers[0])
	switch {
	case kind == "caa-account" && a.url == "":
		return "make the account first (inkan account register), then put its URL into accounturi"
	case kind == "caa-account":
		value += "; accounturi=" + a.url
	case kind == "caa-method":
		return fmt.Sprintf("add %s to validationmethods, or validate by one that it allows", types[0])
	}
	return inkan.Printable(fmt.Sprintf("add the record: %s CAA 0 %s %q", at, p.tag, value), 500)
}
