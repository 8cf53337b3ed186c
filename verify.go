package inkan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
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
// hints and deployments. With repair it mends what it can: it sets damaged
// values aside (copied below damaged/), recreates due entries, and falls back to
// the newest sound version that has not expired. It never deletes a certificate
// or a key. The error is only about not being able to look.
func (m *Manager) Verify(ctx context.Context, repair bool) ([]Finding, error) {
	v := &verifier{m: m, ctx: ctx, repair: repair, now: m.now(), names: map[string]bool{}, dues: map[string][]string{}, bad: map[string]bool{}}
	if err := v.records(); err != nil {
		return v.found, err
	}
	for _, name := range slices.Sorted(maps.Keys(v.names)) {
		if err := v.certificate(name); err != nil {
			return v.found, err
		}
	}
	v.strayDues()
	err := v.hostRecords()
	return v.found, err
}

type verifier struct {
	m      *Manager
	ctx    context.Context
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
			f.What += "; the repair failed: " + Printable(err.Error(), 300)
		} else {
			f.Done = true
		}
	}
	v.found = append(v.found, f)
}

// records reads every value once and collects the names.
func (v *verifier) records() error {
	for key, err := range v.m.Store.List(v.ctx, "", "") {
		if err != nil {
			return fmt.Errorf("listing the store: %w", err)
		}
		name := v.nameIn(key)
		if name != "" {
			v.names[name] = true
		}
		if familyOf(key) == "damaged" {
			v.add(Finding{Severity: Note, Key: key, What: "a damaged value that was set aside"}, nil)
			continue
		}
		if err := v.readable(v.m.Store, key); err != nil {
			if _, damaged := errors.AsType[*DamagedError](err); !damaged {
				return err
			}
			v.bad[key] = true
			v.damaged(name, key, err)
		}
	}
	return nil
}

// readable checks the envelope of any value, and that its content is of the kind
// that belongs there.
func (v *verifier) readable(s Store, key string) error {
	data, _, err := s.Get(v.ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	_, err = open(key, data, contentOf(key))
	return err
}

// contentOf returns what the value at a key is decoded into.
func contentOf(key string) any {
	switch family := familyOf(key); {
	case family == "request":
		return new(RequestRecord)
	case family == "state":
		return new(State)
	case family == "current":
		return new(Current)
	case family == "orders":
		return new(OrderRecord)
	case family == "v" && strings.HasSuffix(key, "/cert"):
		return new(certValue)
	case family == "v", family == "keys":
		return new(StoredKey)
	case family == "accounts":
		return new(AccountRecord)
	case family == "limits":
		return new(bucketState)
	case family == "events":
		return new(Event)
	case family == "deployed":
		return new(Deployed)
	}
	return new(any)
}

// nameIn returns the certificate that a key speaks of, and files due entries.
func (v *verifier) nameIn(key string) string {
	family, rest, _ := strings.Cut(key, "/")
	switch family {
	case "request", "state", "current":
		return rest
	case "orders", "v":
		name, _, _ := strings.Cut(rest, "/")
		return name
	case "due":
		if _, name, err := parseDue(key, certQueue); err == nil {
			v.dues[name] = append(v.dues[name], key)
			return name
		}
		v.add(Finding{Severity: Note, Key: key, What: "not a due entry of this program"}, nil)
	}
	return ""
}

// damaged handles a value whose checksum failed, by what it is.
func (v *verifier) damaged(name, key string, cause error) {
	f := Finding{Severity: Broken, Name: name, Key: key, What: cause.Error()}
	aside := func(then func(rev Rev) error) func() error {
		return func() error {
			rev, err := setAside(v.ctx, v.m.Store, key)
			if err != nil {
				return err
			}
			return then(rev)
		}
	}
	remove := func(Rev) error { return v.m.Store.Delete(v.ctx, key) }
	switch familyOf(key) {
	case "due":
		f.Repair = "set it aside and make another if it was in force"
		v.add(f, aside(func(rev Rev) error {
			v.dues[name] = slices.DeleteFunc(v.dues[name], func(k string) bool { return k == key })
			return remove(rev)
		}))
	case "orders", "names", "events", "ari":
		f.Repair = "set it aside; the next run does without it"
		v.add(f, aside(remove))
	case "state":
		f.Repair = "set it aside and write a fresh one that is due now"
		v.add(f, aside(func(rev Rev) error { return v.freshState(name, rev) }))
	case "current":
		f.Repair = "set it aside and point to the newest sound version"
		v.add(f, aside(func(rev Rev) error { return v.pointTo(name, record[Current]{key: key, rev: rev}) }))
	case "limits":
		f.Repair = "set it aside and count the limit as used up"
		v.add(f, aside(func(rev Rev) error {
			r := record[bucketState]{key: key, rev: rev}
			return r.save(v.ctx, v.m.Store, bucketState{At: v.now})
		}))
	default: // a request, a version, an account: only a backup has it
		f.Repair = "copy it aside; restore it from a backup"
		v.add(f, aside(func(Rev) error { return nil }))
	}
}

func (v *verifier) freshState(name string, rev Rev) error {
	due := dueKey(certQueue, v.now, name)
	if err := putDue(v.ctx, v.m.Store, due); err != nil {
		return err
	}
	r := record[State]{key: stateKey(name), rev: rev}
	if err := r.save(v.ctx, v.m.Store, State{Due: due}); err != nil {
		return err
	}
	v.dues[name] = append(v.dues[name], due)
	delete(v.bad, r.key)
	return nil
}

// pointTo moves current to the newest sound version. n is above every n that
// anybody may have seen.
func (v *verifier) pointTo(name string, cur record[Current]) error {
	sound, err := soundest(v.ctx, v.m.Store, name, v.now)
	if err != nil {
		return err
	}
	n, top := cur.v.N, cur.v.Top
	if st, err := load[State](v.ctx, v.m.Store, stateKey(name)); err == nil {
		n = max(n, st.v.ARI.N)
	}
	for e, err := range Events(v.ctx, v.m.Store, time.Time{}) {
		if err == nil && e.Name == name {
			n = max(n, e.N)
		}
	}
	vs, _ := v.m.Versions(v.ctx, name)
	for _, x := range vs {
		top = max(top, x.Seq)
	}
	next := Current{N: max(n, top) + 1, Seq: sound.Seq, Top: top, ID: sound.ID, At: v.now.UTC(), Pairs: map[KeyType]PairSum{}}
	for i := range sound.Pairs {
		p, err := loadPair(v.ctx, v.m.Store, name, sound.Seq, sound.ID, sound.Pairs[i].KeyType, PairSum{})
		if err != nil {
			return err
		}
		next.Pairs[p.KeyType] = p.sum
	}
	if err := cur.save(v.ctx, v.m.Store, next); err != nil {
		return err
	}
	delete(v.bad, cur.key)
	return nil
}

// certificate checks all that belongs to one name and fits together.
func (v *verifier) certificate(name string) error {
	if v.bad[currentKey(name)] || v.bad[stateKey(name)] || v.bad[requestKey(name)] {
		return nil // said already; nothing can be compared with it
	}
	s := v.m.Store
	req, err := load[RequestRecord](v.ctx, s, requestKey(name))
	if err != nil {
		return err
	}
	st, err := load[State](v.ctx, s, stateKey(name))
	if err != nil {
		return err
	}
	cur, err := load[Current](v.ctx, s, currentKey(name))
	if err != nil {
		return err
	}
	if req.exists() {
		if err := checkRecorded(name, &req.v); err != nil {
			v.add(Finding{Severity: Broken, Name: name, Key: req.key, What: err.Error()}, nil)
		}
	}
	if !req.exists() && len(v.dues[name]) > 0 {
		v.add(Finding{Severity: Leftover, Name: name, Key: v.dues[name][0], What: "a due entry without a request; it is deleted after a day"}, nil)
	}
	v.versions(name, cur)
	if req.exists() && !req.v.Deleted && !req.v.Unmanaged {
		v.due(name, st)
	}
	return v.orders(name, st)
}

// versions checks every version, and that the one in force is among them.
func (v *verifier) versions(name string, cur record[Current]) {
	if cur.exists() && cur.v.N == 0 {
		v.add(Finding{Severity: Broken, Name: name, Key: cur.key, What: "the pointer has no number", Repair: "point to the newest sound version"},
			func() error { return v.pointTo(name, cur) })
	}
	if len(cur.v.Pairs) > 0 {
		if _, err := LoadVersion(v.ctx, v.m.Store, name, cur.v); err != nil {
			v.add(Finding{Severity: Broken, Name: name, Key: cur.key, What: "the version in force is damaged: " + err.Error(),
				Repair: "point to the newest sound version"}, func() error { return v.pointTo(name, cur) })
		}
	}
	vs, err := v.m.Versions(v.ctx, name)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			v.add(Finding{Severity: Broken, Name: name, Key: "v/" + name, What: Printable(line, 300)}, nil)
		}
	}
	for _, x := range vs {
		key := strings.TrimSuffix(versionPrefix(name, x.Seq, x.ID), "/")
		for i := range x.Pairs {
			p := &x.Pairs[i]
			if _, err := CheckChain(p.Chains[0], p.Leaf.PublicKey, x.Identifiers, p.Leaf.NotBefore.Add(time.Minute)); err != nil {
				v.add(Finding{Severity: Broken, Name: name, Key: key, What: err.Error()}, nil)
			}
		}
		switch {
		case x.Seq > cur.v.Top:
			v.add(Finding{Severity: Leftover, Name: name, Key: key, What: "not published yet"}, nil)
		case x.Seq == cur.v.Seq && x.ID != cur.v.ID && len(cur.v.Pairs) > 0:
			v.add(Finding{Severity: Note, Name: name, Key: key, What: "a spare: another version was published first"}, nil)
		}
	}
}

// due checks that the entry in force stands, as without it nobody looks.
func (v *verifier) due(name string, st record[State]) {
	if st.v.Due != "" && slices.Contains(v.dues[name], st.v.Due) {
		for _, d := range v.dues[name] {
			if d != st.v.Due {
				v.add(Finding{Severity: Leftover, Name: name, Key: d, What: "a due entry that is not in force; it is deleted when met"}, nil)
			}
		}
		return
	}
	v.add(Finding{Severity: Broken, Name: name, Key: st.key, What: "there is no due entry, so no timer would look at it", Repair: "recreate it, due now"}, func() error {
		due := dueKey(certQueue, v.now, name)
		if err := putDue(v.ctx, v.m.Store, due); err != nil {
			return err
		}
		_, err := v.m.takeDue(v.ctx, name, due)
		return err
	})
}

// orders checks journals and leases against the state.
func (v *verifier) orders(name string, st record[State]) error {
	running := false
	for key, err := range v.m.Store.List(v.ctx, ordersPrefix+name+"/", "") {
		if err != nil {
			return fmt.Errorf("listing the orders of %s: %w", name, err)
		}
		j, err := load[OrderRecord](v.ctx, v.m.Store, key)
		if err != nil {
			continue // said already
		}
		if st.v.Running != "" && j.v.Attempt == st.v.Running {
			running = true
			continue
		}
		v.add(Finding{Severity: Leftover, Name: name, Key: key, What: "an order that nobody works on; the next run cleans up after it"}, nil)
	}
	if running && v.m.holderOf(name, st.v.Lease) == leaseDead {
		v.add(Finding{Severity: Leftover, Name: name, Key: st.key, What: "an order whose process died; the next run goes on with it"}, nil)
	}
	return nil
}

// strayDues names due entries of certificates that nothing else speaks of.
func (v *verifier) strayDues() {
	for _, name := range slices.Sorted(maps.Keys(v.dues)) {
		if !v.names[name] {
			v.add(Finding{Severity: Leftover, Name: name, Key: v.dues[name][0], What: "a due entry of an unknown certificate"}, nil)
		}
	}
}

// hostRecords checks what belongs to this machine.
func (v *verifier) hostRecords() error {
	if v.m.Host == nil {
		return nil
	}
	for key, err := range v.m.Host.List(v.ctx, "", "") {
		if err != nil {
			return fmt.Errorf("listing the host store: %w", err)
		}
		err := v.readable(v.m.Host, key)
		if _, damaged := errors.AsType[*DamagedError](err); err != nil && !damaged {
			return err
		} else if damaged {
			f := Finding{Severity: Broken, Key: key, What: err.Error(), Repair: "copy it aside; give the options again"}
			mend := func() error { _, err := setAside(v.ctx, v.m.Host, key); return err }
			if familyOf(key) == "deployed" {
				f.Repair = "set it aside; the next run deploys again"
				mend = func() error {
					if _, err := setAside(v.ctx, v.m.Host, key); err != nil {
						return err
					}
					return v.m.Host.Delete(v.ctx, key)
				}
			}
			v.add(f, mend)
			continue
		}
		if target, name, ok := strings.Cut(strings.TrimPrefix(key, "deployed/"), "/"); ok && familyOf(key) == "deployed" {
			v.deployed(key, target, name)
		}
	}
	return nil
}

func (v *verifier) deployed(key, target, name string) {
	d, err := load[Deployed](v.ctx, v.m.Host, key)
	if err != nil || !d.exists() {
		return
	}
	switch d.v.Status {
	case DeployFailed, DeployHeld:
		v.add(Finding{Severity: Note, Name: name, Key: key, What: fmt.Sprintf("target %s: %s", target, d.v.Status)}, nil)
	case DeployPending:
		v.add(Finding{Severity: Leftover, Name: name, Key: key, What: "a deployment was interrupted; the next run repeats it"}, nil)
	}
}
