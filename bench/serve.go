package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/serve"
	"github.com/inkan-acme/inkan/store"
)

const (
	maxHot   = 40 * time.Nanosecond
	maxCold  = 100 * time.Nanosecond
	maxBytes = 4096
)

// serveRows measure the library's GetCertificate.
func serveRows() []row {
	return []row{
		{"GetCertificate, 10,000 names loaded, one hot name", "40 ns, 0 allocations, 4 KB a certificate", serving(10_000, 1, maxHot)},
		{"GetCertificate, 10,000 names loaded, random names", "100 ns, 0 allocations, 4 KB a certificate", serving(10_000, 10_000, maxCold)},
	}
}

// serving loads so many names and then asks for the first few of them at random.
func serving(loaded, asked int, most time.Duration) func(context.Context, *bench) (result, error) {
	return func(ctx context.Context, b *bench) (result, error) {
		s, err := b.served(ctx, loaded)
		if err != nil {
			return result{}, err
		}
		c := &serve.Certificates{Store: s}
		names := make([]string, loaded)
		for i := range names {
			names[i] = servedName(i)
		}
		before := heap()
		for _, name := range names {
			if _, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: name}); err != nil {
				return result{}, fmt.Errorf("%s: %w", name, err)
			}
		}
		bytes := (heap() - before) / uint64(loaded)
		order := make([]string, 1<<16)
		for i := range order {
			order[i] = names[rand.IntN(asked)]
		}
		var slow error
		var allocs int64
		d, err := b.median(func() (time.Duration, error) {
			r := testing.Benchmark(func(tb *testing.B) {
				tb.ReportAllocs()
				hello := &tls.ClientHelloInfo{}
				for i := 0; tb.Loop(); i++ {
					hello.ServerName = order[i&(len(order)-1)]
					if _, err := c.GetCertificate(hello); err != nil {
						slow = err
					}
				}
			})
			allocs = r.AllocsPerOp()
			return time.Duration(float64(r.T.Nanoseconds()) / float64(r.N) * 1000), slow // picoseconds
		})
		runtime.KeepAlive(c)
		if err != nil {
			return result{}, err
		}
		nanoseconds := float64(d) / 1000
		words := ""
		if nanoseconds > float64(most.Nanoseconds()) {
			words += fmt.Sprintf("; MISSED: %.0f ns over", nanoseconds-float64(most.Nanoseconds()))
		}
		if allocs > 0 || bytes > maxBytes {
			words += "; MISSED: allocations or bytes"
		}
		out := result{measured: fmt.Sprintf("%.0f ns, %d allocations, %d bytes a certificate", nanoseconds, allocs, bytes),
			remark: fmt.Sprintf("%d certificates of one name each under one issuer%s", loaded, words),
			values: map[string]float64{"inkan_ns": nanoseconds, "inkan_allocations": float64(allocs), "inkan_bytes": float64(bytes)}}
		var peers []string
		for _, name := range []string{certMagic, autocert} { // acmez has none
			theirs, err := b.peerServes(ctx, name, loaded)
			if err != nil {
				return result{}, fmt.Errorf("%s: %w", name, err)
			}
			if theirs == nil {
				continue
			}
			s := theirs.Random
			if asked == 1 {
				s = theirs.Hot
			}
			peers = append(peers, against(name, fmt.Sprintf("%.0f ns, %d allocations, %d bytes", s.Nanoseconds, s.Allocations, theirs.Bytes), s.Nanoseconds/nanoseconds))
			out.values[name+"_ns"], out.values[name+"_allocations"], out.values[name+"_bytes"] = s.Nanoseconds, float64(s.Allocations), float64(theirs.Bytes)
		}
		out.peers = strings.Join(peers, ", ")
		return out, nil
	}
}

func servedName(i int) string { return fmt.Sprintf("n%06d.example.test", i) }

// served returns a store in memory with certificates for all names.
func (b *bench) served(ctx context.Context, names int) (inkan.Store, error) {
	if b.memory != nil {
		return b.memory, nil
	}
	local, err := newLocalCA()
	if err != nil {
		return nil, err
	}
	s := store.Mem()
	for i := range names {
		if err := local.record(ctx, s, servedName(i)); err != nil {
			return nil, err
		}
	}
	b.memory = s
	return s, nil
}

// heap is what lives on the heap now, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
