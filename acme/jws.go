package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/inkan-acme/inkan"
)

// identity signs requests: with an account's key and URL (kid), or with a bare
// key (jwk) where RFC 8555 section 6.2 wants one: newAccount, and revocation
// with the certificate's key.
type identity struct {
	key *inkan.PrivateKey
	kid string // the account URL; "" embeds the public key

	pinned bool // this very key, though the account may have another by now
}

// sign returns the flattened JWS of RFC 8555 section 6.2. A nil payload is the
// empty one of POST-as-GET (section 6.3).
func (id identity) sign(target, nonce string, payload []byte) ([]byte, error) {
	opts := &jose.SignerOptions{EmbedJWK: id.kid == ""}
	opts.WithHeader("url", target).WithHeader("nonce", nonce)
	if id.kid != "" {
		opts.WithHeader("kid", id.kid)
	}
	alg, err := algorithm(id.key.Public())
	if err != nil {
		return nil, err
	}
	return flattened(jose.SigningKey{Algorithm: alg, Key: id.key.Signer()}, opts, payload)
}

// algorithm returns the JWS algorithm for a public key (RFC 7518 section 3.1,
// RFC 8037).
func algorithm(pub crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
	case *rsa.PublicKey:
		return jose.RS256, nil
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", fmt.Errorf("keys of type %T cannot sign ACME requests", pub)
}

// flattened signs payload and returns the flattened JSON serialization.
func flattened(key jose.SigningKey, opts *jose.SignerOptions, payload []byte) ([]byte, error) {
	signer, err := jose.NewSigner(key, opts)
	if err != nil {
		return nil, err
	}
	if payload == nil {
		payload = []byte{} // nil would leave the member out
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return nil, err
	}
	return []byte(signed.FullSerialize()), nil
}

// Thumbprint returns the RFC 7638 thumbprint of a key in base64url, the second
// half of every key authorization (RFC 8555 section 8.1).
func Thumbprint(key *inkan.PrivateKey) (string, error) {
	jwk := jose.JSONWebKey{Key: key.Public()}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
