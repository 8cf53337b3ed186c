package state

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// CertValue is what stands at [VersionID.Cert].
type CertValue struct {
	Chains      []string           `json:"chains"` // PEM, leaf first; the CA's default first
	KeyType     inkan.KeyType      `json:"key_type"`
	Identifiers []inkan.Identifier `json:"identifiers"`
	OrderHash   string             `json:"ask"`
	CA          string             `json:"ca"`
	Account     string             `json:"account"`
	Source      string             `json:"source"`
}

// StorePair writes one pair of a version: the key, exactly as it was
// journalled, then the certificate (rows 10 and 11 of the commit protocol).
// key is nil if the user's own CSR was used. The Sum of the result is what current
// is to say of the pair.
func StorePair(ctx context.Context, s inkan.Store, v VersionID, cv CertValue, key *inkan.StoredKey) (*Pair, error) {
	p, err := cv.pair(v.Cert(cv.KeyType))
	if err != nil {
		return nil, err
	}
	if key != nil {
		if _, err := CreateOnce(ctx, s, v.Key(cv.KeyType), key, v.ID); err != nil {
			return nil, err
		}
		p.setKey(key)
	}
	p.Sum.Value, err = CreateOnce(ctx, s, v.Cert(cv.KeyType), cv, v.ID)
	return p, err
}

// Pair is a pair as it stands in the Store.
type Pair struct {
	inkan.Pair
	Identifiers []inkan.Identifier
	Sum         inkan.PairSum
}

// pair returns what the value says, without its checksum and key.
func (cv *CertValue) pair(key string) (*Pair, error) {
	if len(cv.Chains) == 0 {
		return nil, damaged(key, "it holds no chain")
	}
	p := &Pair{Pair: inkan.Pair{KeyType: cv.KeyType, OrderHash: cv.OrderHash, CA: cv.CA, Account: cv.Account, Source: cv.Source}, Identifiers: cv.Identifiers}
	for _, c := range cv.Chains {
		p.Chains = append(p.Chains, []byte(c))
	}
	certs, err := inkan.ParseChain(p.Chains[0])
	if err != nil {
		return nil, damaged(key, err.Error())
	}
	p.Leaf = certs[0]
	p.Sum = inkan.PairSum{Cert: chainsSum(cv.Chains), Fingerprint: p.Fingerprint().String(), NotBefore: p.Leaf.NotBefore.UTC(), NotAfter: p.Leaf.NotAfter.UTC()}
	if p.Sum.SPKI, err = inkan.SPKIHash(p.Leaf.PublicKey); err != nil {
		return nil, damaged(key, err.Error())
	}
	return p, nil
}

func (p *Pair) setKey(k *inkan.StoredKey) { p.Key, p.Sum.Key = k, Sum(k.Data) }

// LoadVersion reads the version that cur names. It returns an [inkan.DamagedError]
// if a checksum does not match, a certificate cannot be read, or a key and its leaf
// do not belong together.
func LoadVersion(ctx context.Context, s inkan.Store, name string, cur inkan.Current) (*inkan.Version, error) {
	v := &inkan.Version{Name: name, N: cur.N, Seq: cur.Seq, ID: cur.ID, At: cur.At}
	id := VersionID{name, cur.Seq, cur.ID}
	for _, kt := range slices.Sorted(maps.Keys(cur.Pairs)) {
		want := cur.Pairs[kt]
		keyAt := id.Key(kt)
		if cur.K > 0 && want.Key != "" {
			keyAt = id.SealedKey(kt, want.Key)
		}
		p, err := loadPair(ctx, s, id, kt, keyAt)
		if err == nil {
			err = p.fits(want, id.Cert(kt))
		}
		if err != nil {
			return nil, err
		}
		v.Pairs = append(v.Pairs, p.Pair)
		v.Identifiers = p.Identifiers
	}
	if len(v.Pairs) == 0 {
		return nil, fmt.Errorf("certificate %s: %w", name, fs.ErrNotExist)
	}
	return v, nil
}

// fits reports damage if the pair is not the one that current names. What was
// published before 2026-11-29 names the chains and the stored key only.
func (p *Pair) fits(want inkan.PairSum, key string) error {
	same := want.Key == "" || want.Key == p.Sum.Key
	if want.SPKI != "" {
		same = same && want.SPKI == p.Sum.SPKI && want.Value == p.Sum.Value
	} else {
		same = want.Key == p.Sum.Key && want.Cert == p.Sum.Cert
	}
	if !same {
		return damaged(key, "it is not what the current pointer names")
	}
	return nil
}

// LoadPair reads one pair of a version, whether or not it is in force.
func LoadPair(ctx context.Context, s inkan.Store, v VersionID, kt inkan.KeyType) (*Pair, error) {
	return loadPair(ctx, s, v, kt, v.Key(kt))
}

func loadPair(ctx context.Context, s inkan.Store, v VersionID, kt inkan.KeyType, keyAt string) (*Pair, error) {
	certAt := v.Cert(kt)
	cv, err := Load[CertValue](ctx, s, certAt)
	if err != nil {
		return nil, err
	}
	if !cv.Exists() {
		return nil, damaged(certAt, "it is missing")
	}
	cv.Value.KeyType = kt
	p, err := cv.Value.pair(certAt)
	if err != nil {
		return nil, err
	}
	p.Sum.Value = cv.Sum
	key, err := Load[inkan.StoredKey](ctx, s, keyAt)
	if err != nil || !key.Exists() {
		return p, err
	}
	if reason := whyNoKey(&key.Value, p); reason != "" {
		return nil, damaged(keyAt, reason)
	}
	p.setKey(&key.Value)
	return p, nil
}

// whyNoKey tells why what is stored cannot be the key of the pair; "" if it can.
// A key that only its opener can read is known by the hash of its public key.
func whyNoKey(k *inkan.StoredKey, p *Pair) string {
	const foreign = "it does not belong to the certificate"
	switch {
	case k.Form == "" || len(k.Data) == 0:
		return "it holds no key"
	case k.SPKI != "" && k.SPKI != p.Sum.SPKI:
		return foreign
	case k.Form != inkan.PlainKey:
		return ""
	}
	key, err := inkan.ParseKey(k.Data)
	if err != nil {
		return "it is not a key"
	}
	if pub, ok := p.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return foreign
	}
	return ""
}

// chainsSum is the checksum of chains, as current named them before 2026-11-29.
func chainsSum(chains []string) string {
	var all []byte
	for _, c := range chains {
		all = append(all, c...)
		all = append(all, 0)
	}
	return Sum(all)
}

// Versions lists the versions of a certificate, oldest first, those never
// published included. A version that cannot be read is left out and its error
// joined.
func Versions(ctx context.Context, s inkan.Store, name string) ([]*inkan.Version, error) {
	var vs []*inkan.Version
	var errs []error
	seen := ""
	prefix := VersionsPrefix(name)
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
	id, err := ParseVersion(name, dir)
	if err != nil {
		return nil, err
	}
	v := &inkan.Version{Name: name, N: n, Seq: id.Seq, ID: id.ID}
	prefix := id.Prefix()
	for key, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		alg, isCert := strings.CutSuffix(strings.TrimPrefix(key, prefix), "/cert")
		if !isCert || !inkan.KeyType(alg).Valid() {
			continue
		}
		p, err := LoadPair(ctx, s, id, inkan.KeyType(alg))
		if err != nil {
			return nil, err
		}
		v.Pairs = append(v.Pairs, p.Pair)
		v.Identifiers = p.Identifiers
	}
	if len(v.Pairs) == 0 {
		return nil, fmt.Errorf("version %s of %s: %w", dir, name, fs.ErrNotExist)
	}
	return v, nil
}

// Soundest returns the newest version of a certificate that can be read whole
// and has not expired, for when the one in force cannot; fs.ErrNotExist if
// there is none. The one that current names is not what was published; it is taken
// only if its keys can be read here, so that they are known to belong to it.
func Soundest(ctx context.Context, s inkan.Store, name string, cur inkan.Current, now time.Time) (*inkan.Version, error) {
	vs, _ := Versions(ctx, s, name) // what cannot be read is passed over
	for _, v := range slices.Backward(vs) {
		named := v.Seq == cur.Seq && v.ID == cur.ID
		unusable := slices.ContainsFunc(v.Pairs, func(p inkan.Pair) bool {
			return p.Key == nil && p.Source == inkan.SourceIssued || !now.Before(p.Leaf.NotAfter) ||
				named && p.Key != nil && p.Key.Form != inkan.PlainKey
		})
		if !unusable {
			return v, nil
		}
	}
	return nil, fmt.Errorf("a sound version of %s: %w", name, fs.ErrNotExist)
}
