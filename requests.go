package inkan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Record writes down what somebody wants, so that every later run knows it. It
// reports whether that is news. The certificate becomes due at once.
//
// The order of writes is due entry, state, request: whoever dies in between
// leaves an entry without a request, which says nothing and is deleted after a
// day.
func (m *Manager) Record(ctx context.Context, req CertificateRequest, origin string) (changed bool, err error) {
	if err := req.Check(); err != nil {
		return false, err
	}
	for {
		r, err := load[RequestRecord](ctx, m.Store, requestKey(req.Name))
		if err != nil {
			return false, damagedHint(err)
		}
		if checkRecorded(req.Name, &r.v) != nil {
			r.v.CertificateRequest = CertificateRequest{} // not to be compared with
		}
		next := RequestRecord{CertificateRequest: req, Origin: origin, Generation: r.v.Generation + 1}
		if r.exists() && !r.v.Deleted && !r.v.Unmanaged && sameRequest(r.v.CertificateRequest, req) && r.v.Origin == origin {
			return false, nil
		}
		due := dueKey(certQueue, m.now(), req.Name)
		if err := putDue(ctx, m.Store, due); err != nil {
			return false, err
		}
		old, err := m.takeDue(ctx, req.Name, due)
		if err != nil {
			return false, errors.Join(err, m.Store.Delete(ctx, due))
		}
		if err = r.save(ctx, m.Store, next); err != nil && !errors.Is(err, ErrConflict) {
			return false, err
		}
		m.dropDue(ctx, m.Store, old) // ours is in force, whoever recorded the request
		if err == nil {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// takeDue makes due the entry in force and returns the one before.
func (m *Manager) takeDue(ctx context.Context, name, due string) (old string, err error) {
	_, err = update(ctx, m.Store, stateKey(name), func(st *State, _ bool) error {
		old = st.Due
		st.Due = due
		st.FailedCAs, st.Without, st.Instead = nil, nil, 0 // of another question
		if st.Attempts >= MaxAttempts {
			st.Attempts = 0 // a person changed something, so it is tried again
		}
		return nil
	})
	return old, damagedHint(err)
}

func sameRequest(a, b CertificateRequest) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Request returns what is recorded under the name, or fs.ErrNotExist, or an
// error that wraps [ErrUnsoundRequest].
func (m *Manager) Request(ctx context.Context, name string) (*RequestRecord, error) {
	r, err := load[RequestRecord](ctx, m.Store, requestKey(name))
	if err != nil {
		return nil, damagedHint(err)
	}
	if !r.exists() || r.v.Deleted {
		return nil, Errorf(Operator, "certificate "+name, "%w", errNoSuch).WithHint("inkan list shows all of them")
	}
	if err := checkRecorded(name, &r.v); err != nil {
		return nil, err
	}
	return &r.v, nil
}

// errNoSuch is fs.ErrNotExist in the words of certificates.
var errNoSuch = noSuch{}

type noSuch struct{}

func (noSuch) Error() string { return "there is none of this name" }

// Is makes it an fs.ErrNotExist.
func (noSuch) Is(target error) bool { return target == fs.ErrNotExist }

// Unmanage marks a request that left the configuration file: its certificate
// is kept and served, but no longer renewed. Nothing is deleted.
func (m *Manager) Unmanage(ctx context.Context, name string) error {
	_, err := update(ctx, m.Store, requestKey(name), func(r *RequestRecord, exists bool) error {
		if !exists || r.Deleted || r.Unmanaged {
			return errUnchanged
		}
		r.Unmanaged = true
		r.Generation++
		return nil
	})
	return damagedHint(err)
}

// Requests lists the recorded requests in the order of their names, deleted
// ones left out. One that is damaged or cannot be followed is an error in its
// place; the others follow.
func (m *Manager) Requests(ctx context.Context) ([]RequestRecord, error) {
	var all []RequestRecord
	var errs []error
	for key, err := range m.Store.List(ctx, requestPrefix, "") {
		if err != nil {
			return all, fmt.Errorf("listing the certificates: %w", err)
		}
		r, err := load[RequestRecord](ctx, m.Store, key)
		switch {
		case err != nil:
			errs = append(errs, damagedHint(err))
		case r.exists() && !r.v.Deleted:
			if err := checkRecorded(strings.TrimPrefix(key, requestPrefix), &r.v); err != nil {
				errs = append(errs, err)
				continue
			}
			all = append(all, r.v)
		}
	}
	return all, errors.Join(errs...)
}

// Observe returns everything that is known about one certificate, or
// fs.ErrNotExist if nothing is.
func (m *Manager) Observe(ctx context.Context, name string) (*Observed, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	o, err := m.observe(ctx, name)
	if err == nil && o.RequestErr == nil && (o.Request == nil || o.Request.Deleted) && len(o.Current.Pairs) == 0 {
		return nil, Errorf(Operator, "certificate "+name, "%w", errNoSuch).WithHint("inkan list shows all of them")
	}
	return o, err
}

// Versions lists the versions of a certificate that the Store holds, oldest
// first, those never published included. A version that cannot be read is left
// out and its error joined.
func (m *Manager) Versions(ctx context.Context, name string) ([]*Version, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return versions(ctx, m.Store, name)
}

// versions lists the versions of a certificate, oldest first. A version that
// cannot be read is left out and its error joined.
func versions(ctx context.Context, s Store, name string) ([]*Version, error) {
	var vs []*Version
	var errs []error
	seen := ""
	prefix := "v/" + name + "/"
	for key, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return vs, fmt.Errorf("listing the versions of %s: %w", name, err)
		}
		dir, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
		if dir == seen {
			continue
		}
		seen = dir
		v, err := LoadVersionAt(ctx, s, name, dir, 0)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		vs = append(vs, v)
	}
	return vs, errors.Join(errs...)
}

// LoadVersionAt reads the version "<seq>-<id>" of a certificate, whether or
// not it is in force. n is taken over into the result.
func LoadVersionAt(ctx context.Context, s Store, name, dir string, n uint64) (*Version, error) {
	var seq uint64
	var id string
	if _, err := fmt.Sscanf(dir, "%010d-%s", &seq, &id); err != nil || fmt.Sprintf("%010d-%s", seq, id) != dir {
		return nil, Errorf(Bug, "certificate "+name, "%q is not a version", Printable(dir, 80))
	}
	v := &Version{Name: name, N: n, Seq: seq, ID: id}
	prefix := versionPrefix(name, seq, id)
	for key, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		alg, isCert := strings.CutSuffix(strings.TrimPrefix(key, prefix), "/cert")
		if !isCert || !KeyType(alg).Valid() {
			continue
		}
		p, err := loadPair(ctx, s, name, seq, id, KeyType(alg), PairSum{})
		if err != nil {
			return nil, err
		}
		v.Pairs = append(v.Pairs, p.Pair)
		v.Identifiers = p.identifiers
	}
	if len(v.Pairs) == 0 {
		return nil, fmt.Errorf("version %s of %s: %w", dir, name, fs.ErrNotExist)
	}
	return v, nil
}

// KeepKey stores a private key that somebody brings along on this machine, so
// that an order may use it, and returns the policy that names it.
func (m *Manager) KeepKey(ctx context.Context, k *PrivateKey) (KeyPolicy, error) {
	if m.Host == nil {
		return KeyPolicy{}, Errorf(Operator, "keeping the private key", "this machine has no Host store")
	}
	spki, err := SPKIHash(k.Public())
	if err != nil {
		return KeyPolicy{}, err
	}
	stored, err := m.sealKey(ctx, k)
	if err != nil {
		return KeyPolicy{}, err
	}
	if there, err := load[StoredKey](ctx, m.Host, givenKeyKey(spki)); err == nil && there.exists() {
		return KeyPolicy{Mode: KeyGiven, Given: spki}, nil // sealing need not give the same bytes twice
	}
	err = keep(ctx, m.Host, givenKeyKey(spki), stored, spki[:16])
	return KeyPolicy{Mode: KeyGiven, Given: spki}, err
}

// Delete removes a certificate: its versions, hints and due entries. What is
// deployed stays where it is. Counters go on if the name returns.
func (m *Manager) Delete(ctx context.Context, name string) error {
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	if o.HeldBy != nil {
		return Errorf(Pending, "certificate "+name, "%w%s", errBusy, ownerWords(*o.HeldBy)).WithHint("try again when it is done")
	}
	_, err = update(ctx, m.Store, requestKey(name), func(r *RequestRecord, exists bool) error {
		if r.Deleted {
			return errUnchanged
		}
		r.Deleted = true
		r.Generation++
		if r.Name == "" {
			r.Name = name
		}
		return nil
	})
	if err != nil {
		return damagedHint(err)
	}
	if o, err = m.observe(ctx, name); err != nil {
		return err
	}
	return m.finishDelete(ctx, o)
}

// finishDelete does what follows the tombstone; it may be repeated. The due entry
// goes last: until then somebody finds the rest.
func (m *Manager) finishDelete(ctx context.Context, o *Observed) error {
	// Take the lease's place first: a worker that is paused now loses its
	// state, and by the larger n its publication.
	ordering := len(o.journals) > 0
	st := State{Due: o.State.Due, NotBefore: o.State.NotBefore}
	if st.Due == "" {
		st.Due = dueKey(certQueue, m.now(), o.Name)
		if err := putDue(ctx, m.Store, st.Due); err != nil {
			return err
		}
	}
	if err := o.state.save(ctx, m.Store, st); err != nil {
		return lostIsBusy(err)
	}
	if len(o.Current.Pairs) > 0 || ordering {
		next := Current{N: o.Current.N + 1, Top: o.Current.Top, At: m.now().UTC()}
		if err := o.current.save(ctx, m.Store, next); err != nil {
			return lostIsBusy(err)
		}
	}
	for _, j := range o.journals {
		if err := m.cleanUp(ctx, j); err != nil {
			return Errorf(KindOf(err), "certificate "+o.Name, "removing the challenges of its order: %w", err)
		}
	}
	if err := m.deleteVersions(ctx, o.Name); err != nil {
		return err
	}
	at := o.current.v.At
	if at.IsZero() {
		at = m.now() // nothing was ever published
	}
	id := fmt.Sprintf("deleted-%s-%d", sumOf([]byte(o.Name))[:16], o.current.v.N) // n alone is shared by many names
	if err := writeEvent(ctx, m.Store, Event{ID: id, At: at, Kind: EventDeleted, Name: o.Name}); err != nil {
		return err
	}
	due := st.Due
	st.Due = ""
	if err := o.state.save(ctx, m.Store, st); err != nil {
		return lostIsBusy(err)
	}
	if err := m.Store.Delete(ctx, due); err != nil {
		return fmt.Errorf("deleting %s: %w", due, err)
	}
	return nil
}

func lostIsBusy(err error) error {
	if errors.Is(err, ErrConflict) {
		return errBusy
	}
	return err
}

// deleteVersions deletes the hints and then the values of all versions.
func (m *Manager) deleteVersions(ctx context.Context, name string) error {
	var keys, values []string
	for key, err := range m.Store.List(ctx, "v/"+name+"/", "") {
		if err != nil {
			return fmt.Errorf("listing the versions of %s: %w", name, err)
		}
		values = append(values, key)
		if cv, err := load[certValue](ctx, m.Store, key); err == nil && strings.HasSuffix(key, "/cert") {
			for _, id := range cv.v.Identifiers {
				keys = append(keys, hintKey(id, name))
			}
		}
	}
	slices.Sort(keys)
	for _, key := range append(slices.Compact(keys), values...) {
		if err := m.Store.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
	}
	return nil
}

// Revoke revokes the version in force. byKey signs with the certificate's own
// key, which works without the account. The certificate is not renewed by
// itself afterwards: whoever revokes decides what follows.
func (m *Manager) Revoke(ctx context.Context, name string, reason RevocationReason, byKey bool) error {
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	if o.Version == nil {
		return Errorf(Operator, "certificate "+name, "there is no certificate in force to revoke")
	}
	for i := range o.Version.Pairs {
		p := &o.Version.Pairs[i]
		issuer, err := m.Issuer(ctx, p.CA, p.Account)
		if err != nil {
			return err
		}
		revoker, ok := issuer.(Revoker)
		if !ok {
			return Errorf(Operator, "certificate "+name, "the CA %s cannot revoke", p.CA)
		}
		var key *PrivateKey
		if byKey {
			if p.Key == nil {
				return Errorf(Operator, "certificate "+name, "its private key is not here, so it cannot sign the revocation")
			}
			if key, err = p.Key.Open(); err != nil {
				return err
			}
		}
		if err := revoker.Revoke(ctx, p.Leaf, reason, key); err != nil {
			return err
		}
		f := p.Fingerprint().String()
		at := m.now().UTC()
		_, err = update(ctx, m.Store, stateKey(name), func(st *State, _ bool) error {
			if slices.Contains(st.Revoked, f) {
				return errUnchanged
			}
			st.Revoked = append(slices.Clone(st.Revoked), f)
			return nil
		})
		if err != nil {
			return damagedHint(err)
		}
		if err := writeEvent(ctx, m.Store, Event{ID: "revoked-" + f[:16], At: at, Kind: EventRevoked, Name: name, N: o.Current.N}); err != nil {
			return err
		}
	}
	return nil
}
