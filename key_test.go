package inkan

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKeyRoundTrip(t *testing.T) {
	for _, kt := range AllKeyTypes() {
		if kt == RSA4096 && testing.Short() {
			continue
		}
		k := testKey(t, kt)
		if got, err := k.Type(); got != kt || err != nil {
			t.Errorf("%s: type %s, %v", kt, got, err)
		}
		data, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKey(data)
		if err != nil {
			t.Fatalf("%s: %v", kt, err)
		}
		if !again.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Errorf("%s: another key came back", kt)
		}
		opened, err := KeyOpener(nil).Open(t.Context(), &StoredKey{Form: PlainKey, Data: data}, KeyUse{})
		if err != nil {
			t.Fatal(err)
		}
		a, errA := SPKIHash(opened.Public())
		b, errB := SPKIHash(k.Public())
		if a != b || len(a) != 64 || errA != nil || errB != nil {
			t.Errorf("%s: SPKI %s %v and %s %v", kt, a, errA, b, errB)
		}
	}
	if _, err := GenerateKey("dsa\n"); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestParseKeyForms(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	params := block("EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34})
	for what, c := range map[string]struct {
		data []byte
		want KeyType
	}{
		"SEC 1":                       {block("EC PRIVATE KEY", sec1), ECDSAP384},
		"SEC 1 behind its parameters": {append(params, block("EC PRIVATE KEY", sec1)...), ECDSAP384},
		"PKCS #1":                     {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), RSA2048},
		"text before":                 {append([]byte("a key:\n"), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r))...), RSA2048},
	} {
		k, err := ParseKey(c.data)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got, err := k.Type(); got != c.want || err != nil {
			t.Errorf("%s: %s, %v", what, got, err)
		}
		if data, err := k.PEM(); err != nil || !bytes.HasPrefix(data, []byte("-----BEGIN PRIVATE KEY-----")) {
			t.Errorf("%s: not written as PKCS #8: %v", what, err)
		}
	}
}

// TestN01ParseKeyErrors: no error repeats any of the input.
func TestN01ParseKeyErrors(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := x509.MarshalPKCS8PrivateKey(p224)
	if err != nil {
		t.Fatal(err)
	}
	const canary = "CANARYcanary0123456789"
	for what, data := range map[string][]byte{
		"empty":        nil,
		"text":         []byte(canary),
		"garbage":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(canary)}),
		"garbage SEC1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte(canary)}),
		"garbage RSA":  pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte(canary)}),
		"other block":  pem.EncodeToMemory(&pem.Block{Type: canary, Bytes: []byte(canary)}),
		"encrypted":    pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte(canary)}),
		"P-224":        pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: odd}),
		"torn":         []byte("-----BEGIN PRIVATE KEY-----\n" + canary),
	} {
		_, err := ParseKey(data)
		if err == nil || KindOf(err) != Operator {
			t.Errorf("%s: %v, want an error of kind operator", what, err)
			continue
		}
		for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))[:12], hex.EncodeToString([]byte(canary))} {
			if strings.Contains(fmt.Sprintf("%+v %q", err, HintsOf(err)), secret) {
				t.Errorf("%s: the error %q holds input", what, err)
			}
		}
	}
}

// TestN01KeysNeverPrinted: no verb, JSON or log shows a key, whether a pointer, a
// copy or a part of something.
func TestN01KeysNeverPrinted(t *testing.T) {
	type holder struct {
		Key    *PrivateKey
		Stored *StoredKey
		Copy   StoredKey
	}
	for _, kt := range []KeyType{ECDSAP256, RSA2048, Ed25519} {
		k := testKey(t, kt)
		data, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		stored := &StoredKey{Form: PlainKey, Data: data}
		block, _ := pem.Decode(data)
		secrets := []string{string(data[40:60]), hex.EncodeToString(block.Bytes[len(block.Bytes)-40 : len(block.Bytes)-24]),
			strings.Trim(fmt.Sprint(data[40:60]), "[]"), strings.Trim(fmt.Sprint(block.Bytes[len(block.Bytes)-40:len(block.Bytes)-24]), "[]")}
		var out bytes.Buffer
		for _, v := range []any{k, *k, stored, *stored, &holder{k, stored, *stored}, holder{k, stored, *stored}, []any{k, *stored}, OrderRecord{Key: stored}, AccountRecord{Key: stored, Next: stored}, Pair{Key: stored}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			l := slog.New(h)
			l.LogAttrs(context.Background(), slog.LevelError, "x", slog.Any("k", k), slog.Any("copy", *k), slog.Any("s", stored), slog.Any("s2", *stored),
				slog.Any("order", OrderRecord{Key: stored}), slog.Any("orders", []OrderRecord{{Key: stored}}), slog.Any("account", AccountRecord{Key: stored, Next: stored}),
				slog.Any("version", Version{Pairs: []Pair{{Key: stored}}}))
		}
		for _, v := range []any{k, *k, map[string]any{"k": k}, struct{ K PrivateKey }{*k}} {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(b)
		}
		for _, s := range secrets {
			if strings.Contains(strings.ToLower(out.String()), strings.ToLower(s)) {
				t.Errorf("%s: the output holds %q", kt, s)
			}
		}
		if n := strings.Count(out.String(), "[private key]"); n < 20 {
			t.Errorf("%s: the placeholder stands %d times", kt, n)
		}
	}
}

func TestParseKeyType(t *testing.T) {
	for in, want := range map[string]KeyType{"": "", "p256": ECDSAP256, "ecdsa": ECDSAP256, "p384": ECDSAP384, "p521": ECDSAP521, "rsa": RSA2048, "rsa-4096": RSA4096, "ed25519": Ed25519, "RSA": "", "dsa": "", "rsa-1024": ""} {
		got, err := ParseKeyType(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", in, got, err)
		}
		if err != nil && (KindOf(err) != Operator || len(HintsOf(err)) == 0) {
			t.Errorf("%q: %v without a hint", in, err)
		}
	}
}

func TestStoredKey(t *testing.T) {
	a, b := &StoredKey{Form: PlainKey, Data: []byte("x")}, &StoredKey{Form: "age", Data: []byte("x")}
	if !a.Equal(&StoredKey{Form: PlainKey, Data: []byte("x")}) || a.Equal(b) || a.Equal(nil) || (*StoredKey)(nil).Equal(a) {
		t.Error("Equal is wrong")
	}
	if got := fmt.Sprintf("%v", (*StoredKey)(nil)); strings.Contains(got, "x") {
		t.Error(got)
	}
}

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

// FuzzParseKey: an error that holds nothing of the input, or a key of a kind that
// is known and reads back as itself.
func FuzzParseKey(f *testing.F) {
	for _, kt := range []KeyType{ECDSAP256, Ed25519} {
		data, err := testKey(f, kt).PEM()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\n\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKey(data)
		if err != nil {
			if KindOf(err) != Operator || len(err.Error()) > 200 || strings.ContainsFunc(err.Error(), hidden) {
				t.Errorf("error %q of kind %v", err, KindOf(err))
			}
			return
		}
		again, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		k2, err := ParseKey(again)
		if err != nil {
			t.Fatalf("written again it is refused: %v", err)
		}
		a, errA := SPKIHash(k.Public())
		b, errB := SPKIHash(k2.Public())
		if errA != nil || errB != nil || a != b {
			t.Errorf("it reads back as another key: %v %v", errA, errB)
		}
	})
}

func testKey(t testing.TB, kt KeyType) *PrivateKey {
	t.Helper()
	k, err := GenerateKey(kt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
