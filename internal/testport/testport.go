// Package testport sets TCP ports of 127.0.0.1 aside for servers that are
// started later, or by another process, under a number known beforehand.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Port is a TCP port of 127.0.0.1 that no other Port of this machine has.
//
// It is held by a UDP socket of the same number: TCP stays free for the server
// that the port is for, and of two processes that look for a port at the same
// moment only one gets it. The number lies below the range from which systems
// take source ports, so no outgoing connection grabs it either.
type Port struct {
	Number int
	held   net.PacketConn
}

// Reserve finds a free port. The caller releases it when its server has ended.
func Reserve() (*Port, error) {
	var last error
	for range 1000 {
		number := 10000 + rand.IntN(22000)
		held, err := net.ListenPacket("udp", Addr(number))
		if err != nil {
			last = err
			continue
		}
		l, err := net.Listen("tcp", Addr(number))
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			return &Port{Number: number, held: held}, nil
		}
		last = err
		_ = held.Close()
	}
	return nil, fmt.Errorf("no free port: %w", last)
}

// Release lets others have the port.
func (p *Port) Release() error { return p.held.Close() }

// Packets returns the socket that holds the port, for a server that answers on
// UDP too. Closing it releases the port.
func (p *Port) Packets() net.PacketConn { return p.held }

// For reserves a port until t ends.
func For(t testing.TB) int {
	t.Helper()
	p, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Release() })
	return p.Number
}

// Addr is number at 127.0.0.1.
func Addr(number int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(number)) }
