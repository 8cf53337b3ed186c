package engine_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/serve"
)

// TestServeWhileSwitching: real handshakes at a real listener while versions are
// issued: every one succeeds, no client ever meets an older version after a
// newer one, and the newest arrives without a restart.
func TestServeWhileSwitching(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.clock = time.Now() // the clients judge by their own clock
	w.ca = newModelCA(w.now)
	m, g := w.process(&gate{}), &gate{}
	must(t, issue(ctx, m, w.req))

	server := &serve.Certificates{Store: w.process(g).Store, Now: w.now}
	var watching sync.WaitGroup
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	watching.Go(func() { _ = server.Watch(watchCtx, 5*time.Millisecond) })
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: server.GetCertificate})
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})

	roots := x509.NewCertPool()
	roots.AddCert(w.ca.root.Cert)
	var newest atomic.Int64
	newest.Store(101)
	const versions = 5
	handshakes := make(chan struct{}, 1)
	var clients sync.WaitGroup
	deadline := time.Now().Add(20 * time.Second)
	for k := range 4 {
		clients.Go(func() {
			names := []string{"example.com", "www.example.com"}
			last := int64(0)
			for last < 100+versions {
				c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: names[k%2], RootCAs: roots})
				if err != nil {
					t.Error(err)
					return
				}
				serial := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
				c.Close()
				select {
				case handshakes <- struct{}{}:
				default:
				}
				if serial < last || serial > newest.Load() {
					t.Errorf("certificate %d after %d", serial, last)
				}
				last = serial
				if time.Now().After(deadline) {
					t.Errorf("still certificate %d", last)
					return
				}
			}
		})
	}
	gone := make(chan struct{})
	go func() { clients.Wait(); close(gone) }()
	for range versions - 1 {
		for range 8 { // some with the old one
			select {
			case <-handshakes:
			case <-gone:
			}
		}
		w.advance(time.Minute)
		newest.Add(1)
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(w.req.Name), Renew: true})
		must(t, err)
		must(t, m.Run(ctx, p).Err())
	}
	<-gone
	stop()
	watching.Wait()
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	serving.Wait()
	if got := g.writes(); got != nil {
		t.Errorf("the server wrote %v", got)
	}
}
