package solve

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
)

// Responder is a Solver for http-01 that answers from memory, and the HTTP
// handler that gives the answers: mount it on the port-80 server of a program
// that has one.
//
//	mux.Handle("/.well-known/acme-challenge/", responder)
//
// It answers GET and HEAD for the exact path of a token that is presented,
// with the name or address that is being validated as host; everything else
// is a small 404. Its zero value is ready. Its methods may be called concurrently.
type Responder struct {
	// Path is what stands before the token in the paths that arrive; it ends
	// in a slash. Empty: /.well-known/acme-challenge/, as a CA asks. A load
	// balancer may have taken that off; then it is "/".
	Path string
	// AnyHost answers whatever host is asked for, behind a load balancer that
	// puts another one into the request.
	AnyHost bool

	mu    sync.RWMutex
	shown map[place]*answer
}

// place is what a CA asks for: the name or address, canonical, and the token.
type place struct{ host, token string }

type answer struct {
	value string
	seen  chan struct{} // closed when it was given
	once  sync.Once
}

// Present implements inkan.Solver.
func (r *Responder) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkAll(inkan.HTTP01, challenges); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// All are compared before any is shown.
	for _, c := range challenges {
		if a := r.shown[r.placeOf(c)]; a != nil && a.value != c.KeyAuthorization {
			return nil, inkan.Errorf(inkan.Operator, "http-01 for "+c.Identifier.Value, "the token %s already has another answer", c.Token)
		}
	}
	if r.shown == nil {
		r.shown = map[place]*answer{}
	}
	for _, c := range challenges {
		if r.shown[r.placeOf(c)] == nil {
			r.shown[r.placeOf(c)] = &answer{value: c.KeyAuthorization, seen: make(chan struct{})}
		}
	}
	return nil, nil
}

// CleanUp implements inkan.Solver.
func (r *Responder) CleanUp(_ context.Context, challenges []inkan.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range challenges {
		if a := r.shown[r.placeOf(c)]; a != nil && a.value == c.KeyAuthorization {
			delete(r.shown, r.placeOf(c))
		}
	}
	return nil
}

// Seen implements inkan.Witness: the channel is closed when somebody, the CA
// most likely, was given the answer. For a challenge that is not presented it
// is nil, which is never ready.
func (r *Responder) Seen(c inkan.Challenge) <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if a := r.shown[r.placeOf(c)]; a != nil && a.value == c.KeyAuthorization {
		return a.seen
	}
	return nil
}

// idle reports whether nothing is presented.
func (r *Responder) idle() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.shown) == 0
}

// ServeHTTP implements http.Handler.
func (r *Responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	token, _ := tokenOf(q, r.Path)
	r.mu.RLock()
	a := r.shown[r.place(q.Host, token)]
	r.mu.RUnlock()
	if token == "" || a == nil {
		notFound(w)
		return
	}
	if writeAnswer(w, a.value) == nil && q.Method == http.MethodGet {
		a.once.Do(func() { close(a.seen) })
	}
}

// tokenOf returns the token that a request asks for; ok: its path begins as
// that of a challenge does. What cannot be a token is "".
func tokenOf(q *http.Request, path string) (token string, ok bool) {
	// The path as it was sent: a token needs no escapes, so none is decoded.
	token, ok = strings.CutPrefix(q.URL.EscapedPath(), cmp.Or(path, challengePath))
	if !ok || !inkan.IsToken(token) || q.URL.RawQuery != "" || q.URL.ForceQuery ||
		q.Method != http.MethodGet && q.Method != http.MethodHead {
		return "", ok
	}
	return token, true
}

func (r *Responder) placeOf(c inkan.Challenge) place {
	return r.place(c.Identifier.Value, c.Token)
}

func (r *Responder) place(host, token string) place {
	if r.AnyHost {
		return place{"", token}
	}
	return place{canonicalHost(host), token}
}

// checkPath checks what stands before tokens.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/") || strings.ContainsAny(path, "?#% \\") || strings.Contains(path, "//") {
		return inkan.Errorf(inkan.Operator, "http-01 solver", "the path %q does not begin and end in a slash, or has characters that need an escape", inkan.Printable(path, 80)).
			WithHint("a CA asks for %s; behind a load balancer that takes this off it is /", challengePath)
	}
	return nil
}

func writeAnswer(w http.ResponseWriter, value string) error {
	answerHeader(w)
	_, err := io.WriteString(w, value)
	return err
}

// notFound answers everything that is no presented token alike.
func notFound(w http.ResponseWriter) {
	answerHeader(w)
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, "not found\n")
}

// answerHeader keeps browsers from taking an answer for a page.
func answerHeader(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// canonicalHost returns the host of a Host header as it stands in an
// Identifier: lower case, without port, brackets and final dot.
func canonicalHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
