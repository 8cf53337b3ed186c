package acme

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/inkan-acme/inkan"
)

// Adopt puts an account that was made elsewhere on record: the CA is asked for
// the account of this key and never makes one. What rec says besides the key
// (terms, EAB key id, creation) is kept. An account of this name with another
// key is not replaced: that is an error of kind Operator, and so is a rec.URL
// that is not the one that the CA names.
func (c *Client) Adopt(ctx context.Context, key *inkan.PrivateKey, rec inkan.AccountRecord) (AccountInfo, error) {
	op := c.accountName()
	kt, err := key.Type()
	if err != nil {
		return AccountInfo{}, err
	}
	if err := checkAccountKeyType(op, kt); err != nil {
		return AccountInfo{}, err
	}
	stored, err := c.storedKey(key)
	if err != nil {
		return AccountInfo{}, err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return AccountInfo{}, interrupted(ctx, op, err)
	}
	defer unlock()
	had, _, err := c.loadAccount(ctx)
	if err != nil {
		return AccountInfo{}, err
	}
	if had.Key != nil && !had.Key.Equal(stored) {
		return AccountInfo{}, inkan.Errorf(inkan.Operator, op, "there is another account of this name already").
			WithHint("give the imported one a name of its own with --account NAME")
	}
	if err := c.mayServe(had); err != nil {
		return AccountInfo{}, err
	}
	dir, err := c.directoryFrom(ctx, had)
	if err != nil {
		return AccountInfo{}, err
	}
	object, url, err := c.newAccount(ctx, c.op("account look-up"), key, func(string) (newAccountPayload, error) {
		return newAccountPayload{OnlyExisting: true}, nil
	})
	switch {
	case isProblem(err, accountDoesNotExist):
		return AccountInfo{}, inkan.Errorf(inkan.Operator, op, "%s knows no account of this key: %w", c.host, problemOf(err)).
			WithHint("is it the right CA? name it with --ca")
	case err != nil:
		return AccountInfo{}, err
	case rec.URL != "" && rec.URL != url:
		return AccountInfo{}, inkan.Errorf(inkan.Operator, op, "the key belongs to the account %s, but what is imported speaks of %s",
			inkan.Printable(url, 200), inkan.Printable(rec.URL, 200)).
			WithHint("key and account are of different CAs or accounts; import the key alone if the CA is right")
	}
	now := c.now()
	var adopted inkan.AccountRecord
	var lost bool // another process was faster
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if lost = r.Key != nil && !r.Key.Equal(stored); lost {
			return
		}
		adopted = adopt(*r, rec)
		adopted.Key, adopted.URL = stored, url
		if len(object.Contact) > 0 {
			adopted.Contacts = slices.Clone(object.Contact)
		}
		adopted.Created = cmp.Or(adopted.Created, now)
		adopted.Directory, adopted.DirectoryAt = dir.raw, now
		*r = adopted
	})
	if err != nil {
		return AccountInfo{}, c.storeError(ctx, op, "keeping it", err)
	}
	if lost {
		return AccountInfo{}, inkan.Errorf(inkan.Temporary, op, "another process has made an account of this name meanwhile")
	}
	return c.info(ctx, adopted, object)
}

// adopt is what is kept of an account that is imported, beside what there is of
// it already.
func adopt(have, brought inkan.AccountRecord) inkan.AccountRecord {
	have.Created = cmp.Or(have.Created, brought.Created)
	have.TermsAgreed = cmp.Or(have.TermsAgreed, brought.TermsAgreed)
	have.EABKeyID = cmp.Or(have.EABKeyID, brought.EABKeyID)
	have.Contacts = brought.Contacts
	return have
}

// ParseAccountKey reads an account key: PEM (PKCS #8, SEC 1, PKCS #1) or a JSON
// Web Key (RFC 7517), as certbot keeps it. Its errors never hold any of the
// input.
func ParseAccountKey(data []byte) (*inkan.PrivateKey, error) {
	if !json.Valid(data) {
		return inkan.ParseKey(data)
	}
	fail := func(text string) (*inkan.PrivateKey, error) {
		return nil, inkan.Errorf(inkan.Operator, "account key", "%s", text)
	}
	var jwk jose.JSONWebKey
	if len(data) > 1<<16 || jwk.UnmarshalJSON(data) != nil {
		return fail("it is neither PEM nor a JSON Web Key")
	}
	signer, ok := jwk.Key.(crypto.Signer)
	if !ok || jwk.IsPublic() || !jwk.Valid() {
		return fail("the JSON Web Key is no private key that can sign")
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return fail("the JSON Web Key is no private key that can sign")
	}
	return inkan.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
