package config

import (
	"bytes"
	"strings"
)

// The YAML library needs a stack frame for each entry of a map and time that
// grows with the square of their number: a file of 100,000 certificates takes
// it half a minute. So a large section is given to it in pieces, cut between
// entries. Small files, which is to say nearly all, are one piece.
const (
	largeFile = 64 << 10  // a file, or a section, of fewer bytes is not cut
	piece     = 16 << 10  // pieces have about this size
	maxChunk  = 512 << 10 // what cannot be cut to this is refused
)

// chunk is a piece of a file that is a YAML map by itself.
type chunk struct {
	text      string
	line      int  // lines of the file before it
	continues bool // its one key is that of the chunk before
}

// split cuts a file at the beginning of its top-level keys and large sections
// between their entries.
func split(data []byte) []chunk {
	if len(data) <= largeFile {
		return []chunk{{text: string(data)}}
	}
	var chunks []chunk
	start, startLine, line, offset := 0, 0, 0, 0
	for l := range bytes.Lines(data) {
		if offset > start && startsKey(l, 0) {
			chunks = append(chunks, splitSection(data[start:offset], startLine)...)
			start, startLine = offset, line
		}
		offset += len(l)
		line++
	}
	return append(chunks, splitSection(data[start:], startLine)...)
}

// splitSection cuts one top-level section. Every piece after the first repeats
// the line with the section's key.
func splitSection(section []byte, line int) []chunk {
	header, rest, ok := bytes.Cut(section, []byte("\n"))
	name, behind, isKey := bytes.Cut(header, []byte(":"))
	behind = bytes.TrimSpace(behind)
	indent := firstIndent(rest)
	if !ok || !isKey || len(section) <= largeFile || len(behind) > 0 && behind[0] != '#' || indent == 0 {
		return []chunk{{text: string(section), line: line}}
	}
	var chunks []chunk
	flush := func(text []byte, line int) {
		c := chunk{line: line, continues: len(chunks) > 0}
		if c.continues {
			c.line-- // the repeated line counts as the one before
			c.text = string(name) + ":\n" + string(text)
		} else {
			c.text = string(text)
		}
		chunks = append(chunks, c)
	}
	start, offset, startLine := 0, len(header)+1, line
	line++
	for l := range bytes.Lines(rest) {
		if offset-start > piece && startsKey(l, indent) {
			flush(section[start:offset], startLine)
			start, startLine = offset, line
		}
		offset += len(l)
		line++
	}
	flush(section[start:], startLine)
	return chunks
}

// startsKey reports whether a line begins, after exactly indent spaces, with
// what can begin a key. A line within a block scalar or a list is indented
// further; a closing bracket is none of these letters.
func startsKey(l []byte, indent int) bool {
	if len(l) <= indent || strings.Trim(string(l[:indent]), " ") != "" {
		return false
	}
	c := l[indent]
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '"' || c == '\''
}

// firstIndent returns the indentation of the first line that says something.
func firstIndent(text []byte) int {
	for l := range bytes.Lines(text) {
		content := bytes.TrimLeft(l, " ")
		if len(bytes.TrimSpace(content)) > 0 && content[0] != '#' {
			return len(l) - len(content)
		}
	}
	return 0
}
