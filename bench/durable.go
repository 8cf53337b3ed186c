package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// durableRows measure the disk that everything else stands on: one durable
// write is a new file, its fsync, a rename and the fsync of the directory.
func durableRows() []row {
	return []row{
		{"durable write of 1 KiB, alone", "", durableAlone},
		{"durable write of 1 KiB, 16 writers in one directory", "", durableMany},
	}
}

func durableAlone(ctx context.Context, b *bench) (result, error) {
	dir, err := b.newDir()
	if err != nil {
		return result{}, err
	}
	d, err := b.median(func() (time.Duration, error) {
		times := make([]time.Duration, 100)
		for i := range times {
			start := time.Now()
			if err := durableWrite(dir, fmt.Sprint(i)); err != nil {
				return 0, err
			}
			times[i] = time.Since(start)
		}
		return middle(times), ctx.Err()
	})
	return result{measured: milliseconds(d), remark: "0.6 ms on the machines of the design", values: map[string]float64{"write_s": d.Seconds()}}, err
}

func durableMany(ctx context.Context, b *bench) (result, error) {
	const writers, each = 16, 50
	dir, err := b.newDir()
	if err != nil {
		return result{}, err
	}
	d, err := b.median(func() (time.Duration, error) {
		var all sync.WaitGroup
		errs := make([]error, writers)
		start := time.Now()
		for w := range writers {
			all.Go(func() {
				for i := range each {
					if errs[w] = durableWrite(dir, fmt.Sprintf("%d-%d", w, i)); errs[w] != nil {
						return
					}
				}
			})
		}
		all.Wait()
		took := time.Since(start)
		for _, err := range errs {
			if err != nil {
				return 0, err
			}
		}
		return took, ctx.Err()
	})
	if err != nil {
		return result{}, err
	}
	return result{
		measured: fmt.Sprintf("%.0f a second", writers*each/d.Seconds()),
		remark:   fmt.Sprintf("%s each as one writer sees it; 7,000 a second on the machines of the design", milliseconds(d/each)),
		values:   map[string]float64{"writes_per_s": writers * each / d.Seconds()},
	}, nil
}

// durableWrite writes 1 KiB so that it survives a power cut.
func durableWrite(dir, name string) error {
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1024)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
