package solve

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
)

// Handler answers http-01 challenges from a Store, for a solver of [HTTP01]
// over the same Store in another process: so any node of a cluster can answer
// the CA. It asks the Store for .well-known/acme-challenge/<token> only, and
// only if the token is well-formed. Its methods may be called concurrently; do
// not change its fields once it is in use.
//
//	mux.Handle("/.well-known/acme-challenge/", &solve.Handler{Store: shared})
type Handler struct {
	Store inkan.Store
	// Path is what stands before the token in the paths that arrive; see
	// [Responder].
	Path string
	// Next serves what has another path. Nil: such requests get 404.
	Next http.Handler
	// Log hears of a Store that cannot be read. Nil discards.
	Log *slog.Logger

	mu    sync.Mutex
	known map[string]*reading // by token
	busy  int                 // readings on their way
}

// reading is one look into the Store, and then what it found.
type reading struct {
	done  chan struct{} // closed when the rest is set
	value string        // "": there is no answer
	err   error
	until time.Time // not used after that
}

// A CA asks from several places within seconds. Nobody knows a token before the
// order exists, so a request for a missing one comes from somebody who guesses,
// or from a CA that asks before the answer is stored.
const (
	foundLife   = 30 * time.Second
	missingLife = time.Second
	maxKnown    = 4096
	maxAnswer   = 1024 // a key authorization has at most 255+1+43 bytes
)

// ServeHTTP implements http.Handler. It answers 503 if the Store cannot be read
// or too many tokens are asked for at once.
func (h *Handler) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	token, ours := tokenOf(q, h.Path)
	switch {
	case !ours && h.Next != nil:
		h.Next.ServeHTTP(w, q)
		return
	case token == "":
		notFound(w)
		return
	}
	value, err := h.answer(q.Context(), token)
	switch {
	case err != nil:
		if h.Log != nil {
			h.Log.Warn("an http-01 challenge could not be answered", "token", token, "error", err)
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the answer cannot be read now", http.StatusServiceUnavailable)
	case value == "":
		notFound(w)
	default:
		_ = writeAnswer(w, value) // a client that has gone needs no answer
	}
}

// answer reads the Store, once for all who ask for the token at the same time.
func (h *Handler) answer(ctx context.Context, token string) (string, error) {
	h.mu.Lock()
	r := h.known[token]
	if r == nil || r.over(time.Now()) {
		if h.makeRoom(time.Now()); len(h.known) >= maxKnown || h.busy >= maxReads {
			h.mu.Unlock()
			return "", errors.New("too many tokens are asked for at once")
		}
		h.busy++
		r = &reading{done: make(chan struct{})}
		h.known[token] = r
		// All waiting requests share this reading, so it outlives the first one.
		go h.read(context.WithoutCancel(ctx), token, r)
	}
	h.mu.Unlock()
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (h *Handler) read(ctx context.Context, token string, r *reading) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	data, _, err := h.Store.Get(ctx, challengePath[1:]+token)
	life := missingLife
	switch thumbprint, ok := strings.CutPrefix(string(data), token+"."); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		r.err = err
	case !ok || len(data) > maxAnswer || !inkan.IsBase64URL(thumbprint):
		r.err = errors.New("what stands there is no key authorization")
	default:
		r.value, life = string(data), foundLife
	}
	r.until = time.Now().Add(life)
	close(r.done)
	h.mu.Lock()
	h.busy--
	h.mu.Unlock()
}

// over reports whether the reading is too old to be used.
func (r *reading) over(now time.Time) bool {
	select {
	case <-r.done:
		return r.err != nil || now.After(r.until)
	default:
		return false
	}
}

// makeRoom forgets old readings when there are many, and then some that found
// nothing: who makes up tokens must not keep an answer from the CA. h.mu is held.
func (h *Handler) makeRoom(now time.Time) {
	if h.known == nil {
		h.known = map[string]*reading{}
	}
	if len(h.known) < maxKnown {
		return
	}
	for token, r := range h.known {
		if r.over(now) {
			delete(h.known, token)
		}
	}
	for token, r := range h.known {
		if len(h.known) <= maxKnown*7/8 {
			return
		}
		if r.missing() {
			delete(h.known, token)
		}
	}
}

// missing reports whether the reading has found nothing.
func (r *reading) missing() bool {
	select {
	case <-r.done:
		return r.value == ""
	default:
		return false
	}
}

// Stateless answers http-01 challenges without knowing them: it answers every
// token with that token and the thumbprint of the account key (RFC 8555 section
// 8.1). It needs no Store and no secret, so any number of servers can do it. It
// lets the holder of that account, and nobody else, get certificates for every
// name that it serves. Use a solver of [StatelessSolver] with it. Its fields are
// those of [Handler].
type Stateless struct {
	Thumbprint string // RFC 7638, in base64url, as "inkan account show" tells
	Path       string
	Next       http.Handler
}

// ServeHTTP implements http.Handler.
func (s *Stateless) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	token, ours := tokenOf(q, cmp.Or(s.Path, challengePath))
	switch {
	case !ours && s.Next != nil:
		s.Next.ServeHTTP(w, q)
	case token == "" || s.Thumbprint == "":
		notFound(w)
	default:
		_ = writeAnswer(w, token+"."+s.Thumbprint)
	}
}
