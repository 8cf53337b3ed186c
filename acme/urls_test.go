package acme

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// A24: the CA's URLs must be https and at its own host; no JWS is sent.
func TestA24ForeignURLs(t *testing.T) {
	var asked atomic.Bool
	evil := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer evil.Close()
	for name, url := range map[string]string{
		"plain http": "http://127.0.0.1/new-order",
		"other host": evil.URL + "/new-order",
		"metadata":   "https://169.254.169.254/latest",
		"file":       "file:///etc/passwd",
		"user":       "https://me@127.0.0.1/x",
		"relative":   "/new-order",
	} {
		for _, member := range []string{"newOrder", "newNonce", "newAccount", "revokeCert", "renewalInfo"} {
			t.Run(name+" "+member, func(t *testing.T) {
				w := newWorld(t, testca.Options{}, rewrite(testca.PathDirectory, func(doc map[string]any) { doc[member] = url }))
				r, _ := w.request("a.example.com")
				_, err := w.client.Issue(t.Context(), r)
				wantError(t, err, inkan.Operator, member, "directory at 127.0.0.1:")
				for _, req := range w.ca.Requests() {
					if req.Method == http.MethodPost {
						t.Errorf("a signed request went to %s", req.Path)
					}
				}
			})
		}
	}
	if asked.Load() {
		t.Error("the other host was asked")
	}
}

func TestA24Redirect(t *testing.T) {
	var asked atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer elsewhere.Close()
	for _, path := range []string{testca.PathDirectory, testca.PathNewOrder, testca.PathCertificate} {
		for _, status := range []int{301, 302, 307, 308} {
			w := newWorld(t, testca.Options{}, on(path, 1, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, status)
			}))
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Operator, "redirect", fmt.Sprint(status))
		}
	}
	if asked.Load() {
		t.Error("a redirect was followed")
	}
}

// H06: URLs inside orders and authorizations are checked at every request.
func TestH06URLsInside(t *testing.T) {
	const evil = "https://169.254.169.254/x"
	for name, rule := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"authorization": rewrite(testca.PathNewOrder, func(doc map[string]any) { doc["authorizations"] = []string{evil} }),
		"finalize": rewrite(testca.PathOrder, func(doc map[string]any) {
			doc["finalize"] = evil
		}),
		"certificate": rewrite(testca.PathOrder, func(doc map[string]any) {
			if doc["certificate"] != nil {
				doc["certificate"] = evil
			}
		}),
		"challenge": rewrite(testca.PathAuthz, func(doc map[string]any) {
			for _, ch := range doc["challenges"].([]any) {
				ch.(map[string]any)["url"] = evil
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Options{}, rule)
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), "169.254.169.254") {
				t.Errorf("error: %v", err)
			}
			if name == "challenge" && w.solver.presented != 0 {
				t.Error("the challenge was presented")
			}
		})
	}
	t.Run("alternate", func(t *testing.T) { // is left out, the default chain stands
		w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasPrefix(r.URL.Path, testca.PathCertificate) {
				w.Header().Add("Link", "<"+evil+`>;rel="alternate"`)
			}
			next.ServeHTTP(w, r)
		})
		w.issue("a.example.com")
	})
}
