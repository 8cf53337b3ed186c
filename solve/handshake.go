package solve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// handshaker is a server that does handshakes and nothing else: a connection
// is closed when its handshake is over, or after handshakeTimeout.
type handshaker struct {
	config *tls.Config
	log    *slog.Logger
	crowd  crowd

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     sync.WaitGroup
}

func newHandshaker(config *tls.Config, log *slog.Logger) *handshaker {
	return &handshaker{config: config, log: log, crowd: crowd{max: maxConns}}
}

// Serve accepts connections until l is closed.
func (h *handshaker) Serve(l net.Listener) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		l.Close()
		return net.ErrClosed
	}
	h.listeners = append(h.listeners, l)
	h.mu.Unlock()
	pause := time.Millisecond
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // such as too many open files: others may be closed soon
			h.log.Debug("accepting a connection", "error", err)
			pause = min(2*pause, time.Second)
			time.Sleep(pause)
			continue
		}
		pause = time.Millisecond
		if !h.enter(conn) {
			conn.Close()
			return net.ErrClosed
		}
		go h.handshake(conn)
	}
}

// enter counts a connection, and closes the oldest of too many.
func (h *handshaker) enter(conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.conns.Add(1)
	if oldest := h.crowd.add(conn); oldest != nil {
		oldest.Close()
	}
	return true
}

func (h *handshaker) handshake(conn net.Conn) {
	defer h.conns.Done()
	defer h.crowd.drop(conn)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	c := tls.Server(conn, h.config)
	if err := c.Handshake(); err != nil {
		h.log.Debug("a handshake that is no validation", "from", conn.RemoteAddr().String(), "error", err)
		return
	}
	c.Close() // with close_notify
}

// Shutdown ends Serve and waits for the handshakes on their way.
func (h *handshaker) Shutdown(ctx context.Context) error {
	h.stop()
	done := make(chan struct{})
	go func() {
		h.conns.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *handshaker) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, l := range h.listeners {
		l.Close()
	}
}

// Close ends everything at once.
func (h *handshaker) Close() error {
	h.stop()
	h.crowd.closeAll()
	h.conns.Wait()
	return nil
}
