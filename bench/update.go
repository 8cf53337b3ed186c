package main

import (
	"bytes"
	"fmt"
	"os"
)

// The lines of a page between which the bench writes.
const (
	updateBegin = "<!-- begin: go run ./bench -update -->\n"
	updateEnd   = "<!-- end: go run ./bench -update -->\n"
)

// update puts text into the place of a page that is made by the bench.
func update(file string, text []byte) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(page, []byte(updateBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(updateEnd))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no line %q with a line %q behind it", file, updateBegin, updateEnd)
	}
	page = bytes.Join([][]byte{before, []byte(updateBegin), text, []byte(updateEnd), after}, nil)
	return os.WriteFile(file, page, 0o644)
}
