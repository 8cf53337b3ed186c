// Package plug turns options into plug-ins: kinds of plug-ins, the set that
// names them, strict decoding of their options, and the environment that their
// constructors get. It knows the contracts of package inkan and no plug-in.
package plug

import (
	"log/slog"
	"net/http"
	"time"
)

// Env is what a constructor gets from outside. Its zero value works.
type Env struct {
	HTTP *http.Client     // nil: a client of its own with sane timeouts
	Log  *slog.Logger     // nil: discards
	Now  func() time.Time // nil: time.Now
}

// Client returns the HTTP client to use.
func (e Env) Client() *http.Client {
	if e.HTTP != nil {
		return e.HTTP
	}
	return &http.Client{Timeout: time.Minute}
}

// Logger returns the logger to use.
func (e Env) Logger() *slog.Logger {
	if e.Log != nil {
		return e.Log
	}
	return slog.New(slog.DiscardHandler)
}

// Time returns the present instant.
func (e Env) Time() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}
