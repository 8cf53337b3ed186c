package plug

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
)

// Set names every plug-in of every kind. The zero value is empty. Fill it by
// [Add], then only read it; reading is safe for concurrent use.
type Set struct {
	Stores    Kind[inkan.Store]
	Solvers   Kind[inkan.Solver]
	DNS       Kind[inkan.DNSProvider]
	Deployers Kind[inkan.Deployer]
}

// Clone returns a copy: what is added to it is not added to s.
func (s *Set) Clone() *Set {
	return &Set{Stores: s.Stores.clone(), Solvers: s.Solvers.clone(), DNS: s.DNS.clone(), Deployers: s.Deployers.clone()}
}

func (k Kind[T]) clone() Kind[T] { return Kind[T]{plugins: maps.Clone(k.plugins)} }

// Kind is one kind of plug-in: the plug-ins of that kind by name.
type Kind[T any] struct {
	plugins map[string]plugin[T]
}

type plugin[T any] struct {
	challenge string // of a solver: the challenge type it shows
	config    func() any
	build     func(env Env, config any) (T, error)
}

// Add adds a plug-in: its name and its constructor. The tags of the constructor's
// second argument, a struct, describe its options (see [Option]). An invalid or
// repeated name is a mistake in the program, so Add panics. Add runs at each start
// and does not look into the struct. [Set.Describe] does, and panics on an invalid
// one, so a test calls it once.
func Add[T, C any](k *Kind[T], name string, build func(Env, C) (T, error)) {
	if err := inkan.CheckName(name); err != nil {
		panic(fmt.Sprintf("plug: %v", err))
	}
	if _, ok := k.plugins[name]; ok {
		panic(fmt.Sprintf("plug: two plug-ins %q", name))
	}
	if k.plugins == nil {
		k.plugins = map[string]plugin[T]{}
	}
	k.plugins[name] = plugin[T]{
		config: func() any { return new(C) },
		build:  func(env Env, config any) (T, error) { return build(env, *config.(*C)) },
	}
}

// AddSolver adds a solver and says which type of challenge it shows.
func AddSolver[C any](k *Kind[inkan.Solver], name, challenge string, build func(Env, C) (inkan.Solver, error)) {
	if !slices.Contains([]string{inkan.HTTP01, inkan.TLSALPN01, inkan.DNS01, inkan.DNSAccount01, inkan.DNSPersist01}, challenge) {
		panic(fmt.Sprintf("plug: solver %q shows %q, which is no challenge type", name, challenge))
	}
	Add(k, name, build)
	p := k.plugins[name]
	p.challenge = challenge
	k.plugins[name] = p
}

// Name returns the word for the kind: "store", "solver" ...
func (k *Kind[T]) Name() string { return kindName[T]() }

// Names returns the names of the plug-ins, sorted.
func (k *Kind[T]) Names() []string { return slices.Sorted(maps.Keys(k.plugins)) }

// Has reports whether there is a plug-in of that name.
func (k *Kind[T]) Has(name string) bool {
	_, ok := k.plugins[name]
	return ok
}

// Challenge returns the challenge type that a solver plug-in shows, "" for
// what is no solver.
func (k *Kind[T]) Challenge(name string) string { return k.plugins[name].challenge }

// Options returns the options of a plug-in, nil if there is none of that name.
func (k *Kind[T]) Options(name string) []Option {
	if p, ok := k.plugins[name]; ok {
		return OptionsOf(p.config())
	}
	return nil
}

// Help returns the one line that describes a plug-in.
func (k *Kind[T]) Help(name string) string {
	if p, ok := k.plugins[name]; ok {
		return HelpOf(p.config())
	}
	return ""
}

func (k *Kind[T]) find(name string) (plugin[T], error) {
	p, ok := k.plugins[name]
	if !ok {
		return p, inkan.Errorf(inkan.Operator, "", "%s", Unknown(k.Name()+" type", name, k.Names()))
	}
	return p, nil
}

// Open makes an instance of the plug-in name: decode fills its options, the
// instances they refer to are opened, the constructor runs.
func Open[T any](set *Set, k *Kind[T], env Env, name string, decode Decode) (T, error) {
	var none T
	p, err := k.find(name)
	if err != nil {
		return none, err
	}
	config, err := p.decode(decode)
	if err != nil {
		return none, err
	}
	err = eachRef(reflect.ValueOf(config).Elem(), func(r reference) error { return r.open(set, env) })
	if err != nil {
		return none, err
	}
	return guard.Make(k.Name()+" "+name, "its constructor returned nothing", func() (T, error) { return p.build(env, config) })
}

// Check decodes the options of the plug-in name and opens nothing. It returns
// the filled config struct (a pointer) and the named instances it refers to.
// Options that are plug-ins themselves, written inline, are checked too.
func Check[T any](set *Set, k *Kind[T], name string, decode Decode) (config any, refs []NamedRef, err error) {
	p, err := k.find(name)
	if err != nil {
		return nil, nil, err
	}
	if config, err = p.decode(decode); err != nil {
		return nil, nil, err
	}
	err = eachRef(reflect.ValueOf(config).Elem(), func(r reference) error {
		more, err := r.Check(set)
		refs = append(refs, more...)
		return err
	})
	return config, refs, err
}

// Checker is implemented by config structs that have rules which tags cannot
// say. Check is called on the decoded options, before anything is opened.
type Checker interface {
	Check() error
}

// Writer is implemented by config structs of deployers that write to local
// paths: Outputs returns the absolute paths that a certificate's deployment
// owns, so that two that would own the same one are refused.
type Writer interface {
	Outputs(certificate string) []string
}

func (p plugin[T]) decode(decode Decode) (any, error) {
	config := p.config()
	if err := decode(config); err != nil {
		return nil, err
	}
	if c, ok := config.(Checker); ok {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// KindInfo describes one kind of plug-in for help and docs.
type KindInfo struct {
	Kind    string       `json:"kind"`
	Plugins []PluginInfo `json:"plugins"`
}

// PluginInfo describes one plug-in.
type PluginInfo struct {
	Name      string   `json:"name"`
	Help      string   `json:"help,omitempty"`
	Challenge string   `json:"challenge,omitempty"`
	Options   []Option `json:"options"`
}

// Describe returns all that there is to say about the plug-ins of the set. It
// panics on options that cannot be decoded.
func (s *Set) Describe() []KindInfo {
	return []KindInfo{s.Stores.info(), s.Solvers.info(), s.DNS.info(), s.Deployers.info()}
}

func (k *Kind[T]) info() KindInfo {
	info := KindInfo{Kind: k.Name()}
	for _, name := range k.Names() {
		info.Plugins = append(info.Plugins, PluginInfo{name, k.Help(name), k.Challenge(name), k.Options(name)})
	}
	return info
}

// kindOf returns the plug-ins of the kind T in set.
func kindOf[T any](set *Set) *Kind[T] {
	for _, k := range []any{&set.Stores, &set.Solvers, &set.DNS, &set.Deployers} {
		if k, ok := k.(*Kind[T]); ok {
			return k
		}
	}
	panic(fmt.Sprintf("plug: %s is no kind of plug-in", reflect.TypeFor[T]()))
}

func kindName[T any]() string {
	switch any((*T)(nil)).(type) {
	case *inkan.Store:
		return "store"
	case *inkan.Solver:
		return "solver"
	case *inkan.DNSProvider:
		return "dns"
	case *inkan.Deployer:
		return "deployer"
	}
	panic(fmt.Sprintf("plug: %s is no kind of plug-in", reflect.TypeFor[T]()))
}
