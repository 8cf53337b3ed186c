package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// TestKeep runs a program for 100 days: it issues, renews once when a third of
// the life is left, and looks no more often than it must.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ca.now = time.Now
		m := w.process(&gate{})
		m.Now = time.Now
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := m.Record(ctx, w.req, inkan.OriginAPI); err != nil {
			t.Fatal(err)
		}
		runs, issued := 0, 0
		ended := make(chan error)
		go func() {
			ended <- m.Maintain(ctx, func(r *engine.Report, err error) {
				if err := errors.Join(err, r.Err()); err != nil {
					t.Error(err)
				}
				runs++
				for _, res := range r.Results {
					if res.Issued {
						issued++
					}
				}
			})
		}()
		time.Sleep(100 * 24 * time.Hour)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Keep ended with %v", err)
		}
		if issued != 2 {
			t.Errorf("issued %d times in 100 days, want 2", issued)
		}
		if runs > 100*24+500 {
			t.Errorf("%d runs in 100 days", runs)
		}
	})
}
