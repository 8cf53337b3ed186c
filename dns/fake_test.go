package dns_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

// fakeZone is the zone that every fake host has.
const fakeZone = "example.org"

// table is what a fake host stores. A skin speaks the vendor's API over it and
// refuses what the vendor refuses.
type table struct {
	mu   sync.Mutex
	made int64
	rows []row
	// pageSize is how many records a listing has on one page, whatever was
	// asked for, so that few records make many pages.
	pageSize int
}

// row is one TXT record.
type row struct {
	id    int64
	name  string // absolute, ends in a dot
	value string // unquoted
	ttl   int
}

func (t *table) add(name, value string, ttl int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made++
	t.rows = append(t.rows, row{1000 + t.made, name, value, ttl})
	return 1000 + t.made
}

// remove reports whether there was a row with that id.
func (t *table) remove(id int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.rows)
	t.rows = slices.DeleteFunc(t.rows, func(r row) bool { return r.id == id })
	return len(t.rows) < n
}

// at returns the rows at a name, all for "".
func (t *table) at(name string) []row {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.rows), func(r row) bool { return name != "" && r.name != name })
}

func (t *table) values(name string) (values []string) {
	for _, r := range t.at(name) {
		values = append(values, r.value)
	}
	return values
}

// swap replaces the RRset at a name if ok says so of what stands there.
func (t *table) swap(name string, values []string, ttl int, ok func([]row) bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	here := func(r row) bool { return r.name == name }
	if ok != nil && !ok(slices.DeleteFunc(slices.Clone(t.rows), func(r row) bool { return !here(r) })) {
		return false
	}
	t.rows = slices.DeleteFunc(t.rows, here)
	for _, v := range values {
		t.made++
		t.rows = append(t.rows, row{1000 + t.made, name, v, ttl})
	}
	return true
}

// page returns the n-th page of rows, counted from 1, and how many there are.
func (t *table) page(rows []row, n int) ([]row, int) {
	size := cmp.Or(t.pageSize, 25)
	pages := max(1, (len(rows)+size-1)/size)
	if n < 1 || n > pages {
		return nil, pages
	}
	return rows[(n-1)*size : min(n*size, len(rows))], pages
}

// abs and rel translate names as the vendors write them.
func abs(name string) string {
	name = strings.TrimSuffix(name, ".")
	switch {
	case name == "" || name == "@" || name == fakeZone:
		return fakeZone + "."
	case strings.HasSuffix(name, "."+fakeZone):
		return name + "."
	}
	return name + "." + fakeZone + "."
}

func rel(name, apex string) string {
	if name == fakeZone+"." {
		return apex
	}
	return strings.TrimSuffix(name, "."+fakeZone+".")
}

// quoted is how a zone file has a value: the skins' own way, so that a mistake
// in the code under test is not made twice.
func quoted(value string) string {
	var pieces []string
	for len(value) > 255 {
		pieces, value = append(pieces, value[:255]), value[255:]
	}
	pieces = append(pieces, value)
	for i, p := range pieces {
		pieces[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`
	}
	return strings.Join(pieces, " ")
}

// unquoted fails the request unless text is well formed.
func unquoted(w http.ResponseWriter, text string) (value string, ok bool) {
	rest := text
	for {
		piece, err := strconv.QuotedPrefix(rest)
		if err != nil || len(piece) > 257+strings.Count(piece, `\`) {
			refuse(w, 422, map[string]any{"message": "the value must be quoted strings of at most 255 characters"})
			return "", false
		}
		s, err := strconv.Unquote(piece)
		if err != nil {
			refuse(w, 422, map[string]any{"message": "bad quoting"})
			return "", false
		}
		value += s
		if rest = strings.TrimLeft(rest[len(piece):], " "); rest == "" {
			return value, true
		}
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v) // the client notices
	}
}

func refuse(w http.ResponseWriter, status int, v any) { reply(w, status, v) }

// body reads the JSON of a request and refuses fields that the vendor does not
// know.
func body(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || r.Header.Get("Content-Type") != "application/json" {
		refuse(w, 400, map[string]any{"message": fmt.Sprintf("bad body: %v", err)})
		return false
	}
	return true
}

type j = map[string]any

// hostTest is a DNS host under test.
type hostTest struct {
	name string
	open func(env plug.Env, url string) (inkan.DNSProvider, error)
	skin func(t *table) http.Handler
	// auth says whether a request carries the credentials; nil: Bearer TOKEN.
	auth func(r *http.Request) bool
	swap bool // see dnstest.Harness
}

// serve starts a fake of a host.
func (h hostTest) serve(t *testing.T, tab *table) *httptest.Server {
	skin := h.skin(tab)
	auth := h.auth
	if auth == nil {
		auth = func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+theToken }
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !auth(r) {
			refuse(w, 401, j{"message": "bad credentials"})
			return
		}
		skin.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

const theToken = "s3cr3t-token"

func secret() plug.Secret { return plug.NewSecret(theToken) }

// TestConformance runs the contract against a fake of every host.
func TestConformance(t *testing.T) {
	for _, h := range hosts() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			tab := new(table)
			s := h.serve(t, tab)
			dnstest.Run(t, dnstest.Harness{
				Open: func(t *testing.T) inkan.DNSProvider {
					p, err := h.open(plug.Env{HTTP: s.Client()}, s.URL)
					if err != nil {
						t.Fatal(err)
					}
					return p
				},
				Zone:    fakeZone + ".",
				Values:  func(_ *testing.T, name string) []string { return tab.values(name) },
				Foreign: func(_ *testing.T, name, value string) { tab.add(name, value, 3600) },
				Swap:    h.swap,
			})
		})
	}
}

// drain reads a body, for skins that look at its bytes.
func drain(r *http.Request) []byte {
	data, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	return data
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
