package inkan

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// A form that this machine cannot open is named, what an opener says is passed on
// with its kind, and a key other than the stored one is refused.
func TestKeyOpener(t *testing.T) {
	ctx := t.Context()
	key, other := testKey(t, ECDSAP256), testKey(t, ECDSAP256)
	plain, err := StorePlain(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed := &StoredKey{Form: "age", Data: []byte("secret"), SPKI: plain.SPKI}
	use := KeyUse{Name: "www"}
	opens := func(k *PrivateKey, err error) KeyOpener {
		return func(_ context.Context, s *StoredKey, u KeyUse) (*PrivateKey, error) {
			if s != sealed || u != use {
				t.Errorf("asked to open %v for %v", s, u)
			}
			return k, err
		}
	}
	for _, c := range []struct {
		what string
		open KeyOpener
		key  *StoredKey
		want string // in the error; "" for none
		kind Kind
	}{
		{"plain without an opener", nil, plain, "", 0},
		{"plain beside an opener", opens(nil, errors.New("not asked")), plain, "", 0},
		{"not a key", nil, &StoredKey{Form: PlainKey, Data: []byte("x")}, "no private key", Operator},
		{"without an opener", nil, sealed, `private key of www: it is stored in the form "age", which this machine cannot open`, Operator},
		{"opened", opens(key, nil), sealed, "", 0},
		{"another key", opens(other, nil), sealed, "another key", Bug},
		{"refused", opens(nil, Errorf(Rejected, "kms", "denied")), sealed, "denied", Rejected},
	} {
		got, err := c.open.Open(ctx, c.key, use)
		switch {
		case c.want == "" && (err != nil || !samePublic(got, key)):
			t.Errorf("%s: %v", c.what, err)
		case c.want != "" && (err == nil || KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v of kind %v", c.what, err, KindOf(err))
		}
	}
}

func samePublic(a, b *PrivateKey) bool {
	x, errX := SPKIHash(a.Public())
	y, errY := SPKIHash(b.Public())
	return errX == nil && errY == nil && x == y
}
