package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// seeds is a data directory with many certificates, made by the engine itself
// with a CA that signs in process. It grows from row to row.
type seeds struct {
	ca    *testca.CA // where a renewal would go
	local *localCA
	data  string
	have  int
}

// seeded returns a data directory with that many recorded certificates of all
// ages up to 55 of their 90 days, none due: the CA's advice was asked for, and
// when to ask again is spread over the next day.
func (b *bench) seeded(ctx context.Context, want int) (data string, took time.Duration, err error) {
	start := time.Now()
	if b.seeds == nil {
		if b.seeds, err = newSeeds(ctx, b); err != nil {
			return "", 0, err
		}
	}
	s := b.seeds
	loose := &looseStore{filepath.Join(s.data, "store")}
	work := make(chan int, want)
	for i := s.have; i < want; i++ {
		work <- i
	}
	close(work)
	var all sync.WaitGroup
	errs := make([]error, 2*runtime.NumCPU())
	for w := range errs {
		all.Go(func() {
			for i := range work {
				if errs[w] = s.local.record(ctx, loose, fmt.Sprintf("n%06d.example.test", i)); errs[w] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	s.have = max(s.have, want)
	return s.data, time.Since(start), errors.Join(errs...)
}

func newSeeds(ctx context.Context, b *bench) (_ *seeds, err error) {
	s := &seeds{}
	if s.local, err = newLocalCA(); err != nil {
		return nil, err
	}
	dir, err := b.newDir()
	if err != nil {
		return nil, err
	}
	site, err := newSite(ctx, dir, testca.Options{})
	if err != nil {
		return nil, err
	}
	s.ca, s.data = site.CA, site.data
	b.atEnd = append(b.atEnd, site.Close)
	options, err := json.Marshal(map[string]string{"directory": s.ca.DirectoryURL, "roots": site.roots})
	if err != nil {
		return nil, err
	}
	return s, inkan.SaveHost(ctx, site.host, inkan.HostCAs, caName, inkan.HostRecord{Kind: "acme", Options: options})
}

// localCA is an inkan.Issuer that signs in process, at an instant of choice.
type localCA struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

func newLocalCA() (*localCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &localCA{cert: cert, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: key, now: time.Now}, err
}

// record issues one certificate some time ago and asks for the renewal advice
// today, both by the engine.
func (l *localCA) record(ctx context.Context, s inkan.Store, name string) error {
	now := time.Now().Add(-time.Duration(rand.Int64N(int64(55 * 24 * time.Hour))))
	ca := *l
	ca.now = func() time.Time { return now }
	m := &inkan.Manager{
		Store: s, Now: ca.now,
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return &ca, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return noSolver{}, nil },
	}
	req, err := request([]string{name})
	if err != nil {
		return err
	}
	if _, err := m.Record(ctx, req, inkan.OriginCLI); err != nil {
		return err
	}
	opt := inkan.PlanOptions{Names: []string{req.Name}, Asked: true}
	for range 2 {
		p, err := m.Plan(ctx, opt)
		if err != nil {
			return err
		}
		if err := m.Run(ctx, p).Err(); err != nil {
			return err
		}
		now = time.Now()
	}
	return nil
}

// Issue implements inkan.Issuer.
func (l *localCA) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	der, err := r.CSR(ctx)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	serial, err := cryptorand.Int(cryptorand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := l.now()
	leaf, err := x509.CreateCertificate(cryptorand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: csr.DNSNames, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, l.cert, csr.PublicKey, crypto.Signer(l.key))
	if err != nil {
		return nil, err
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), l.pem...)
	return &inkan.Issued{Chains: [][]byte{chain}}, nil
}

// RenewalInfo implements inkan.RenewalInformer: renew after two thirds of the
// life, ask again within a day.
func (l *localCA) RenewalInfo(_ context.Context, leaf *x509.Certificate) (*inkan.RenewalInfo, error) {
	start := leaf.NotBefore.Add(60 * 24 * time.Hour)
	again := time.Hour + time.Duration(rand.Int64N(int64(23*time.Hour)))
	return &inkan.RenewalInfo{Start: start, End: start.Add(48 * time.Hour), RetryAfter: l.now().Add(again)}, nil
}

// noSolver is never asked, as the local CA wants no proof.
type noSolver struct{}

func (noSolver) Present(context.Context, []inkan.Challenge) ([]inkan.Undo, error) { return nil, nil }
func (noSolver) CleanUp(context.Context, []inkan.Challenge) error                 { return nil }

// looseStore writes the files that the file store reads, but flushes nothing
// and compares nothing: each key has one writer here.
type looseStore struct{ dir string }

const anyRev inkan.Rev = "any"

func (s *looseStore) Get(_ context.Context, key string) ([]byte, inkan.Rev, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, key))
	return data, anyRev, err
}

func (s *looseStore) Put(_ context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	path := filepath.Join(s.dir, key)
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if old != "" {
		flags = os.O_WRONLY | os.O_TRUNC
	}
	for {
		f, err := os.OpenFile(path, flags, 0o600)
		switch {
		case errors.Is(err, fs.ErrNotExist) && old == "":
			// Another writer's Delete may remove a directory meanwhile.
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			continue
		case errors.Is(err, fs.ErrExist):
			return "", inkan.ErrConflict
		case err != nil:
			return "", err
		}
		_, err = f.Write(data)
		return anyRev, errors.Join(err, f.Close())
	}
}

func (s *looseStore) List(_ context.Context, prefix, _ string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		// The engine lists no more than one small directory here.
		err := filepath.WalkDir(filepath.Join(s.dir, prefix), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && !yield(strings.TrimPrefix(path, s.dir+"/"), nil) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield("", err)
		}
	}
}

func (s *looseStore) Delete(_ context.Context, key string) error {
	path := filepath.Join(s.dir, key)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := filepath.Dir(path); dir != s.dir && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
	}
	return nil
}
