// Package config reads the one file that says what a machine is to keep: which
// certificates, from which CAs, validated and deployed how. The format is YAML
// and strict: unknown keys, repeated keys, wrong types and names that lead
// nowhere are refused, all at once, each with its file, line and column. There
// are no includes, no environment variables and no merging of several files.
//
// The package gets bytes and returns values. It reads no file by itself: what
// the file names (a CSR, a secret) is read by functions of the caller.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Options say what Load knows besides the file.
type Options struct {
	// CAs are the names of the built-in CAs, which need no entry.
	CAs []string
	// ReadFile reads a file that the configuration names with csr. Nil
	// refuses such a key.
	ReadFile func(path string) ([]byte, error)
}

// Config is the desired state of one machine. It is read-only and safe for
// concurrent use.
type Config struct {
	// Certificates are checked requests, in the order of the file.
	Certificates []inkan.CertificateRequest
	// CAs are the entries of the file; a built-in CA without an entry is not
	// among them.
	CAs map[string]CA

	name string
	set  *plug.Set
	doc  document
}

// CA is one certificate authority of the file.
type CA struct {
	Directory string // an https URL; empty for a built-in CA of which only the rest is changed
	Roots     string // path of a PEM file, as written; empty for the system's roots
	Staging   bool
}

// none is the solver name that says that no proof will be asked for.
const none = "none"

// Load reads a file. name stands in messages only. On an error, which is of
// kind Operator and holds [plug.Problems], nothing of the file is to be used.
func Load(name string, data []byte, set *plug.Set, opts Options) (*Config, error) {
	root, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	l := loader{opts: opts, resolver: plug.Resolver{Secret: plug.Unread}}
	l.c = &Config{name: name, set: set, CAs: map[string]CA{}}
	l.add("", root, root.Decode(l.resolver)(&l.c.doc))
	doc := &l.c.doc
	if doc.Source.text != "" {
		if err := inkan.CheckName(doc.Source.text); err != nil {
			l.problems.AddError(doc.Source.pos, "source", err)
		}
	}
	l.known.cas = newNames(opts.CAs, doc.CAs.names())
	l.known.accounts = newNames(doc.Accounts.names(), []string{"default"})
	l.known.solvers = newNames(doc.Solvers.names())
	l.known.targets = newNames(doc.Targets.names())
	l.cas()
	l.accounts()
	l.instances()
	l.certificates()
	if err := l.problems.Err(); err != nil {
		return nil, err
	}
	return l.c, nil
}

// loader collects what is wrong while it builds a Config.
type loader struct {
	c        *Config
	opts     Options
	resolver plug.Resolver
	problems plug.Problems
	known    struct{ cas, accounts, solvers, targets names }
	solvers  map[string]string      // challenge types by solver
	writers  map[string]plug.Writer // by target
}

// names are those that may be referred to.
type names struct {
	list []string
	set  map[string]bool
}

func newNames(lists ...[]string) names {
	n := names{list: slices.Concat(lists...), set: map[string]bool{}}
	for _, s := range n.list {
		n.set[s] = true
	}
	return n
}

// refer notes w as a problem if it is not among the names.
func (l *loader) refer(w word, path, what string, n names) bool {
	if !n.set[w.text] {
		l.problems.Add(w.pos, path, "%s", plug.Unknown(what, w.text, n.list))
	}
	return n.set[w.text]
}

func (l *loader) add(path string, n *plug.Node, err error) {
	if err != nil {
		l.problems.AddError(n.Pos, path, err)
	}
}

func (l *loader) cas() {
	for _, e := range l.c.doc.CAs {
		path := "cas." + e.name
		var c ca
		if err := e.node.Decode(l.resolver)(&c); err != nil {
			l.add(path, e.node, err)
			continue
		}
		builtin := slices.Contains(l.opts.CAs, e.name)
		if c.Directory.text == "" && !builtin {
			l.problems.Add(e.pos, path, "the key %q is missing", "directory")
			continue
		}
		if u, err := url.Parse(c.Directory.text); c.Directory.text != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "") {
			l.problems.Add(c.Directory.pos, path+".directory", "%q is not an https URL", inkan.Printable(c.Directory.text, 100))
			continue
		}
		l.c.CAs[e.name] = CA{c.Directory.text, c.Roots, c.Staging}
	}
}

// instances checks the options of every plug-in that the file names, used or
// not.
func (l *loader) instances() {
	l.solvers, l.writers = map[string]string{}, map[string]plug.Writer{}
	doc, set := &l.c.doc, l.c.set
	l.add("store", &plug.Node{Pos: doc.Store.Pos()}, l.references(doc.Store.Check(set)))
	for _, e := range doc.Stores {
		_, err := checkInstance(l, &set.Stores, e)
		l.add("stores."+e.name, e.node, err)
	}
	for _, e := range doc.DNS {
		_, err := checkInstance(l, &set.DNS, e)
		l.add("dns."+e.name, e.node, err)
	}
	for _, e := range doc.Solvers {
		l.reserved(e)
		_, err := checkInstance(l, &set.Solvers, e)
		l.add("solvers."+e.name, e.node, err)
		if e.name == none {
			l.problems.Add(e.pos, "", "a solver cannot have the name %q, which stands for no validation", none)
		}
		plugin, _, _ := plug.SplitType(e.node)
		l.solvers[e.name] = set.Solvers.Challenge(plugin)
	}
	for _, e := range doc.Targets {
		l.reserved(e)
		options, err := checkInstance(l, &set.Deployers, e)
		l.add("targets."+e.name, e.node, err)
		if w, ok := options.(plug.Writer); ok {
			l.writers[e.name] = w
		}
	}
}

// reserved refuses the names that Inkan gives to what the command line defines.
func (l *loader) reserved(e entry) {
	if strings.HasPrefix(e.name, "_") {
		l.problems.Add(e.pos, "", "the name %q begins with \"_\", which is reserved for what the command line defines", e.name)
	}
}

// checkInstance decodes the options of one entry and follows the names in it.
func checkInstance[T any](l *loader, kind *plug.Kind[T], e entry) (options any, err error) {
	plugin, rest, err := plug.SplitType(e.node)
	if err != nil {
		return nil, err
	}
	if !kind.Has(plugin) {
		var problems plug.Problems
		problems.Add(e.node.Get("type").Pos, "type", "%s", plug.Unknown(kind.Name()+" type", plugin, kind.Names()))
		return nil, problems.Err()
	}
	options, refs, err := plug.Check(l.c.set, kind, plugin, rest.Decode(l.resolver))
	return options, l.references(refs, err)
}

// references checks that the instances which options name are defined.
func (l *loader) references(refs []plug.NamedRef, err error) error {
	if err != nil {
		return err
	}
	var problems plug.Problems
	for _, r := range refs {
		known := l.c.namesOf(r.Kind)
		if !slices.Contains(known, r.Name) {
			problems.Add(r.Pos, "", "%s", plug.Unknown(r.Kind, r.Name, known))
		}
	}
	return problems.Err()
}

// namesOf lists the instances of a kind that the file defines.
func (c *Config) namesOf(kind string) []string {
	switch kind {
	case c.set.Stores.Name():
		return c.doc.Stores.names()
	case c.set.Solvers.Name():
		return c.doc.Solvers.names()
	case c.set.DNS.Name():
		return c.doc.DNS.names()
	case c.set.Deployers.Name():
		return c.doc.Targets.names()
	}
	return nil
}

// Solvers, DNS, Targets and Accounts list the names that the file defines.
func (c *Config) Solvers() []string  { return c.doc.Solvers.names() }
func (c *Config) DNS() []string      { return c.doc.DNS.names() }
func (c *Config) Targets() []string  { return c.doc.Targets.names() }
func (c *Config) Accounts() []string { return c.doc.Accounts.names() }

// Challenge returns the challenge type that a solver of the file shows; "" if
// the file has no such solver.
func (c *Config) Challenge(solver string) string {
	e, ok := c.doc.Solvers.find(solver)
	if !ok {
		return ""
	}
	plugin, _, _ := plug.SplitType(e.node) // checked when it was loaded
	return c.set.Solvers.Challenge(plugin)
}

// output is what one deployment of one certificate writes.
type output struct{ certificate, target string }

func (o output) String() string {
	return fmt.Sprintf("certificate %s at target %s", o.certificate, o.target)
}

// outputs refuses two deployments that would write the same path, or one below
// what the other replaces as a whole (reliability F05).
func (l *loader) outputs(seen map[string]output, name string, targets words, path string) {
	for _, t := range targets {
		me := output{name, t.text}
		w := l.writers[t.text]
		if w == nil {
			continue
		}
		for _, p := range w.Outputs(name) {
			p = filepath.Clean(p)
			if other, ok := seen[p]; ok && other != me {
				l.problems.Add(t.pos, path, "both %s and %s write %s", other, me, p)
			}
			seen[p] = me
		}
	}
}

// nestedOutputs refuses a path below another one's.
func (l *loader) nestedOutputs(seen map[string]output) {
	for p, me := range seen {
		for dir := filepath.Dir(p); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if other, ok := seen[dir]; ok {
				l.problems.Add(plug.Pos{File: l.c.name}, "", "%s writes %s, which is inside %s of %s", me, p, dir, other)
			}
		}
	}
}

// email checks an address well enough to keep it from being something else in
// a mailto URL (RFC 8555 section 7.3 forbids header fields and lists).
func email(s string) error {
	local, domain, ok := strings.Cut(s, "@")
	switch {
	case !ok || local == "" || len(s) > 254:
		return errors.New("it is not an e-mail address")
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`,;?<>"()\%&`, r) }):
		return errors.New("it has a character that no address here may have")
	}
	_, err := inkan.ParseIdentifier(domain)
	return err
}
