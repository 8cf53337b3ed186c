package testca

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Responder answers http-01 validations on the port where the CA looks.
// Its methods are safe for concurrent use.
type Responder struct {
	mu     sync.RWMutex
	tokens map[string]string
	server *http.Server
	served chan error
}

// Respond starts a Responder for c. The caller closes it.
func (c *CA) Respond() (*Responder, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.HTTPPort)))
	if err != nil {
		return nil, err
	}
	r := &Responder{tokens: map[string]string{}, served: make(chan error, 1)}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { r.served <- r.server.Serve(l) }()
	return r, nil
}

// Show answers for token with keyAuth from now on.
func (r *Responder) Show(token, keyAuth string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[token] = keyAuth
	return nil
}

// Hide forgets token.
func (r *Responder) Hide(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tokens, token)
}

// ServeHTTP answers known tokens and 404 for all else.
func (r *Responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	token, _ := strings.CutPrefix(req.URL.Path, "/.well-known/acme-challenge/")
	r.mu.RLock()
	keyAuth, ok := r.tokens[token]
	r.mu.RUnlock()
	if !ok {
		http.NotFound(w, req)
		return
	}
	_, _ = w.Write([]byte(keyAuth))
}

// Close stops the server.
func (r *Responder) Close() error {
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
