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
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/store"
)

// seeds is a data directory with many certificates, made by the engine itself
// with a CA that signs in process. Each is made in memory and then written as
// the files that the file store reads; nothing is flushed, as that is not what
// is measured. It grows from row to row.
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
	dir := filepath.Join(s.data, "store")
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
				made := store.Mem()
				errs[w] = s.local.record(ctx, made, fmt.Sprintf("n%06d.example.test", i))
				if errs[w] == nil {
					errs[w] = writeOut(ctx, made, dir)
				}
				if errs[w] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	s.have = max(s.have, want)
	return s.data, time.Since(start), errors.Join(errs...)
}

// writeOut writes every value of a store into the directory of a file store.
func writeOut(ctx context.Context, s inkan.Store, dir string) error {
	for key, err := range s.List(ctx, "", "") {
		if err != nil {
			return err
		}
		data, _, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, key)
		err = os.WriteFile(file, data, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
				err = os.WriteFile(file, data, 0o600)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeEach removes what is in dir, one goroutine for each entry: a million
// files take a while.
func removeEach(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := make([]error, len(entries))
	var all sync.WaitGroup
	for i, e := range entries {
		all.Go(func() { errs[i] = os.RemoveAll(filepath.Join(dir, e.Name())) })
	}
	all.Wait()
	return errors.Join(append(errs, err)...)
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
	site, err := newSite(ctx, dir, caName, testca.Options{})
	if err != nil {
		return nil, err
	}
	s.ca, s.data = site.CA, site.data
	b.atEnd = append(b.atEnd, site.Close, func() error { return removeEach(filepath.Join(s.data, "store")) })
	options, err := json.Marshal(map[string]string{"directory": s.ca.DirectoryURL, "roots": site.roots})
	if err != nil {
		return nil, err
	}
	return s, state.SaveHost(ctx, site.host, state.HostCAs, caName, inkan.HostRecord{Kind: "acme", Options: options})
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
	m := &engine.Manager{
		Store: s, Now: ca.now,
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return &ca, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return noSolver{}, nil },
	}
	req, err := request(caName, []string{name})
	if err != nil {
		return err
	}
	if _, err := m.Record(ctx, req, inkan.OriginCLI); err != nil {
		return err
	}
	opt := engine.PlanOptions{Scope: engine.Named(req.Name), ByPerson: true, AskAdvice: true}
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
