package acme

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
)

// maxFinalizes bounds how often one run finalizes an order that stays ready.
const maxFinalizes = 3

// finalize sends the CSR (RFC 8555 section 7.4). Key, CSR and the fact that it
// is sent are made durable first.
func (o *order) finalize(ctx context.Context, obj *orderObject) (*orderObject, error) {
	op := o.c.op("finalize")
	if o.finalizes++; o.finalizes > maxFinalizes {
		return nil, inkan.Errorf(inkan.Temporary, op, "the order stays ready after %d requests", maxFinalizes)
	}
	csr, err := o.getCSR(ctx)
	if err != nil {
		return nil, err
	}
	if !o.finalized {
		if err := o.journal(ctx, func(r *inkan.OrderRecord) { r.Finalizing = true }); err != nil {
			return nil, err
		}
		o.finalized = true
	}
	o.progress("finalizing")
	payload := mustJSON(map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)})
	resp, err := o.c.post(ctx, epOther, op, obj.Finalize, o.acct.identity, payload)
	if isProblem(err, orderNotReady) {
		// The CA's servers disagree for a moment: the order itself decides.
		if err := sleep(ctx, earlyLook); err != nil {
			return nil, interrupted(ctx, op, err)
		}
		return o.read(ctx, o.c.op("order"))
	}
	if isProblem(err, badCSR, badPublicKey) {
		return nil, inkan.Errorf(inkan.Rejected, op, "%w", marked{problemOf(err), inkan.ErrKeyRefused}).
			WithHint("the CA does not take this key or certificate request; try another key type or, if others may know the key, another key")
	}
	if err != nil {
		return nil, err
	}
	return o.parse(op, resp)
}

// collect downloads the chains of a valid order. It returns nil without an
// error if the certificate is not for our key, which can only happen when we
// never finalized this order.
func (o *order) collect(ctx context.Context, obj *orderObject) (*inkan.Issued, error) {
	o.progress("downloading")
	chains, err := o.download(ctx, obj.Certificate)
	if err != nil {
		return nil, err
	}
	if !o.finalized {
		csr, err := o.getCSR(ctx)
		if err != nil {
			return nil, err
		}
		if !sameKey(chains[0], csr) {
			return nil, nil
		}
	}
	return &inkan.Issued{Chains: chains}, nil
}

// download gets the default chain and then the alternates, all at once (RFC
// 8555 section 7.4.2). An alternate that cannot be had is no error.
func (o *order) download(ctx context.Context, url string) ([][]byte, error) {
	op := o.c.op("certificate")
	resp, err := o.c.post(ctx, epOther, op, url, o.acct.identity, nil)
	if err != nil {
		if notFound(err) {
			return nil, inkan.Errorf(inkan.Rejected, op, "%w: %w", err, inkan.ErrOrderDead)
		}
		return nil, err
	}
	urls := alternates(resp.header, url)
	others := make([][]byte, len(urls))
	var g errgroup.Group
	for i, alt := range urls {
		g.Go(func() error {
			resp, err := o.c.post(ctx, epOther, op, alt, o.acct.identity, nil)
			if err != nil {
				o.c.log.DebugContext(ctx, "an alternate chain was not downloaded", "name", o.rec.Name, "error", err)
				return nil
			}
			others[i] = resp.body
			return nil
		})
	}
	_ = g.Wait() // never fails
	chains := [][]byte{resp.body}
	for _, chain := range others {
		if chain != nil {
			chains = append(chains, chain)
		}
	}
	return chains, nil
}

// sameKey reports whether the leaf of chain has the public key of csr.
func sameKey(chain, csr []byte) bool {
	block, _ := pem.Decode(chain)
	if block == nil {
		return false
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return false
	}
	key, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(request.PublicKey)
}
