package endtoend

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/inkan-acme/inkan/internal/testca"
)

// pairwise returns rows of values such that every value of a factor stands beside
// every value of every other factor in at least one of them. levels holds how many
// values each factor has. Each row is the best completion of the first pair that
// is still missing, factor by factor: not the fewest rows, but few.
func pairwise(levels []int) [][]int {
	type pair struct{ f, v, g, w int } // factor f has value v, factor g > f has w
	missing := map[pair]bool{}
	var order []pair
	for f := range levels {
		for g := f + 1; g < len(levels); g++ {
			for v := range levels[f] {
				for w := range levels[g] {
					order = append(order, pair{f, v, g, w})
					missing[pair{f, v, g, w}] = true
				}
			}
		}
	}
	covered := func(row []int, f, v int) (n int) {
		for g, w := range row {
			switch {
			case w < 0:
			case g < f && missing[pair{g, w, f, v}], g > f && missing[pair{f, v, g, w}]:
				n++
			}
		}
		return n
	}
	var rows [][]int
	for _, p := range order {
		if !missing[p] {
			continue
		}
		row := slices.Repeat([]int{-1}, len(levels))
		row[p.f], row[p.g] = p.v, p.w
		for f := range row {
			if row[f] >= 0 {
				continue
			}
			best, most := 0, -1
			for v := range levels[f] {
				if n := covered(row, f, v); n > most {
					best, most = v, n
				}
			}
			row[f] = best
		}
		for f := range row {
			for g := f + 1; g < len(row); g++ {
				delete(missing, pair{f, row[f], g, row[g]})
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func TestPairwise(t *testing.T) {
	levels := []int{3, 3, 2, 2, 2, 2}
	rows := pairwise(levels)
	for f := range levels {
		for g := f + 1; g < len(levels); g++ {
			for v := range levels[f] {
				for w := range levels[g] {
					if !slices.ContainsFunc(rows, func(r []int) bool { return r[f] == v && r[g] == w }) {
						t.Errorf("factor %d = %d beside factor %d = %d is in no row", f, v, g, w)
					}
				}
			}
		}
	}
	if len(rows) > 14 {
		t.Errorf("%d rows; 9 are the fewest that there can be", len(rows))
	}
}

// TestChaosMatrix issues and renews at CAs with every pair of Pebble's knobs
// (A01, A07, A09, A10).
func TestChaosMatrix(t *testing.T) {
	nonces, reuse, sleeps, chains, roots := []int{5, 20, 90}, []int{0, 50, 100}, []int{0, 5}, []int{1, 3}, []int{0, 2}
	rows := pairwise([]int{len(nonces), len(reuse), len(sleeps), len(chains), len(roots), 2})
	all := len(rows)
	if !long() {
		nonces[2], sleeps[1] = 50, 1
		rows = []([]int){rows[0], rows[all/3], rows[2*all/3], rows[all-1]}
	}
	for _, row := range rows {
		o := testca.Options{NonceReject: nonces[row[0]], AuthzReuse: reuse[row[1]], Sleep: row[2] == 1, SleepSeconds: sleeps[row[2]],
			ChainLength: chains[row[3]], AlternateRoots: roots[row[4]], Strict: row[5] == 1}
		name := fmt.Sprintf("nonces %d reuse %d sleep %d chain %d roots %d strict %v", o.NonceReject, o.AuthzReuse, o.SleepSeconds, o.ChainLength, o.AlternateRoots, o.Strict)
		t.Run(name, func(t *testing.T) { chaos(t, o) })
	}
	t.Logf("proof: %d of %d rows", len(rows), all)
}

// chaos issues two certificates and renews one of them, with the last of the
// CA's roots as the preferred one.
func chaos(t *testing.T, o testca.Options) {
	r := newRig(t, o)
	root := parsePEM(t, r.ca.IssuerRootPEM(o.AlternateRoots))[0]
	run := func(args ...string) {
		t.Helper()
		out, err := r.command(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		noSecrets(t, out)
	}
	run(append(r.issueArgs("--preferred-chain", root.Subject.CommonName), "one.example.com", "www.one.example.com")...)
	run(r.issueArgs("two.example.com", "www.one.example.com")...)
	run("renew", "--force", "--name", "one.example.com")
	for name, n := range map[string]uint64{"one.example.com": 2, "two.example.com": 1} {
		obs, err := r.observe(name)
		if err != nil {
			t.Fatal(err)
		}
		if obs.Version == nil || obs.Current.N != n || len(obs.Orders) != 0 || obs.State.Running != "" {
			t.Errorf("%s: n %d, want %d; %v; %d journals", name, obs.Current.N, n, obs.VersionErr, len(obs.Orders))
		}
	}
	if n := len(r.ca.Certificates()); n != 3 {
		t.Errorf("the CA issued %d certificates, want 3", n)
	}
	if n := r.ca.Orders(); n != 3 {
		t.Errorf("the CA has %d orders, want 3", n)
	}
	r.noProofs()
	leaf := mustPlaced(t, r, "one.example.com")
	data, err := os.ReadFile(filepath.Join(r.data, "live/one.example.com/fullchain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	chain := parsePEM(t, data)
	if len(chain) != 1+o.ChainLength || !chain[0].Equal(leaf) {
		t.Errorf("%d certificates are placed, want the leaf and %s intermediates", len(chain), strconv.Itoa(o.ChainLength))
	}
	top := chain[len(chain)-1]
	if !bytes.Equal(top.RawIssuer, root.RawSubject) {
		t.Errorf("the chain ends at %s, want %s", top.Issuer, root.Subject)
	}
	trusted, between := x509.NewCertPool(), x509.NewCertPool()
	trusted.AddCert(root)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, Intermediates: between, DNSName: "www.one.example.com"}); err != nil {
		t.Error(err)
	}
	t.Logf("proof: %d requests for 3 certificates", r.ca.Count(""))
}

func parsePEM(t *testing.T, data []byte) []*x509.Certificate {
	t.Helper()
	var certs []*x509.Certificate
	for len(bytes.TrimSpace(data)) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			t.Fatalf("not PEM: %q", data)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
	return certs
}
