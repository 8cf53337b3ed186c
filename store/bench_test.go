package store_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/store"
)

func openBench(b *testing.B) inkan.Store {
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: b.TempDir() + "/s"})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkRaw is the disk's own price of one durable write.
func BenchmarkRaw(b *testing.B) {
	dir := b.TempDir()
	data := make([]byte, 2048)
	for i := 0; b.Loop(); i++ {
		f, err := os.Create(dir + "/temp")
		if err != nil {
			b.Fatal(err)
		}
		f.Write(data)
		f.Sync()
		f.Close()
		os.Rename(dir+"/temp", fmt.Sprintf("%s/%d", dir, i))
		d, _ := os.Open(dir)
		d.Sync()
		d.Close()
	}
}

func BenchmarkCreate(b *testing.B) {
	s, data := openBench(b), make([]byte, 2048)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Put(b.Context(), fmt.Sprintf("state/%d", i), data, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplace(b *testing.B) {
	s, data := openBench(b), make([]byte, 2048)
	rev, err := s.Put(b.Context(), "state/x", data, "")
	for i := 0; b.Loop() && err == nil; i++ {
		rev, err = s.Put(b.Context(), "state/x", fmt.Append(nil, i), rev)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkParallel16(b *testing.B) {
	s, data := openBench(b), make([]byte, 2048)
	var n atomic.Int64
	b.SetParallelism(8) // on two processors
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Put(b.Context(), fmt.Sprintf("state/%d", n.Add(1)), data, ""); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkReplaceParallel16(b *testing.B) {
	s, data := openBench(b), make([]byte, 2048)
	var n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		key := fmt.Sprintf("state/%d", n.Add(1))
		rev, err := s.Put(b.Context(), key, data, "")
		for i := 0; pb.Next() && err == nil; i++ {
			rev, err = s.Put(b.Context(), key, fmt.Append(nil, i), rev)
		}
		if err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	s := openBench(b)
	if _, err := s.Put(b.Context(), "v/www.example.com/0000000001-a/cert", make([]byte, 2048), ""); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := s.Get(b.Context(), "v/www.example.com/0000000001-a/cert"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstOf100000 looks for the head of an index of 100,000 keys.
func BenchmarkFirstOf100000(b *testing.B) {
	dir := b.TempDir() + "/s"
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	for day := range 60 { // written directly: nobody needs these durable
		for hour := range 24 {
			d := fmt.Sprintf("%s/due/renew/0/2026%04d/%02d", dir, day, hour)
			if err := os.MkdirAll(d, 0o700); err != nil {
				b.Fatal(err)
			}
			for i := range 70 {
				if err := os.WriteFile(fmt.Sprintf("%s/%04d-a-00000000", d, i), nil, 0o600); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for b.Loop() {
		for _, err := range s.List(b.Context(), "due/", "") {
			if err != nil {
				b.Fatal(err)
			}
			break
		}
	}
}

func BenchmarkRawParallel16(b *testing.B) {
	dir := b.TempDir()
	data := make([]byte, 2048)
	var n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			temp := fmt.Sprintf("%s/temp%d", dir, i)
			f, err := os.Create(temp)
			if err != nil {
				b.Error(err)
				return
			}
			f.Write(data)
			f.Sync()
			f.Close()
			os.Rename(temp, fmt.Sprintf("%s/%d", dir, i))
			d, _ := os.Open(dir)
			d.Sync()
			d.Close()
		}
	})
}
