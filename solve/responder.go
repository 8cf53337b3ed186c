package solve

import (
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
// is a small 404. Its zero value is ready. All methods may be called at once.
type Responder struct {
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
	if err := checkAll(challenges); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Compared before anything is shown.
	for _, c := range challenges {
		if a := r.shown[placeOf(c)]; a != nil && a.value != c.KeyAuthorization {
			return nil, inkan.Errorf(inkan.Operator, "http-01 for "+c.Identifier.Value, "the token %s stands with another answer", c.Token)
		}
	}
	if r.shown == nil {
		r.shown = map[place]*answer{}
	}
	for _, c := range challenges {
		if r.shown[placeOf(c)] == nil {
			r.shown[placeOf(c)] = &answer{value: c.KeyAuthorization, seen: make(chan struct{})}
		}
	}
	return nil, nil
}

// CleanUp implements inkan.Solver.
func (r *Responder) CleanUp(_ context.Context, challenges []inkan.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range challenges {
		if a := r.shown[placeOf(c)]; a != nil && a.value == c.KeyAuthorization {
			delete(r.shown, placeOf(c))
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
	if a := r.shown[placeOf(c)]; a != nil && a.value == c.KeyAuthorization {
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
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Content-Type-Options", "nosniff")
	a := r.find(q)
	if a == nil {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "not found\n")
		return
	}
	if _, err := io.WriteString(w, a.value); err == nil && q.Method == http.MethodGet {
		a.once.Do(func() { close(a.seen) })
	}
}

func (r *Responder) find(q *http.Request) *answer {
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		return nil
	}
	// The path as it was sent: a token needs no escapes, so none is decoded.
	token, ok := strings.CutPrefix(q.URL.EscapedPath(), challengePath)
	if !ok || q.URL.RawQuery != "" || q.URL.ForceQuery {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.shown[place{canonicalHost(q.Host), token}]
}

func placeOf(c inkan.Challenge) place {
	return place{canonicalHost(c.Identifier.Value), c.Token}
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
