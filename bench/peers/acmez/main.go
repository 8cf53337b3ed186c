// Command acmez issues certificates with github.com/mholt/acmez, as its
// examples/porcelain does. The solver, which the library leaves to its user,
// answers http-01 from memory; account, keys and chains are kept in files.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/inkan-acme/inkan/bench/peers/peer"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

func main() { peer.Program{Open: open}.Main() }

// inFlight is how many certificates are worked on at once: as many as Inkan
// does by default.
const inFlight = 16

func open(ctx context.Context, o peer.Options) (func(context.Context, [][]string) error, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.HTTPPort)))
	if err != nil {
		return nil, err
	}
	solver := &solver{answers: map[string]string{}}
	go http.Serve(l, solver) // until the process ends
	client := &acmez.Client{
		Client:           &acme.Client{Directory: o.CA, HTTPClient: o.HTTPClient()},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: solver},
	}
	account, err := account(ctx, client, o.Dir)
	if err != nil {
		return nil, err
	}
	issue := func(ctx context.Context, names []string) error {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		certs, err := client.ObtainCertificateForSANs(ctx, account, key, names)
		if err != nil {
			return err
		}
		if err := saveKey(filepath.Join(o.Dir, names[0]+".key"), key); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(o.Dir, names[0]+".crt"), certs[0].ChainPEM, 0o600)
	}
	return func(ctx context.Context, sets [][]string) error {
		work := make(chan []string, len(sets))
		for _, names := range sets {
			work <- names
		}
		close(work)
		errs := make([]error, inFlight)
		var all sync.WaitGroup
		for w := range errs {
			all.Go(func() {
				for names := range work {
					if errs[w] = issue(ctx, names); errs[w] != nil {
						return
					}
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	}, nil
}

// account loads the account or makes one.
func account(ctx context.Context, client *acmez.Client, dir string) (acme.Account, error) {
	keyFile, file := filepath.Join(dir, "account.key"), filepath.Join(dir, "account.json")
	var a acme.Account
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return a, err
		}
		if a, err = client.NewAccount(ctx, acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}); err != nil {
			return a, err
		}
		if data, err = json.Marshal(a); err != nil {
			return a, err
		}
		return a, errors.Join(saveKey(keyFile, key), os.WriteFile(file, data, 0o600))
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, err
	}
	data, err = os.ReadFile(keyFile)
	if err != nil {
		return a, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return a, errors.New("no key in " + keyFile)
	}
	a.PrivateKey, err = x509.ParseECPrivateKey(block.Bytes)
	return a, err
}

func saveKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// solver answers http-01 from memory.
type solver struct {
	mu      sync.RWMutex
	answers map[string]string // by path
}

func (s *solver) Present(_ context.Context, c acme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[c.HTTP01ResourcePath()] = c.KeyAuthorization
	return nil
}

func (s *solver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.answers, c.HTTP01ResourcePath())
	return nil
}

func (s *solver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	answer, ok := s.answers[r.URL.Path]
	s.mu.RUnlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	io.WriteString(w, answer)
}
