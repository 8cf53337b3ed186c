package acme

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/inkan-acme/inkan"
)

// externalBinding returns the external account binding for newAccount (RFC 8555
// section 7.3.4): the account's public key, signed with the MAC key that the CA
// handed out. It returns nil when none is configured.
func (c *Client) externalBinding(key *inkan.PrivateKey, target string) (json.RawMessage, error) {
	op := c.op("external account binding")
	if c.config.EABKeyID == "" {
		return nil, nil
	}
	mac, err := decodeMACKey(c.config.EABKey.Reveal())
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, op, "the key is not base64url").
			WithHint("copy the HMAC key again from the CA's page, without spaces")
	}
	alg := jose.SignatureAlgorithm(c.config.EABAlgorithm)
	if need := eabAlgorithms()[alg]; len(mac) < need {
		return nil, inkan.Errorf(inkan.Operator, op, "the key has %d bytes; %s needs %d or more", len(mac), alg, need).
			WithHint("copy the HMAC key again from the CA's page; it may have been cut")
	}
	jwk, err := (&jose.JSONWebKey{Key: key.Public()}).MarshalJSON()
	if err != nil {
		return nil, inkan.Errorf(inkan.Bug, op, "%w", err)
	}
	opts := (&jose.SignerOptions{}).WithHeader("url", target).WithHeader("kid", c.config.EABKeyID)
	signed, err := flattened(jose.SigningKey{Algorithm: alg, Key: mac}, opts, jwk)
	if err != nil {
		// The error may speak of the key, so it is not shown.
		return nil, inkan.Errorf(inkan.Operator, op, "the key cannot be used with %s", alg)
	}
	return signed, nil
}

// eabAlgorithms returns the MAC algorithms with the key length that each needs
// in bytes (RFC 7518 section 3.2).
func eabAlgorithms() map[jose.SignatureAlgorithm]int {
	return map[jose.SignatureAlgorithm]int{jose.HS256: 32, jose.HS384: 48, jose.HS512: 64}
}

// decodeMACKey reads base64url or base64, with or without padding: CAs hand
// out all of them.
func decodeMACKey(s string) ([]byte, error) {
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	return base64.RawURLEncoding.DecodeString(s)
}
