package solve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// StandaloneConfig holds the options of [Standalone].
type StandaloneConfig struct {
	_    struct{} `help:"answers http-01 challenges itself, on a port that it opens while challenges stand"`
	Addr string   `json:"addr" help:"the address to listen on; without a host, all IPv4 and IPv6 addresses; the CA always connects to port 80" default:":80"`
}

// Limits against clients that are slow, greedy or many (reliability J03).
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 10 * time.Second
	maxHeader     = 8 << 10
	maxConns      = 1000
	drainTime     = 500 * time.Millisecond
)

// Standalone returns a Solver for http-01 that listens itself, from the first
// Present until the last challenge is cleaned up. Use one for all orders that
// share the address. It implements inkan.Witness.
//
// An address without a host means all addresses of both families; a family
// that the machine lacks is left out. Errors about the port are of kind
// Operator. CleanUp in a process that never presented is success.
func Standalone(env plug.Env, cfg StandaloneConfig) (inkan.Solver, error) {
	plug.Defaults(&cfg)
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "standalone solver", "the address %q: %w", inkan.Printable(cfg.Addr, 80), err).
			WithHint("write it as :80, 192.0.2.1:80 or [2001:db8::1]:80")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, inkan.Errorf(inkan.Operator, "standalone solver", "the port %q is not a number from 0 to 65535", inkan.Printable(port, 20))
	} else {
		port = strconv.FormatUint(n, 10)
	}
	return &standalone{host: host, port: port, log: env.Logger()}, nil
}

type standalone struct {
	Responder
	host, port string
	log        *slog.Logger

	mu        sync.Mutex // held while the listeners are opened or closed
	server    *http.Server
	listeners []net.Listener // those of server
}

// Present implements inkan.Solver.
func (s *standalone) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	undo, err := s.Responder.Present(ctx, challenges)
	if err != nil || s.server != nil || len(challenges) == 0 {
		return undo, err
	}
	if err := s.start(ctx); err != nil {
		s.Responder.CleanUp(ctx, challenges)
		return nil, err
	}
	return undo, nil
}

// CleanUp implements inkan.Solver. When it returns, the port is free unless
// other challenges stand.
func (s *standalone) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	s.mu.Lock()
	s.Responder.CleanUp(ctx, challenges)
	server := s.server
	if server == nil || !s.idle() {
		s.mu.Unlock()
		return nil
	}
	for _, l := range s.listeners {
		l.Close()
	}
	s.server, s.listeners = nil, nil
	s.mu.Unlock()
	// A CA asks from several places; answers on their way may finish. The
	// context is not asked: it has often ended when a run cleans up.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		server.Close()
	}
	return nil
}

// start opens the listeners and serves them. s.mu is held.
func (s *standalone) start(ctx context.Context) error {
	listeners, err := s.listen(ctx)
	if err != nil {
		return err
	}
	crowd := &crowd{max: maxConns}
	s.listeners = listeners
	s.server = &http.Server{
		ConnState:                    crowd.state,
		Handler:                      &s.Responder,
		ReadTimeout:                  headerTimeout,
		WriteTimeout:                 writeTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.server.SetKeepAlivesEnabled(false) // a CA asks once
	for _, l := range listeners {
		s.log.Debug("listening for http-01", "addr", l.Addr().String())
		go s.server.Serve(l)
	}
	return nil
}

// listen opens one listener, or one for each family.
func (s *standalone) listen(ctx context.Context) ([]net.Listener, error) {
	var lc net.ListenConfig
	if s.host != "" {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(s.host, s.port))
		if err != nil {
			return nil, s.explain("", err)
		}
		return []net.Listener{l}, nil
	}
	v4, err4 := lc.Listen(ctx, "tcp4", ":"+s.port)
	port := s.port
	if err4 == nil && port == "0" { // any port, but one
		port = strconv.Itoa(v4.Addr().(*net.TCPAddr).Port)
	}
	v6, err6 := lc.Listen(ctx, "tcp6", ":"+port)
	var listeners []net.Listener
	for _, l := range []net.Listener{v4, v6} {
		if l != nil {
			listeners = append(listeners, l)
		}
	}
	var err error
	switch {
	case err4 != nil && err6 != nil:
		err = s.explain("", fmt.Errorf("IPv4: %w; IPv6: %w", err4, err6))
	case errors.Is(err4, syscall.EADDRINUSE):
		// The CA may choose either family, so half a port is no port.
		err = s.explain("IPv4", err4)
	case errors.Is(err6, syscall.EADDRINUSE):
		err = s.explain("IPv6", err6)
	default:
		return listeners, nil
	}
	for _, l := range listeners {
		l.Close()
	}
	return nil, err
}

func (s *standalone) explain(family string, err error) error {
	e := inkan.Errorf(inkan.Operator, "standalone solver on port "+s.port, "%w", err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		e.Hint = "another program listens on port " + s.port
		if family != "" {
			e.Hint += " for " + family
		}
		e.Hint += ": if it is a web server, use its webroot (--webroot DIR) in place of --standalone; else stop it while certificates are issued"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Hint = "ports below 1024 need root or CAP_NET_BIND_SERVICE: grant it (AmbientCapabilities in the systemd unit), or forward port 80 to a higher one and listen there (--standalone :8080)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Hint = "this machine does not have the address " + inkan.Printable(s.host, 80)
	}
	return e
}
