package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// CertID returns the certificate identifier of RFC 9773 section 4.1: the
// authority key identifier and the serial number, as they stand in the leaf.
func CertID(leaf *x509.Certificate) (string, error) {
	if len(leaf.AuthorityKeyId) == 0 || leaf.SerialNumber == nil || leaf.SerialNumber.Sign() <= 0 {
		return "", inkan.Errorf(inkan.Rejected, "renewal information", "the certificate has no authority key identifier or no usable serial number")
	}
	serial := leaf.SerialNumber.Bytes()
	if serial[0]&0x80 != 0 {
		serial = append([]byte{0}, serial...) // the DER of a positive INTEGER
	}
	return base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId) + "." + base64.RawURLEncoding.EncodeToString(serial), nil
}

// RenewalInfo implements [inkan.RenewalInformer] (RFC 9773 section 4.2). A CA
// that offers none is an error of kind Rejected that wraps
// [errors.ErrUnsupported]; an answer that makes no sense is one of kind
// Temporary.
func (c *Client) RenewalInfo(ctx context.Context, leaf *x509.Certificate) (*inkan.RenewalInfo, error) {
	op := c.op("renewal information")
	id, err := CertID(leaf)
	if err != nil {
		return nil, err
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	if dir.RenewalInfo == "" {
		return nil, inkan.Errorf(inkan.Rejected, op, "the CA has none: %w", errors.ErrUnsupported)
	}
	resp, err := c.get(ctx, epRenewalInfo, op, strings.TrimSuffix(dir.RenewalInfo, "/")+"/"+id)
	if err != nil {
		if movedAway(err) {
			c.refreshDirectory() // for the next time
		}
		return nil, err
	}
	info, err := parseRenewalInfo(resp.body)
	if err != nil {
		return nil, inkan.Errorf(inkan.Temporary, op, "%w", err)
	}
	now := c.engineNow()
	if d, ok := parseRetryAfter(resp.header, now); ok {
		info.RetryAfter = now.Add(d)
	}
	return info, nil
}

// parseRenewalInfo reads a renewalInfo object. Whether the window is sane is
// for the caller to judge.
func parseRenewalInfo(body []byte) (*inkan.RenewalInfo, error) {
	var doc struct {
		Window struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
		} `json:"suggestedWindow"`
		Explanation laxString `json:"explanationURL"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errors.New("the answer is not renewal information")
	}
	if doc.Window.Start.IsZero() || !doc.Window.Start.Before(doc.Window.End) {
		return nil, errors.New("the suggested window is missing or ends before it begins")
	}
	info := &inkan.RenewalInfo{Start: doc.Window.Start, End: doc.Window.End}
	if _, err := parseHTTPS(string(doc.Explanation)); err == nil {
		info.ExplanationURL = inkan.Printable(string(doc.Explanation), maxShown)
	}
	return info, nil
}
