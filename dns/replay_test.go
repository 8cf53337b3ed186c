package dns_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
)

// scenario is one call of a DNSProvider and what goes over the wire for it; see
// testdata/README.md.
type scenario struct {
	line              int
	verb, name, value string
	want              string // "ok", or a kind and words of the error
	exchanges         []exchange
}

type exchange struct {
	line    int
	request string // "GET /path?query"
	in      string // its body; "" is not compared
	status  int
	header  string // "Name: value"
	out     string
}

func readScenarios(t *testing.T, path string) (list []scenario) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cited := false
	for i, line := range strings.Split(string(data), "\n") {
		bad := func() { t.Fatalf("%s:%d: %s", path, i+1, line) }
		mark, rest, _ := strings.Cut(line, " ")
		var s *scenario
		var e *exchange
		if len(list) > 0 {
			s = &list[len(list)-1]
			if len(s.exchanges) > 0 {
				e = &s.exchanges[len(s.exchanges)-1]
			}
		}
		switch {
		case mark == "#":
			cited = cited || strings.Contains(rest, "https://") && s == nil
		case mark == "==":
			call, want, ok := strings.Cut(rest, ": ")
			words := strings.Fields(call)
			if !ok || len(words) != 3 {
				bad()
			}
			list = append(list, scenario{line: i + 1, verb: words[0], name: words[1], value: words[2], want: want})
		case mark == ">" && strings.HasPrefix(rest, "{"), mark == ">" && strings.HasPrefix(rest, "["):
			e.in = rest
		case mark == ">":
			s.exchanges = append(s.exchanges, exchange{line: i + 1, request: rest})
		case mark == "<":
			status, header, _ := strings.Cut(rest, " ")
			e.status, e.header = int(number(status)), header
		case line != "":
			if e == nil || !json.Valid([]byte(line)) {
				bad()
			}
			e.out = line
		}
	}
	if !cited {
		t.Errorf("%s cites no reference", path)
	}
	return list
}

// player answers with the exchanges of a scenario in their order.
type player struct {
	t    *testing.T
	mu   sync.Mutex
	left []exchange
}

func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := r.Method + " " + r.URL.RequestURI()
	data := drain(r)
	if len(p.left) == 0 {
		p.t.Errorf("a request too many: %s %s", got, data)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	e := p.left[0]
	p.left = p.left[1:]
	if got != e.request {
		p.t.Errorf("line %d: asked for\n%s, want\n%s", e.line, got, e.request)
	}
	if e.in != "" {
		if diff := cmp.Diff(decoded(e.in), decoded(string(data))); diff != "" {
			p.t.Errorf("line %d: the body (-want +got):\n%s", e.line, diff)
		}
	}
	if name, value, ok := strings.Cut(e.header, ": "); ok {
		w.Header().Set(name, value)
	}
	w.WriteHeader(e.status)
	fmt.Fprint(w, e.out)
}

func decoded(text string) (v any) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return text
	}
	return v
}

// TestReplay plays what the vendors' references publish: for each host a change
// that succeeds, a refusal, a rate limit, and a second page where there is one.
func TestReplay(t *testing.T) {
	open := map[string]hostTest{"acme-dns": {open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
		return dns.ACMEDNS(env, dns.ACMEDNSConfig{Endpoint: url, Accounts: []dns.ACMEDNSAccount{
			{Subdomain: "8e5700ea-a4bf-41c7-8a77-e990661dcc6a", Username: plug.NewSecret("eabcdb41-d89f-4580-826f-3e62e9755ef2"), Password: secret()},
		}})
	}}}
	for _, h := range hosts() {
		open[h.name] = h
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 17 {
		t.Fatalf("%d files, %v; want one for each of the 17 hosts", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			kinds := map[string]bool{}
			for _, s := range readScenarios(t, file) {
				h, ok := open[name]
				if !ok {
					t.Fatalf("no host %s", name)
				}
				kind, words, _ := strings.Cut(s.want, " ")
				kinds[kind] = true
				play := &player{t: t, left: s.exchanges}
				server := hostTest{auth: anyone, skin: func(*table) http.Handler { return play }}.serve(t, nil)
				p, err := h.open(plug.Env{HTTP: server.Client()}, server.URL)
				if err != nil {
					t.Fatal(err)
				}
				do := p.AddTXT
				if s.verb == "remove" {
					do = p.RemoveTXT
				}
				zone := "example.com."
				for _, z := range []string{"example.org.", "zone1.example.", "auth.acme-dns.io."} {
					if strings.HasSuffix(s.name, z) {
						zone = z
					}
				}
				err = do(t.Context(), zone, []inkan.TXT{{Name: s.name, Value: s.value}})
				switch {
				case kind == "ok" && err != nil:
					t.Errorf("line %d: %v", s.line, err)
				case kind == "ok":
				case err == nil || inkan.KindOf(err).String() != kind || !strings.Contains(err.Error(), words):
					t.Errorf("line %d: the error is of kind %v: %v; want %s", s.line, inkan.KindOf(err), err, s.want)
				}
				if len(play.left) > 0 {
					t.Errorf("line %d: %d requests did not come, the first %s", s.line, len(play.left), play.left[0].request)
				}
			}
			if !kinds["ok"] || !kinds["rate-limited"] || len(kinds) < 3 {
				t.Errorf("there are %v; want a success, a refusal and a rate limit", kinds)
			}
		})
	}
}
