package acme

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
)

func TestAccountNeedsAgreement(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.AgreeTerms = false })
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "terms of service: data:text/plain", "agree")
	if w.accounts.writes != 0 || w.ca.Count(testca.PathNewAccount) != 0 {
		t.Error("something was made")
	}
	info, err := w.client.Register(t.Context(), RegisterOptions{AgreeTerms: true, Contacts: []string{"a@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if info.Status != "valid" || info.URL == "" || info.TermsAgreed == "" || fmt.Sprint(info.Contacts) != "[a@example.com]" || info.KeyType != inkan.ECDSAP256 {
		t.Errorf("info: %+v", info)
	}
	r, j := w.request("a.example.com")
	w.mustIssue(r, j) // an account that is there needs no agreement
}

func TestAccountKeyTypes(t *testing.T) {
	for _, kt := range []inkan.KeyType{inkan.ECDSAP256, inkan.ECDSAP384, inkan.RSA2048, inkan.RSA3072, inkan.RSA4096} {
		t.Run(string(kt), func(t *testing.T) {
			if kt == inkan.RSA4096 && testing.Short() {
				t.Skip("makes a key of 4096 bits")
			}
			w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.KeyType = kt })
			w.issue("a.example.com")
			key, err := inkan.KeyOpener(nil).Open(t.Context(), w.accounts.rec.Key, inkan.KeyUse{})
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := key.Type(); got != kt {
				t.Errorf("the account key is %s", got)
			}
		})
	}
	for _, kt := range []inkan.KeyType{inkan.Ed25519, inkan.ECDSAP521, "dsa"} {
		_, err := New(plug.Env{}, Config{Name: "letsencrypt", KeyType: kt}, &memAccounts{})
		wantError(t, err, inkan.Operator, string(kt))
	}
}

// The key is durable before the CA hears of it, and the reply to newAccount
// may be lost.
func TestB02LostNewAccountReply(t *testing.T) {
	var lost atomic.Bool
	var w *world
	w = newWorld(t, testca.Options{}, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path != testca.PathNewAccount {
			next.ServeHTTP(rw, r)
			return
		}
		if rec, err := w.accounts.Load(r.Context()); err != nil || rec.Key == nil {
			t.Error("the CA hears of a key that is not on record")
		}
		if !lost.Swap(true) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(rw, r)
	})
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Temporary, "new account at 127.0.0.1:")
	before := *w.accounts.rec
	w.client = w.newClient()
	w.issue("a.example.com")
	after := *w.accounts.rec
	if !before.Key.Equal(after.Key) || before.URL != "" || after.URL == "" {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// Many processes begin at once: one key, one account.
func TestAccountRace(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	const processes = 5
	var ready sync.WaitGroup
	ready.Add(processes)
	w.accounts.before = func(update int) {
		if update <= processes { // all have made a key before one is kept
			ready.Done()
			ready.Wait()
		}
	}
	errs := make(chan error)
	urls := make(chan string, processes)
	for range processes {
		c := w.newClient()
		go func() {
			info, err := c.Register(t.Context(), RegisterOptions{AgreeTerms: true})
			urls <- info.URL
			errs <- err
		}()
	}
	for range processes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	first := <-urls
	for range processes - 1 {
		if url := <-urls; url != first {
			t.Errorf("two accounts: %s and %s", first, url)
		}
	}
	if n := w.ca.Count(testca.PathNewAccount); n != 1 {
		t.Errorf("%d newAccount requests, want 1", n)
	}
}

func TestAccountShowAndContacts(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	_, err := w.client.ShowAccount(t.Context())
	wantError(t, err, inkan.Operator, "there is none yet")
	registered, err := w.client.Register(t.Context(), RegisterOptions{AgreeTerms: true})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(registered.Contacts) != "[ops@example.com]" {
		t.Errorf("contacts: %v", registered.Contacts)
	}
	if _, err := w.client.UpdateContacts(t.Context(), []string{"new@example.com", "mailto:two@example.com"}); err != nil {
		t.Fatal(err)
	}
	info, err := w.newClient().ShowAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(info.Contacts) != "[new@example.com two@example.com]" || info.URL != registered.URL {
		t.Errorf("info: %+v", info)
	}
	for _, bad := range []string{"nobody", "a@b\nc@d", "", "@x", "a@b,c@d", "a@b?subject=x"} {
		_, err := w.client.UpdateContacts(t.Context(), []string{bad})
		wantError(t, err, inkan.Operator, "not an e-mail address")
	}
	again, err := w.client.Register(t.Context(), RegisterOptions{}) // found by its key, no agreement needed
	if err != nil || again.URL != registered.URL {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// A17: the CA was reset. No account is made by itself.
func TestA17AccountGone(t *testing.T) {
	old := newWorld(t, testca.Options{}, nil)
	old.issue("a.example.com")
	w := newWorld(t, testca.Options{}, nil)
	rec := *old.accounts.rec
	rec.URL = strings.Replace(w.ca.DirectoryURL, testca.PathDirectory, testca.PathAccount+"77", 1)
	rec.Directory = nil
	w.accounts.rec = &rec
	r, _ := w.request("a.example.com")
	for range 2 {
		_, err := w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Operator, "accountDoesNotExist", "no longer knows the account")
	}
	_, err := w.client.Register(t.Context(), RegisterOptions{AgreeTerms: true})
	wantError(t, err, inkan.Operator, "accountDoesNotExist")
	if w.accounts.rec.URL != rec.URL {
		t.Error("the record was changed")
	}
	info, err := w.client.Register(t.Context(), RegisterOptions{AgreeTerms: true, Recover: true})
	if err != nil || info.URL == rec.URL {
		t.Fatalf("recovering: %+v, %v", info, err)
	}
	if !w.accounts.rec.Key.Equal(rec.Key) {
		t.Error("the key was changed")
	}
	r, j := w.request("a.example.com")
	w.mustIssue(r, j)
}

// A18: new terms.
func TestA18UserActionRequired(t *testing.T) {
	w := newWorld(t, testca.Options{}, on(testca.PathNewOrder, 1, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, `{"type":"%suserActionRequired","detail":"Terms of service have changed","instance":"https://ca.example/agreement?7"}`, errorNamespace)
	}))
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "Terms of service have changed", "https://ca.example/agreement?7")
}

func TestAccountDeactivated(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("a.example.com")
	a := w.client.account.Load()
	if _, err := w.client.post(t.Context(), epOther, "deactivating", a.kid, a.identity, []byte(`{"status":"deactivated"}`)); err != nil {
		t.Fatal(err)
	}
	r, _ := w.request("b.example.com")
	_, err := w.client.Issue(t.Context(), r)
	if k := inkan.KindOf(err); k != inkan.Operator {
		t.Errorf("kind %v: %v", k, err)
	}
	_, err = w.client.ShowAccount(t.Context())
	wantError(t, err, inkan.Operator, "deactivated")
}

func TestEAB(t *testing.T) {
	mac := bytes.Repeat([]byte{0xfb}, 64)
	key := base64.RawURLEncoding.EncodeToString(mac)
	for _, alg := range []string{"", "HS256", "HS384", "HS512"} {
		t.Run("algorithm "+alg, func(t *testing.T) {
			w := newWorld(t, testca.Options{EABRequired: true, EABKeys: map[string]string{"kid-1": key}}, nil, func(c *Config) {
				c.EABKeyID, c.EABKey, c.EABAlgorithm = "kid-1", plug.NewSecret(base64.StdEncoding.EncodeToString(mac)), alg
			})
			w.issue("a.example.com")
			if w.accounts.rec.EABKeyID != "kid-1" {
				t.Errorf("record: %+v", w.accounts.rec)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		w := newWorld(t, testca.Options{EABRequired: true}, nil)
		r, _ := w.request("a.example.com")
		_, err := w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Operator, "external account binding", "HMAC")
		if w.accounts.writes != 0 {
			t.Error("a key was made")
		}
	})
	for name, bad := range map[string]string{"wrong": base64.RawURLEncoding.EncodeToString(make([]byte, 32)), "short": "c2hvcnQ", "garbage": "%%%%"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Options{EABRequired: true, EABKeys: map[string]string{"kid-1": key}}, nil, func(c *Config) {
				c.EABKeyID, c.EABKey = "kid-1", plug.NewSecret(bad)
			})
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			if k := inkan.KindOf(err); k != inkan.Operator {
				t.Errorf("kind %v: %v", k, err)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %v", err, w.config, inkan.HintsOf(err)), bad) {
				t.Errorf("the secret is shown: %v", err)
			}
		})
	}
	t.Run("known CA", func(t *testing.T) { // says so before it is asked
		w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Name = "zerossl" })
		r, _ := w.request("a.example.com")
		_, err := w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Operator, "external account binding")
	})
	_, err := New(plug.Env{}, Config{Name: "google", EABKeyID: "x"}, &memAccounts{})
	wantError(t, err, inkan.Operator, "both a key id and a key")
	_, err = New(plug.Env{}, Config{Name: "google", EABAlgorithm: "none"}, &memAccounts{})
	wantError(t, err, inkan.Operator, "HS256")
}

// The directory moves while its old form is on record: it is read again, and
// the order goes on.
func TestDirectoryMoved(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("a.example.com")
	for _, member := range []string{"newOrder", "newNonce", "revokeCert"} {
		rec := *w.accounts.rec
		doc := map[string]any{}
		if err := json.Unmarshal(rec.Directory, &doc); err != nil {
			t.Fatal(err)
		}
		doc[member] = doc[member].(string) + "-of-last-year"
		rec.Directory, _ = json.Marshal(doc)
		w.accounts.rec = &rec
		w.client = w.newClient()
		r, j := w.request("b.example.com")
		issued, err := w.client.Issue(t.Context(), r)
		if err != nil {
			t.Fatalf("%s moved: %v", member, err)
		}
		leaf := checkIssued(t, issued, j)
		if member == "revokeCert" {
			if err := w.client.Revoke(t.Context(), leaf, inkan.Superseded, nil); err != nil {
				t.Fatal(err)
			}
		}
		w.client.Close()
		if bytes.Contains(w.accounts.rec.Directory, []byte("-of-last-year")) {
			t.Errorf("%s moved: the old directory is still on record", member)
		}
	}
}

// A18: new terms stop all issuance of the account. One request a day asks
// whether they still do; looking at the account by hand ends the pause at once.
func TestA18OneProbeADay(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	var offset atomic.Int64
	w.env.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	w.client = w.newClient()
	w.issue("a.example.com")
	rule := p.Add(testca.Rule{Path: testca.PathNewOrder, Do: testca.UserActionRequired("https://ca.example/agreement?7")})
	refused := func() {
		t.Helper()
		for range 10 {
			r, _ := w.request("b.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Operator, "Terms of service have changed", "https://ca.example/agreement?7")
			if !inkan.RetryAfterOf(err).IsZero() {
				t.Errorf("a person who agreed would have to wait: %v", err)
			}
		}
	}
	refused()
	offset.Store(int64(23 * time.Hour))
	refused()
	if rule.Hits() != 1 {
		t.Errorf("%d requests in a day, want 1", rule.Hits())
	}
	offset.Store(int64(25 * time.Hour))
	refused()
	if rule.Hits() != 2 {
		t.Errorf("%d requests in two days, want 2", rule.Hits())
	}
	rule.Remove()
	if _, err := w.client.ShowAccount(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.issue("b.example.com") // in this process
	p.Add(testca.Rule{Path: testca.PathNewOrder, To: 1, Do: testca.UserActionRequired("https://ca.example/agreement?7")})
	r, _ := w.request("c.example.com")
	if _, err := w.client.Issue(t.Context(), r); err == nil {
		t.Fatal("not refused")
	}
	w.client = w.newClient() // and in the next
	w.issue("c.example.com")
}
