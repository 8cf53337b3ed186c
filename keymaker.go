package inkan

import (
	"context"
	"sync"
)

// keyMaker makes key and CSR once and journals them before it gives the CSR
// away.
type keyMaker struct {
	a  *attempt
	j  *journal
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
		err := k.j.Update(ctx, func(o *OrderRecord) { o.CSR = k.a.req.CSR })
		return k.a.req.CSR, err
	}
	stored, key, err := k.key(ctx, rec.KeyType)
	if err != nil {
		return nil, err
	}
	der, err := NewCSR(key, rec.Identifiers)
	if err != nil {
		return nil, err
	}
	if err := k.j.Update(ctx, func(o *OrderRecord) { o.CSR, o.Key = der, stored }); err != nil {
		return nil, err
	}
	return der, nil
}

// key follows the key policy.
func (k *keyMaker) key(ctx context.Context, kt KeyType) (*StoredKey, *PrivateKey, error) {
	policy := k.a.req.Key
	if policy.Mode == KeyReuse && !k.a.lastState().NewKey || policy.Mode == KeyGiven {
		if v := k.a.o.Version; v != nil {
			for i := range v.Pairs {
				p := &v.Pairs[i]
				spki, err := SPKIHash(p.Leaf.PublicKey)
				if err != nil {
					return nil, nil, err
				}
				if p.KeyType != kt || p.Key == nil || policy.Mode == KeyGiven && spki != policy.Given {
					continue
				}
				key, err := p.Key.Open()
				return p.Key, key, err
			}
		}
	}
	if policy.Mode == KeyGiven {
		stored, key, err := k.a.m.givenKey(ctx, k.a.name, policy.Given)
		if err != nil {
			return nil, nil, err
		}
		if is, err := key.Type(); err != nil || is != kt {
			return nil, nil, Errorf(Operator, "certificate "+k.a.name, "its own private key is not of type %s", kt)
		}
		return stored, key, nil
	}
	key, err := GenerateKey(kt)
	if err != nil {
		return nil, nil, err
	}
	stored, err := k.a.m.sealKey(ctx, key)
	return stored, key, err
}

func (m *Manager) givenKey(ctx context.Context, name, spki string) (*StoredKey, *PrivateKey, error) {
	missing := Errorf(Operator, "certificate "+name, "its own private key is not on this machine").
		WithHint("name it again with --key-file")
	if m.Host == nil {
		return nil, nil, missing
	}
	r, err := load[StoredKey](ctx, m.Host, givenKeyKey(spki))
	if err != nil {
		return nil, nil, err
	}
	if !r.exists() {
		return nil, nil, missing
	}
	key, err := r.v.Open()
	return &r.v, key, err
}

func (m *Manager) sealKey(ctx context.Context, key *PrivateKey) (*StoredKey, error) {
	if m.SealKey != nil {
		return m.SealKey(ctx, key)
	}
	data, err := key.PEM()
	return &StoredKey{Form: PlainKey, Data: data}, err
}
