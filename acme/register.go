package acme

import (
	"context"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// RegisterOptions says how an account is made.
type RegisterOptions struct {
	AgreeTerms bool     // to the terms that the directory names
	Contacts   []string // e-mail addresses; nil takes those of the Config

	// Recover makes a new account with the old key if the CA has lost the
	// one on record, and with a new key if that one was deactivated. Without
	// it both are errors, because CAA records and limits may depend on the old
	// account.
	Recover bool
}

// AccountInfo is what is known of an account.
type AccountInfo struct {
	CA          string        `json:"ca"`
	Account     string        `json:"account"`
	URL         string        `json:"url"`
	Status      string        `json:"status"`   // as the CA says
	Contacts    []string      `json:"contacts"` // e-mail addresses
	TermsAgreed string        `json:"terms_agreed,omitempty"`
	EABKeyID    string        `json:"eab_key_id,omitempty"`
	KeyType     inkan.KeyType `json:"key_type"`
	Thumbprint  string        `json:"thumbprint"` // RFC 7638, in base64url
	Created     time.Time     `json:"created"`
}

// Register makes the account, or finds it again by its key. It never makes a
// second one: a key on record is the one that is registered. The errors are of
// kind Operator when something is missing (agreement, external account binding)
// or the CA has lost the account.
func (c *Client) Register(ctx context.Context, opts RegisterOptions) (AccountInfo, error) {
	contacts := c.config.Contacts
	if opts.Contacts != nil {
		var err error
		if contacts, err = contactURLs(c.accountName(), opts.Contacts); err != nil {
			return AccountInfo{}, err
		}
	}
	opts.Contacts = contacts

	unlock, err := c.lock(ctx)
	if err != nil {
		return AccountInfo{}, interrupted(ctx, c.accountName(), err)
	}
	defer unlock()
	rec, _, err := c.loadAccount(ctx)
	if err != nil {
		return AccountInfo{}, err
	}
	dir, err := c.directoryFrom(ctx, rec)
	if err != nil {
		return AccountInfo{}, err
	}
	if opts.Recover {
		if rec, err = c.forgetDeactivated(ctx, dir, rec, opts); err != nil {
			return AccountInfo{}, err
		}
	}
	if err := c.mayServe(rec); err != nil {
		return AccountInfo{}, err
	}
	if rec.Next != nil {
		if rec, err = c.settle(ctx, rec); err != nil && !isProblem(err, accountDoesNotExist) {
			return AccountInfo{}, err
		}
	}
	var object *accountObject
	if rec.Key != nil && rec.URL != "" {
		rec, object, err = c.findAgain(ctx, rec)
		if isProblem(err, accountDoesNotExist) && opts.Recover {
			if err = c.mayRegister(dir, opts); err == nil {
				rec, object, err = c.register(ctx, rec, opts)
			}
		}
	} else {
		rec, object, err = c.establish(ctx, rec, opts)
	}
	if err != nil {
		return AccountInfo{}, err
	}
	return c.info(ctx, rec, object)
}

// findAgain asks the CA for the account that has the key of rec (RFC 8555
// section 7.3.1) and keeps its URL if it is another one.
func (c *Client) findAgain(ctx context.Context, rec inkan.AccountRecord) (inkan.AccountRecord, *accountObject, error) {
	key, err := c.openKey(ctx, rec.Key)
	if err != nil {
		return rec, nil, err
	}
	object, url, err := c.newAccount(ctx, c.op("account look-up"), key, func(string) (newAccountPayload, error) {
		return newAccountPayload{OnlyExisting: true}, nil
	})
	if err != nil || url == rec.URL {
		return rec, object, err
	}
	used := rec.Key
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if used.Equal(r.Key) {
			r.URL = url
		}
		rec = *r
	})
	if err != nil {
		return rec, nil, c.storeError(ctx, c.accountName(), "keeping its URL", err)
	}
	return rec, object, nil
}

// ShowAccount asks the CA for the account. It never makes one: there being
// none is an error of kind Operator.
func (c *Client) ShowAccount(ctx context.Context) (AccountInfo, error) {
	return c.askAccount(ctx, "account", nil)
}

// UpdateContacts replaces the contact addresses of the account, at the CA and
// on record; none removes them.
func (c *Client) UpdateContacts(ctx context.Context, contacts []string) (AccountInfo, error) {
	urls, err := contactURLs(c.accountName(), contacts)
	if err != nil {
		return AccountInfo{}, err
	}
	if urls == nil {
		urls = []string{} // an empty list, not an absent one, removes them
	}
	info, err := c.askAccount(ctx, "account update", mustJSON(map[string][]string{"contact": urls}))
	if err != nil {
		return AccountInfo{}, err
	}
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if r.URL == info.URL {
			r.Contacts = urls
		}
	})
	if err != nil {
		return AccountInfo{}, c.storeError(ctx, c.accountName(), "keeping its contacts", err)
	}
	info.Contacts = contacts
	return info, nil
}

// askAccount posts payload to the URL of the account on record.
func (c *Client) askAccount(ctx context.Context, step string, payload []byte) (AccountInfo, error) {
	rec, err := c.existing(ctx)
	if err != nil {
		return AccountInfo{}, err
	}
	a, err := c.use(ctx, rec)
	if err != nil {
		return AccountInfo{}, err
	}
	op := c.op(step)
	resp, err := c.post(ctx, epOther, op, a.kid, a.identity, payload)
	if err != nil {
		return AccountInfo{}, err
	}
	object, err := parseAccount(op, resp.body)
	if err != nil {
		return AccountInfo{}, err
	}
	c.stopped.Store(nil) // a person looks after the account: ask again
	if fresh, err := c.existing(ctx); err == nil {
		rec = fresh // its key may have changed
	}
	return c.info(ctx, rec, object)
}

// existing reads the record of an account that the CA has confirmed.
func (c *Client) existing(ctx context.Context) (inkan.AccountRecord, error) {
	rec, _, err := c.loadAccount(ctx)
	if err == nil && (rec.Key == nil || rec.URL == "") {
		err = inkan.Errorf(inkan.Operator, c.accountName(), "there is none yet").WithHint("make it with: inkan account register --ca %s", c.config.Name)
	}
	return rec, err
}

// info describes the account of rec, which signs from now on; object may be
// nil.
func (c *Client) info(ctx context.Context, rec inkan.AccountRecord, object *accountObject) (AccountInfo, error) {
	a, err := c.use(ctx, rec)
	if err != nil {
		return AccountInfo{}, err
	}
	return c.describe(rec, a, object)
}

func (c *Client) describe(rec inkan.AccountRecord, a *account, object *accountObject) (AccountInfo, error) {
	kt, err := a.key.Type()
	if err != nil {
		return AccountInfo{}, err
	}
	info := AccountInfo{
		CA: c.name, Account: c.config.Account, URL: rec.URL, Status: statusValid,
		TermsAgreed: rec.TermsAgreed, EABKeyID: rec.EABKeyID, KeyType: kt, Thumbprint: a.thumbprint, Created: rec.Created,
	}
	contacts := rec.Contacts
	if object != nil && len(object.Contact) > 0 {
		contacts = object.Contact
	}
	for _, contact := range contacts[:min(len(contacts), 20)] {
		info.Contacts = append(info.Contacts, inkan.Printable(strings.TrimPrefix(contact, "mailto:"), 200))
	}
	return info, nil
}
