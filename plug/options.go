package plug

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Option describes one option of a plug-in or one key of a configuration file.
// It is made from the field of the struct that the option is decoded into:
//
//	Dir  string        `json:"dir" help:"the directory to write to" required:"true"`
//	Keep int           `json:"keep" help:"how many old versions stay" default:"5"`
//
// The name comes from the yaml tag, else the json tag, else the field's name
// in snake_case; json:"-" hides a field. The fields of an embedded struct
// count as fields of the outer one. A blank field describes the whole struct:
//
//	_ struct{} `help:"writes the certificate to a directory"`
type Option struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // in words: "list of strings"
	Default  string   `json:"default,omitempty"`
	Help     string   `json:"help,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`
	Fields   []Option `json:"fields,omitempty"` // of a map with fixed keys
}

// OptionsOf returns the options that a config struct has, in the order of its
// fields.
func OptionsOf(config any) []Option { return optionsOf(structType(config)) }

// HelpOf returns the help of a config struct as a whole, or "".
func HelpOf(config any) string {
	f, ok := structType(config).FieldByName("_")
	if !ok {
		return ""
	}
	return f.Tag.Get("help")
}

// Defaults gives every field of the config struct behind config that is zero
// its default value, so that a constructor may be called with a struct written
// in Go as well as with a decoded one.
func Defaults(config any) {
	for _, f := range fieldsOf(structType(config)) {
		v := reflect.ValueOf(config).Elem().FieldByIndex(f.index)
		if f.def != "" && v.IsZero() {
			f.setDefault(v)
		}
	}
}

func structType(config any) reflect.Type {
	t := reflect.TypeOf(config)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func optionsOf(t reflect.Type) []Option {
	var options []Option
	for _, f := range fieldsOf(t) {
		o := Option{Name: f.name, Type: typeWord(f.typ), Default: f.def, Help: f.help, Required: f.required}
		o.Secret = f.typ == reflect.TypeFor[Secret]()
		if w, ok := reflect.Zero(f.typ).Interface().(interface{ OptionFields() []Option }); ok {
			o.Fields = w.OptionFields()
		}
		if inner := f.typ; !selfDecoding(inner) {
			for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, inner.Kind()) {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && !selfDecoding(inner) {
				o.Fields = optionsOf(inner)
			}
		}
		options = append(options, o)
	}
	return options
}

// field is one option of a config struct.
type field struct {
	name, help, def string
	required        bool
	typ             reflect.Type
	index           []int
}

// fieldsOf lists the options of a struct type. A struct that cannot be
// described is a mistake in the program, so it panics; Set.Describe does so for
// the whole table of plug-ins.
func fieldsOf(t reflect.Type) []field {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("plug: options must be a struct, not %s", t))
	}
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
			continue
		}
		if !sf.IsExported() {
			continue
		}
		f := field{
			name:     optionName(sf),
			help:     sf.Tag.Get("help"),
			def:      sf.Tag.Get("default"),
			required: sf.Tag.Get("required") == "true",
			typ:      sf.Type,
			index:    sf.Index,
		}
		if f.name == "-" {
			continue
		}
		if f.def != "" {
			if sf.Type.Kind() == reflect.Bool {
				panic(fmt.Sprintf("plug: %s.%s: a bool has no default but false; turn its meaning round", t, sf.Name))
			}
			f.setDefault(reflect.New(sf.Type).Elem())
		}
		fields = append(fields, f)
	}
	for i, f := range fields {
		if slices.ContainsFunc(fields[:i], func(g field) bool { return g.name == f.name }) {
			panic(fmt.Sprintf("plug: %s: two options %q", t, f.name))
		}
	}
	return fields
}

// setDefault gives v the value of the default tag.
func (f field) setDefault(v reflect.Value) {
	d := decoder{problems: new(Problems)}
	d.value(textNode(f.typ, f.def), f.name, v)
	if err := d.problems.Err(); err != nil {
		panic(fmt.Sprintf("plug: the default of an option: %v", err))
	}
}

// textNode returns the node that somebody would have written for a value of
// type t: lists are comma-separated.
func textNode(t reflect.Type, text string) *Node {
	if selfDecoding(t) {
		return &Node{Value: text}
	}
	switch t.Kind() {
	case reflect.Slice:
		var list []*Node
		for s := range strings.SplitSeq(text, ",") {
			list = append(list, textNode(t.Elem(), s))
		}
		return &Node{Value: list}
	case reflect.Pointer:
		return textNode(t.Elem(), text)
	case reflect.String:
		return &Node{Value: text}
	}
	return &Node{Value: Number(text)}
}

func optionName(sf reflect.StructField) string {
	for _, tag := range []string{"yaml", "json"} {
		if name, _, _ := strings.Cut(sf.Tag.Get(tag), ","); name != "" {
			return name
		}
	}
	return snake(sf.Name)
}

// snake turns a Go name into snake_case: DirMode to dir_mode, HMACKey to
// hmac_key.
func snake(name string) string {
	runes := []rune(name)
	var b strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// NodeDecoder is implemented by option types that read themselves. Such a type
// may have methods OptionType() string and OptionFields() []Option on its
// value, which say for [Option] what it reads.
type NodeDecoder interface {
	DecodeNode(n *Node, r Resolver) error
}

// selfDecoding reports whether values of type t read themselves.
func selfDecoding(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t == reflect.TypeFor[time.Duration]() ||
		p.Implements(reflect.TypeFor[NodeDecoder]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// typeWord names a type for people.
func typeWord(t reflect.Type) string {
	if w, ok := reflect.Zero(t).Interface().(interface{ OptionType() string }); ok {
		return w.OptionType()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "string"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint, reflect.Uint64:
		return "number"
	case reflect.Pointer:
		return typeWord(t.Elem())
	case reflect.Slice:
		return "list of " + plural(typeWord(t.Elem()))
	case reflect.Map:
		// eachRef cannot fill in a Ref in a map.
		isRef := reflect.PointerTo(t.Elem()).Implements(reflect.TypeFor[reference]())
		if t.Key().Kind() == reflect.String && !isRef {
			return "map of names to " + plural(typeWord(t.Elem()))
		}
	case reflect.Struct:
		return "map"
	}
	panic(fmt.Sprintf("plug: an option cannot have the type %s", t))
}

func plural(word string) string { return word + "s" }
