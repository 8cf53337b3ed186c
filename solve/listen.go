package solve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan"
)

// Limits against clients that are slow, greedy or many (reliability J03).
const (
	headerTimeout    = 5 * time.Second
	writeTimeout     = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	maxHeader        = 8 << 10
	maxConns         = 1000
	drainTime        = 500 * time.Millisecond
)

// memory is a Solver that answers from memory.
type memory interface {
	inkan.Solver
	inkan.Witness
	idle() bool
}

// server answers on listeners until Shutdown or Close.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// listening is a Solver that answers from memory on a port which it opens with
// the first Present and closes with the last CleanUp.
type listening struct {
	memory
	challenge string // the challenge type
	flag      string // the flag that asks for such a solver
	instead   string // a hint for when another program has the port
	usual     string // the port that the CA connects to
	newServer func() server
	host      string
	port      string
	log       *slog.Logger

	mu        sync.Mutex // held while the listeners are opened or closed
	server    server
	listeners []net.Listener // those of server
}

// at sets the address to listen at.
func (l *listening) at(addr string) error {
	op := l.flag + " solver"
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return inkan.Errorf(inkan.Operator, op, "the address %q: %w", inkan.Printable(addr, 80), err).
			WithHint("write it as :%[1]s, 192.0.2.1:%[1]s or [2001:db8::1]:%[1]s", l.usual)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return inkan.Errorf(inkan.Operator, op, "the port %q is not a number from 0 to 65535", inkan.Printable(port, 20))
	}
	l.host, l.port = host, strconv.FormatUint(n, 10)
	return nil
}

// Present implements inkan.Solver.
func (l *listening) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	undo, err := l.memory.Present(ctx, challenges)
	if err != nil || l.server != nil || len(challenges) == 0 {
		return undo, err
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.memory.CleanUp(ctx, challenges))
	}
	return undo, nil
}

// CleanUp implements inkan.Solver. When it returns, the port is free unless
// other challenges stand.
func (l *listening) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	l.mu.Lock()
	err := l.memory.CleanUp(ctx, challenges)
	server := l.server
	if server == nil || !l.idle() {
		l.mu.Unlock()
		return err
	}
	for _, listener := range l.listeners {
		listener.Close()
	}
	l.server, l.listeners = nil, nil
	l.mu.Unlock()
	// A CA asks from several places; answers on their way may finish. The
	// context is not asked: it has often ended when a run cleans up.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if server.Shutdown(drain) != nil {
		server.Close()
	}
	return err
}

// start opens the listeners and serves them. l.mu is held.
func (l *listening) start(ctx context.Context) error {
	listeners, err := l.listen(ctx)
	if err != nil {
		return err
	}
	l.listeners, l.server = listeners, l.newServer()
	for _, listener := range listeners {
		l.log.Debug("listening for "+l.challenge, "addr", listener.Addr().String())
		go l.server.Serve(listener)
	}
	return nil
}

// listen opens one listener, or one for each family.
func (l *listening) listen(ctx context.Context) ([]net.Listener, error) {
	var lc net.ListenConfig
	if l.host != "" {
		listener, err := lc.Listen(ctx, "tcp", net.JoinHostPort(l.host, l.port))
		if err != nil {
			return nil, l.explain("", err)
		}
		return []net.Listener{listener}, nil
	}
	v4, err4 := lc.Listen(ctx, "tcp4", ":"+l.port)
	port := l.port
	if err4 == nil && port == "0" { // any port, but the same for both families
		port = strconv.Itoa(v4.Addr().(*net.TCPAddr).Port)
	}
	v6, err6 := lc.Listen(ctx, "tcp6", ":"+port)
	var listeners []net.Listener
	for _, listener := range []net.Listener{v4, v6} {
		if listener != nil {
			listeners = append(listeners, listener)
		}
	}
	var err error
	switch {
	case err4 != nil && err6 != nil:
		err = l.explain("", fmt.Errorf("IPv4: %w; IPv6: %w", err4, err6))
	case errors.Is(err4, syscall.EADDRINUSE):
		// The CA may choose either family, and would reach the other program.
		err = l.explain("IPv4", err4)
	case errors.Is(err6, syscall.EADDRINUSE):
		err = l.explain("IPv6", err6)
	default:
		return listeners, nil
	}
	for _, listener := range listeners {
		listener.Close()
	}
	return nil, err
}

func (l *listening) explain(family string, err error) error {
	e := inkan.Errorf(inkan.Operator, l.flag+" solver on port "+l.port, "%w", err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		e.Hint = "another program listens on port " + l.port
		if family != "" {
			e.Hint += " for " + family
		}
		e.Hint += ": " + l.instead
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Hint = fmt.Sprintf("ports below 1024 need root or CAP_NET_BIND_SERVICE: grant it (AmbientCapabilities in the systemd unit), or forward port %s to a higher one and listen there (--%s :8%03s)", l.usual, l.flag, l.usual)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Hint = "this machine does not have the address " + inkan.Printable(l.host, 80)
	}
	return e
}
