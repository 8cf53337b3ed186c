package inkan

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeStore is a Store for tests inside the package, which cannot import
// package store. before, if not nil, sees every call and may fail it; after
// sees every Put that was carried out and may lie about it.
type fakeStore struct {
	mu     sync.Mutex
	values map[string][]byte
	revs   map[string]Rev
	puts   int
	gets   int
	lists  int

	before func(op, key string) error
	after  func(key string) error
}

func newFakeStore() *fakeStore {
	return &fakeStore{values: map[string][]byte{}, revs: map[string]Rev{}}
}

func (s *fakeStore) call(op, key string, counter *int) error {
	*counter++
	if s.before != nil {
		return s.before(op, key)
	}
	return nil
}

func (s *fakeStore) Get(ctx context.Context, key string) ([]byte, Rev, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("get", key, &s.gets); err != nil {
		return nil, "", err
	}
	data, ok := s.values[key]
	if !ok {
		return nil, "", fs.ErrNotExist
	}
	return slices.Clone(data), s.revs[key], nil
}

func (s *fakeStore) Put(ctx context.Context, key string, data []byte, old Rev) (Rev, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("put", key, &s.puts); err != nil {
		return "", err
	}
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if s.revs[key] != old {
		return "", ErrConflict
	}
	s.values[key] = slices.Clone(data)
	s.revs[key] = Rev(fmt.Sprint(s.puts))
	if s.after != nil {
		if err := s.after(key); err != nil {
			return "", err
		}
	}
	return s.revs[key], nil
}

func (s *fakeStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.mu.Lock()
		err := s.call("list", prefix, &s.lists)
		keys := slices.Sorted(maps.Keys(s.values))
		s.mu.Unlock()
		if err != nil {
			yield("", err)
			return
		}
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) && k > after && !yield(k, nil) {
				return
			}
		}
	}
}

func (s *fakeStore) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	delete(s.revs, key)
	return nil
}

func (s *fakeStore) set(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = data
	s.revs[key] += "'"
}

func (s *fakeStore) count(c *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *c
}

// testCA signs whatever a test wants signed.
type testCA struct {
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	serial int64
}

func newTestCA(t testing.TB, name string, parent *testCA, notAfter time.Time) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{key: key}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: notAfter.Add(-20 * 365 * 24 * time.Hour), NotAfter: notAfter}
	signer := parent
	if signer == nil {
		ca.cert, signer = template, ca
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return ca
}

// leaf signs a certificate; edit may change the template.
func (ca *testCA) leaf(t testing.TB, pub any, names []string, notBefore, notAfter time.Time, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	ca.serial++
	template := &x509.Certificate{SerialNumber: big.NewInt(ca.serial + 100), NotBefore: notBefore, NotAfter: notAfter}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func testKey(t testing.TB, kt KeyType) *PrivateKey {
	t.Helper()
	k, err := GenerateKey(kt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func dnsIDs(names ...string) []Identifier {
	ids := make([]Identifier, len(names))
	for i, n := range names {
		var err error
		if ids[i], err = ParseIdentifier(n); err != nil {
			panic(err)
		}
	}
	return ids
}

// publish puts a version of a certificate into the Store as an attempt does.
func publishFor(t testing.TB, s Store, ca *testCA, key *PrivateKey, name string, n uint64, now time.Time, names ...string) {
	t.Helper()
	ctx := context.Background()
	leaf := ca.leaf(t, key.Public(), names, now.Add(-time.Hour), now.Add(90*24*time.Hour), nil)
	data, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%016x", n)
	cv := certValue{KeyType: ECDSAP256, Identifiers: dnsIDs(names...), Chains: []string{string(pemOf(leaf, ca.cert))}, Source: "issued", CA: "ca", Account: "default"}
	if err := keep(ctx, s, keyKey(name, n, id, ECDSAP256), &StoredKey{Form: PlainKey, Data: data}, id); err != nil {
		t.Fatal(err)
	}
	if err := keep(ctx, s, certKey(name, n, id, ECDSAP256), cv, id); err != nil {
		t.Fatal(err)
	}
	_, err = update(ctx, s, currentKey(name), func(c *Current, _ bool) error {
		*c = Current{N: n, Seq: n, Top: n, ID: id, At: now, Pairs: map[KeyType]PairSum{ECDSAP256: {Cert: chainsSum(cv.Chains), Key: sumOf(data)}}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Manager{Store: s}).hints(ctx, name, nil, cv.Identifiers); err != nil {
		t.Fatal(err)
	}
	if err := writeEvent(ctx, s, Event{ID: fmt.Sprintf("%s-%s", id, sumOf([]byte(name))[:8]), At: now, Kind: EventIssued, Name: name, N: n}); err != nil {
		t.Fatal(err)
	}
}

// indexedStore answers List for known prefixes without looking at all keys, so
// that a bench of thousands of names is not one of the fake.
type indexedStore struct {
	*fakeStore
	index map[string][]string
}

func (s indexedStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	keys, ok := s.index[prefix]
	if !ok {
		return s.fakeStore.List(ctx, prefix, after)
	}
	return func(yield func(string, error) bool) {
		for _, k := range keys {
			if k > after && !yield(k, nil) {
				return
			}
		}
	}
}
