package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// The limits of a file. Aliases may repeat parts of it, but not so often that
// a small file becomes a large one (the YAML bomb, reliability H12).
const (
	maxBytes   = 50 << 20
	maxDepth   = 32
	maxAliased = 100_000 // values that exist only because an alias repeats them
	maxAnchors = 1000    // in one chunk
)

// parse reads one YAML document. Repeated keys stay in the result, so that
// decoding can refuse them with both places.
func parse(file string, data []byte) (*plug.Node, error) {
	p := yamlParser{file: file, anchors: map[string]anchor{}}
	if len(data) > maxBytes {
		p.problems.Add(plug.Pos{File: file}, "", "the file has %d MB; at most %d are read", len(data)>>20, maxBytes>>20)
		return nil, p.problems.Err()
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		line := 1
		for l := range bytes.Lines(data) {
			if !utf8.Valid(l) {
				break
			}
			line++
		}
		p.problems.Add(plug.Pos{File: file, Line: line, Column: 1}, "", "the line is not valid UTF-8")
		return nil, p.problems.Err()
	}
	root := &plug.Node{Pos: plug.Pos{File: file, Line: 1, Column: 1}, Value: []plug.Field{}}
	for i, c := range split(data) {
		n := p.chunk(c)
		if err := p.problems.Err(); err != nil {
			return nil, err // a syntax error makes what follows meaningless
		}
		if n == nil {
			continue
		}
		fields, ok := n.Value.([]plug.Field)
		if !ok {
			p.problems.Add(n.Pos, "", "the file must hold a map of keys, such as certificates")
			return nil, p.problems.Err()
		}
		root.Value = join(root.Value.([]plug.Field), fields, c.continues && i > 0)
	}
	return root, nil
}

// join appends the fields of the next chunk to those before. If the chunk continues
// the last section, what its one field holds is appended to that section.
func join(before, next []plug.Field, continues bool) []plug.Field {
	if !continues || len(before) == 0 || len(next) != 1 {
		return append(before, next...)
	}
	last := &before[len(before)-1]
	have, ok1 := last.Value.Value.([]plug.Field)
	more, ok2 := next[0].Value.Value.([]plug.Field)
	if !ok1 || !ok2 {
		return append(before, next...) // refused as a repeated key
	}
	last.Value.Value = append(have, more...)
	return before
}

type anchor struct {
	node *plug.Node
	size int
}

type yamlParser struct {
	file     string
	line     int // lines before the present chunk
	problems plug.Problems
	anchors  map[string]anchor
	size     int // values made so far
	aliased  int
}

func (p *yamlParser) pos(t *token.Token) plug.Pos {
	if t == nil || t.Position == nil {
		return plug.Pos{File: p.file}
	}
	return plug.Pos{File: p.file, Line: max(1, t.Position.Line+p.line), Column: t.Position.Column}
}

// chunk parses one piece of the file, nil if it holds nothing.
func (p *yamlParser) chunk(c chunk) *plug.Node {
	p.line = c.line
	if len(c.text) > maxChunk {
		p.problems.Add(plug.Pos{File: p.file, Line: c.line + 1, Column: 1}, "",
			"one entry of %d KB; at most %d KB are read", len(c.text)>>10, maxChunk>>10)
		return nil
	}
	tokens := lexer.Tokenize(c.text)
	if !p.harmless(tokens) {
		return nil
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if syntax, ok := errors.AsType[yaml.Error](err); ok {
			p.problems.Add(p.pos(syntax.GetToken()), "", "%s", syntax.GetMessage())
		} else {
			p.problems.Add(plug.Pos{File: p.file, Line: c.line + 1, Column: 1}, "", "%v", err)
		}
		return nil
	}
	var root *plug.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case root != nil || doc.Body.Type() == ast.DirectiveType:
			p.problems.Add(p.pos(doc.Body.GetToken()), "", "the file must hold one YAML document, without directives")
			return nil
		default:
			root = p.node(doc.Body, 0)
		}
	}
	return root
}

// harmless refuses what would make the parser slow, or its recursion deep, before
// the parser sees it.
func (p *yamlParser) harmless(tokens token.Tokens) bool {
	flow, row, anchors := 0, 0, 0
	for _, t := range tokens {
		row++
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.AnchorType:
			anchors++
		case token.TagType:
			p.problems.Add(p.pos(t), "", "YAML tags such as %s are not supported", inkan.Printable(strings.TrimSpace(t.Value), 40))
			return false
		case token.MappingKeyType:
			p.problems.Add(p.pos(t), "", "keys that begin with ? are not supported")
			return false
		}
		if t.Type != token.SequenceEntryType {
			row = 0
		}
		if flow > maxDepth || row > maxDepth || t.Position.IndentNum > 50*maxDepth {
			p.problems.Add(p.pos(t), "", "nested deeper than %d", maxDepth)
			return false
		}
		if anchors > maxAnchors {
			p.problems.Add(p.pos(t), "", "more than %d anchors", maxAnchors)
			return false
		}
	}
	return true
}

// node turns a parsed value into a plug.Node.
func (p *yamlParser) node(n ast.Node, depth int) *plug.Node {
	out := &plug.Node{Pos: p.pos(n.GetToken())}
	if depth > maxDepth {
		p.problems.Add(out.Pos, "", "nested deeper than %d", maxDepth)
		return out
	}
	p.size++
	switch v := n.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		out.Value = v.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.Value = plug.Number(n.GetToken().Value)
	case *ast.StringNode:
		out.Value = v.Value
	case *ast.LiteralNode:
		out.Value = v.Value.Value
	case *ast.SequenceNode:
		list := make([]*plug.Node, 0, len(v.Values))
		for _, one := range v.Values {
			list = append(list, p.node(one, depth+1))
		}
		out.Value = list
	case *ast.MappingNode:
		fields := make([]plug.Field, 0, len(v.Values))
		for _, one := range v.Values {
			fields = append(fields, p.field(one, depth))
		}
		if len(fields) > 0 {
			out.Pos = fields[0].Pos
		}
		out.Value = fields
	case *ast.MappingValueNode:
		f := p.field(v, depth)
		out.Pos, out.Value = f.Pos, []plug.Field{f}
	case *ast.AnchorNode:
		before := p.size
		value := p.node(v.Value, depth+1)
		p.anchors[v.Name.GetToken().Value] = anchor{value, p.size - before}
		return value
	case *ast.AliasNode:
		name := v.Value.GetToken().Value
		a, ok := p.anchors[name]
		if !ok {
			p.problems.Add(out.Pos, "", "the alias *%s has no anchor before it", name)
			return out
		}
		if p.aliased += a.size; p.aliased > maxAliased {
			p.problems.Add(out.Pos, "", "aliases repeat more than %d values", maxAliased)
			return out
		}
		p.size += a.size
		return a.node
	default:
		p.problems.Add(out.Pos, "", "a YAML %s is not supported here", strings.ToLower(n.Type().String()))
	}
	return out
}

func (p *yamlParser) field(v *ast.MappingValueNode, depth int) plug.Field {
	pos := p.pos(v.Key.GetToken())
	switch v.Key.(type) {
	case *ast.MergeKeyNode:
		p.problems.Add(pos, "", "merging by << is not supported; use the section defaults")
	case *ast.AnchorNode, *ast.AliasNode:
		p.problems.Add(pos, "", "a key must be plain text")
	}
	return plug.Field{Key: v.Key.GetToken().Value, Pos: pos, Value: p.valueOf(v, pos, depth)}
}

func (p *yamlParser) valueOf(v *ast.MappingValueNode, key plug.Pos, depth int) *plug.Node {
	if v.Value == nil {
		return &plug.Node{Pos: key}
	}
	n := p.node(v.Value, depth+1)
	if n.Value == nil {
		n.Pos = key // the library puts an absent value behind the colon
	}
	return n
}
