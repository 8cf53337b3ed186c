package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

func (l *loader) certificates() {
	defaults := l.c.doc.Defaults.node
	if defaults != nil {
		// Decode it once by itself, so that a fault in it is reported once.
		var s settings
		if err := defaults.Decode(l.resolver)(&s); err != nil {
			l.add("defaults", defaults, err)
			defaults = nil
		}
	}
	seen := map[string]output{}
	for _, e := range l.c.doc.Certificates {
		path := "certificates." + e.name
		var c certificate
		if err := overlay(e.node, defaults).Decode(l.resolver)(&c); err != nil {
			l.add(path, e.node, err)
			continue
		}
		before := l.problems.Len()
		r := l.request(e, path, &c)
		if l.problems.Len() == before {
			// What Check finds is told only if nothing was found before: its
			// messages have no place of their own.
			l.add(path, &plug.Node{Pos: e.pos}, r.Check())
		}
		l.outputs(seen, e.name, c.Deploy, path+".deploy")
		l.c.Certificates = append(l.c.Certificates, r)
	}
	l.nestedOutputs(seen)
}

// request turns one entry into a request and checks every name in it.
func (l *loader) request(e entry, path string, c *certificate) inkan.CertificateRequest {
	r := inkan.CertificateRequest{
		Name:           e.name,
		CAs:            c.CA.texts(),
		Account:        c.Account.text,
		Profile:        c.Profile,
		RequireProfile: c.RequireProfile,
		Lifetime:       time.Duration(c.Lifetime),
		PreferredChain: c.PreferredChain,
		AllowSubset:    c.AllowSubset,
		Targets:        c.Deploy.texts(),
	}
	if c.ReuseKey {
		r.Key.Mode = inkan.KeyReuse
	}
	r.Identifiers = l.identifiers(c.Names, path+".names")
	for _, w := range c.Key {
		kt, err := inkan.ParseKeyType(w.text)
		if err != nil {
			l.problems.AddError(w.pos, path+".key", err)
		}
		r.KeyTypes = append(r.KeyTypes, kt)
	}
	if c.CSR.text != "" {
		l.csr(&r, c, path)
	} else if len(c.Names) == 0 {
		l.problems.Add(e.pos, path, "the key %q is missing", "names")
	}
	for _, w := range c.CA {
		l.refer(w, path+".ca", "CA", l.known.cas)
	}
	l.refer(c.Account, path+".account", "account", l.known.accounts)
	for i, w := range c.Deploy {
		if l.refer(w, path+".deploy", "target", l.known.targets) && slices.Contains(c.Deploy[:i].texts(), w.text) {
			l.problems.Add(w.pos, path+".deploy", "the target %s is named twice", w.text)
		}
	}
	r.Validations = l.validations(e, c, path, r.Identifiers)
	return r
}

func (l *loader) identifiers(names words, path string) []inkan.Identifier {
	var ids []inkan.Identifier
	for _, w := range names {
		id, err := inkan.ParseIdentifier(w.text)
		if err != nil {
			l.problems.AddError(w.pos, path, err)
			continue
		}
		if slices.Contains(ids, id) {
			l.problems.Add(w.pos, path, "%s is named twice", id)
			continue
		}
		ids = append(ids, id)
	}
	if len(names) > 1000 {
		l.problems.Add(names[1000].pos, path, "%d names in one certificate; CAs take 100 at most", len(names))
	}
	return ids
}

// validations turns the rules into those of the request, and checks that each name
// has a solver that can show control over it.
func (l *loader) validations(e entry, c *certificate, path string, ids []inkan.Identifier) []inkan.Validation {
	path += ".validate"
	if len(c.Validate) == 0 {
		l.problems.Add(e.pos, path, "nothing says how control over the names is shown; set validate here or in defaults to a solver (or to none if the CA asks for no proof)")
		return nil
	}
	if len(c.Validate) == 1 && c.Validate[0].match == "" && c.Validate[0].solver.text == none {
		return nil
	}
	var list []inkan.Validation
	for _, rule := range c.Validate {
		challenge := l.solvers[rule.solver.text]
		if !l.refer(rule.solver, path, "solver", l.known.solvers) || challenge == "" {
			return nil // without a challenge type its plug-in is unknown, which instances reports
		}
		list = append(list, inkan.Validation{Match: rule.match, Type: challenge, Solver: rule.solver.text})
	}
	for _, id := range ids {
		if problem := Unproven(id, list); problem != "" {
			l.problems.Add(c.Validate[0].solver.pos, path, "%s", problem)
		}
	}
	return list
}

// Unproven says why no validation of the list can show control over id; "" if
// one can.
func Unproven(id inkan.Identifier, list []inkan.Validation) string {
	var refused []string
	for _, v := range list {
		switch {
		case !v.Matches(id):
		case id.Wildcard() && !strings.HasPrefix(v.Type, "dns-"): // RFC 8555 section 8.4, CA/B BR 3.2.2.4
			refused = append(refused, fmt.Sprintf("solver %s shows %s", v.Solver, v.Type))
		case id.Type == inkan.IP && strings.HasPrefix(v.Type, "dns-"): // RFC 8738 section 7
			refused = append(refused, fmt.Sprintf("solver %s shows %s", v.Solver, v.Type))
		default:
			return ""
		}
	}
	switch {
	case len(refused) == 0:
		return fmt.Sprintf("no solver is named for %s", id)
	case id.Wildcard():
		return fmt.Sprintf("the wildcard %s needs a dns-01 solver; %s", id, strings.Join(refused, ", "))
	}
	return fmt.Sprintf("the address %s needs an http-01 or tls-alpn-01 solver; %s", id, strings.Join(refused, ", "))
}

// csr reads the user's own request and sees that it fits the entry.
func (l *loader) csr(r *inkan.CertificateRequest, c *certificate, path string) {
	path += ".csr"
	if l.opts.ReadFile == nil {
		l.problems.Add(c.CSR.pos, path, "files cannot be read here")
		return
	}
	data, err := l.opts.ReadFile(c.CSR.text)
	if err != nil {
		l.problems.AddError(c.CSR.pos, path, err)
		return
	}
	der, ids, kt, err := inkan.ParseCSR(data)
	if err != nil {
		l.problems.AddError(c.CSR.pos, path, err)
		return
	}
	if len(c.Names) > 0 && !sameIdentifiers(r.Identifiers, ids) {
		l.problems.Add(c.CSR.pos, path, "names and the CSR differ; leave names out to take those of the CSR")
	}
	if c.ReuseKey {
		l.problems.Add(c.CSR.pos, path, "reuse_key makes no sense with csr: the key is yours")
	}
	r.CSR, r.Identifiers, r.KeyTypes = der, ids, []inkan.KeyType{kt}
}

func sameIdentifiers(a, b []inkan.Identifier) bool {
	if len(a) != len(b) {
		return false
	}
	for _, id := range a {
		if !slices.Contains(b, id) {
			return false
		}
	}
	return true
}
