package acme

import (
	"context"
	"errors"
	"sync"
	"time"
)

// backgroundTime bounds one piece of background work.
const backgroundTime = 2 * time.Minute

// errClosed is what a closed client answers.
var errClosed = errors.New("the client is closed")

// tasks runs work that outlives the call that started it (fetching nonces,
// re-reading the directory) and ends it when the client is closed.
type tasks struct {
	mu     sync.Mutex
	wg     sync.WaitGroup
	closed bool
	stop   chan struct{}
}

// run starts f unless the client is closed. f gets the values of ctx but not
// its end.
func (t *tasks) run(ctx context.Context, f func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backgroundTime)
		defer cancel()
		over := make(chan struct{})
		defer close(over)
		go func() {
			select {
			case <-t.stop:
				cancel()
			case <-over:
			}
		}()
		f(ctx)
	})
	return true
}

// close ends all work and waits for it.
func (t *tasks) close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.stop)
	}
	t.mu.Unlock()
	t.wg.Wait()
}
