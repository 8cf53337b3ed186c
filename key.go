package inkan

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"slices"
)

// KeyType is a kind of key pair: ecdsa-p256 (the default), ecdsa-p384,
// ecdsa-p521, rsa-2048, rsa-3072, rsa-4096, ed25519.
type KeyType string

// The key types.
const (
	ECDSAP256 KeyType = "ecdsa-p256"
	ECDSAP384 KeyType = "ecdsa-p384"
	ECDSAP521 KeyType = "ecdsa-p521"
	RSA2048   KeyType = "rsa-2048"
	RSA3072   KeyType = "rsa-3072"
	RSA4096   KeyType = "rsa-4096"
	Ed25519   KeyType = "ed25519"
)

// AllKeyTypes lists the key types, the default first.
func AllKeyTypes() []KeyType {
	return []KeyType{ECDSAP256, ECDSAP384, ECDSAP521, RSA2048, RSA3072, RSA4096, Ed25519}
}

// ParseKeyType reads what a person wrote: a key type or one of the short forms
// p256, p384, p521, ecdsa and rsa (2048 bits).
func ParseKeyType(s string) (KeyType, error) {
	switch s {
	case "p256", "ecdsa":
		return ECDSAP256, nil
	case "p384":
		return ECDSAP384, nil
	case "p521":
		return ECDSAP521, nil
	case "rsa":
		return RSA2048, nil
	}
	if kt := KeyType(s); kt.Valid() {
		return kt, nil
	}
	return "", Errorf(Operator, "key type "+Printable(s, 40), "unknown").WithHint("one of %s", joinKeyTypes(AllKeyTypes()))
}

// Valid reports whether kt is one of [AllKeyTypes].
func (kt KeyType) Valid() bool { return slices.Contains(AllKeyTypes(), kt) }

// PrivateKey is a private key that does not show itself: every way of printing
// it yields a placeholder. Only PEM and Signer give it away.
type PrivateKey struct{ signer crypto.Signer }

// GenerateKey makes a new key. An RSA key of 4096 bits takes about a second.
func GenerateKey(kt KeyType) (*PrivateKey, error) {
	var signer crypto.Signer
	var err error
	switch kt {
	case ECDSAP256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ECDSAP521:
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RSA2048:
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		signer, err = rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		signer, err = rsa.GenerateKey(rand.Reader, 4096)
	case Ed25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, Errorf(Operator, "key type "+Printable(string(kt), 40), "unknown")
	}
	if err != nil {
		return nil, fmt.Errorf("generating a %s key: %w", kt, err)
	}
	return &PrivateKey{signer}, nil
}

// ParseKey reads a private key in PEM: PKCS #8, SEC 1 or PKCS #1. Its errors
// never hold any of the input.
func ParseKey(data []byte) (*PrivateKey, error) {
	fail := func(format string, args ...any) *Error {
		return Errorf(Operator, "private key", format, args...)
	}
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, fail("no private key in PEM form was found")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, fail("it is protected by a passphrase").WithHint("remove it with: openssl pkey -in KEY -out PLAIN")
		default:
			continue // EC PARAMETERS stand before a SEC 1 key
		}
		if err != nil {
			return nil, fail("the %s block cannot be read", block.Type)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fail("a key of type %T cannot sign", key)
		}
		k := &PrivateKey{signer}
		if _, err := k.Type(); err != nil {
			return nil, err
		}
		return k, nil
	}
}

// Signer returns the key itself.
func (k *PrivateKey) Signer() crypto.Signer { return k.signer }

// Public returns the public key.
func (k *PrivateKey) Public() crypto.PublicKey { return k.signer.Public() }

// PEM returns the key as PKCS #8 in PEM, the form that every server reads.
func (k *PrivateKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Type returns the key type, or an error for a kind of key we do not use.
func (k *PrivateKey) Type() (KeyType, error) { return KeyTypeOf(k.signer.Public()) }

// String, GoString, Format and LogValue never show the key. Their receivers are
// values, so that this holds for a copy too.
func (k PrivateKey) String() string { return "[private key]" }

func (k PrivateKey) GoString() string { return "[private key]" }

func (k PrivateKey) LogValue() slog.Value { return slog.StringValue("[private key]") }

func (k PrivateKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[private key]") }

// MarshalJSON never shows the key.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"[private key]"`), nil }

// KeyTypeOf returns the key type of a public key.
func KeyTypeOf(pub crypto.PublicKey) (KeyType, error) {
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return ECDSAP256, nil
		case elliptic.P384():
			return ECDSAP384, nil
		case elliptic.P521():
			return ECDSAP521, nil
		}
	case *rsa.PublicKey:
		switch p.N.BitLen() {
		case 2048:
			return RSA2048, nil
		case 3072:
			return RSA3072, nil
		case 4096:
			return RSA4096, nil
		}
		return "", Errorf(Operator, "private key", "an RSA key of %d bits; use 2048, 3072 or 4096", p.N.BitLen())
	case ed25519.PublicKey:
		return Ed25519, nil
	}
	return "", Errorf(Operator, "private key", "keys of type %T are not supported", pub)
}

// SPKIHash returns the hex SHA-256 of the SubjectPublicKeyInfo of a public key.
func SPKIHash(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// StoredKey is a private key as the Store keeps it. Form tells how to read
// Data: "plain" is PKCS #8 in PEM. A [KeyOpener] opens it. It does not print its
// data. It becomes JSON only on its way into a Store: anywhere else marshalling
// fails, so that no log shows a key and no placeholder is kept for one.
type StoredKey struct {
	Form string
	Data []byte
	SPKI string // hex SHA-256 of its SubjectPublicKeyInfo; "" in records from before 2026-11-29
}

// PlainKey is the Form of a key that is stored as it is.
const PlainKey = "plain"

// Equal reports whether both hold the same bytes in the same form.
func (s *StoredKey) Equal(o *StoredKey) bool {
	return s != nil && o != nil && s.Form == o.Form && bytes.Equal(s.Data, o.Data)
}

// MarshalJSON fails: the code that writes records into a Store writes the fields.
func (s StoredKey) MarshalJSON() ([]byte, error) {
	return nil, Errorf(Bug, "private key", "a stored key is written to a Store only")
}

// UnmarshalJSON reads what a Store kept.
func (s *StoredKey) UnmarshalJSON(data []byte) error {
	var v struct {
		Form string `json:"form"`
		Data []byte `json:"data"`
		SPKI string `json:"spki"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*s = StoredKey{Form: v.Form, Data: v.Data, SPKI: v.SPKI}
	return nil
}

// Format never shows the data, not even that of a copy.
func (s StoredKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[stored key]") }

// LogValue never shows the data.
func (s StoredKey) LogValue() slog.Value { return slog.StringValue("[stored key]") }
