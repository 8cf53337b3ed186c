package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

// Certificate is one that the library is to serve.
type Certificate struct {
	Name  string
	Key   *ecdsa.PrivateKey
	Chain [][]byte // DER, the leaf first
}

// Served is the answer to "serve".
type Served struct {
	Hot    Speed `json:"hot"`    // one name, again and again
	Random Speed `json:"random"` // any of them
	Bytes  int64 `json:"bytes"`  // on the heap, for each certificate
}

// Speed is what one call takes.
type Speed struct {
	Nanoseconds float64 `json:"nanoseconds"`
	Allocations int64   `json:"allocations"`
}

func (p Program) serve(ctx context.Context, args []string) (any, error) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	count := flags.Int("certificates", 10_000, "how many to hold")
	dir := flags.String("dir", "", "`directory` for files")
	repeats := flags.Int("n", 3, "repeat each measurement this often and take the median")
	flags.Parse(args)

	before := heap()
	certs, err := certificates(*count)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(certs))
	for i := range certs {
		names[i] = certs[i].Name
	}
	get, err := p.Serve(ctx, *dir, certs)
	if err != nil {
		return nil, err
	}
	// What the library reads when it is first asked belongs to the load. What
	// it does not keep is garbage by then and does not count.
	for _, name := range names {
		if _, err := get(Hello(name)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	answer := Served{Bytes: (heap() - before) / int64(len(names))}
	if answer.Hot, err = speed(get, names[:1], *repeats); err != nil {
		return nil, err
	}
	answer.Random, err = speed(get, names, *repeats)
	return answer, err
}

// speed asks for the names at random.
func speed(get GetCertificate, names []string, repeats int) (Speed, error) {
	order := make([]string, 1<<16)
	for i := range order {
		order[i] = names[mathrand.IntN(len(names))]
	}
	var failed error
	var times []float64
	var s Speed
	for range repeats {
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			h := Hello("")
			for i := 0; b.Loop(); i++ {
				h.ServerName = order[i&(len(order)-1)]
				if _, err := get(h); err != nil {
					failed = err
				}
			}
		})
		times = append(times, float64(r.T.Nanoseconds())/float64(r.N))
		s.Allocations = r.AllocsPerOp()
	}
	slices.Sort(times)
	s.Nanoseconds = times[len(times)/2]
	return s, failed
}

// Hello is what a browser of today says.
func Hello(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:        name,
		SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
		CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		SupportedCurves:  []tls.CurveID{tls.X25519, tls.CurveP256},
		SupportedPoints:  []uint8{0},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256},
		SupportedProtos:  []string{"h2", "http/1.1"},
	}
}

// certificates makes certificates of one name each under one issuer.
func certificates(count int) ([]Certificate, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	certs := make([]Certificate, count)
	for i := range certs {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("n%06d.example.test", i)
		leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 90),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, root, key.Public(), rootKey)
		if err != nil {
			return nil, err
		}
		certs[i] = Certificate{name, key, [][]byte{leaf, slices.Clone(rootDER)}}
	}
	return certs, nil
}

// heap is what lives on the heap now, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
