package acme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// finish runs the journal again in another process and checks that it ended
// with one certificate, for the CSR of the journal. The only place where one
// extra order is allowed is between newOrder and the journal's URL.
func (w *world) finish(r inkan.IssueRequest, j *memJournal) {
	w.t.Helper()
	crashed := j.record()
	orders := 1
	if crashed.OrderURL == "" {
		orders = 2 // the request may still be on its way to the CA
	}
	w.client = w.newClient()
	w.mustIssue(r, j)
	done := j.record()
	if crashed.CSR != nil && !bytes.Equal(crashed.CSR, done.CSR) {
		w.t.Error("the CSR changed")
	}
	if crashed.OrderURL != "" && crashed.OrderURL != done.OrderURL {
		w.t.Errorf("the order changed from %s to %s", crashed.OrderURL, done.OrderURL)
	}
	if n := w.ca.Orders(); n > orders {
		w.t.Errorf("%d orders, want at most %d", n, orders)
	}
	if n := len(w.ca.Certificates()); n != 1 {
		w.t.Errorf("%d certificates, want 1", n)
	}
}

// C01-C20, CA side: the process dies before and after each journal write.
func TestC01ResumeAtEveryJournalWrite(t *testing.T) {
	for k := 1; ; k++ {
		reached := false
		for _, written := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, durable %v", k, written), func(t *testing.T) {
				w := newWorld(t, testca.Options{}, nil)
				w.solver.undo = []byte(`{}`)
				r, j := w.request("a.example.com", "b.example.com")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				j.stop = func(update int) error {
					if update < k {
						return nil
					}
					reached = true
					if written && update == k {
						cancel()
						return nil
					}
					return errCrash
				}
				_, err := w.client.Issue(ctx, r)
				if !reached {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if err == nil {
					t.Fatal("the stopped run returned a certificate")
				}
				j.stop = nil
				w.finish(r, j)
			})
		}
		if !reached {
			if k < 4 {
				t.Fatalf("only %d journal writes", k-1)
			}
			return
		}
	}
}

// B02, C01-C20, CA side: the process dies before the k-th request reaches the
// CA, or after it and before the answer.
func TestB02ResumeAtEveryRequest(t *testing.T) {
	for _, answered := range []bool{false, true} {
		for k := int64(1); ; k++ {
			var count atomic.Int64
			done := t.Run(fmt.Sprintf("request %d, done %v", k, answered), func(t *testing.T) {
				var cancel context.CancelFunc
				w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if count.Add(1) != k {
						next.ServeHTTP(w, r)
						return
					}
					if answered {
						next.ServeHTTP(httptest.NewRecorder(), r)
					}
					cancel()
					panic(http.ErrAbortHandler)
				})
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				cancel = stop
				r, j := w.request("a.example.com", "b.example.com")
				_, err := w.client.Issue(ctx, r)
				if count.Load() < k {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if err != nil { // a prefetched nonce may be lost without harm
					wantError(t, err, inkan.Pending, "interrupted")
				}
				w.finish(r, j)
				if n := w.ca.Count(testca.PathNewAccount); n > 2 {
					t.Errorf("%d newAccount requests", n)
				}
			})
			if !done || count.Load() < k {
				break
			}
		}
	}
}

// A lost connection, not a dying process: the error is Temporary and the same
// journal goes on.
func TestB01LostReplyIsTemporary(t *testing.T) {
	for _, path := range []string{testca.PathNewOrder, testca.PathAuthz, testca.PathChallenge, testca.PathFinalize, testca.PathCertificate} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			var lost atomic.Bool
			w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.HasPrefix(r.URL.Path, path) && !lost.Swap(true) {
					next.ServeHTTP(httptest.NewRecorder(), r)
					panic(http.ErrAbortHandler)
				}
				next.ServeHTTP(w, r)
			})
			r, j := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Temporary, " at 127.0.0.1:")
			w.finish(r, j)
		})
	}
}

// C26: the order is gone at the CA when we come back.
func TestC26OrderGone(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"not found, no body": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"not found":          func(w http.ResponseWriter) { problem(w, 404, malformed, "No order for ID 7") },
		"not ours":           func(w http.ResponseWriter) { problem(w, 403, unauthorized, "not the owner") },
	} {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Bool
			w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if gone.Load() && strings.HasPrefix(r.URL.Path, testca.PathOrder) {
					answer(w)
					return
				}
				next.ServeHTTP(w, r)
			})
			r, j := w.request("a.example.com")
			j.stop = func(update int) error {
				if update > 1 {
					return errCrash
				}
				return nil
			}
			if _, err := w.client.Issue(t.Context(), r); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			j.stop = nil
			gone.Store(true)
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Rejected)
			if !errors.Is(err, inkan.ErrOrderDead) {
				t.Errorf("not ErrOrderDead: %v", err)
			}
			if w.ca.Orders() != 1 {
				t.Error("a new order was made")
			}
		})
	}
}
