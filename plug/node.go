package plug

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// Node is one value of a configuration, whatever it was written in. The config
// package makes Nodes from YAML, [ParseJSON] from JSON; from here on all are
// decoded alike.
type Node struct {
	Pos   Pos
	Value any // nil, bool, string, Number, []*Node or []Field
}

// Number is a number as it was written: 10, 0640, 1e3.
type Number string

// Field is one key of a map with its value. A map keeps the order in which it
// was written.
type Field struct {
	Key   string
	Pos   Pos // of the key
	Value *Node
}

// Get returns the value of a key of a map, or nil.
func (n *Node) Get(key string) *Node {
	fields, _ := n.Value.([]Field)
	for _, f := range fields {
		if f.Key == key {
			return f.Value
		}
	}
	return nil
}

// Without returns the map n without a key.
func (n *Node) Without(key string) *Node {
	fields, ok := n.Value.([]Field)
	if !ok {
		return n
	}
	return &Node{Pos: n.Pos, Value: slices.DeleteFunc(slices.Clone(fields), func(f Field) bool { return f.Key == key })}
}

// Pos is a place in a file. Line and Column begin at 1; a zero Line means that
// the place is not known.
type Pos struct {
	File         string
	Line, Column int
}

// String returns "file:line:column", as much of it as is known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one fault of a configuration.
type Problem struct {
	Pos  Pos
	Path string // the keys that lead there: "targets.web.dir"
	Text string // what is wrong, and the way out where there is one
}

// String returns "file:line:column: path: text".
func (p Problem) String() string {
	var parts []string
	for _, s := range []string{p.Pos.String(), p.Path, p.Text} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// maxProblems is how many faults are told at once; more only scroll the first
// ones away.
const maxProblems = 20

// Problems collects the faults of one configuration. It is an error that lists
// them, one a line, when it holds any. The zero value is ready to use.
type Problems struct {
	list []Problem
	more int
}

// Add notes a fault.
func (p *Problems) Add(pos Pos, path, format string, args ...any) {
	if len(p.list) == maxProblems {
		p.more++
		return
	}
	p.list = append(p.list, Problem{pos, path, fmt.Sprintf(format, args...)})
}

// AddError notes a fault that a function reported. If err holds Problems, each is
// added with its own place, and its path is appended to path.
func (p *Problems) AddError(pos Pos, path string, err error) {
	if inner, ok := errors.AsType[*Problems](err); ok {
		for _, one := range inner.list {
			p.Add(cmp.Or(one.Pos, pos), join(path, one.Path), "%s", one.Text)
		}
		p.more += inner.more
		return
	}
	text := err.Error()
	if hints := inkan.HintsOf(err); len(hints) > 0 {
		text += " (" + strings.Join(hints, "; ") + ")"
	}
	p.Add(pos, path, "%s", text)
}

// Len returns the number of faults noted.
func (p *Problems) Len() int { return len(p.list) + p.more }

// List returns the faults in the order of their places.
func (p *Problems) List() []Problem {
	list := slices.Clone(p.list)
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return list
}

// Error lists the faults, one a line.
func (p *Problems) Error() string {
	var lines []string
	for _, one := range p.List() {
		lines = append(lines, one.String())
	}
	if p.more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", p.more))
	}
	return strings.Join(lines, "\n")
}

// Err returns nil when there is no fault, else an error of kind Operator that
// wraps p.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &inkan.Error{Kind: inkan.Operator, Err: p}
}

// join puts a key behind a path.
func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "" || strings.HasPrefix(key, "["):
		return path + key
	}
	return path + "." + key
}

// Digest returns a hash of what is written in n, whatever its layout: two nodes
// with the same keys and values have the same digest.
func (n *Node) Digest() string {
	h := sha256.New()
	n.digest(h)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (n *Node) digest(w io.Writer) {
	switch v := n.Value.(type) {
	case []*Node:
		fmt.Fprintf(w, "list %d\n", len(v))
		for _, e := range v {
			e.digest(w)
		}
	case []Field:
		fmt.Fprintf(w, "map %d\n", len(v))
		for _, f := range slices.SortedFunc(slices.Values(v), func(a, b Field) int { return cmp.Compare(a.Key, b.Key) }) {
			fmt.Fprintf(w, "%q\n", f.Key)
			f.Value.digest(w)
		}
	default:
		fmt.Fprintf(w, "%T %q\n", v, fmt.Sprint(v))
	}
}
