package solve

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestJ04TLSALPNStalledTenSeconds: a handshake that stalls is closed after 10 s,
// and Close ends those that have not.
func TestJ04TLSALPNStalledTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshaker(new(TLSALPN).validation(), slog.New(slog.DiscardHandler))
		connect := func() net.Conn {
			client, server := net.Pipe()
			if !h.enter(server) {
				t.Fatal("the server takes no connection")
			}
			go h.handshake(server)
			return client
		}
		start := time.Now()
		if _, err := io.Copy(io.Discard, connect()); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("it was closed after %v; want 10 s", d)
		}
		stalled := connect()
		h.Close()
		if _, err := io.Copy(io.Discard, stalled); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("Close left a connection: %v", err)
		}
		_, server := net.Pipe()
		if h.enter(server) {
			t.Error("a closed server takes a connection")
		}
	})
}
