package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"slices"

	"github.com/inkan-acme/inkan"
)

type revokePayload struct {
	Certificate string                 `json:"certificate"`
	Reason      inkan.RevocationReason `json:"reason,omitempty"`
}

// Revoke implements [inkan.Revoker] (RFC 8555 section 7.6).
func (c *Client) Revoke(ctx context.Context, leaf *x509.Certificate, reason inkan.RevocationReason, key *inkan.PrivateKey) error {
	op := c.op("revocation")
	reasons := []inkan.RevocationReason{inkan.Unspecified, inkan.KeyCompromise, inkan.AffiliationChanged, inkan.Superseded, inkan.CessationOfOperation}
	if !slices.Contains(reasons, reason) {
		return inkan.Errorf(inkan.Operator, op, "CAs do not take the reason %d from subscribers", int(reason)).
			WithHint("one of 0 (unspecified), 1 (key compromise), 3 (affiliation changed), 4 (superseded), 5 (cessation of operation)")
	}
	signer := identity{key: key}
	if key == nil {
		a, err := c.signIn(ctx)
		if err != nil {
			return err
		}
		signer = a.identity
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return err
	}
	if dir.RevokeCert == "" {
		return inkan.Errorf(inkan.Rejected, op, "the CA offers no revocation")
	}
	payload := mustJSON(revokePayload{base64.RawURLEncoding.EncodeToString(leaf.Raw), reason})
	_, err = c.postDirectory(ctx, epRevoke, op, func(d *directory) string { return d.RevokeCert }, signer,
		func(string) ([]byte, error) { return payload, nil })
	if isProblem(err, alreadyRevoked) {
		return nil
	}
	return err
}
