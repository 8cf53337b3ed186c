package failpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Loss is what becomes of one write to a remote Store.
type Loss int

// The losses.
const (
	Kept        Loss = iota
	LostRequest      // not done, and the client is told of a broken connection
	LostReply        // done, and the client is told of a broken connection
)

// Server gives a Store to other processes, over a connection that may break.
type Server struct {
	Store inkan.Store

	mu     sync.Mutex
	lose   func(write int) Loss
	writes int
	lost   [LostReply + 1]int
}

// Lose makes f decide about each write from now on, counted from 1; nil loses
// none.
func (s *Server) Lose(f func(write int) Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose, s.writes = f, 0
}

// Lost returns how many writes met the loss.
func (s *Server) Lost(l Loss) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost[l]
}

type call struct {
	Op     string    `json:"op"` // get, put, list or delete
	Key    string    `json:"key,omitempty"`
	Data   []byte    `json:"data,omitempty"`
	Rev    inkan.Rev `json:"rev,omitempty"`
	Prefix string    `json:"prefix,omitempty"`
	After  string    `json:"after,omitempty"`
}

type answer struct {
	Data []byte    `json:"data,omitempty"`
	Rev  inkan.Rev `json:"rev,omitempty"`
	Keys []string  `json:"keys,omitempty"`
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	loss := Kept
	if c.Op == "put" || c.Op == "delete" {
		loss = s.next()
	}
	if loss == LostRequest {
		panic(http.ErrAbortHandler)
	}
	a, err := s.do(r.Context(), c)
	if loss == LostReply {
		panic(http.ErrAbortHandler)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.WriteHeader(http.StatusNotFound)
	case errors.Is(err, inkan.ErrConflict):
		w.WriteHeader(http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		_ = json.NewEncoder(w).Encode(a) // the client notices
	}
}

func (s *Server) next() Loss {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	loss := Kept
	if s.lose != nil {
		loss = s.lose(s.writes)
	}
	s.lost[loss]++
	return loss
}

func (s *Server) do(ctx context.Context, c call) (a answer, err error) {
	switch c.Op {
	case "get":
		a.Data, a.Rev, err = s.Store.Get(ctx, c.Key)
	case "put":
		a.Rev, err = s.Store.Put(ctx, c.Key, c.Data, c.Rev)
	case "delete":
		err = s.Store.Delete(ctx, c.Key)
	case "list":
		for key, err := range s.Store.List(ctx, c.Prefix, c.After) {
			if err != nil {
				return a, err
			}
			a.Keys = append(a.Keys, key)
		}
	default:
		err = errors.New("no such operation: " + c.Op)
	}
	return a, err
}

// RemoteConfig holds the options of [Remote].
type RemoteConfig struct {
	_   struct{} `help:"a store in another process, for tests"`
	URL string   `json:"url" help:"where the process serves it" required:"true"`
}

// Remote returns the Store of a [Server] at a URL. It retries nothing.
func Remote(env plug.Env, c RemoteConfig) (inkan.Store, error) {
	return remote{env.Client(), c.URL}, nil
}

type remote struct {
	client *http.Client
	url    string
}

func (r remote) call(ctx context.Context, c call) (a answer, err error) {
	op := "remote store: " + c.Op + " " + c.Key + c.Prefix
	body, err := json.Marshal(c)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		return a, inkan.Errorf(inkan.Temporary, op, "%w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		err := json.NewDecoder(resp.Body).Decode(&a)
		return a, err
	case http.StatusNotFound:
		return a, fs.ErrNotExist
	case http.StatusConflict:
		return a, inkan.ErrConflict
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return a, errors.Join(inkan.Errorf(inkan.Bug, op, "%s: %s", resp.Status, inkan.Printable(string(text), 200)), err)
}

// Get implements inkan.Store.
func (r remote) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	a, err := r.call(ctx, call{Op: "get", Key: key})
	return a.Data, a.Rev, err
}

// Put implements inkan.Store.
func (r remote) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	a, err := r.call(ctx, call{Op: "put", Key: key, Data: data, Rev: old})
	return a.Rev, err
}

// List implements inkan.Store.
func (r remote) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		a, err := r.call(ctx, call{Op: "list", Prefix: prefix, After: after})
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range a.Keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Delete implements inkan.Store.
func (r remote) Delete(ctx context.Context, key string) error {
	_, err := r.call(ctx, call{Op: "delete", Key: key})
	return err
}
