package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Severity says how bad a Finding is.
type Severity string

// The severities.
const (
	Broken   Severity = "broken"   // something promised does not hold
	Leftover Severity = "leftover" // something that the next run clears away
	Note     Severity = "note"     // nothing to do
)

// Finding is one thing that [Manager.Verify] found.
type Finding struct {
	Severity Severity `json:"severity"`
	Name     string   `json:"name,omitempty"` // the certificate
	Key      string   `json:"key"`
	What     string   `json:"what"`
	Repair   string   `json:"repair,omitempty"` // what --repair does about it; empty: nothing
	Done     bool     `json:"done,omitempty"`   // it was done
}

// Verify checks everything in the Store and the Host: every record's checksum,
// every version's key, chain and names, pointers, journals, leases, due entries,
// hints and deployments. With repair it mends what it can: it moves damaged
// values out of the way (copies stay below damaged/), recreates due entries, and
// falls back to the newest sound version that has not expired. It never deletes a
// certificate or its key. The error is only about not being able to look.
func (m *Manager) Verify(ctx context.Context, repair bool) ([]Finding, error) {
	v := &verifier{m: m, repair: repair, now: m.now(), names: map[string]bool{}, dues: map[string][]string{}, bad: map[string]bool{}}
	if err := v.records(ctx); err != nil {
		return v.found, err
	}
	for _, name := range slices.Sorted(maps.Keys(v.names)) {
		if err := v.certificate(ctx, name); err != nil {
			return v.found, err
		}
	}
	err := v.hostRecords(ctx)
	return v.found, err
}

type verifier struct {
	m      *Manager
	repair bool
	now    time.Time
	found  []Finding
	names  map[string]bool     // certificates that anything speaks of
	dues   map[string][]string // due entries by name
	bad    map[string]bool     // keys that cannot be read
}

// add notes a finding; mend, if not nil, is run when repairs are wanted.
func (v *verifier) add(f Finding, mend func() error) {
	if v.repair && mend != nil {
		if err := mend(); err != nil {
			f.What += "; the repair failed: " + inkan.Printable(err.Error(), 300)
		} else {
			f.Done = true
		}
	}
	v.found = append(v.found, f)
}

// records reads every value once and collects the names.
func (v *verifier) records(ctx context.Context) error {
	for key, err := range v.m.Store.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("listing the store: %w", err)
		}
		f, known := state.FamilyOf(state.InStore, key)
		if !known {
			v.add(Finding{Severity: Note, Key: key, What: "this program knows no such key; a newer inkan or another program wrote it"}, nil)
			continue
		}
		name := v.file(f, key)
		err := v.check(ctx, v.m.Store, f, key)
		if err == nil {
			continue
		}
		v.bad[key] = true
		if errors.Is(err, state.ErrNewerFormat) {
			v.newer(name, key, err)
			continue
		}
		if _, damaged := errors.AsType[*inkan.DamagedError](err); !damaged {
			return err
		}
		v.damaged(ctx, f, name, key, err)
	}
	return nil
}

// file notes of which certificate a key speaks, and the due entries of each.
func (v *verifier) file(f state.Family, key string) (name string) {
	name = f.Certificate(key)
	switch {
	case f.Name == state.FamilyDamaged:
		v.add(Finding{Severity: Note, Key: key, What: "a damaged value that was set aside"}, nil)
	case f.Name != state.FamilyDue:
	case name == "":
		v.add(Finding{Severity: Note, Key: key, What: "not a due entry of this program"}, nil)
	default:
		v.dues[name] = append(v.dues[name], key)
	}
	if name != "" {
		v.names[name] = true
	}
	return name
}

// check reads a value and reports damage.
func (v *verifier) check(ctx context.Context, s inkan.Store, f state.Family, key string) error {
	if f.Raw {
		return nil
	}
	data, _, err := s.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return f.Check(key, data)
}

// damaged handles a value whose checksum failed, by what it is.
func (v *verifier) damaged(ctx context.Context, family state.Family, name, key string, cause error) {
	f := Finding{Severity: Broken, Name: name, Key: key, What: cause.Error()}
	aside := func(then func(rev inkan.Rev) error) func() error {
		return func() error {
			rev, err := state.SetAside(ctx, v.m.Store, key)
			if err != nil {
				return err
			}
			return then(rev)
		}
	}
	switch {
	case family.Name == state.FamilyDue:
		f.Repair = "set it aside and make another if it was in force"
		v.add(f, func() error {
			v.dues[name] = slices.DeleteFunc(v.dues[name], func(k string) bool { return k == key })
			return setAway(ctx, v.m.Store, key)
		})
	case family.Name == state.FamilyState:
		f.Repair = "set it aside and write a fresh one that is due now"
		v.add(f, aside(func(rev inkan.Rev) error { return v.freshState(ctx, name, rev) }))
	case family.Name == state.FamilyCurrent:
		f.Repair = "set it aside and point to the newest sound version"
		v.add(f, aside(func(rev inkan.Rev) error {
			return v.pointTo(ctx, name, state.Record[inkan.Current]{Key: key, Rev: rev})
		}))
	case family.Name == state.FamilyLimits:
		f.Repair = "set it aside and count the limit as used up"
		v.add(f, aside(func(rev inkan.Rev) error {
			r := state.Record[state.Bucket]{Key: key, Rev: rev}
			return r.Save(ctx, v.m.Store, state.Bucket{At: v.now})
		}))
	case family.Loss == state.Forgotten, family.Loss == state.Replaced:
		v.moveAway(ctx, v.m.Store, family, f)
	default: // nothing here replaces it, so it stays
		f.What += "; restore it from a backup, or inkan renew --name " + name + " gets a new certificate if it is in force"
		v.add(f, nil)
	}
}

// moveAway offers to set a value aside that the next run does without, or that
// can be given again once its place is free. The copy stays below damaged/.
func (v *verifier) moveAway(ctx context.Context, s inkan.Store, family state.Family, f Finding) {
	f.Repair = "set it aside; the next run does without it"
	if family.Loss == state.Replaced {
		f.Repair = "set it aside; then " + family.Again
	}
	v.add(f, func() error { return setAway(ctx, s, f.Key) })
}

// setAway copies a value below damaged/ and deletes it.
func setAway(ctx context.Context, s inkan.Store, key string) error {
	if _, err := state.SetAside(ctx, s, key); err != nil {
		return err
	}
	return s.Delete(ctx, key)
}

// newer notes what only a newer Inkan can judge.
func (v *verifier) newer(name, key string, err error) {
	v.add(Finding{Severity: Broken, Name: name, Key: key, What: err.Error() + "; a newer inkan wrote it, and nothing of it is touched"}, nil)
}

// again lets the next run look at a certificate whose records were mended.
func (v *verifier) again(ctx context.Context, name string) error {
	if err := state.PutDue(ctx, v.m.Store, state.DueKey(state.CertQueue, v.now, name)); err != nil || v.m.Host == nil {
		return err
	}
	return state.PutDue(ctx, v.m.Host, state.DueKey(state.HostQueue, v.now, name))
}

func (v *verifier) freshState(ctx context.Context, name string, rev inkan.Rev) error {
	due := state.DueKey(state.CertQueue, v.now, name)
	if err := state.PutDue(ctx, v.m.Store, due); err != nil {
		return err
	}
	r := state.Record[inkan.State]{Key: state.StateKey(name), Rev: rev}
	if err := r.Save(ctx, v.m.Store, inkan.State{Due: due}); err != nil {
		return err
	}
	v.dues[name] = append(v.dues[name], due)
	delete(v.bad, r.Key)
	return nil
}

// pointTo moves current to the newest sound version. n is above every n that
// anybody may have seen.
func (v *verifier) pointTo(ctx context.Context, name string, cur state.Record[inkan.Current]) error {
	sound, err := state.Soundest(ctx, v.m.Store, name, cur.Value, v.now)
	if err != nil {
		return err
	}
	n, top := cur.Value.N, cur.Value.Top
	if st, err := state.Load[inkan.State](ctx, v.m.Store, state.StateKey(name)); err == nil {
		n = max(n, st.Value.ARI.N)
	}
	for e, err := range state.Events(ctx, v.m.Store, time.Time{}, state.Wanted{Name: name}) {
		if err == nil {
			n = max(n, e.N)
		}
	}
	vs, _ := v.m.Versions(ctx, name)
	for _, x := range vs {
		top = max(top, x.Seq)
	}
	next := inkan.Current{N: max(n, top) + 1, Seq: sound.Seq, Top: top, ID: sound.ID, At: v.now.UTC(), Pairs: map[inkan.KeyType]inkan.PairSum{}}
	for i := range sound.Pairs {
		p, err := state.LoadPair(ctx, v.m.Store, state.VersionID{Name: name, Seq: sound.Seq, ID: sound.ID}, sound.Pairs[i].KeyType)
		if err != nil {
			return err
		}
		next.Pairs[p.KeyType] = p.Sum
	}
	if err := cur.Save(ctx, v.m.Store, next); err != nil {
		return err
	}
	delete(v.bad, cur.Key)
	return v.again(ctx, name)
}

// certificate checks all that belongs to one name and fits together.
func (v *verifier) certificate(ctx context.Context, name string) error {
	if v.bad[state.CurrentKey(name)] || v.bad[state.StateKey(name)] || v.bad[state.RequestKey(name)] {
		return nil // said already; nothing can be compared with it
	}
	s := v.m.Store
	req, err := state.Load[inkan.RequestRecord](ctx, s, state.RequestKey(name))
	if err != nil {
		return err
	}
	st, err := state.Load[inkan.State](ctx, s, state.StateKey(name))
	if err != nil {
		return err
	}
	cur, err := state.Load[inkan.Current](ctx, s, state.CurrentKey(name))
	if err != nil {
		return err
	}
	if req.Exists() {
		if err := checkRecorded(name, &req.Value); err != nil {
			v.add(Finding{Severity: Broken, Name: name, Key: req.Key, What: err.Error()}, nil)
		}
	}
	if !req.Exists() && len(v.dues[name]) > 0 {
		v.add(Finding{Severity: Leftover, Name: name, Key: v.dues[name][0], What: "a due entry without a request; it is deleted after a day"}, nil)
	}
	v.versions(ctx, name, cur)
	if req.Exists() && !req.Value.Deleted && !req.Value.Unmanaged {
		v.due(ctx, name, st)
	}
	return v.orders(ctx, name, st)
}

// versions checks every version, and that the one in force is among them.
func (v *verifier) versions(ctx context.Context, name string, cur state.Record[inkan.Current]) {
	if cur.Exists() && cur.Value.N == 0 {
		v.add(Finding{Severity: Broken, Name: name, Key: cur.Key, What: "the pointer has no number", Repair: "point to the newest sound version"},
			func() error { return v.pointTo(ctx, name, cur) })
	}
	if len(cur.Value.Pairs) > 0 {
		if _, err := state.LoadVersion(ctx, v.m.Store, name, cur.Value); err != nil {
			v.add(Finding{Severity: Broken, Name: name, Key: cur.Key, What: "the version in force is damaged: " + err.Error(),
				Repair: "point to the newest sound version"}, func() error { return v.pointTo(ctx, name, cur) })
		}
	}
	vs, err := v.m.Versions(ctx, name)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			v.add(Finding{Severity: Broken, Name: name, Key: strings.TrimSuffix(state.VersionsPrefix(name), "/"), What: inkan.Printable(line, 300)}, nil)
		}
	}
	for _, x := range vs {
		key := strings.TrimSuffix(state.VersionID{Name: name, Seq: x.Seq, ID: x.ID}.Prefix(), "/")
		for i := range x.Pairs {
			p := &x.Pairs[i]
			if _, err := inkan.CheckChain(p.Chains[0], p.Leaf.PublicKey, x.Identifiers, p.Leaf.NotBefore.Add(time.Minute)); err != nil {
				v.add(Finding{Severity: Broken, Name: name, Key: key, What: err.Error()}, nil)
			}
		}
		switch {
		case x.Seq > cur.Value.Top:
			v.add(Finding{Severity: Leftover, Name: name, Key: key, What: "not published yet"}, nil)
		case x.Seq == cur.Value.Seq && x.ID != cur.Value.ID && len(cur.Value.Pairs) > 0:
			v.add(Finding{Severity: Note, Name: name, Key: key, What: "a spare: another version was published first"}, nil)
		}
	}
}

// due checks that the entry in force stands, as without it nobody looks.
func (v *verifier) due(ctx context.Context, name string, st state.Record[inkan.State]) {
	if st.Value.Due != "" && slices.Contains(v.dues[name], st.Value.Due) {
		for _, d := range v.dues[name] {
			if d != st.Value.Due {
				v.add(Finding{Severity: Leftover, Name: name, Key: d, What: "a due entry that is not in force; it is deleted when met"}, nil)
			}
		}
		return
	}
	v.add(Finding{Severity: Broken, Name: name, Key: st.Key, What: "there is no due entry, so no timer would look at it", Repair: "recreate it, due now"}, func() error {
		due := state.DueKey(state.CertQueue, v.now, name)
		if err := state.PutDue(ctx, v.m.Store, due); err != nil {
			return err
		}
		_, err := v.m.takeDue(ctx, name, due)
		return err
	})
}

// orders checks journals and leases against the state.
func (v *verifier) orders(ctx context.Context, name string, st state.Record[inkan.State]) error {
	running := false
	for key, err := range v.m.Store.List(ctx, state.OrdersPrefix(name), "") {
		if err != nil {
			return fmt.Errorf("listing the orders of %s: %w", name, err)
		}
		j, err := state.Load[inkan.OrderRecord](ctx, v.m.Store, key)
		if err != nil {
			continue // said already
		}
		if st.Value.Running != "" && j.Value.Attempt == st.Value.Running {
			running = true
			continue
		}
		v.add(Finding{Severity: Leftover, Name: name, Key: key, What: "an order that nobody works on; the next run cleans up after it"}, nil)
	}
	if running && v.m.holder(name, st.Value.Lease) == leaseDead {
		v.add(Finding{Severity: Leftover, Name: name, Key: st.Key, What: "an order whose process died; the next run goes on with it"}, nil)
	}
	return nil
}

// hostRecords checks what belongs to this machine.
func (v *verifier) hostRecords(ctx context.Context) error {
	if v.m.Host == nil {
		return nil
	}
	for key, err := range v.m.Host.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("listing the host store: %w", err)
		}
		family, known := state.FamilyOf(state.InHost, key)
		if !known {
			v.add(Finding{Severity: Note, Key: key, What: "this program knows no such key; a newer inkan or another program wrote it"}, nil)
			continue
		}
		err := v.check(ctx, v.m.Host, family, key)
		if errors.Is(err, state.ErrNewerFormat) {
			v.newer("", key, err)
			continue
		}
		if _, damaged := errors.AsType[*inkan.DamagedError](err); err != nil && !damaged {
			return err
		}
		switch target, name, deployed := state.ParseDeployed(key); {
		case err == nil && deployed:
			v.deployed(ctx, key, target, name)
		case err == nil && family.Name == state.FamilyDamaged:
			v.add(Finding{Severity: Note, Key: key, What: "a damaged value that was set aside"}, nil)
		case err == nil:
		case deployed:
			v.add(Finding{Severity: Broken, Name: name, Key: key, What: err.Error(), Repair: "set it aside; the next run deploys again"}, func() error {
				if err := setAway(ctx, v.m.Host, key); err != nil {
					return err
				}
				return v.again(ctx, name)
			})
		case family.Loss == state.Forgotten, family.Loss == state.Replaced:
			v.moveAway(ctx, v.m.Host, family, Finding{Severity: Broken, Key: key, What: err.Error()})
		default:
			v.add(Finding{Severity: Broken, Key: key, What: err.Error() + "; restore it from a backup, or give it again with --key-file"}, nil)
		}
	}
	return nil
}

func (v *verifier) deployed(ctx context.Context, key, target, name string) {
	d, err := state.Load[inkan.Deployed](ctx, v.m.Host, key)
	if err != nil || !d.Exists() {
		return
	}
	switch d.Value.Status {
	case inkan.DeployFailed:
		v.add(Finding{Severity: Note, Name: name, Key: key, What: fmt.Sprintf("target %s: %s", target, d.Value.Status)}, nil)
	case inkan.DeployPending:
		v.add(Finding{Severity: Leftover, Name: name, Key: key, What: "a deployment was interrupted; the next run repeats it"}, nil)
	}
}
