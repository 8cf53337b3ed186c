package config

import (
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Instances opens the plug-ins that a Config names, each when it is first
// asked for and once. Safe for concurrent use.
type Instances struct {
	config *Config
	env    plug.Env
	secret func(plug.SecretSource) (string, error)

	mu      sync.Mutex
	opened  map[string]any
	opening map[string]bool
}

// Open returns the instances of c. Nothing is opened yet. secret reads secrets
// that the file keeps elsewhere; nil refuses them.
func (c *Config) Open(env plug.Env, secret func(plug.SecretSource) (string, error)) *Instances {
	return &Instances{config: c, env: env, secret: secret, opened: map[string]any{}, opening: map[string]bool{}}
}

// Solver opens a solver by its name in the file.
func (in *Instances) Solver(name string) (inkan.Solver, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return open(in, &in.config.set.Solvers, in.config.doc.Solvers, "solvers", name)
}

// Deployer opens a target by its name in the file.
func (in *Instances) Deployer(name string) (inkan.Deployer, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return open(in, &in.config.set.Deployers, in.config.doc.Targets, "targets", name)
}

// TargetDigest returns a hash of the options of a target, so that a change of
// them is noticed; "" if the file has no such target.
func (in *Instances) TargetDigest(name string) string {
	e, ok := in.config.doc.Targets.find(name)
	if !ok {
		return ""
	}
	return e.node.Digest()
}

// Source names this configuration among those that share its store; "" if the
// file does not say.
func (c *Config) Source() string { return c.doc.Source.text }

// NamesStore reports whether the file says where state is kept. Otherwise it is in
// the data directory, for this machine only.
func (c *Config) NamesStore() bool { return !c.doc.Store.IsZero() }

// Store opens the store for Inkan's state. It returns nil if the file names
// none.
func (in *Instances) Store() (inkan.Store, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	ref := in.config.doc.Store // a copy: opening fills it in
	if ref.IsZero() {
		return nil, nil
	}
	if s, ok := in.opened["store"]; ok {
		return s.(inkan.Store), nil
	}
	if err := ref.Open(in.config.set, in.env, in.resolver()); err != nil {
		return nil, in.wrap("store", err)
	}
	in.opened["store"] = ref.Value
	return ref.Value, nil
}

// open is called with in.mu held.
func open[T any, S any](in *Instances, kind *plug.Kind[T], s section[S], path, name string) (T, error) {
	var zero T
	path += "." + name
	if v, ok := in.opened[path]; ok {
		return v.(T), nil
	}
	e, ok := s.find(name)
	if !ok {
		return zero, inkan.Errorf(inkan.Operator, in.config.name, "%s", plug.Unknown(kind.Name(), name, s.names()))
	}
	if in.opening[path] {
		return zero, inkan.Errorf(inkan.Operator, in.config.name, "%s refers to itself", path)
	}
	in.opening[path] = true
	defer delete(in.opening, path)
	plugin, options, err := plug.SplitType(e.node)
	if err != nil {
		return zero, in.wrap(path, err)
	}
	v, err := plug.Open(in.config.set, kind, in.env, plugin, options.Decode(in.resolver()))
	if err != nil {
		return zero, in.wrap(path, err)
	}
	in.opened[path] = v
	return v, nil
}

// resolver lends options the secrets and the other instances of the file. It
// is used with in.mu held.
func (in *Instances) resolver() plug.Resolver {
	return plug.Resolver{Secret: in.secret, Instance: func(kind, name string) (any, error) {
		set, doc := in.config.set, in.config.doc
		switch kind {
		case set.Stores.Name():
			return open(in, &set.Stores, doc.Stores, "stores", name)
		case set.Solvers.Name():
			return open(in, &set.Solvers, doc.Solvers, "solvers", name)
		case set.DNS.Name():
			return open(in, &set.DNS, doc.DNS, "dns", name)
		case set.Deployers.Name():
			return open(in, &set.Deployers, doc.Targets, "targets", name)
		}
		return nil, inkan.Errorf(inkan.Operator, in.config.name, "%s", plug.Unknown(kind, name, nil))
	}}
}

// wrap says which entry an error is about, and keeps its kind.
func (in *Instances) wrap(path string, err error) error {
	return &inkan.Error{Op: in.config.name + ": " + path, Kind: inkan.KindOf(err), Err: err}
}
