package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
)

// listed is what go list tells of a package.
type listed struct {
	ImportPath, Dir                 string
	GoFiles, CgoFiles, EmbedFiles   []string
	TestGoFiles, XTestGoFiles, Deps []string
	Standard                        bool
	Module                          *struct {
		Path, Version string
		Main          bool
	}
}

// tree is the packages of the module and all that they import.
type tree struct {
	own    []*listed          // those of the module
	listed map[string]*listed // all, by import path
	hashes map[string]string
}

// readTree reads the sources of the module in the working directory.
func readTree(ctx context.Context) (*tree, error) {
	cmd := command(ctx, "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,CgoFiles,EmbedFiles,TestGoFiles,XTestGoFiles,Deps,Standard,Module", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	t := &tree{listed: map[string]*listed{}, hashes: map[string]string{}}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &listed{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return t, nil
		} else if err != nil {
			return nil, err
		}
		t.listed[p.ImportPath] = p
		switch {
		case p.Standard: // the version of Go names it
		case p.Module != nil && !p.Module.Main:
			t.hashes[p.ImportPath] = p.Module.Path + "@" + p.Module.Version
		default:
			t.own = append(t.own, p)
			if t.hashes[p.ImportPath], err = hashFiles(p.Dir, slices.Concat(p.GoFiles, p.CgoFiles, p.EmbedFiles)); err != nil {
				return nil, err
			}
		}
	}
}

// code names what a fuzz target tries: the sources of its package, the file
// that holds the target, all that these two import, and Go. While it is the
// same, what was found holds, whatever else has changed.
func (t *tree) code(p *listed, file string, imports []*ast.ImportSpec) (string, error) {
	own, err := hashFiles(p.Dir, []string{file})
	if err != nil {
		return "", err
	}
	used := map[string]bool{p.ImportPath: true}
	for _, path := range p.Deps {
		used[path] = true
	}
	for _, spec := range imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return "", err
		}
		used[path] = true
		if q := t.listed[path]; q != nil {
			for _, path := range q.Deps {
				used[path] = true
			}
		}
	}
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), own)
	for _, path := range slices.Sorted(maps.Keys(used)) {
		if sum, ok := t.hashes[path]; ok {
			fmt.Fprintln(h, path, sum)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

func hashFiles(dir string, files []string) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(slices.Values(files)) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(data))
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
