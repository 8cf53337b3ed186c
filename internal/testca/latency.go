package testca

import (
	"io"
	"net"
	"sync"
	"time"
)

// delayListener makes every connection of l behave as if the other side were
// one round trip away: bytes arrive rtt/2 after they were sent, in order and
// without limiting how many are under way, and what the client sends first
// counts as sent when the TCP handshake would have ended, rtt after it began.
func delayListener(l net.Listener, rtt time.Duration) net.Listener {
	return &delayedListener{Listener: l, rtt: rtt}
}

type delayedListener struct {
	net.Listener
	rtt time.Duration
}

func (l *delayedListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// net.Pipe gives the server a connection with deadlines and back-pressure;
	// two goroutines carry its bytes over the distance.
	near, far := net.Pipe()
	established := time.Now().Add(l.rtt)
	var open sync.WaitGroup
	open.Go(func() { carry(far, raw, l.rtt/2, established) })
	open.Go(func() { carry(raw, far, l.rtt/2, time.Time{}) })
	go func() {
		open.Wait()
		_ = raw.Close()
		_ = far.Close()
	}()
	return &delayedConn{Conn: near, local: raw.LocalAddr(), remote: raw.RemoteAddr()}, nil
}

// delayedConn shows the addresses of the real connection.
type delayedConn struct {
	net.Conn
	local, remote net.Addr
}

func (c *delayedConn) LocalAddr() net.Addr  { return c.local }
func (c *delayedConn) RemoteAddr() net.Addr { return c.remote }

// carry copies from src to dst; each piece is written delay after it was read,
// or after notBefore if it was read sooner. At the end of src, dst is closed
// when the last piece has arrived.
func carry(dst, src net.Conn, delay time.Duration, notBefore time.Time) {
	type piece struct {
		due  time.Time
		data []byte
	}
	underway := make(chan piece, 4096)
	go func() {
		defer close(underway)
		for {
			buf := make([]byte, 16<<10)
			n, err := src.Read(buf)
			sent := time.Now()
			if sent.Before(notBefore) {
				sent = notBefore
			}
			if n > 0 {
				underway <- piece{sent.Add(delay), buf[:n]}
			}
			if err != nil {
				underway <- piece{due: sent.Add(delay)}
				return
			}
		}
	}()
	failed := false
	for p := range underway {
		if failed {
			continue // let the reader come to its end
		}
		if p.data == nil {
			time.Sleep(time.Until(p.due))
			closeWrite(dst)
			continue
		}
		time.Sleep(time.Until(p.due))
		if _, err := dst.Write(p.data); err != nil {
			failed = true
			_ = src.Close()
		}
	}
}

// closeWrite ends one direction where the connection can, else all of it.
func closeWrite(c io.Closer) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = c.Close()
}
