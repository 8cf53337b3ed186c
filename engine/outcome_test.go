package engine_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
)

// TestDeleteAndReturn: nothing of it stays but tombstones, and the counters go on
// when the name returns.
func TestDeleteAndReturn(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	must(t, issue(ctx, m, w.req))
	w.advance(time.Second) // events of one instant have no order
	must(t, m.Delete(ctx, w.req.Name))
	for _, family := range []string{"v/", "names/", "due/cert/", "orders/"} {
		if left := keysBelow(t, w.store, family); left != nil {
			t.Errorf("left: %v", left)
		}
	}
	if _, err := m.Observe(ctx, w.req.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("observed: %v", err)
	}
	if _, err := m.Request(ctx, w.req.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the request: %v", err)
	}
	if all, err := m.Requests(ctx); len(all) != 0 || err != nil {
		t.Errorf("listed: %v, %v", all, err)
	}
	if err := m.Delete(ctx, w.req.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted twice: %v", err)
	}
	w.advance(100 * day)
	must(t, renew(ctx, m))
	if n := w.ca.issued(); n != 1 {
		t.Errorf("%d certificates after the deletion", n)
	}
	must(t, issue(ctx, m, w.req))
	w.check("back", 3, 2, 2) // 1 issued, 2 deleted, 3 issued
	o := w.observed(m)
	if o.Version.Seq != 2 || o.Request.Generation != 3 {
		t.Errorf("seq %d, generation %d", o.Version.Seq, o.Request.Generation)
	}
	if diff := cmp.Diff([]string{"issued", "deployed", "deleted", "issued", "deployed"}, events(t, m)); diff != "" {
		t.Error(diff)
	}
	w.calm(m, 1)
}

// TestDeleteManyAtOnce: events of the same millisecond do not collide, nor do
// certificates that were never issued.
func TestDeleteManyAtOnce(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	for i := range 5 {
		w.req.Name = fmt.Sprintf("c%d", i)
		if i < 3 {
			must(t, issue(ctx, m, w.req))
		} else if _, err := m.Record(ctx, w.req, inkan.OriginCLI); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		name := fmt.Sprintf("c%d", i)
		if i < 3 {
			must(t, m.Delete(ctx, name))
		} else if err := m.Delete(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	seen := map[string]bool{}
	deleted := 0
	for e, err := range state.Events(ctx, m.Store, time.Time{}, state.Wanted{}) {
		must(t, err)
		if seen[e.ID] {
			t.Errorf("the id %s stands twice", e.ID)
		}
		seen[e.ID] = true
		if e.Kind == inkan.EventDeleted {
			deleted++
		}
	}
	if deleted < 5 {
		t.Errorf("%d deletions are in the history", deleted)
	}
	w.calm(m, 0)
}

// TestDeleteKilled: a deletion that was killed anywhere is finished by the next run.
func TestDeleteKilled(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		ctx := t.Context()
		must(t, issue(ctx, w.process(&gate{}), w.req))
		g := &gate{at: at, after: at%2 == 0}
		m := w.process(g)
		_ = m.Delete(ctx, w.req.Name)
		w.bury(m)
		m = w.process(&gate{})
		if _, err := m.Request(ctx, w.req.Name); err == nil {
			if !g.dead || at > 1 {
				t.Errorf("killed at %d: the request stands", at)
			}
			must(t, m.Delete(ctx, w.req.Name))
		}
		w.advance(61 * day) // its entry comes due
		must(t, renew(ctx, m))
		for _, family := range []string{"v/", "names/", "due/cert/", "orders/"} {
			if left := keysBelow(t, w.store, family); left != nil {
				t.Errorf("killed at %d (%v): left %v", at, g.names, left)
			}
		}
		if n := w.ca.issued(); n != 1 {
			t.Errorf("killed at %d: %d certificates", at, n)
		}
		if !g.dead {
			return
		}
	}
}

// TestF06DeleteDuringFirstOrder: whoever was paused before any of its steps does
// not bring a deleted certificate back.
func TestF06DeleteDuringFirstOrder(t *testing.T) {
	points := recorded(t)
	for at := range points {
		w := newWorld(t)
		ctx := t.Context()
		g := &gate{at: at + 1}
		a := w.process(g)
		g.pause = func() {
			w.bury(a)
			_ = w.process(&gate{}).Delete(ctx, w.req.Name) // nothing is recorded yet at the first points
		}
		_ = issue(ctx, a, w.req)
		w.bury(a)
		m := w.process(&gate{})
		r, err := m.Request(ctx, w.req.Name)
		if err == nil && !r.Deleted { // paused before the request was recorded
			continue
		}
		for range 3 {
			w.advance(61 * day)
			_ = renew(ctx, m)
		}
		what := fmt.Sprintf("deleted before %s (%d)", points[at], at+1)
		for _, family := range []string{"due/cert/", "orders/"} { // a spare version may stay
			if left := keysBelow(t, w.store, family); left != nil {
				t.Errorf("%s: left %v", what, left)
			}
		}
		if o, err := m.Observe(ctx, w.req.Name); err == nil {
			t.Errorf("%s: it is back: %+v", what, o.Current)
		}
		if n := w.ca.issued(); n > 1 {
			t.Errorf("%s: %d certificates", what, n)
		}
		if len(w.shown) != 0 {
			t.Errorf("%s: still shown: %v", what, w.shown)
		}
	}
}

// TestDeleteHeld: what another process works on is not deleted under its hands.
func TestDeleteHeld(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	other := w.process(&gate{})
	var err error
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			err = other.Delete(ctx, w.req.Name)
			return modelIssuer{w.ca, g}.Issue(ctx, r)
		}), nil
	}
	must(t, issue(ctx, m, w.req))
	if !errors.Is(err, inkan.Pending) || len(inkan.HintsOf(err)) == 0 {
		t.Errorf("got %v, want an error of kind pending", err)
	}
	w.check("not deleted", 1, 1, 1)
}

// revoker is the model's issuer at a CA that revokes.
type revoker struct {
	modelIssuer
	mu    sync.Mutex
	calls []string
	fail  error
}

func (r *revoker) Revoke(_ context.Context, leaf *x509.Certificate, reason inkan.RevocationReason, key *inkan.PrivateKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf("%s %d by key %v", leaf.SerialNumber, reason, key != nil))
	return r.fail
}

// TestRevoke: told to the CA, recorded, not renewed by itself, and over with the
// next version.
func TestRevoke(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	ca := &revoker{modelIssuer: modelIssuer{w.ca, g}}
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return ca, nil }
	must(t, issue(ctx, m, w.req))
	ca.fail = inkan.Errorf(inkan.Temporary, "revocation", "503")
	if err := m.Revoke(ctx, w.req.Name, inkan.KeyCompromise, false); !errors.Is(err, ca.fail) {
		t.Errorf("got %v", err)
	}
	if o := w.observed(m); len(o.State.Revoked) != 0 {
		t.Error("a failed revocation is recorded")
	}
	ca.fail = nil
	must(t, m.Revoke(ctx, w.req.Name, inkan.KeyCompromise, false))
	must(t, m.Revoke(ctx, w.req.Name, inkan.Superseded, true))
	if diff := cmp.Diff([]string{"101 1 by key false", "101 1 by key false", "101 4 by key true"}, ca.calls); diff != "" {
		t.Error(diff)
	}
	o := w.observed(m)
	if f := o.Version.Pairs[0].Fingerprint().String(); !slices.Equal(o.State.Revoked, []string{f}) {
		t.Errorf("revoked: %v, want %s", o.State.Revoked, f)
	}
	w.advance(80 * day)
	must(t, renew(ctx, m))
	if n := w.ca.issued(); n != 1 {
		t.Errorf("%d certificates: a revoked one was renewed by itself", n)
	}
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(w.req.Name), Renew: true})
	must(t, err)
	must(t, m.Run(ctx, p).Err())
	w.check("forced", 2, 2, 2)
	if st := w.observed(m).State; st.Revoked != nil {
		t.Errorf("the mark of the old one stays: %v", st.Revoked)
	}
	w.calm(m, 1)
	ca2 := modelIssuer{w.ca, g}
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return ca2, nil }
	if err := m.Revoke(ctx, w.req.Name, inkan.Unspecified, false); !errors.Is(err, inkan.Operator) {
		t.Errorf("at a CA that cannot: %v", err)
	}
}

// TestUnmanaged: kept, served, deployed, not renewed; managed again it goes on.
func TestUnmanaged(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	must(t, issue(ctx, m, w.req))
	must(t, m.Unmanage(ctx, w.req.Name))
	must(t, m.Unmanage(ctx, w.req.Name))
	must(t, m.Unmanage(ctx, "none"))
	if r, err := m.Request(ctx, w.req.Name); err != nil || !r.Unmanaged || r.Generation != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	w.advance(80 * day)
	must(t, renew(ctx, m))
	must(t, renew(ctx, m))
	w2 := w.observed(m)
	if w.ca.issued() != 1 || w2.Version == nil {
		t.Errorf("%d certificates, version %v", w.ca.issued(), w2.Version)
	}
	w.calm(m, 0)
	must(t, issue(ctx, m, w.req))
	w.check("managed again", 2, 2, 2)
	w.calm(m, 1)
}

// TestRecord: what is recorded twice is no news; a bad request is not recorded.
func TestRecord(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	for _, want := range []bool{true, false} {
		changed, err := m.Record(ctx, w.req, inkan.OriginCLI)
		if err != nil || changed != want {
			t.Errorf("changed %v, %v", changed, err)
		}
	}
	if n := len(g.writes()); n != 4 { // the id of the store, the due entry, state and request
		t.Errorf("%d writes, want 4", n)
	}
	if changed, err := m.Record(ctx, w.req, inkan.OriginConfig); err != nil || !changed {
		t.Errorf("another origin: %v, %v", changed, err)
	}
	if due := keysBelow(t, w.store, "due/cert/"); len(due) != 1 {
		t.Errorf("due entries %v", due)
	}
	g.writes()
	w.req.CAs = []string{"https://ca.example/dir"}
	if _, err := m.Record(ctx, w.req, inkan.OriginCLI); !errors.Is(err, inkan.Operator) || g.writes() != nil {
		t.Errorf("a URL as the name of a CA: %v", err)
	}
}

// TestEntriesWithoutRequest: they say nothing and go after a day.
func TestEntriesWithoutRequest(t *testing.T) {
	w, m, g := start(t)
	g.at, g.after = 2, true // after the entry and the state, before the request
	if _, err := m.Record(t.Context(), w.req, inkan.OriginCLI); err == nil {
		t.Fatal("not killed")
	}
	m = w.process(&gate{})
	must(t, renew(t.Context(), m))
	if due := keysBelow(t, w.store, "due/cert/"); len(due) != 1 {
		t.Errorf("at once: %v", due)
	}
	w.advance(25 * time.Hour)
	must(t, renew(t.Context(), m))
	if due := keysBelow(t, w.store, "due/cert/"); due != nil {
		t.Errorf("after a day: %v", due)
	}
	w.req.Targets = nil
	must(t, issue(t.Context(), m, w.req))
}

func TestHostRecords(t *testing.T) {
	w, _, _ := start(t)
	ctx := t.Context()
	r := inkan.HostRecord{Kind: "exec", Options: []byte(`{"run":"systemctl reload nginx"}`)}
	name := state.HostName(r)
	if err := inkan.CheckName(name); err != nil || !strings.HasPrefix(name, "_exec.") {
		t.Errorf("%s: %v", name, err)
	}
	must(t, state.SaveHost(ctx, w.host, state.HostTargets, name, r))
	must(t, state.SaveHost(ctx, w.host, state.HostTargets, name, r))
	r2 := inkan.HostRecord{Kind: "exec", Options: []byte(`{"run":"true"}`)}
	if state.HostName(r2) == name {
		t.Error("other options have the same name")
	}
	must(t, state.SaveHost(ctx, w.host, state.HostTargets, "mine", r))
	must(t, state.SaveHost(ctx, w.host, state.HostTargets, "mine", r2))
	got, err := state.LoadHost(ctx, w.host, state.HostTargets, "mine")
	if diff := cmp.Diff(r2, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	names, err := state.ListHost(ctx, w.host, state.HostTargets)
	if diff := cmp.Diff([]string{name, "mine"}, names); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := state.LoadHost(ctx, w.host, state.HostSolvers, "mine"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if err := state.SaveHost(ctx, w.host, state.HostTargets, "../x", r); err == nil {
		t.Error("a bad name was saved")
	}
}
