package cli

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

func testLeaf(t *testing.T, from time.Time, days int) *x509.Certificate {
	t.Helper()
	key, err := inkan.GenerateKey(inkan.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotBefore: from, NotAfter: from.AddDate(0, 0, days)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key.Signer())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// inForce is a certificate of 90 days, issued on the first of January.
func inForce(t *testing.T) (o *engine.Observed, issued time.Time) {
	issued = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	req := inkan.CertificateRequest{Name: "a.example", Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: "a.example"}},
		CAs: []string{"test"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}, Targets: []string{"disk"}}
	pair := inkan.Pair{KeyType: inkan.ECDSAP256, Leaf: testLeaf(t, issued, 90), CA: "test", Account: "default", OrderHash: req.OrderHash("test", inkan.ECDSAP256)}
	return &engine.Observed{
		Name:    "a.example",
		Request: &inkan.RequestRecord{CertificateRequest: req, Origin: inkan.OriginCLI},
		Current: inkan.Current{N: 1, Seq: 1, Top: 1, At: issued, Pairs: map[inkan.KeyType]inkan.PairSum{inkan.ECDSAP256: {}}},
		Version: &inkan.Version{Name: "a.example", N: 1, Seq: 1, At: issued, Identifiers: req.Identifiers, Pairs: []inkan.Pair{pair}},
		Targets: []engine.ObservedTarget{{Name: "disk", Here: true, Deployed: inkan.Deployed{Want: 1, Accepted: 1, Status: inkan.DeployAccepted}}},
	}, issued
}

func TestStatusWords(t *testing.T) {
	failed := &inkan.LastError{Kind: inkan.Rejected, Message: "the CA said no"}
	for _, c := range []struct {
		name   string
		days   int // since it was issued
		change func(*engine.Observed)
		want   engine.StatusWord
		reason string
	}{
		{"in force", 1, func(*engine.Observed) {}, engine.StatusOK, "renewed at"},
		{"due", 61, func(*engine.Observed) {}, engine.StatusDue, "a third of its life is left"},
		{"expired", 91, func(*engine.Observed) {}, engine.StatusExpired, "it expired 24 h ago"},
		{"expired and failing", 91, func(o *engine.Observed) { o.State.LastError, o.State.Attempts = failed, 9 }, engine.StatusExpired, "the CA said no"},
		{"failing", 61, func(o *engine.Observed) { o.State.LastError, o.State.Attempts = failed, 1 }, engine.StatusFailing, "the CA said no"},
		{"nothing issued", 0, func(o *engine.Observed) { o.Version, o.Current = nil, inkan.Current{} }, engine.StatusNone, "there is no certificate yet"},
		{"other names wanted", 1, func(o *engine.Observed) {
			o.Request.Identifiers = append(o.Request.Identifiers, inkan.Identifier{Type: inkan.DNS, Value: "b.example"})
		}, engine.StatusDue, "+b.example"},
		{"interrupted deployment", 1, func(o *engine.Observed) { o.Targets[0].Deployed.Status = inkan.DeployPending }, engine.StatusDeploying, "interrupted"},
		{"older version there", 1, func(o *engine.Observed) { o.Current.N, o.Version.N = 2, 2 }, engine.StatusDeploying, "older version"},
		{"deployment failed", 1, func(o *engine.Observed) {
			o.Targets[0].Deployed.Status, o.Targets[0].Deployed.LastError = inkan.DeployFailed, &inkan.LastError{Message: "exit status 1"}
		}, engine.StatusFailing, "exit status 1"},
		{"elsewhere", 1, func(o *engine.Observed) { o.Targets[0] = engine.ObservedTarget{Name: "disk"} }, engine.StatusOK, "renewed at"},
		{"revoked", 1, func(o *engine.Observed) { o.State.Revoked = []string{o.Version.Pairs[0].Fingerprint().String()} }, engine.StatusRevoked, "it was revoked"},
		{"unmanaged", 61, func(o *engine.Observed) { o.Request.Unmanaged = true }, engine.StatusUnmanaged, "it left the configuration file"},
		{"damaged", 1, func(o *engine.Observed) {
			o.Version, o.VersionErr = nil, &inkan.DamagedError{Key: "v/a.example/x/cert", Reason: "its checksum does not fit"}
		}, engine.StatusDamaged, "v/a.example/x/cert"},
		{"at work", 61, func(o *engine.Observed) { o.HeldBy = &inkan.Owner{Host: "h", PID: 7} }, engine.StatusWorking, "another process works on it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, issued := inForce(t)
			c.change(o)
			s, reason := status(o, issued.AddDate(0, 0, c.days))
			word := s.Word
			if word != c.want || !strings.Contains(reason, c.reason) {
				t.Errorf("%s: %s; want %s: %s", word, reason, c.want, c.reason)
			}
			if statusColour(word) == "" {
				t.Errorf("%s has no colour", word)
			}
		})
	}
}

// The time of renewal is the one that the plan's own words name, and the CA's
// advice moves it.
func TestRenewalOf(t *testing.T) {
	o, issued := inForce(t)
	now := issued.AddDate(0, 0, 5)
	at, why := renewal(o, now)
	if left := issued.AddDate(0, 0, 90).Sub(at); left < 30*24*time.Hour || left > 32*24*time.Hour {
		t.Errorf("%v are left at the renewal", left)
	}
	if !strings.Contains(why, term.Stamp(at)) && !strings.Contains(why, term.Stamp(at.Add(-time.Second))) {
		t.Errorf("at %v, but the plan says %q", at, why)
	}
	pick := issued.AddDate(0, 0, 20)
	o.State.ARI = inkan.ARIState{N: 1, Start: pick.Add(-time.Hour), End: pick.Add(time.Hour), Pick: pick, Look: now.Add(time.Minute)}
	if at, why = renewal(o, now); at.Sub(pick).Abs() > time.Second || !strings.Contains(why, "the CA suggests") {
		t.Errorf("with advice at %v: %s", at, why)
	}
	if at, _ = renewal(o, pick.Add(time.Hour)); !at.Equal(pick.Add(time.Hour)) {
		t.Errorf("what is due is due now, not at %v", at)
	}
	o.State.Revoked = []string{o.Version.Pairs[0].Fingerprint().String()}
	if at, _ = renewal(o, now); !at.IsZero() {
		t.Errorf("a revoked one is renewed at %v", at)
	}
}

// No command is offered before the instant that somebody asked us to wait for.
func TestNextWords(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		err    error
		next   time.Time
		want   string
		offers bool
	}{
		{inkan.Errorf(inkan.Temporary, "order", "503"), now.Add(time.Minute), "the next try is in 60 s", true},
		{inkan.Errorf(inkan.Temporary, "order", "503"), now, "the next run tries again", true},
		{inkan.Errorf(inkan.Temporary, "order", "503").After(now.Add(time.Hour)), now.Add(time.Hour), "the next try is in 60 min", false},
		{inkan.Errorf(inkan.RateLimited, "order", "429"), now.Add(time.Minute), "the next try is in 60 s", false},
	} {
		words := nextWords(failure{name: "a.example", err: c.err, next: c.next}, now)
		if !strings.HasPrefix(words, c.want) || strings.HasSuffix(words, "; inkan renew --name a.example tries now") != c.offers {
			t.Errorf("%v: %s", c.err, words)
		}
	}
}
