package testdns

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testport"
)

// front passes what comes to an address on to a server at another one, byte for
// byte: BIND listens only on addresses that an interface has.
type front struct {
	backend string
	silent  atomic.Bool
}

// newFront listens at addr, on UDP and TCP, until the test ends.
func newFront(t testing.TB, addr, backend string) *front {
	t.Helper()
	f := &front{backend: backend}
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packets.Close() })
	stream, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	go func() {
		for {
			buf := make([]byte, 64<<10)
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			go f.packet(packets, from, buf[:n])
		}
	}()
	go func() {
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			go f.connection(conn)
		}
	}()
	return f
}

func (f *front) packet(packets net.PacketConn, from net.Addr, question []byte) {
	if f.silent.Load() {
		return
	}
	conn, err := net.Dial("udp", f.backend)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(question); err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	if n, err := conn.Read(buf); err == nil {
		_, _ = packets.WriteTo(buf[:n], from)
	}
}

func (f *front) connection(conn net.Conn) {
	defer conn.Close()
	if f.silent.Load() {
		return
	}
	back, err := net.Dial("tcp", f.backend)
	if err != nil {
		return
	}
	defer back.Close()
	go func() {
		_, _ = io.Copy(back, conn)
		_ = back.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, back)
}

// freePort returns a port of 127.0.0.1 whose UDP half is free too, for a
// program that takes it at once. Another may be quicker: the caller tries again.
func freePort(t testing.TB) int {
	t.Helper()
	p, err := testport.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	return p.Number
}
