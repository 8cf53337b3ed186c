package engine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/serve"
)

// oldWorld is a world whose stores hold what 986a0bf left there, on the machine
// of that time, whose processes are gone.
func oldWorld(t *testing.T) (*world, *engine.Manager, *[]string, func() int) {
	t.Helper()
	w := newWorld(t)
	w.clock = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	archive, err := txtar.ParseFile("testdata/state-986a0bf.txtar")
	must(t, err)
	for _, f := range archive.Files {
		where, key, _ := strings.Cut(f.Name, "/")
		s := map[string]inkan.Store{"store": w.store, "host": w.host}[where]
		_, err := s.Put(t.Context(), key, bytes.TrimSuffix(f.Data, []byte("\n")), "")
		must(t, err)
	}
	m := w.process(&gate{})
	m.Owner = inkan.Owner{Host: "vm", Boot: "040fd29e-928c-436f-b5ef-515b22ecd9e7", PIDNS: "pid:[4026531836]", PID: 99999}
	m.Alive = func(o inkan.Owner) bool { return o.PID == m.Owner.PID }
	issued, log := 0, &[]string{}
	targets := map[string]*engine.Target{}
	for _, name := range []string{"files-065dab78", "exec-a0cda161"} {
		targets[name] = &engine.Target{Deployer: &fakeTarget{name: name, log: log}, Options: name}
	}
	withTargets(m, targets)
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			if rec, err := r.Journal.Load(ctx); err != nil || rec.OrderURL != "" {
				return nil, errors.Join(err, inkan.Errorf(inkan.Rejected, "order", "%w", inkan.ErrOrderDead))
			}
			csr, err := r.CSR(ctx)
			if err != nil {
				return nil, err
			}
			w.ca.mu.Lock()
			defer w.ca.mu.Unlock()
			chain, err := w.ca.sign(csr)
			if err == nil {
				issued++
			}
			return &inkan.Issued{Chains: [][]byte{chain}}, err
		}), nil
	}
	return w, m, log, func() int { return issued }
}

// TestOldStateGoesOn: what 986a0bf wrote is read and understood: nothing is
// damaged, nothing is issued or deployed again, the order that was under way is
// finished, and renewal keeps what was to be kept.
func TestOldStateGoesOn(t *testing.T) {
	w, m, log, issued := oldWorld(t)
	ctx := t.Context()
	found, err := m.Verify(ctx, false)
	must(t, err)
	for _, f := range found {
		if f.Severity == engine.Broken {
			t.Errorf("fsck: %+v", f)
		}
	}
	before, err := m.Observe(ctx, "www.example.com")
	must(t, err)
	if before.Version == nil || before.Current.N != 2 || before.State.ARI.N != 2 {
		t.Fatalf("observed n %d, version %v, %v", before.Current.N, before.Version, before.VersionErr)
	}
	events, err := m.LastEvents(ctx, before, 10)
	must(t, err)
	if len(events) != 6 || events[5].Kind != inkan.EventDeployed || events[3].N != 2 {
		t.Errorf("events %+v", events)
	}
	certificates := &serve.Certificates{Store: w.store, Now: w.now}
	for _, name := range []string{"example.com", "www.example.com"} {
		if c, err := certificates.GetCertificate(&tls.ClientHelloInfo{ServerName: name}); err != nil || !bytes.Equal(c.Certificate[0], before.Version.Pairs[0].Leaf.Raw) {
			t.Errorf("%s is not served: %v", name, err)
		}
	}

	// The order that was killed is dead at this CA, so another one is made; late
	// was due a minute after its failure.
	if err := renew(ctx, m); !errors.Is(err, inkan.ErrOrderDead) {
		t.Errorf("going on with an order that is dead: %v", err)
	}
	w.advance(24 * time.Hour)
	must(t, renew(ctx, m))
	for name, n := range map[string]uint64{"half.example.com": 1, "late.example.com": 1, "addr": 1, "www.example.com": 2} {
		o, err := m.Observe(ctx, name)
		must(t, err)
		if o.Current.N != n || o.Version == nil || len(o.Orders) > 0 {
			t.Errorf("%s: n %d, want %d; %d orders", name, o.Current.N, n, len(o.Orders))
		}
	}
	if n := issued(); n != 2 || len(*log) != 0 {
		t.Errorf("%d certificates were issued, want 2; the targets saw %v", n, *log)
	}

	// A renewal keeps the key, which the request asks for, and deploys.
	w.advance(61 * day)
	must(t, renew(ctx, m))
	after, err := m.Observe(ctx, "www.example.com")
	must(t, err)
	a, _ := inkan.SPKIHash(before.Version.Pairs[0].Leaf.PublicKey)
	b, _ := inkan.SPKIHash(after.Version.Pairs[0].Leaf.PublicKey)
	if after.Current.N != 3 || a != b || after.Current.Pairs[inkan.ECDSAP256].SPKI != b {
		t.Errorf("renewed to n %d with the key %s, want that of before, %s; current says %+v", after.Current.N, b, a, after.Current.Pairs)
	}
	if want := []string{"deploy files-065dab78 www.example.com", "deploy exec-a0cda161 www.example.com"}; !slices.Equal(*log, want) {
		t.Errorf("the targets saw %v, want %v", *log, want)
	}
	if len(after.State.Recent) != 1 || after.Targets[0].Deployed.Accepted != 3 {
		t.Errorf("recent %v, deployed %+v", after.State.Recent, after.Targets[0].Deployed)
	}

	// The counters of what was deleted go on.
	if _, err := m.Request(ctx, "gone.example.com"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tombstone: %v", err)
	}
	w.req.Name, w.req.Identifiers, w.req.Targets = "gone.example.com", []inkan.Identifier{{Type: inkan.DNS, Value: "gone.example.com"}}, nil
	must(t, issue(ctx, m, w.req))
	if o, err := m.Observe(ctx, "gone.example.com"); err != nil || o.Current.N != 2 {
		t.Errorf("issued again: n %d, %v", o.Current.N, err)
	}
	if found, err = m.Verify(ctx, false); err != nil || slices.ContainsFunc(found, func(f engine.Finding) bool { return f.Severity == engine.Broken }) {
		t.Errorf("fsck afterwards: %+v, %v", found, err)
	}
}

// TestOldProgramReadsCurrent: the pointer that is written now names chains and
// key as 986a0bf compares them, so that a host that was not updated does not
// take the version for damaged and issue another one.
func TestOldProgramReadsCurrent(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	must(t, issue(ctx, m, w.req))
	body := func(key string, v any) {
		t.Helper()
		data, _, err := w.store.Get(ctx, key)
		must(t, err)
		var e struct{ Body json.RawMessage }
		must(t, json.Unmarshal(data, &e))
		must(t, json.Unmarshal(e.Body, v))
	}
	// What 986a0bf knows of these records.
	var current struct {
		N, Seq, Top uint64
		ID          string
		Pairs       map[string]struct{ Cert, Key string }
	}
	body("current/"+w.req.Name, &current)
	var cert struct{ Chains []string }
	var key struct {
		Form string
		Data []byte
	}
	dir := w.observed(m).Version.Dir()
	body("v/"+w.req.Name+"/"+dir+"/ecdsa-p256/cert", &cert)
	body("v/"+w.req.Name+"/"+dir+"/ecdsa-p256/key", &key)
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	want := struct{ Cert, Key string }{sum([]byte(strings.Join(cert.Chains, "\x00") + "\x00")), sum(key.Data)}
	if current.N != 1 || current.Seq != 1 || current.Pairs["ecdsa-p256"] != want || key.Form != "plain" {
		t.Errorf("current is %+v, want the pair %+v", current, want)
	}
}
