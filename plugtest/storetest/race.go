package storetest

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan"
)

// CreateRace lets writers create the same key at once, in rounds. The writers
// are spread over the stores, which share their values. Each round has one
// winner, and everybody then reads the winner's value.
func CreateRace(t *testing.T, stores []inkan.Store, rounds, writers int) {
	for round := range rounds {
		key := fmt.Sprintf("race/create/%d/value", round)
		var winner atomic.Value
		var wins atomic.Int32
		atOnce(writers, func(w int) {
			s, mine := stores[w%len(stores)], strconv.Itoa(w)
			switch _, err := s.Put(t.Context(), key, []byte(mine), ""); {
			case err == nil:
				wins.Add(1)
				winner.Store(mine)
			case !errors.Is(err, inkan.ErrConflict):
				t.Errorf("round %d, writer %d: %v", round, w, err)
			default:
				// Who lost sees the value that won.
				if data, _, err := s.Get(t.Context(), key); err != nil || string(data) == mine {
					t.Errorf("round %d, writer %d lost and reads %q, %v", round, w, data, err)
				}
			}
		})
		if wins.Load() != 1 {
			t.Fatalf("round %d: %d writers created the key", round, wins.Load())
		}
		for _, s := range stores {
			if got := mustGet(t, s, key); got != winner.Load() {
				t.Fatalf("round %d: writer %v won and the value is %q", round, winner.Load(), got)
			}
		}
	}
}

// SwapRace lets writers replace the same revision at once, in rounds. Each
// round has one winner.
func SwapRace(t *testing.T, stores []inkan.Store, rounds, writers int) {
	const key = "race/swap/value"
	rev := mustPut(t, stores[0], key, "start", "")
	for round := range rounds {
		var wins atomic.Int32
		var winner, next atomic.Value
		atOnce(writers, func(w int) {
			mine := fmt.Sprintf("%d/%d", round, w)
			got, err := stores[w%len(stores)].Put(t.Context(), key, []byte(mine), rev)
			switch {
			case err == nil:
				wins.Add(1)
				winner.Store(mine)
				next.Store(got)
			case !errors.Is(err, inkan.ErrConflict):
				t.Errorf("round %d, writer %d: %v", round, w, err)
			}
		})
		if wins.Load() != 1 {
			t.Fatalf("round %d: %d writers replaced the same revision", round, wins.Load())
		}
		for _, s := range stores {
			if got := mustGet(t, s, key); got != winner.Load() {
				t.Fatalf("round %d: %v won and the value is %q", round, winner.Load(), got)
			}
		}
		rev = next.Load().(inkan.Rev)
	}
}

// deleteRace: a replacement never brings a deleted key back, and creating keys
// beside those that are being deleted never fails.
func deleteRace(t *testing.T, s inkan.Store) {
	const writers, rounds = 8, 40
	for round := range rounds {
		dir := fmt.Sprintf("race/delete/%d/", round%3)
		doomed := fmt.Sprintf("%sdoomed-%d", dir, round)
		rev := mustPut(t, s, doomed, "0", "")
		var deleted atomic.Bool
		atOnce(writers, func(w int) {
			own := fmt.Sprintf("%sown/%d/%d-%d", dir, w%2, round, w)
			switch w {
			case 0:
				if err := s.Delete(t.Context(), doomed); err != nil {
					t.Error(err)
				}
				deleted.Store(true)
			case 1:
				late := deleted.Load()
				_, err := s.Put(t.Context(), doomed, []byte("1"), rev)
				if err == nil && late || err != nil && !errors.Is(err, inkan.ErrConflict) {
					t.Errorf("replacing the doomed key (deleted before: %v): %v", late, err)
				}
			default:
				if _, err := s.Put(t.Context(), own, nil, ""); err != nil {
					t.Error(err)
				}
				keys, err := collect(s.List(t.Context(), dir, ""))
				if err != nil || !strings.Contains(strings.Join(keys, " ")+" ", own+" ") {
					t.Errorf("%s was put and is not listed: %q, %v", own, keys, err)
				}
				if err := s.Delete(t.Context(), own); err != nil {
					t.Error(err)
				}
			}
		})
		if data, _, err := s.Get(t.Context(), doomed); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("round %d: the deleted key holds %q, %v", round, data, err)
		}
	}
	if got := list(t, s, "", ""); len(got) != 0 {
		t.Errorf("after everything was deleted: %q", got)
	}
}

// atOnce runs f(0) to f(n-1) together and waits for all.
func atOnce(n int, f func(i int)) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}
