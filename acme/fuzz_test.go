package acme

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/inkan-acme/inkan"
)

func FuzzProblem(f *testing.F) {
	f.Add([]byte(`{"type":"urn:ietf:params:acme:error:malformed","detail":"x","subproblems":[{"type":"a","identifier":{"type":"dns","value":"b"}}]}`))
	f.Add([]byte(`{"type":7,"detail":"\u001b[31m\ud800"}`))
	f.Add([]byte(`{"type":"` + strings.Repeat("x", 5000) + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := parseProblem(data)
		if p == nil {
			return
		}
		text := p.Error()
		if len(text) > maxShown+3 || strings.ContainsAny(text, "\x1b\n\r\x00\u202e") || !utf8.ValidString(text) {
			t.Errorf("%q", text)
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"status":"pending","expires":"2026-11-22T00:00:00Z","identifiers":[{"type":"dns","value":"a"}],"authorizations":["https://ca.example/a/1"],"finalize":"https://ca.example/f/1"}`))
	f.Add([]byte(`{"status":"valid","certificate":"https://ca.example/c/1"}`))
	f.Add([]byte(`{"status":"invalid","error":{"type":"x"}}`))
	f.Add([]byte(`{"status":"ready","finalize":"https://ca.example.evil/f"}`))
	h, err := newHosts("https://ca.example/dir", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseOrder(data, h)
		if err != nil {
			return
		}
		o.expires()
		asked := map[string][]string{statusPending: o.Authorizations, statusReady: {o.Finalize}, statusValid: {o.Certificate}}[o.Status]
		for _, u := range asked {
			if !strings.HasPrefix(strings.ToLower(u), "https://") || h.check(u) != nil {
				t.Errorf("%s order asks %q", o.Status, u)
			}
		}
		if o.Status == statusPending && len(o.Authorizations) == 0 {
			t.Error("pending without authorizations")
		}
	})
}

func FuzzAuthz(f *testing.F) {
	f.Add([]byte(`{"status":"pending","identifier":{"type":"dns","value":"A.example"},"challenges":[{"type":"http-01","url":"https://ca.example/c","status":"pending","token":"DGyRejmCefe7v4NfDGDKfA"}]}`))
	f.Add([]byte(`{"status":"pending","wildcard":true,"identifier":{"type":"ip","value":"::FFFF:1.2.3.4"},"challenges":[{"type":"x","token":"../../etc"}]}`))
	h, err := newHosts("https://ca.example/dir", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAuthz(data, "https://ca.example/a/1")
		if err != nil {
			return
		}
		o := fuzzOrder(h)
		o.ids = append(o.ids, a.Identifier)
		id, ok := a.name(o.ids)
		if !ok {
			return
		}
		task, err := o.chooseFor(a, id)
		if err != nil {
			return
		}
		token := task.Token
		if !inkan.IsToken(token) || strings.ContainsAny(token, "./\\") || h.check(task.URL) != nil {
			t.Errorf("challenge %+v", task.Challenge)
		}
	})
}

func FuzzLink(f *testing.F) {
	f.Add(`<https://ca.example/c/1>;rel="alternate"`)
	f.Add(`<x>; rel="a b"; title="\"", <y>;rel=alternate`)
	f.Fuzz(func(t *testing.T, v string) {
		urls := alternates(http.Header{"Link": {v}}, "https://ca.example/c/0")
		if len(urls) > maxAlternates {
			t.Errorf("%d alternates", len(urls))
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "-5", "99999999999999999999", "Sun, 22 Nov 2026 12:10:00 GMT", "soon"} {
		f.Add(s, "Sun, 22 Nov 2026 12:00:00 GMT")
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, v, date string) {
		d := retryAfter(http.Header{"Retry-After": {v}, "Date": {date}}, now)
		if d != 0 && (d < minRetryAfter || d > maxRetryAfter) {
			t.Errorf("%q: %s", v, d)
		}
	})
}

func FuzzRenewalInfo(f *testing.F) {
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"},"explanationURL":"https://ca.example/why"}`))
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := parseRenewalInfo(data)
		if err == nil && !info.Start.Before(info.End) {
			t.Errorf("window %s to %s", info.Start, info.End)
		}
	})
}

func FuzzDirectory(f *testing.F) {
	f.Add([]byte(`{"newNonce":"https://ca.example/n","newAccount":"https://ca.example/a","newOrder":"https://ca.example/o","meta":{"profiles":{"x":"y"}}}`))
	h, err := newHosts("https://ca.example/dir", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDirectory(data, h)
		if err != nil {
			return
		}
		for _, u := range []string{d.NewNonce, d.NewAccount, d.NewOrder} {
			if h.check(u) != nil {
				t.Errorf("directory names %q", u)
			}
		}
		d.profiles()
	})
}

// FuzzToken: a token is used only if it can be a file name, a DNS label's text
// and part of a URL on every system (H02), and is used as it came.
func FuzzToken(f *testing.F) {
	for _, s := range []string{"DGyRejmCefe7v4NfDGDKfA", "../../../etc/cron.d/x", "", ";id", "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0=", "LoqXcYV8q5ONbJQxbmR7SCT\u017fo3tiAXDfowyjxAjEuX0",
		strings.Repeat("a", 21), strings.Repeat("a", 256), strings.Repeat("a", 257), "DGyRejmCefe7v4NfDGDKfA\n", "DGyRejmCefe7v4NfDGDKf\x00"} {
		f.Add(s)
	}
	h, err := newHosts("https://ca.example/dir", nil)
	if err != nil {
		f.Fatal(err)
	}
	sound := regexp.MustCompile(`\A[A-Za-z0-9_-]{22,255}\z`)
	f.Fuzz(func(t *testing.T, token string) {
		body, err := json.Marshal(map[string]any{"status": "pending", "identifier": map[string]string{"type": "dns", "value": "a.example"},
			"challenges": []any{map[string]string{"type": "http-01", "url": "https://ca.example/c", "status": "pending", "token": token}}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAuthz(body, "https://ca.example/a/1")
		if err != nil {
			t.Fatal(err)
		}
		task, err := fuzzOrder(h).chooseFor(a, a.Identifier)
		if (err == nil) != sound.MatchString(token) {
			t.Errorf("%q: %v", token, err)
		}
		if err == nil && (task.Token != token || task.KeyAuthorization != token+".thumb") {
			t.Errorf("%q became %q with %q", token, task.Token, task.KeyAuthorization)
		}
		if err != nil && (len(err.Error()) > 2048 || strings.ContainsAny(err.Error(), "\x1b\n\r\x00\u202e")) {
			t.Errorf("%q: error %q", token, err)
		}
	})
}

// An account key from a stranger's file never shows itself in an error, and what
// is taken can sign.
func FuzzAccountKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}`))
	f.Add([]byte(`{"kty":"RSA","n":"AQ","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVs_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParseAccountKey(data)
		if err != nil {
			if len(data) > 40 && strings.Contains(err.Error(), string(data[20:40])) {
				t.Errorf("the input is shown: %v", err)
			}
			return
		}
		if _, err := (identity{key: key}).sign("https://ca.example/", "nonce", []byte("{}")); err != nil {
			t.Errorf("the key cannot sign: %v", err)
		}
	})
}
