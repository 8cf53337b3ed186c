package testport

import (
	"net"
	"sync"
	"testing"
)

// TestReserve takes ports from many goroutines at once: no number comes twice,
// and a server can listen on each.
func TestReserve(t *testing.T) {
	var mu sync.Mutex
	taken := map[int]bool{}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				number := For(t)
				mu.Lock()
				if taken[number] {
					t.Errorf("%d came twice", number)
				}
				taken[number] = true
				mu.Unlock()
				l, err := net.Listen("tcp", Addr(number))
				if err != nil {
					t.Error(err)
					return
				}
				_ = l.Close()
			}
		})
	}
	wait.Wait()
}
