package inkan

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Observed is what the Store and the Host know of one certificate.
type Observed struct {
	Name       string
	Request    *RequestRecord // nil if there is none, or none that can be followed
	RequestErr error          // why what is recorded cannot be followed; wraps [ErrUnsoundRequest]
	State      State
	HeldBy     *Owner // the process that works on it now, unless it is known to be dead
	Abandoned  bool   // a lease whose owner is dead
	Current    Current
	Version    *Version // nil if none is in force or it cannot be read
	VersionErr error    // why Version cannot be read
	Orders     []OrderRecord
	Targets    []ObservedTarget // in the order of the request

	state    record[State]
	current  record[Current]
	journals []*journal
}

// ObservedTarget is one target of the request as this machine knows it.
type ObservedTarget struct {
	Name     string
	Here     bool   // this machine deploys to it
	Options  string // digest of the target's options now
	Err      error  // why it cannot be opened
	Deployed Deployed
}

// observe reads everything about one certificate, state before current: whoever
// publishes in between has moved state since, so that a plan made of an older
// current loses at row 4 and orders nothing twice.
func (m *Manager) observe(ctx context.Context, name string) (*Observed, error) {
	o := &Observed{Name: name}
	var err error
	if o.state, err = load[State](ctx, m.Store, stateKey(name)); err != nil {
		return nil, damagedHint(err)
	}
	if o.current, err = load[Current](ctx, m.Store, currentKey(name)); err != nil {
		return nil, damagedHint(err)
	}
	if o.journals, err = journalsOf(ctx, m.Store, name); err != nil {
		return nil, damagedHint(err)
	}
	request, err := load[RequestRecord](ctx, m.Store, requestKey(name))
	if err != nil {
		return nil, damagedHint(err)
	}
	o.Current, o.State = o.current.v, o.state.v
	if request.exists() {
		if o.RequestErr = checkRecorded(name, &request.v); o.RequestErr == nil {
			o.Request = &request.v
		}
	}
	for _, j := range o.journals {
		o.Orders = append(o.Orders, j.record())
	}
	switch m.holderOf(name, o.State.Lease) {
	case leaseHeld:
		o.HeldBy = &o.State.Lease.Owner
	case leaseDead:
		o.Abandoned = true
	}
	if len(o.Current.Pairs) > 0 {
		o.Version, err = LoadVersion(ctx, m.Store, name, o.Current)
		if _, damaged := errors.AsType[*DamagedError](err); err != nil && !damaged {
			return nil, err // a Store that fails now says nothing about the version
		}
		o.VersionErr = err
	}
	if o.Request == nil {
		return o, nil
	}
	for _, t := range o.Request.Targets {
		if CheckName(t) != nil {
			continue // of a tombstone: nobody looks what was asked for once
		}
		ot := ObservedTarget{Name: t}
		target, err := m.target(ctx, t)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			ot.Here, ot.Err = true, err
		default:
			ot.Here, ot.Options = true, target.Options
		}
		if ot.Here && m.Host != nil {
			d, err := load[Deployed](ctx, m.Host, deployedKey(t, name))
			if err != nil {
				return nil, damagedHint(err)
			}
			ot.Deployed = d.v
		}
		o.Targets = append(o.Targets, ot)
	}
	return o, nil
}

// ErrUnsoundRequest marks a recorded request that [CertificateRequest.Check]
// does not let pass, or that is for another certificate: Inkan does not write
// such a one.
var ErrUnsoundRequest = errors.New("what is recorded as asked for cannot be")

// checkRecorded checks a request that was read from the Store: somebody else may
// have written it (reliability H13).
func checkRecorded(name string, r *RequestRecord) error {
	if r.Deleted {
		return nil
	}
	err := r.Check()
	if err == nil && r.Name != name {
		err = fmt.Errorf("it is for %s", Printable(r.Name, 80))
	}
	if err == nil {
		return nil
	}
	return Errorf(Operator, "certificate "+name, "%w: %w", ErrUnsoundRequest, err).
		WithHint("ask for it again (inkan issue or inkan apply), and see who may write to the store; if a newer inkan wrote it, update this one")
}

func (m *Manager) target(ctx context.Context, name string) (*Target, error) {
	if m.Target == nil || m.Host == nil {
		return nil, fs.ErrNotExist
	}
	t, err := m.Target(ctx, name)
	if err == nil && t == nil {
		err = fs.ErrNotExist
	}
	return t, err
}

// damagedHint tells what to do about a damaged value.
func damagedHint(err error) error {
	if d, ok := errors.AsType[*DamagedError](err); ok {
		return Errorf(Operator, "reading the store", "%w", d).
			WithHint("nothing was changed; restore %s from a backup", d.Key)
	}
	return err
}

// LoadVersion reads the version that cur names and checks it: checksums, every
// certificate readable, key and leaf belong together.
func LoadVersion(ctx context.Context, s Store, name string, cur Current) (*Version, error) {
	v := &Version{Name: name, N: cur.N, Seq: cur.Seq, ID: cur.ID, At: cur.At}
	for _, kt := range sortedKeyTypes(cur.Pairs) {
		p, err := loadPair(ctx, s, name, cur.Seq, cur.ID, kt, cur.Pairs[kt])
		if err != nil {
			return nil, err
		}
		v.Pairs = append(v.Pairs, p.Pair)
		v.Identifiers = p.identifiers
	}
	if len(v.Pairs) == 0 {
		return nil, fmt.Errorf("certificate %s: %w", name, fs.ErrNotExist)
	}
	return v, nil
}

type loadedPair struct {
	Pair
	identifiers []Identifier
	sum         PairSum
}

// loadPair reads one pair; with a non-zero want its checksums must fit.
func loadPair(ctx context.Context, s Store, name string, seq uint64, id string, kt KeyType, want PairSum) (*loadedPair, error) {
	key := certKey(name, seq, id, kt)
	cv, err := load[certValue](ctx, s, key)
	if err != nil {
		return nil, err
	}
	if !cv.exists() {
		return nil, &DamagedError{key, "it is missing"}
	}
	p := &loadedPair{Pair: Pair{KeyType: kt, Ask: cv.v.Ask, CA: cv.v.CA, Account: cv.v.Account, Source: cv.v.Source},
		identifiers: cv.v.Identifiers}
	for _, c := range cv.v.Chains {
		p.Chains = append(p.Chains, []byte(c))
	}
	if len(p.Chains) == 0 {
		return nil, &DamagedError{key, "it holds no chain"}
	}
	certs, err := ParseChain(p.Chains[0])
	if err != nil {
		return nil, &DamagedError{key, err.Error()}
	}
	p.Leaf = certs[0]
	p.sum.Cert = chainsSum(cv.v.Chains)
	kk := keyKey(name, seq, id, kt)
	kv, err := load[StoredKey](ctx, s, kk)
	if err != nil {
		return nil, err
	}
	if kv.exists() {
		if kv.v.Form == "" || len(kv.v.Data) == 0 {
			return nil, &DamagedError{kk, "it holds no key"}
		}
		p.Key = &kv.v
		p.sum.Key = sumOf(kv.v.Data)
	}
	if want != (PairSum{}) && p.sum != want {
		return nil, &DamagedError{key, "it is not what the current pointer names"}
	}
	if p.Key != nil && p.Key.Form == PlainKey {
		k, err := p.Key.Open()
		if err != nil {
			return nil, &DamagedError{kk, "it is not a key"}
		}
		if pub, ok := p.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(k.Public()) {
			return nil, &DamagedError{kk, "it does not belong to the certificate"}
		}
	}
	return p, nil
}

func chainsSum(chains []string) string {
	var all []byte
	for _, c := range chains {
		all = append(all, c...)
		all = append(all, 0)
	}
	return sumOf(all)
}

func sortedKeyTypes(pairs map[KeyType]PairSum) []KeyType {
	var kts []KeyType
	for kt := range pairs {
		kts = append(kts, kt)
	}
	slices.Sort(kts)
	return kts
}
