package cli

import (
	"strings"
	"testing"
)

func TestJoinListenAddress(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"issue --standalone a.example", "issue --standalone a.example"},
		{"issue --standalone 8080 a.example", "issue --standalone=:8080 a.example"},
		{"issue --standalone 127.0.0.1:80 a.example", "issue --standalone=127.0.0.1:80 a.example"},
		{"issue --standalone [::1]:80 a.example", "issue --standalone=[::1]:80 a.example"},
		{"issue --standalone 192.0.2.1", "issue --standalone 192.0.2.1"},
		{"issue -- --standalone 80", "issue -- --standalone 80"},
	} {
		if got := strings.Join(joinListenAddress(strings.Fields(c.args)), " "); got != c.want {
			t.Errorf("%s became %s", c.args, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"a.example", "a.example"}, {"*.example", "'*.example'"}, {"", "''"}, {"it's", `'it'\''s'`}, {"systemctl reload nginx", "'systemctl reload nginx'"},
	} {
		if got := quote(c.word); got != c.want {
			t.Errorf("quote(%q) = %s", c.word, got)
		}
	}
}
