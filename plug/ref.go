package plug

import (
	"fmt"
	"reflect"

	"github.com/inkan-acme/inkan"
)

// Ref is an option that is a plug-in itself: written as the name of a
// configured instance, or inline as a map with the key type and the options of
// that type. Open opens it before the constructor runs; then Value is set.
type Ref[T any] struct {
	Value T

	target refTarget
}

// refTarget is what was written.
type refTarget struct {
	name     string // of a configured instance
	plugin   string // inline
	options  *Node  // inline
	pos      Pos
	resolver Resolver
}

// DecodeNode reads a name or {type: T, ...}.
func (r *Ref[T]) DecodeNode(n *Node, res Resolver) error {
	kind := kindName[T]()
	switch v := n.Value.(type) {
	case string:
		if err := inkan.CheckName(v); err != nil {
			return err
		}
		r.target = refTarget{name: v, pos: n.Pos, resolver: res}
		return nil
	case []Field:
		plugin, options, err := SplitType(n)
		if err != nil {
			return err
		}
		r.target = refTarget{plugin: plugin, options: options, pos: n.Pos, resolver: res}
		return nil
	}
	return fmt.Errorf("it must be the name of a %s or {type: ...}, not %s", kind, shape(n))
}

// OptionType is the word for the type in help and docs.
func (Ref[T]) OptionType() string { return kindName[T]() + ", by name or as {type: ...}" }

// IsZero reports whether nothing was written.
func (r Ref[T]) IsZero() bool { return r.target.name == "" && r.target.plugin == "" }

// Instance returns the name of the configured instance; "" when the plug-in
// was written inline or not at all.
func (r Ref[T]) Instance() string { return r.target.name }

// Pos returns where it was written.
func (r Ref[T]) Pos() Pos { return r.target.pos }

// Open opens the plug-in and sets Value. The Refs among a plug-in's options
// are opened by [Open]; this is for a Ref that stands by itself. res takes the
// place of the resolver with which r was decoded.
func (r *Ref[T]) Open(set *Set, env Env, res Resolver) error {
	r.target.resolver = res
	return r.open(set, env)
}

func (r *Ref[T]) open(set *Set, env Env) error {
	var err error
	switch t := r.target; {
	case r.IsZero():
	case t.plugin != "":
		r.Value, err = Open(set, kindOf[T](set), env, t.plugin, t.options.Decode(t.resolver))
	case t.resolver.Instance == nil:
		return inkan.Errorf(inkan.Operator, kindName[T]()+" "+t.name, "no named instances here; write it out as {type: ...}")
	default:
		var v any
		if v, err = t.resolver.Instance(kindName[T](), t.name); err != nil {
			return err
		}
		var ok bool
		if r.Value, ok = v.(T); !ok {
			return inkan.Errorf(inkan.Bug, kindName[T]()+" "+t.name, "it is a %T", v)
		}
	}
	return err
}

// Check returns the named instances that r refers to: one by its name, or those in
// the options of a plug-in that was written inline, which it checks.
func (r *Ref[T]) Check(set *Set) ([]NamedRef, error) {
	switch t := r.target; {
	case t.name != "":
		return []NamedRef{{kindName[T](), t.name, t.pos}}, nil
	case t.plugin != "":
		_, refs, err := Check(set, kindOf[T](set), t.plugin, t.options.Decode(t.resolver))
		return refs, err
	}
	return nil, nil
}

// NamedRef is a Ref to a configured instance that options hold.
type NamedRef struct {
	Kind, Name string
	Pos        Pos
}

// SplitType takes the key type out of a map that describes an instance and
// returns it with the rest, the options.
func SplitType(n *Node) (plugin string, options *Node, err error) {
	if _, ok := n.Value.([]Field); !ok {
		return "", nil, fmt.Errorf("it must be a map with the key type, not %s", shape(n))
	}
	t := n.Get("type")
	if t == nil {
		return "", nil, fmt.Errorf("the key %q is missing", "type")
	}
	plugin, ok := t.Value.(string)
	if !ok || plugin == "" {
		return "", nil, fmt.Errorf("type must be text, not %s", shape(t))
	}
	return plugin, n.Without("type"), nil
}

// reference is what every *Ref[T] can do.
type reference interface {
	open(*Set, Env) error
	Check(*Set) ([]NamedRef, error)
}

// eachRef calls f for every Ref in v, a config struct that can be addressed:
// its own fields and those in structs, lists and pointers below it. A Ref in a map
// cannot be filled in, so [Set.Describe] panics on it.
func eachRef(v reflect.Value, f func(reference) error) error {
	if v.CanInterface() { // false for an embedded struct that is not exported
		if r, ok := v.Addr().Interface().(reference); ok {
			return f(r)
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); !f.IsExported() && !f.Anonymous {
				continue
			}
			if err := eachRef(v.Field(i), f); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := eachRef(v.Index(i), f); err != nil {
				return err
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return eachRef(v.Elem(), f)
		}
	}
	return nil
}
