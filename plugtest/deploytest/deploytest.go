// Package deploytest is the executable form of the contract of inkan.Deployer:
// every deployer, and every fake of one, passes Run.
package deploytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
)

// Target is one deployer with a look at what it did.
type Target struct {
	// Deployer is the deployer under test, on a target of its own.
	Deployer inkan.Deployer
	// Served returns the leaf that the target has in place for a certificate,
	// having checked that what belongs to it (chain, key) fits; the zero
	// Fingerprint if it has none.
	Served func(t *testing.T, certificate string) inkan.Fingerprint
	// Break makes the next deployments fail and returns what mends it again.
	// Nil skips the tests of failure, with a word.
	Break func(t *testing.T) (mend func())
	// Earlier are the receipts that the deployer counts on.
	Earlier []inkan.TargetReceipt
}

// Run runs the suite. open makes a fresh target.
func Run(t *testing.T, open func(t *testing.T) Target) {
	ca := NewCA(t)
	cases := []struct {
		name string
		test func(*testing.T, *suite)
	}{
		{"Twice", twice},
		{"NewerThenBack", newerThenBack},
		{"WithoutReceiptOrPrevious", forgotten},
		{"FailureLeavesPrevious", failure},
		{"NothingToDeploy", nothing},
		{"ManyCertificatesAtOnce", many},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, &suite{open(t), ca}) })
	}
}

type suite struct {
	Target
	ca *CA
}

// deploy deploys next where previous was accepted with the receipt last.
func (s *suite) deploy(t *testing.T, next, previous *inkan.Version, last inkan.Receipt) (inkan.Receipt, error) {
	t.Helper()
	return s.Deployer.Deploy(t.Context(), inkan.Deployment{
		Version: next, Previous: previous, Target: "target", Receipt: last, Earlier: s.Earlier, Attempt: 1,
	})
}

// must deploys and checks the receipt and what is served.
func (s *suite) must(t *testing.T, next, previous *inkan.Version, last inkan.Receipt) inkan.Receipt {
	t.Helper()
	r, err := s.deploy(t, next, previous, last)
	if err != nil {
		t.Fatalf("Deploy of version %d: %v", next.Seq, err)
	}
	if !json.Valid(r) {
		t.Errorf("the receipt is not JSON: %q", r)
	}
	if len(r) > inkan.MaxReceipt {
		t.Errorf("the receipt has %d bytes; at most %d are allowed", len(r), inkan.MaxReceipt)
	}
	if key, _ := (&inkan.Deployment{Version: next}).KeyPEM(t.Context(), &next.Pairs[0]); key != nil && bytes.Contains(r, bytes.Split(key, []byte("\n"))[1]) {
		t.Error("the receipt holds the private key")
	}
	s.serves(t, next)
	return r
}

func (s *suite) serves(t *testing.T, want *inkan.Version) {
	t.Helper()
	if got := s.Served(t, want.Name); got != want.Pairs[0].Fingerprint() {
		t.Fatalf("the target has %s in place, not version %d (%s)", got, want.Seq, want.Pairs[0].Fingerprint())
	}
}

func twice(t *testing.T, s *suite) {
	v := s.ca.Version(t, "www", 1)
	first := s.must(t, v, nil, nil)
	second := s.must(t, v, v, first)
	if string(first) != string(second) {
		t.Errorf("the second receipt is %s, the first was %s", second, first)
	}
}

func newerThenBack(t *testing.T, s *suite) {
	old, newer := s.ca.Version(t, "www", 1), s.ca.Version(t, "www", 2)
	r := s.must(t, old, nil, nil)
	r = s.must(t, newer, old, r)
	// Going back is going forward to an old version with a larger n.
	back := *old
	back.N = 3
	s.must(t, &back, newer, r)
}

// forgotten deploys as after a crash: what was done is not recorded.
func forgotten(t *testing.T, s *suite) {
	old, newer := s.ca.Version(t, "www", 1), s.ca.Version(t, "www", 2)
	s.must(t, old, nil, nil)
	s.must(t, newer, nil, nil)
	s.must(t, newer, old, nil)
}

func failure(t *testing.T, s *suite) {
	if s.Break == nil {
		t.Skip("SKIPPED: this target cannot be made to fail here")
	}
	old, newer := s.ca.Version(t, "www", 1), s.ca.Version(t, "www", 2)
	r := s.must(t, old, nil, nil)
	mend := s.Break(t)
	_, err := s.deploy(t, newer, old, r)
	if err == nil {
		t.Error("Deploy succeeded at a broken target")
	}
	mend()
	s.serves(t, old)
	s.must(t, newer, old, r)
}

func nothing(t *testing.T, s *suite) {
	for _, v := range []*inkan.Version{nil, {Name: "www"}} {
		if _, err := s.deploy(t, v, nil, nil); err == nil {
			t.Errorf("Deploy of %v succeeded", v)
		}
	}
}

func many(t *testing.T, s *suite) {
	const certificates, rounds = 8, 3
	versions := make([][]*inkan.Version, certificates)
	for c := range versions {
		for i := range rounds {
			versions[c] = append(versions[c], s.ca.Version(t, fmt.Sprintf("c%d", c), uint64(i+1)))
		}
	}
	var wg sync.WaitGroup
	for _, list := range versions {
		wg.Go(func() {
			var previous *inkan.Version
			var r inkan.Receipt
			for _, v := range list {
				var err error
				if r, err = s.deploy(t, v, previous, r); err != nil {
					t.Errorf("Deploy of %s, version %d: %v", v.Name, v.Seq, err)
					return
				}
				previous = v
			}
		})
	}
	wg.Wait()
	for _, list := range versions {
		s.serves(t, list[rounds-1])
	}
}
