package serve

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
	"github.com/inkan-acme/inkan/internal/testsign"
)

const benchNames = 10_000

// loadedCertificates has served every one of the names once.
func loadedCertificates(tb testing.TB, names int) (c *Certificates, hellos []*tls.ClientHelloInfo, perCertificate uint64) {
	tb.Helper()
	ca := testsign.NewCA(tb, "bench", nil, time.Now().Add(20*365*24*time.Hour))
	s := testkit.New()
	c = &Certificates{Store: indexedStore{s, map[string][]string{}}}
	index := c.Store.(indexedStore).index
	now := time.Now()
	for i := range names {
		name := fmt.Sprintf("host%05d.example.com", i)
		publishFor(tb, s, ca, testkit.Key(tb, inkan.ECDSAP256), name, 1, now, name)
		prefix := state.NameIndexPrefix(inkan.Identifier{Type: inkan.DNS, Value: name})
		index[prefix] = []string{prefix + name}
		hellos = append(hellos, &tls.ClientHelloInfo{ServerName: name})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, h := range hellos {
		if _, err := c.GetCertificate(h); err != nil {
			tb.Fatal(err)
		}
	}
	runtime.GC()
	runtime.GC() // what sync.Pools hold goes with the second
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc {
		perCertificate = (after.HeapAlloc - before.HeapAlloc) / uint64(names)
	}
	return c, hellos, perCertificate
}

func BenchmarkGetCertificateHot(b *testing.B) {
	c, hellos, _ := loadedCertificates(b, benchNames)
	hello := hellos[4711]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.GetCertificate(hello); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetCertificateRandom10k(b *testing.B) {
	c, hellos, perCertificate := loadedCertificates(b, benchNames)
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(hellos))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := c.GetCertificate(hellos[order[i]]); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(order) {
			i = 0
		}
	}
	b.ReportMetric(float64(perCertificate), "B/certificate")
}
