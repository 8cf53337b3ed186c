package engine_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/serve"
)

// contents copies a store, for comparing.
func contents(t *testing.T, s inkan.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for key, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(data)
	}
	return all
}

// overwrite is what a failing disk does.
func overwrite(t *testing.T, s inkan.Store, key, data string) {
	t.Helper()
	_, rev, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), key, []byte(data), rev); err != nil {
		t.Fatal(err)
	}
}

func broken(t *testing.T, m *engine.Manager, repair bool) []engine.Finding {
	t.Helper()
	found, err := m.Verify(t.Context(), repair)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(found, func(f engine.Finding) bool { return f.Severity != engine.Broken })
}

// renewed issues twice, so that there is an older version to fall back to.
func renewedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	m := w.process(&gate{})
	if err := issue(t.Context(), m, w.req); err != nil {
		t.Fatal(err)
	}
	p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.Named(w.req.Name), Renew: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), p).Err(); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestVerifySound: what the engine leaves is found sound.
func TestVerifySound(t *testing.T) {
	w := renewedWorld(t)
	found, err := w.process(&gate{}).Verify(t.Context(), false)
	if err != nil || len(found) > 0 {
		t.Fatalf("found %+v, error %v", found, err)
	}
}

// TestD07Damage damages every value of both stores in every way: it is found
// by name, nothing wrong is served, repair mends it or says that only a backup
// can, and nothing else is touched.
func TestD07Damage(t *testing.T) {
	ways := map[string]func(string) string{
		"empty":     func(string) string { return "" },
		"truncated": func(s string) string { return s[:len(s)/2] },
		"bit": func(s string) string {
			b := []byte(s)
			b[len(b)*2/3] ^= 1
			return string(b)
		},
		"garbage": func(s string) string { return strings.Repeat("\xff\x00", len(s)/2+1) },
		"other record": func(string) string {
			return `{"inkan":1,"counter":1,"write":"x","sum":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","body":{}}`
		},
	}
	origin := renewedWorld(t)
	for key := range contents(t, origin.store) {
		for way, damage := range ways {
			if way == "other record" && !strings.HasPrefix(key, "v/") && !strings.HasPrefix(key, "current/") {
				continue // a whole record with an empty body is a sound one elsewhere
			}
			w := renewedWorld(t)
			// Names of keys differ from world to world but for their family and order.
			key := sameKey(t, origin.store, w.store, key)
			what := fmt.Sprintf("%s of %s", way, key)
			before := contents(t, w.store)
			overwrite(t, w.store, key, damage(before[key]))
			m := w.process(&gate{})
			found := broken(t, m, false)
			if len(found) == 0 {
				t.Errorf("%s: not found", what)
				continue
			}
			served(t, w, m, what)
			broken(t, m, true)
			left := broken(t, m, false)
			beyond := strings.HasPrefix(key, "v/")
			if len(left) > 0 && !beyond {
				t.Errorf("%s: after the repair: %+v", what, left)
			}
			for k, data := range before {
				if strings.HasPrefix(k, "v/") && k != key && contents(t, w.store)[k] != data {
					t.Errorf("%s: the repair changed %s", what, k)
				}
			}
			// However bad it was, the next run gives a sound certificate.
			if !strings.HasPrefix(key, "request/") {
				if err := issue(t.Context(), m, w.req); err != nil {
					t.Errorf("%s: issue after the repair: %v", what, err)
				}
			}
		}
	}
}

// served checks that a handshake gets a whole pair or nothing, never a damaged one.
func served(t *testing.T, w *world, m *engine.Manager, what string) {
	t.Helper()
	cert, err := (&serve.Certificates{Store: m.Store, Now: w.now}).GetCertificate(&tls.ClientHelloInfo{ServerName: w.req.Name})
	if err != nil {
		return
	}
	w.ca.mu.Lock()
	defer w.ca.mu.Unlock()
	for _, o := range w.ca.orders {
		if leaf, parseErr := inkan.ParseChain(o.chain); parseErr == nil && string(leaf[0].Raw) == string(cert.Certificate[0]) {
			return
		}
	}
	t.Errorf("%s: served a certificate that the CA did not issue", what)
}

// sameKey finds in other the key that stands where key stands in s.
func sameKey(t *testing.T, s, other inkan.Store, key string) string {
	t.Helper()
	a, b := slices.Sorted(maps.Keys(contents(t, s))), slices.Sorted(maps.Keys(contents(t, other)))
	if len(a) != len(b) {
		t.Fatalf("%d keys here, %d there", len(a), len(b))
	}
	return b[slices.Index(a, key)]
}

// TestVerifyRecreatesDue: without a due entry no timer would look.
func TestVerifyRecreatesDue(t *testing.T) {
	w := renewedWorld(t)
	m := w.process(&gate{})
	o, err := m.Observe(t.Context(), w.req.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Delete(t.Context(), o.State.Due); err != nil {
		t.Fatal(err)
	}
	if found := broken(t, m, true); len(found) != 1 || !found[0].Done {
		t.Fatalf("found %+v", found)
	}
	if found := broken(t, m, false); len(found) != 0 {
		t.Errorf("after the repair: %+v", found)
	}
	p, err := m.Plan(t.Context(), engine.PlanOptions{})
	if err != nil || len(p.Certificates) != 1 {
		t.Errorf("a timer finds %d certificates (%v)", len(p.Certificates), err)
	}
}

// TestVerifyNewerFormat: what a newer Inkan wrote is told and left alone, and the
// rest is looked at.
func TestVerifyNewerFormat(t *testing.T) {
	w := renewedWorld(t)
	m := w.process(&gate{})
	key := state.RequestKey(w.req.Name)
	before := strings.Replace(contents(t, w.store)[key], `{"inkan":1,`, `{"inkan":2,`, 1)
	overwrite(t, w.store, key, before)
	overwrite(t, w.store, state.StateKey(w.req.Name), "")
	found := broken(t, m, true)
	if len(found) != 2 || !strings.Contains(found[0].What, "a newer inkan wrote it") || found[0].Done || !found[1].Done {
		t.Errorf("found %+v", found)
	}
	if after := contents(t, w.store)[key]; after != before {
		t.Error("it was changed")
	}
}

// TestVerifyAlteredVersion: a version in force that is not what was published does
// not come into force again; the sound one before it does.
func TestVerifyAlteredVersion(t *testing.T) {
	w := renewedWorld(t)
	m := w.process(&gate{})
	o := w.observed(m)
	key := "v/" + w.req.Name + "/" + o.Version.Dir() + "/ecdsa-p256/key"
	value := contents(t, w.store)[key]
	_, body, ok := strings.Cut(value, `"body":`)
	body = strings.TrimSuffix(strings.TrimSpace(body), "}")
	forged := strings.NewReplacer(`"form":"plain"`, `"form":"sealed"`, `"data":"LS0t`, `"data":"Z2Fy`).Replace(body)
	if !ok || forged == body {
		t.Fatalf("%.200q is not as expected", value)
	}
	overwrite(t, w.store, key, strings.NewReplacer(state.Sum([]byte(body)), state.Sum([]byte(forged)), body, forged).Replace(value))
	p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.All(), DeployOnly: true})
	must(t, err)
	if p.Certificates[0].Err == nil {
		t.Error("it would be deployed, or nothing told")
	}
	if found := broken(t, m, true); len(found) != 1 || !found[0].Done {
		t.Errorf("found %+v", found)
	}
	if after := w.observed(m); after.Version == nil || after.Version.Seq >= o.Version.Seq {
		t.Errorf("in force afterwards: version %d, %v", after.Current.Seq, after.VersionErr)
	}
}

// TestVerifyIsFollowedUp: what a repair left to do is due at once.
func TestVerifyIsFollowedUp(t *testing.T) {
	for _, damage := range []func(t *testing.T, w *world, m *engine.Manager){
		func(t *testing.T, w *world, m *engine.Manager) {
			overwrite(t, w.store, state.CurrentKey(w.req.Name), "")
		},
		func(t *testing.T, w *world, m *engine.Manager) {
			overwrite(t, w.host, state.DeployedKey("there", w.req.Name), "")
		},
	} {
		w := renewedWorld(t)
		m := w.process(&gate{})
		damage(t, w, m)
		if found := broken(t, m, true); len(found) != 1 || !found[0].Done {
			t.Fatalf("found %+v", found)
		}
		must(t, renew(t.Context(), m))
		if d := w.deployed(m, "there"); d.Status != inkan.DeployAccepted || d.Accepted != w.observed(m).Current.N {
			t.Errorf("after the next run: %+v", d)
		}
	}
}

// TestVerifyMakesRoom: a damaged value that somebody can give again is set aside
// and out of the way; the copy stays.
func TestVerifyMakesRoom(t *testing.T) {
	w := renewedWorld(t)
	m := w.process(&gate{})
	_, err := m.Host.Put(t.Context(), "targets/_files.0a0b0c0d", []byte("damaged target"), "")
	must(t, err)
	_, err = m.Store.Put(t.Context(), "accounts/ca/default", []byte("damaged account"), "")
	must(t, err)
	overwrite(t, w.store, state.RequestKey(w.req.Name), "damaged request")
	if found := broken(t, m, true); len(found) != 3 || slices.ContainsFunc(found, func(f engine.Finding) bool { return !f.Done || f.Repair == "" }) {
		t.Errorf("found %+v", found)
	}
	if found := broken(t, m, false); len(found) != 0 {
		t.Errorf("afterwards %+v", found)
	}
	copies := 0
	for _, s := range []inkan.Store{m.Store, m.Host} {
		for key, data := range contents(t, s) {
			if strings.HasPrefix(key, "damaged/") && strings.HasPrefix(data, "damaged ") {
				copies++
			}
		}
	}
	if copies != 3 {
		t.Errorf("%d copies", copies)
	}
	if _, err := m.Record(t.Context(), w.req, inkan.OriginCLI); err != nil {
		t.Errorf("it cannot be asked for again: %v", err)
	}
}

// TestVerifyUnmanaged: what left the configuration is looked at no more, and
// nothing is wrong with that.
func TestVerifyUnmanaged(t *testing.T) {
	w := renewedWorld(t)
	m := w.process(&gate{})
	if err := m.Unmanage(t.Context(), w.req.Name); err != nil {
		t.Fatal(err)
	}
	w.advance(91 * 24 * time.Hour)
	if err := renew(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if o, err := m.Observe(t.Context(), w.req.Name); err != nil || o.State.Due != "" || o.Current.N != 2 {
		t.Fatalf("%v, due %q, n %d", err, o.State.Due, o.Current.N)
	}
	if found, err := m.Verify(t.Context(), false); err != nil || len(found) != 0 {
		t.Errorf("%v, found %v", err, found)
	}
}

// TestDamagedFallsBack: with the version in force damaged, the one before is
// served, until a new one is issued; the damaged bytes are kept (D08: never an
// expired one).
func TestDamagedFallsBack(t *testing.T) {
	w := renewedWorld(t)
	ctx := t.Context()
	m := w.process(&gate{})
	o, err := m.Observe(ctx, w.req.Name)
	if err != nil {
		t.Fatal(err)
	}
	vs, err := m.Versions(ctx, w.req.Name)
	if err != nil || len(vs) != 2 {
		t.Fatalf("%d versions, %v", len(vs), err)
	}
	key := "v/" + w.req.Name + "/" + o.Version.Dir() + "/ecdsa-p256/key"
	overwrite(t, w.store, key, "rot")
	cert, err := (&serve.Certificates{Store: m.Store, Now: w.now}).GetCertificate(&tls.ClientHelloInfo{ServerName: w.req.Name})
	if err != nil {
		t.Fatal(err)
	}
	if string(cert.Certificate[0]) != string(vs[0].Pairs[0].Leaf.Raw) {
		t.Error("not the version before is served")
	}
	if err := renewAsked(ctx, m, w.req.Name); err != nil {
		t.Fatal(err)
	}
	w.check("after the damage", 3, 3, 3)
	kept := false
	for k := range contents(t, w.store) {
		kept = kept || strings.HasPrefix(k, "damaged/"+key)
	}
	if !kept {
		t.Error("the damaged bytes were not kept")
	}
	w.advance(100 * 24 * 60 * 60 * 1e9)
	for _, v := range vs[:1] {
		if _, err := state.LoadVersionAt(ctx, w.store, w.req.Name, v.Dir(), 0); errors.Is(err, fs.ErrNotExist) {
			t.Error("an old version was deleted")
		}
	}
}

func renewAsked(ctx context.Context, m *engine.Manager, name string) error {
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(name), ByPerson: true})
	if err != nil {
		return err
	}
	return m.Run(ctx, p).Err()
}

// TestForgedDueEntry: a due entry that a state names is deleted when it is met.
// Somebody who can write to the Store names another key there, and nothing is lost.
func TestForgedDueEntry(t *testing.T) {
	for what, forged := range map[string]func(w *world, o *engine.Observed) string{
		"a key": func(w *world, o *engine.Observed) string {
			return "v/" + w.req.Name + "/" + o.Version.Dir() + "/ecdsa-p256/key"
		},
		"the pointer": func(w *world, _ *engine.Observed) string { return state.CurrentKey(w.req.Name) },
		"another's entry": func(w *world, _ *engine.Observed) string {
			return state.DueKey(state.CertQueue, w.now(), "other.example")
		},
		"outside of the tree": func(*world, *engine.Observed) string { return "../../x" },
	} {
		t.Run(what, func(t *testing.T) {
			w, m, _ := start(t)
			must(t, issue(t.Context(), m, w.req))
			o := w.observed(m)
			key := forged(w, o)
			if strings.HasPrefix(key, "due/") {
				must(t, state.PutDue(t.Context(), w.store, key))
			}
			st, err := state.Load[inkan.State](t.Context(), w.store, state.StateKey(w.req.Name))
			must(t, err)
			st.Value.Due = key
			must(t, st.Save(t.Context(), w.store, st.Value))
			before := contents(t, w.store)
			must(t, renew(t.Context(), m))
			p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.All(), Renew: true})
			must(t, err)
			must(t, m.Run(t.Context(), p).Err())
			after := contents(t, w.store)
			for k := range before {
				if _, ok := after[k]; !ok && !strings.HasPrefix(k, "due/cert/") || !ok && k == key {
					t.Errorf("%s was deleted", k)
				}
			}
			if o := w.observed(m); o.Version == nil || o.Due.IsZero() {
				t.Errorf("afterwards: version %v, due %v", o.Version, o.Due)
			}
		})
	}
}
