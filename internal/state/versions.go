package state

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// LoadVersion reads the version that cur names and checks it: checksums, every
// certificate readable, key and leaf belong together.
func LoadVersion(ctx context.Context, s inkan.Store, name string, cur inkan.Current) (*inkan.Version, error) {
	v := &inkan.Version{Name: name, N: cur.N, Seq: cur.Seq, ID: cur.ID, At: cur.At}
	for _, kt := range sortedKeyTypes(cur.Pairs) {
		p, err := LoadPair(ctx, s, name, cur.Seq, cur.ID, kt, cur.Pairs[kt])
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
	inkan.Pair
	identifiers []inkan.Identifier
	Sum         inkan.PairSum
}

// LoadPair reads one pair; with a non-zero want its checksums must fit.
func LoadPair(ctx context.Context, s inkan.Store, name string, seq uint64, id string, kt inkan.KeyType, want inkan.PairSum) (*loadedPair, error) {
	key := CertKey(name, seq, id, kt)
	cv, err := Load[CertValue](ctx, s, key)
	if err != nil {
		return nil, err
	}
	if !cv.Exists() {
		return nil, damaged(key, "it is missing")
	}
	p := &loadedPair{Pair: inkan.Pair{KeyType: kt, Ask: cv.Value.Ask, CA: cv.Value.CA, Account: cv.Value.Account, Source: cv.Value.Source},
		identifiers: cv.Value.Identifiers}
	for _, c := range cv.Value.Chains {
		p.Chains = append(p.Chains, []byte(c))
	}
	if len(p.Chains) == 0 {
		return nil, damaged(key, "it holds no chain")
	}
	certs, err := inkan.ParseChain(p.Chains[0])
	if err != nil {
		return nil, damaged(key, err.Error())
	}
	p.Leaf = certs[0]
	p.Sum.Cert = ChainsSum(cv.Value.Chains)
	kk := KeyKey(name, seq, id, kt)
	kv, err := Load[inkan.StoredKey](ctx, s, kk)
	if err != nil {
		return nil, err
	}
	if kv.Exists() {
		if kv.Value.Form == "" || len(kv.Value.Data) == 0 {
			return nil, damaged(kk, "it holds no key")
		}
		p.Key = &kv.Value
		p.Sum.Key = Sum(kv.Value.Data)
	}
	if want != (inkan.PairSum{}) && p.Sum != want {
		return nil, damaged(key, "it is not what the current pointer names")
	}
	if p.Key != nil && p.Key.Form == inkan.PlainKey {
		k, err := p.Key.Open()
		if err != nil {
			return nil, damaged(kk, "it is not a key")
		}
		if pub, ok := p.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(k.Public()) {
			return nil, damaged(kk, "it does not belong to the certificate")
		}
	}
	return p, nil
}

func ChainsSum(chains []string) string {
	var all []byte
	for _, c := range chains {
		all = append(all, c...)
		all = append(all, 0)
	}
	return Sum(all)
}

func sortedKeyTypes(pairs map[inkan.KeyType]inkan.PairSum) []inkan.KeyType {
	var kts []inkan.KeyType
	for kt := range pairs {
		kts = append(kts, kt)
	}
	slices.Sort(kts)
	return kts
}

// CertValue is v/<name>/<seq>-<id>/<alg>/cert.
type CertValue struct {
	Chains      []string           `json:"chains"` // PEM, leaf first; the CA's default first
	KeyType     inkan.KeyType      `json:"key_type"`
	Identifiers []inkan.Identifier `json:"identifiers"`
	Ask         string             `json:"ask"`
	CA          string             `json:"ca"`
	Account     string             `json:"account"`
	Source      string             `json:"source"`
}

// Versions lists the versions of a certificate, oldest first. A version that
// cannot be read is left out and its error joined.
func Versions(ctx context.Context, s inkan.Store, name string) ([]*inkan.Version, error) {
	var vs []*inkan.Version
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
func LoadVersionAt(ctx context.Context, s inkan.Store, name, dir string, n uint64) (*inkan.Version, error) {
	var seq uint64
	var id string
	if _, err := fmt.Sscanf(dir, "%010d-%s", &seq, &id); err != nil || fmt.Sprintf("%010d-%s", seq, id) != dir {
		return nil, inkan.Errorf(inkan.Bug, "certificate "+name, "%q is not a version", inkan.Printable(dir, 80))
	}
	v := &inkan.Version{Name: name, N: n, Seq: seq, ID: id}
	prefix := VersionPrefix(name, seq, id)
	for key, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		alg, isCert := strings.CutSuffix(strings.TrimPrefix(key, prefix), "/cert")
		if !isCert || !inkan.KeyType(alg).Valid() {
			continue
		}
		p, err := LoadPair(ctx, s, name, seq, id, inkan.KeyType(alg), inkan.PairSum{})
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
