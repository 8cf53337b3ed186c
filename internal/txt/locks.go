package txt

import (
	"context"
	"sync"
)

// Locks makes the calls of one process that touch the same name wait for each
// other. The zero value is ready to use.
type Locks struct {
	mu   sync.Mutex
	held map[string]*held
}

type held struct {
	turn  chan struct{}
	users int // those who hold it or wait for it
}

// Lock locks all keys, which are sorted and each there once, so that two calls
// never wait for each other. It returns the error of ctx when that ends first.
func (l *Locks) Lock(ctx context.Context, keys []string) (unlock func(), err error) {
	var mine []string
	unlock = func() {
		for _, key := range mine {
			l.leave(key, true)
		}
	}
	for _, key := range keys {
		h := l.join(key)
		select {
		case h.turn <- struct{}{}:
			mine = append(mine, key)
		case <-ctx.Done():
			l.leave(key, false)
			unlock()
			return nil, ctx.Err()
		}
	}
	return unlock, nil
}

func (l *Locks) join(key string) *held {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*held{}
	}
	h := l.held[key]
	if h == nil {
		h = &held{turn: make(chan struct{}, 1)}
		l.held[key] = h
	}
	h.users++
	return h
}

func (l *Locks) leave(key string, locked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[key]
	if locked {
		<-h.turn
	}
	if h.users--; h.users == 0 {
		delete(l.held, key)
	}
}
