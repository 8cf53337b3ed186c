package testca

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is one request to the ACME endpoint as its client saw it.
type Request struct {
	Time   time.Time // when it arrived
	Method string
	Path   string
	Status int // 0: aborted without an answer

	Account     string       // URL of the account that signed it; "" if none did
	Identifiers []Identifier // of a newOrder request
	Replaces    string       // of a newOrder request (RFC 9773)
}

// recorder notes requests, connections and what they led to.
type recorder struct {
	mu           sync.Mutex
	requests     []Request
	connections  int
	open         int           // connections
	working      int           // requests
	settled      chan struct{} // closed when neither is left; nil if nobody waits
	orders       int
	certificates [][]byte
}

func (r *recorder) wrap(next http.Handler, checker *checker) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		entry := Request{Time: time.Now(), Method: req.Method, Path: req.URL.Path}
		r.change(func() { r.working++ })
		defer r.change(func() { r.working-- })
		checker.arrived(req)
		if req.Method == http.MethodPost {
			body, err := readBody(w, req)
			if err != nil {
				return // the client went away
			}
			signed := parseSigned(body)
			entry.Account = signed.account
			if req.URL.Path == PathNewOrder {
				p := signed.order()
				entry.Identifiers, entry.Replaces = p.Identifiers, p.Replaces
			}
		}
		r.mu.Lock()
		i := len(r.requests)
		r.requests = append(r.requests, entry)
		r.mu.Unlock()
		// The status is noted before the client can see it: a test that has its
		// answer finds it in the record.
		next.ServeHTTP(&statusWriter{ResponseWriter: w, note: func(status int) {
			r.mu.Lock()
			r.requests[i].Status = status
			r.mu.Unlock()
		}}, req)
	})
}

func (r *recorder) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		r.change(func() { r.connections++; r.open++ })
	case http.StateClosed, http.StateHijacked:
		r.change(func() { r.open-- })
	}
}

// change counts, and tells those who wait for the end of it all.
func (r *recorder) change(count func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count()
	if r.settled != nil && r.open == 0 && r.working == 0 {
		close(r.settled)
		r.settled = nil
	}
}

// Settle waits until every connection is closed and what came over it is done
// with: after a client was killed, what it had sent may still be carried out.
func (c *CA) Settle(ctx context.Context) error {
	r := &c.record
	r.mu.Lock()
	if r.open == 0 && r.working == 0 {
		r.mu.Unlock()
		return nil
	}
	if r.settled == nil {
		r.settled = make(chan struct{})
	}
	settled := r.settled
	r.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *recorder) order() {
	r.mu.Lock()
	r.orders++
	r.mu.Unlock()
}

func (r *recorder) certificate(der []byte) {
	r.mu.Lock()
	r.certificates = append(r.certificates, der)
	r.mu.Unlock()
}

// Requests returns every request so far in order of arrival.
func (c *CA) Requests() []Request {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return slices.Clone(c.record.requests)
}

// Count returns the number of requests whose path starts with prefix: see the
// Path constants. "" counts all.
func (c *CA) Count(prefix string) int {
	n := 0
	for _, r := range c.Requests() {
		if strings.HasPrefix(r.Path, prefix) {
			n++
		}
	}
	return n
}

// Connections returns the number of TCP connections accepted so far.
func (c *CA) Connections() int {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.connections
}

// Orders returns the number of orders created so far.
func (c *CA) Orders() int {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.orders
}

// Certificates returns the DER of every certificate issued so far, oldest
// first, whether or not a client downloaded it.
func (c *CA) Certificates() [][]byte {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return slices.Clone(c.record.certificates)
}

// statusWriter reports the status of a response when it is written.
// http.ResponseController reaches the writer beneath it.
type statusWriter struct {
	http.ResponseWriter
	note  func(status int)
	wrote bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.wrote = true
		w.note(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
