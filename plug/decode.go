package plug

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/inkan-acme/inkan"
)

// Decode fills the config struct behind into from wherever the options were
// written. It is strict: unknown keys, repeated keys, wrong types and missing
// required keys are errors, and all of them are told at once. Absent keys get
// their defaults. Its error is of kind Operator and holds [Problems].
type Decode func(into any) error

// Resolver lends to options what they only name. Only main reads files and the
// environment; plug and the plug-ins get values.
type Resolver struct {
	// Secret reads a secret from a file or the environment. Nil: secrets
	// must be written out. [Unread] serves where options are only checked.
	Secret func(SecretSource) (string, error)
	// Instance opens the configured instance of a kind that a [Ref] names:
	// Instance("store", "main") returns an inkan.Store. Nil: a Ref must be
	// written out.
	Instance func(kind, name string) (any, error)
}

// Unread is a [Resolver.Secret] for checking: it reads nothing and returns a
// placeholder.
func Unread(SecretSource) (string, error) { return redacted, nil }

// Decode returns the Decode for the options written in n.
func (n *Node) Decode(r Resolver) Decode {
	return func(into any) error {
		v := reflect.ValueOf(into)
		if v.Kind() != reflect.Pointer || v.IsNil() {
			panic(fmt.Sprintf("plug: decode into %T, which is no pointer", into))
		}
		d := decoder{resolver: r, problems: new(Problems)}
		d.value(n, "", v.Elem())
		return d.problems.Err()
	}
}

type decoder struct {
	resolver Resolver
	problems *Problems
}

func (d *decoder) fail(n *Node, path, format string, args ...any) {
	d.problems.Add(n.Pos, path, format, args...)
}

// value decodes n into v.
func (d *decoder) value(n *Node, path string, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		var t Duration
		d.value(n, path, reflect.ValueOf(&t).Elem())
		v.SetInt(int64(t))
		return
	}
	switch into := v.Addr().Interface().(type) {
	case NodeDecoder:
		if err := into.DecodeNode(n, d.resolver); err != nil {
			d.problems.AddError(n.Pos, path, err)
		}
		return
	case encoding.TextUnmarshaler:
		var text string
		switch s := n.Value.(type) {
		case string:
			text = s
		case Number: // 0640 needs no quotes
			text = string(s)
		default:
			d.fail(n, path, "it must be a %s, not %s", typeWord(v.Type()), shape(n))
			return
		}
		if err := into.UnmarshalText([]byte(text)); err != nil {
			d.problems.AddError(n.Pos, path, err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, path, v.Elem())
	case reflect.String:
		s, ok := n.Value.(string)
		if !ok {
			d.wrong(n, path, "text")
			return
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := n.Value.(bool)
		if !ok {
			d.wrong(n, path, "true or false")
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		s, _ := n.Value.(Number)
		i, err := strconv.ParseInt(string(s), 10, v.Type().Bits())
		if err != nil {
			d.wrong(n, path, "a whole number")
			return
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint16, reflect.Uint64:
		s, _ := n.Value.(Number)
		i, err := strconv.ParseUint(string(s), 10, v.Type().Bits())
		if err != nil {
			d.wrong(n, path, fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<v.Type().Bits()-1))
			return
		}
		v.SetUint(i)
	case reflect.Slice:
		list, ok := n.Value.([]*Node)
		if !ok {
			d.wrong(n, path, "a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		for i, one := range list {
			d.value(one, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		d.mapping(n, path, v)
	case reflect.Struct:
		d.structure(n, path, v)
	default:
		panic(fmt.Sprintf("plug: an option cannot have the type %s", v.Type()))
	}
}

// wrong notes a value of the wrong type.
func (d *decoder) wrong(n *Node, path, want string) {
	text := fmt.Sprintf("it must be %s, not %s", want, shape(n))
	switch s := n.Value.(type) {
	case Number:
		if want == "text" {
			text += fmt.Sprintf("; write it in quotes: %q", string(s))
		}
	case bool:
		if want == "text" {
			text += "; write it in quotes"
		}
	case string:
		if want == "a list" {
			text += fmt.Sprintf("; write [%s]", inkan.Printable(s, 60))
		}
	}
	d.fail(n, path, "%s", text)
}

// shape tells what somebody wrote.
func shape(n *Node) string {
	switch v := n.Value.(type) {
	case nil:
		return "nothing"
	case bool:
		return strconv.FormatBool(v)
	case Number:
		return "the number " + inkan.Printable(string(v), 40)
	case string:
		return strconv.Quote(inkan.Printable(v, 60))
	case []*Node:
		return "a list"
	}
	return "a map"
}

// UniqueFields returns the fields of a map in their order, each key once, and
// notes in problems if n is no map or a key is repeated.
func (n *Node) UniqueFields(path string, problems *Problems) []Field {
	fields, ok := n.Value.([]Field)
	if !ok {
		problems.Add(n.Pos, path, "it must be a map, not %s", shape(n))
		return nil
	}
	seen := make(map[string]Pos, len(fields))
	unique := make([]Field, 0, len(fields))
	for _, f := range fields {
		if first, ok := seen[f.Key]; ok {
			text := "the key is given twice"
			if first.Line > 0 {
				text += fmt.Sprintf("; the first is in line %d", first.Line)
			}
			problems.Add(f.Pos, join(path, inkan.Printable(f.Key, 60)), "%s", text)
			continue
		}
		seen[f.Key] = f.Pos
		unique = append(unique, f)
	}
	return unique
}

func (d *decoder) mapping(n *Node, path string, v reflect.Value) {
	fields := n.UniqueFields(path, d.problems)
	m := reflect.MakeMapWithSize(v.Type(), len(fields))
	for _, f := range fields {
		one := reflect.New(v.Type().Elem()).Elem()
		d.value(f.Value, join(path, inkan.Printable(f.Key, 60)), one)
		m.SetMapIndex(reflect.ValueOf(f.Key).Convert(v.Type().Key()), one)
	}
	v.Set(m)
}

func (d *decoder) structure(n *Node, path string, v reflect.Value) {
	if _, ok := n.Value.([]Field); !ok {
		d.wrong(n, path, "a map")
		return
	}
	given := n.UniqueFields(path, d.problems)
	options := fieldsOf(v.Type())
	names := make([]string, len(options))
	byName := make(map[string]field, len(options))
	for i, o := range options {
		names[i], byName[o.name] = o.name, o
	}
	found := make(map[string]bool, len(given))
	for _, f := range given {
		o, ok := byName[f.Key]
		if !ok {
			text := "unknown key"
			if near := Nearest(f.Key, names); near != "" {
				text += fmt.Sprintf("; did you mean %q?", near)
			}
			d.problems.Add(f.Pos, join(path, inkan.Printable(f.Key, 60)), "%s", text)
			continue
		}
		found[o.name] = true
		d.value(f.Value, join(path, o.name), v.FieldByIndex(o.index))
	}
	for _, o := range options {
		switch {
		case found[o.name]:
		case o.required:
			d.fail(n, path, "the key %q is missing", o.name)
		case o.def != "":
			o.setDefault(v.FieldByIndex(o.index))
		}
	}
}
