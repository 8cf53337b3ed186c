package acme

import (
	"context"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"github.com/inkan-acme/inkan"
)

// Rollover gives the account a new key (RFC 8555 section 7.3.5) of type kt, ""
// for that of the Config. The new key is durable before the CA hears of it, and
// the old one is kept until the new one has signed a request that the CA
// accepted. Called again after a crash or a lost reply it asks the CA which of
// the two it knows and finishes what was begun, before anything else: a request
// that is still on its way may bring the new key into force at any time, so a
// new key is only given up when the CA refuses the key itself.
//
// The errors are of kind Operator if there is no account or the CA has no key
// change; with every other error both keys are on record.
func (c *Client) Rollover(ctx context.Context, kt inkan.KeyType) (AccountInfo, error) {
	if kt == "" {
		kt = c.config.KeyType
	}
	if err := checkAccountKeyType(c.accountName(), kt); err != nil {
		return AccountInfo{}, err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return AccountInfo{}, interrupted(ctx, c.accountName(), err)
	}
	defer unlock()
	rec, err := c.existing(ctx)
	if err != nil {
		return AccountInfo{}, err
	}
	if err := c.mayServe(rec); err != nil {
		return AccountInfo{}, err
	}
	dir, err := c.directoryFrom(ctx, rec)
	if err != nil {
		return AccountInfo{}, err
	}
	if dir.KeyChange == "" {
		return AccountInfo{}, inkan.Errorf(inkan.Operator, c.op("key change"), "the CA offers none").
			WithHint("make another account with a new key (inkan account register --account NAME), move the certificates to it, then deactivate the old one")
	}
	if rec.Next != nil {
		if rec, err = c.settle(ctx, rec); err == nil && rec.Next != nil {
			rec, err = c.changeKey(ctx, rec)
		}
		if err != nil {
			return AccountInfo{}, err
		}
		key, err := c.openKey(ctx, rec.Key)
		if err != nil {
			return AccountInfo{}, err
		}
		if had, err := key.Type(); err == nil && had == kt {
			return c.info(ctx, rec, nil) // the unfinished rollover was to this type
		}
	}
	if rec, err = c.journalNext(ctx, rec, kt); err != nil {
		return AccountInfo{}, err
	}
	if rec.Next != nil {
		if rec, err = c.changeKey(ctx, rec); err != nil {
			return AccountInfo{}, err
		}
	}
	return c.info(ctx, rec, nil)
}

// journalNext makes a new key durable beside the one of rec. If another process
// was faster, the next key is that one's, or none is left because that one has
// changed the key already.
func (c *Client) journalNext(ctx context.Context, rec inkan.AccountRecord, kt inkan.KeyType) (inkan.AccountRecord, error) {
	next, err := c.generateKey(kt)
	if err != nil {
		return rec, err
	}
	was := rec.Key
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if r.Next == nil && was.Equal(r.Key) {
			r.Next = next
		}
		rec = *r
	})
	if err != nil {
		return rec, c.storeError(ctx, c.accountName(), "keeping its new key", err)
	}
	return rec, nil
}

// changeKey brings the next key of rec into force, at the CA and then on
// record. The caller holds the gate.
func (c *Client) changeKey(ctx context.Context, rec inkan.AccountRecord) (inkan.AccountRecord, error) {
	refusal := c.askKeyChange(ctx, rec)
	if refusal != nil && problemOf(refusal) == nil {
		return rec, withHint(refusal, "both keys are kept; inkan account rollover finishes it")
	}
	// A refusal may come because an earlier request, or that of another
	// process, brought the key into force already.
	settled, err := c.settle(ctx, rec)
	if err != nil || settled.Next == nil {
		return settled, err
	}
	switch p := problemOf(refusal); {
	case p == nil:
		return settled, inkan.Errorf(inkan.Temporary, c.op("key change"), "it agreed, but still knows only the old key").
			WithHint("both keys are kept; inkan account rollover tries again")
	case p.Status == http.StatusConflict, // another account has this key
		p.is(badPublicKey, badSignatureAlgorithm):
		return settled, c.dropNext(ctx, settled, refusal)
	}
	return settled, withHint(refusal, "the old key is in force; both keys are kept, and inkan account rollover tries again")
}

// withHint adds a hint to an error of this package.
func withHint(err error, hint string) error {
	return inkan.Errorf(inkan.KindOf(err), "", "%w", err).WithHint("%s", hint).After(inkan.RetryAfterOf(err))
}

type keyChangePayload struct {
	Account string           `json:"account"`
	OldKey  *jose.JSONWebKey `json:"oldKey"`
}

// askKeyChange sends the one request: the new key signs that it wants to
// replace the old one, and the old one signs that.
func (c *Client) askKeyChange(ctx context.Context, rec inkan.AccountRecord) error {
	op := c.op("key change")
	a, err := c.open(ctx, rec)
	if err != nil {
		return err
	}
	next, err := c.openKey(ctx, rec.Next)
	if err != nil {
		return err
	}
	alg, err := algorithm(next.Public())
	if err != nil {
		return inkan.Errorf(inkan.Operator, op, "%w", err)
	}
	payload := mustJSON(keyChangePayload{rec.URL, &jose.JSONWebKey{Key: a.key.Public()}})
	old := a.identity
	old.pinned = true
	_, err = c.postDirectory(ctx, epOther, op, func(d *directory) string { return string(d.KeyChange) }, old,
		func(target string) ([]byte, error) {
			opts := (&jose.SignerOptions{EmbedJWK: true}).WithHeader("url", target)
			inner, err := flattened(jose.SigningKey{Algorithm: alg, Key: next.Signer()}, opts, payload)
			if err != nil {
				return nil, inkan.Errorf(inkan.Operator, op, "signing: %w", err)
			}
			return inner, nil
		})
	return err
}

// settle asks the CA which key of an unfinished rollover it knows. If it is the
// next one, which has signed the question, that becomes the key and the old one
// goes; if it is the old one, rec stays. If it is neither, another process has
// finished meanwhile, or the account is gone. The caller holds the gate.
func (c *Client) settle(ctx context.Context, rec inkan.AccountRecord) (inkan.AccountRecord, error) {
	for again := false; rec.Next != nil; {
		known, err := c.knows(ctx, rec.Next)
		if err != nil {
			return rec, err
		}
		if known {
			return c.promoteNext(ctx, rec)
		}
		if known, err = c.knows(ctx, rec.Key); err != nil || known {
			return rec, err
		}
		fresh, err := c.existing(ctx)
		if err != nil {
			return rec, err
		}
		// The key may have changed between the two questions.
		same := fresh.Key.Equal(rec.Key)
		if same && again {
			return rec, c.refused(c.accountName(), &Problem{Type: accountDoesNotExist, Status: http.StatusBadRequest,
				Detail: "the CA knows neither the key nor the one that was to follow it"})
		}
		rec, again = fresh, same
	}
	return rec, nil
}

// promoteNext makes the next key of rec the key.
func (c *Client) promoteNext(ctx context.Context, rec inkan.AccountRecord) (inkan.AccountRecord, error) {
	next := rec.Next
	err := c.accounts.Update(context.WithoutCancel(ctx), func(r *inkan.AccountRecord) {
		if next.Equal(r.Next) {
			r.Key, r.Next = r.Next, nil
		}
		rec = *r
	})
	if err != nil {
		return rec, c.storeError(ctx, c.accountName(), "keeping its new key", err)
	}
	c.account.Store(nil)
	return rec, nil
}

// knows asks whether the CA has an account of this key (RFC 8555 section 7.3.1).
// Both keys were made here for this account, so it can be no other one.
func (c *Client) knows(ctx context.Context, stored *inkan.StoredKey) (bool, error) {
	key, err := c.openKey(ctx, stored)
	if err != nil {
		return false, err
	}
	_, _, err = c.newAccount(ctx, c.op("account look-up"), key, func(string) (newAccountPayload, error) {
		return newAccountPayload{OnlyExisting: true}, nil
	})
	// A CA that wants a binding would make an account, so it has none.
	if isProblem(err, accountDoesNotExist, externalAccountRequired, badPublicKey, badSignatureAlgorithm) {
		return false, nil
	}
	return err == nil, err
}

// dropNext gives up a next key that the CA can never take, and returns why.
func (c *Client) dropNext(ctx context.Context, rec inkan.AccountRecord, why error) error {
	err := c.accounts.Update(context.WithoutCancel(ctx), func(r *inkan.AccountRecord) {
		if rec.Next.Equal(r.Next) {
			r.Next = nil
		}
	})
	if err != nil {
		return c.storeError(ctx, c.accountName(), "giving up its next key", err)
	}
	return withHint(why, "the old key stays in force")
}

// latest returns id with the key that its account has now, as far as this
// process knows.
func (c *Client) latest(id identity) identity {
	if a := c.account.Load(); a != nil && id.kid != "" && !id.pinned && a.kid == id.kid {
		return a.identity
	}
	return id
}

// latestAccount is latest for a whole account.
func (c *Client) latestAccount(a *account) *account {
	if now := c.account.Load(); now != nil && now.kid == a.kid {
		return now
	}
	return a
}

// mayBeOldKey reports whether a refusal may mean that the account has another
// key by now: CAs say it in different ways.
func mayBeOldKey(err error) bool {
	p := problemOf(err)
	return p != nil && p.is(accountDoesNotExist, unauthorized, malformed)
}

// changedKey reads the record once more after the CA refused what id had
// signed, and reports whether another process has given the account a new key.
func (c *Client) changedKey(ctx context.Context, id identity) (identity, bool) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return id, false
	}
	defer unlock()
	if a := c.account.Load(); a != nil && a.kid == id.kid && !samePublic(a.key, id.key) {
		return a.identity, true // another request found out meanwhile
	}
	rec, err := c.existing(ctx)
	if err != nil || rec.URL != id.kid {
		c.account.Store(nil)
		return id, false
	}
	if rec.Next != nil {
		if rec, err = c.settle(ctx, rec); err != nil {
			return id, false
		}
	}
	a, err := c.use(ctx, rec)
	if err != nil || samePublic(a.key, id.key) {
		c.account.Store(nil) // the next order reads the record again
		return id, false
	}
	c.log.DebugContext(ctx, "the account has a new key", "ca", c.name, "account", c.config.Account)
	return a.identity, true
}

func samePublic(a, b *inkan.PrivateKey) bool {
	x, errX := inkan.SPKIHash(a.Public())
	y, errY := inkan.SPKIHash(b.Public())
	return errX == nil && errY == nil && x == y
}
