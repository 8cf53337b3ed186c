package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// keyMaker makes key and CSR once and journals them before it gives the CSR
// away.
type keyMaker struct {
	a  *attempt
	j  *state.Journal
	mu sync.Mutex
}

func (k *keyMaker) csr(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	rec, err := k.j.Load(ctx)
	if err != nil || rec.CSR != nil {
		return rec.CSR, err
	}
	if k.a.req.CSR != nil {
		err := k.j.Update(ctx, func(o *inkan.OrderRecord) { o.CSR = k.a.req.CSR })
		return k.a.req.CSR, err
	}
	stored, key, err := k.key(ctx, rec.KeyType)
	if err != nil {
		return nil, err
	}
	der, err := inkan.NewCSR(key, rec.Identifiers)
	if err != nil {
		return nil, err
	}
	if err := k.j.Update(ctx, func(o *inkan.OrderRecord) { o.CSR, o.Key = der, stored }); err != nil {
		return nil, err
	}
	return der, nil
}

// prepareKey puts key and CSR into a journal that is about to be created, which
// spares a write later. It does so only where that takes no time: a key of an
// elliptic curve that is new and stored as it is. The rest is left to csr.
func (a *attempt) prepareKey(ctx context.Context, rec *inkan.OrderRecord) {
	policy := a.req.Key.Mode
	if a.req.CSR != nil || a.m.SealKey != nil || slices.Contains([]inkan.KeyType{inkan.RSA2048, inkan.RSA3072, inkan.RSA4096}, rec.KeyType) || policy != "" && policy != inkan.KeyNew {
		return
	}
	stored, key, err := a.m.newKey(ctx, rec.KeyType)
	if err != nil {
		return // csr tells of it
	}
	if der, err := inkan.NewCSR(key, rec.Identifiers); err == nil {
		rec.Key, rec.CSR = stored, der
	}
}

// key follows the key policy.
func (k *keyMaker) key(ctx context.Context, kt inkan.KeyType) (*inkan.StoredKey, *inkan.PrivateKey, error) {
	policy := k.a.req.Key
	if policy.Mode == inkan.KeyReuse && !k.a.lastState().NewKey || policy.Mode == inkan.KeyGiven {
		if v := k.a.o.Version; v != nil {
			for i := range v.Pairs {
				p := &v.Pairs[i]
				spki, err := inkan.SPKIHash(p.Leaf.PublicKey)
				if err != nil {
					return nil, nil, err
				}
				if p.KeyType != kt || p.Key == nil || policy.Mode == inkan.KeyGiven && spki != policy.Given {
					continue
				}
				key, err := k.a.m.openKey(ctx, k.a.name, p.Key)
				return p.Key, key, err
			}
		}
	}
	if policy.Mode == inkan.KeyGiven {
		stored, key, err := k.a.m.givenKey(ctx, k.a.name, policy.Given)
		if err != nil {
			return nil, nil, err
		}
		if is, err := key.Type(); err != nil || is != kt {
			return nil, nil, inkan.Errorf(inkan.Operator, "certificate "+k.a.name, "its own private key is not of type %s", kt)
		}
		return stored, key, nil
	}
	return k.a.m.newKey(ctx, kt)
}

// newKey makes a key, in the form in which it is stored too.
func (m *Manager) newKey(ctx context.Context, kt inkan.KeyType) (*inkan.StoredKey, *inkan.PrivateKey, error) {
	key, err := inkan.GenerateKey(kt)
	if err != nil {
		return nil, nil, err
	}
	stored, err := m.sealKey(ctx, key)
	return stored, key, err
}

func (m *Manager) givenKey(ctx context.Context, name, spki string) (*inkan.StoredKey, *inkan.PrivateKey, error) {
	missing := inkan.Errorf(inkan.Operator, "certificate "+name, "its own private key is not on this machine").
		WithHint("name it again with --key-file")
	if m.Host == nil {
		return nil, nil, missing
	}
	r, err := state.Load[inkan.StoredKey](ctx, m.Host, state.GivenKey(spki))
	if err != nil {
		return nil, nil, err
	}
	if !r.Exists() {
		return nil, nil, missing
	}
	key, err := m.openKey(ctx, name, &r.Value)
	return &r.Value, key, err
}

func (m *Manager) sealKey(ctx context.Context, key *inkan.PrivateKey) (*inkan.StoredKey, error) {
	if m.SealKey != nil {
		return m.SealKey(ctx, key)
	}
	return inkan.StorePlain(key)
}

func (m *Manager) openKey(ctx context.Context, name string, k *inkan.StoredKey) (*inkan.PrivateKey, error) {
	return m.OpenKey.Open(ctx, k, inkan.KeyUse{Name: name})
}

// KeepKey stores the user's own private key on this machine, so that an order may
// use it, and returns the policy that names it.
func (m *Manager) KeepKey(ctx context.Context, k *inkan.PrivateKey) (inkan.KeyPolicy, error) {
	if m.Host == nil {
		return inkan.KeyPolicy{}, inkan.Errorf(inkan.Operator, "keeping the private key", "this machine has no Host store")
	}
	spki, err := inkan.SPKIHash(k.Public())
	if err != nil {
		return inkan.KeyPolicy{}, err
	}
	stored, err := m.sealKey(ctx, k)
	if err != nil {
		return inkan.KeyPolicy{}, err
	}
	if there, err := state.Load[inkan.StoredKey](ctx, m.Host, state.GivenKey(spki)); err == nil && there.Exists() {
		return inkan.KeyPolicy{Mode: inkan.KeyGiven, Given: spki}, nil // sealing need not give the same bytes twice
	}
	_, err = state.CreateOnce(ctx, m.Host, state.GivenKey(spki), stored, spki[:16])
	return inkan.KeyPolicy{Mode: inkan.KeyGiven, Given: spki}, err
}
