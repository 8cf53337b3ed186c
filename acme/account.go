package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/inkan-acme/inkan"
)

// peerWait is how long a process leaves the registration to another one that
// journalled the account key first. Then it registers the same key itself,
// which yields the same account (RFC 8555 section 7.3).
const peerWait = time.Second

// account is an account that may sign.
type account struct {
	identity
	thumbprint string
}

// loadAccount reads the account record; found is false when there is none.
func (c *Client) loadAccount(ctx context.Context) (rec inkan.AccountRecord, found bool, err error) {
	rec, err = c.accounts.Load(ctx)
	switch {
	case err == nil:
		return rec, true, nil
	case errors.Is(err, fs.ErrNotExist):
		return inkan.AccountRecord{}, false, nil
	case ctx.Err() != nil:
		return rec, false, interrupted(ctx, c.accountName(), err)
	}
	return rec, false, inkan.Errorf(inkan.KindOf(err), c.accountName(), "reading it: %w", err)
}

func (c *Client) accountName() string { return "account " + c.config.Account + " at " + c.host }

// signIn returns the account. There being none, it makes one if the
// configuration agrees to the terms.
func (c *Client) signIn(ctx context.Context) (*account, error) {
	if a := c.account.Load(); a != nil {
		return a, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, interrupted(ctx, c.accountName(), err)
	}
	defer unlock()
	if a := c.account.Load(); a != nil {
		return a, nil
	}
	rec, _, err := c.loadAccount(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.directoryFrom(ctx, rec); err != nil {
		return nil, err
	}
	if rec.Key != nil && rec.URL != "" {
		if rec.Next != nil {
			if rec, err = c.settle(ctx, rec); err != nil {
				return nil, err
			}
		}
		return c.use(ctx, rec)
	}
	rec, _, err = c.establish(ctx, rec, RegisterOptions{AgreeTerms: c.config.AgreeTerms, Contacts: c.config.Contacts})
	if err != nil {
		return nil, err
	}
	return c.use(ctx, rec)
}

// use makes a complete record the account that signs.
func (c *Client) use(ctx context.Context, rec inkan.AccountRecord) (*account, error) {
	if err := c.mayServe(rec); err != nil {
		return nil, err
	}
	a, err := c.open(ctx, rec)
	if err == nil {
		c.account.Store(a)
	}
	return a, err
}

// openKey opens a key of the account.
func (c *Client) openKey(ctx context.Context, k *inkan.StoredKey) (*inkan.PrivateKey, error) {
	key, err := c.config.OpenKey.Open(ctx, k, inkan.KeyUse{Account: true, Name: c.name + "/" + c.config.Account})
	if err != nil {
		return nil, inkan.Errorf(inkan.KindOf(err), c.accountName(), "its key: %w", err)
	}
	return key, nil
}

// Thumbprint returns that of the account's key on record (RFC 7638), by which
// stateless web servers know the account.
func (c *Client) Thumbprint(ctx context.Context, rec inkan.AccountRecord) (string, error) {
	key, err := c.openKey(ctx, rec.Key)
	if err != nil {
		return "", err
	}
	return Thumbprint(key)
}

// open opens the key of a complete record.
func (c *Client) open(ctx context.Context, rec inkan.AccountRecord) (*account, error) {
	key, err := c.openKey(ctx, rec.Key)
	if err != nil {
		return nil, err
	}
	if err := c.hosts.check(rec.URL); err != nil {
		return nil, inkan.Errorf(inkan.Operator, c.accountName(), "%w", err).
			WithHint("the account was made at another CA than the directory names now; give the other CA another name")
	}
	print, err := Thumbprint(key)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, c.accountName(), "its key: %w", err)
	}
	return &account{identity{key: key, kid: rec.URL}, print}, nil
}

// establish journals a key, unless there is one, and registers it. It returns
// the record with the URL, and the CA's account object if it asked the CA. The
// caller holds the gate.
func (c *Client) establish(ctx context.Context, rec inkan.AccountRecord, opts RegisterOptions) (inkan.AccountRecord, *accountObject, error) {
	dir := c.dir.Load()
	if rec.Key != nil {
		// Another process may be at it this moment, or died at it.
		left := min(peerWait, rec.Created.Add(peerWait).Sub(c.now()))
		waited, err := c.awaitURL(ctx, rec, left)
		if err != nil || waited.URL != "" {
			return waited, nil, err
		}
	}
	if err := c.mayRegister(dir, opts); err != nil {
		return rec, nil, err
	}
	if rec.Key == nil {
		var mine bool
		var err error
		if rec, mine, err = c.journalKey(ctx, opts); err != nil {
			return rec, nil, err
		}
		if !mine {
			waited, err := c.awaitURL(ctx, rec, peerWait)
			if err != nil || waited.URL != "" {
				return waited, nil, err
			}
		}
	}
	return c.register(ctx, rec, opts)
}

// mayRegister returns nil if all that the CA asks for a new account is there.
func (c *Client) mayRegister(dir *directory, opts RegisterOptions) error {
	op := c.accountName()
	if !opts.AgreeTerms && dir.Meta.Terms != "" {
		return inkan.Errorf(inkan.Operator, op, "there is none yet, and nobody agreed to the terms of service: %s",
			inkan.Printable(dir.Meta.Terms, 300)).
			WithHint("read them, then agree with agree_terms or --agree-tos")
	}
	if c.config.EABKeyID == "" && (dir.Meta.EABRequired || c.ca.EABRequired) {
		return inkan.Errorf(inkan.Operator, op, "there is none yet, and this CA makes accounts only with external account binding").
			WithHint(eabHint)
	}
	return nil
}

// journalKey makes the account key durable before the CA hears of it. mine is
// false if another process was faster; then rec is what that one wrote.
func (c *Client) journalKey(ctx context.Context, opts RegisterOptions) (rec inkan.AccountRecord, mine bool, err error) {
	op := c.accountName()
	stored, err := c.generateKey(c.config.KeyType)
	if err != nil {
		return rec, false, err
	}
	now := c.now()
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if r.Key == nil {
			r.Key, r.URL, r.Created = stored, "", now
			r.Contacts, r.EABKeyID = opts.Contacts, c.config.EABKeyID
		}
		rec = *r
	})
	if err != nil {
		return rec, false, c.storeError(ctx, op, "keeping its key", err)
	}
	return rec, rec.Key.Equal(stored), nil
}

// generateKey makes an account key in the form in which it is stored.
func (c *Client) generateKey(kt inkan.KeyType) (*inkan.StoredKey, error) {
	key, err := inkan.GenerateKey(kt)
	if err != nil {
		return nil, inkan.Errorf(inkan.Temporary, c.accountName(), "%w", err)
	}
	return c.storedKey(key)
}

func (c *Client) storedKey(key *inkan.PrivateKey) (*inkan.StoredKey, error) {
	stored, err := inkan.StorePlain(key)
	if err != nil {
		return nil, inkan.Errorf(inkan.Bug, c.accountName(), "%w", err)
	}
	return stored, nil
}

// awaitURL re-reads the record until it has a URL or d is over.
func (c *Client) awaitURL(ctx context.Context, rec inkan.AccountRecord, d time.Duration) (inkan.AccountRecord, error) {
	end := time.Now().Add(d)
	for pause := 20 * time.Millisecond; time.Now().Before(end); pause = min(2*pause, 500*time.Millisecond) {
		if err := sleep(ctx, pause); err != nil {
			return rec, interrupted(ctx, c.accountName(), err)
		}
		fresh, _, err := c.loadAccount(ctx)
		if err != nil || fresh.URL != "" {
			return fresh, err
		}
	}
	return rec, nil
}

// accountObject is the CA's account object (RFC 8555 section 7.1.2).
type accountObject struct {
	Status  string   `json:"status"`
	Contact []string `json:"contact"`
	Terms   bool     `json:"termsOfServiceAgreed"`
}

type newAccountPayload struct {
	Terms        bool            `json:"termsOfServiceAgreed,omitempty"`
	Contact      []string        `json:"contact,omitempty"`
	OnlyExisting bool            `json:"onlyReturnExisting,omitempty"`
	EAB          json.RawMessage `json:"externalAccountBinding,omitempty"`
}

// register sends newAccount with the key of rec, which is durable, and keeps
// the URL. Sent again after a lost reply it returns the same account.
func (c *Client) register(ctx context.Context, rec inkan.AccountRecord, opts RegisterOptions) (inkan.AccountRecord, *accountObject, error) {
	op := c.op("new account")
	key, err := c.openKey(ctx, rec.Key)
	if err != nil {
		return rec, nil, err
	}
	object, url, err := c.newAccount(ctx, op, key, func(target string) (newAccountPayload, error) {
		eab, err := c.externalBinding(key, target)
		return newAccountPayload{Terms: true, Contact: opts.Contacts, EAB: eab}, err
	})
	if err != nil {
		return rec, nil, err
	}
	dir, now, used := c.dir.Load(), c.now(), rec.Key
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if used.Equal(r.Key) {
			r.URL, r.TermsAgreed = url, dir.Meta.Terms
			r.Contacts, r.EABKeyID = opts.Contacts, c.config.EABKeyID
			r.Directory, r.DirectoryAt = dir.raw, now
		}
		rec = *r
	})
	if err != nil {
		return rec, nil, c.storeError(ctx, c.accountName(), "keeping its URL", err)
	}
	return rec, object, nil
}

// newAccount makes the request of RFC 8555 section 7.3 and checks the answer.
func (c *Client) newAccount(ctx context.Context, op string, key *inkan.PrivateKey, payload func(target string) (newAccountPayload, error)) (*accountObject, string, error) {
	resp, err := c.postDirectory(ctx, epNewAccount, op, func(d *directory) string { return d.NewAccount }, identity{key: key},
		func(target string) ([]byte, error) {
			p, err := payload(target)
			if err != nil {
				return nil, err
			}
			return mustJSON(p), nil
		})
	if err != nil {
		return nil, "", err
	}
	object, err := parseAccount(op, resp.body)
	if err != nil {
		return nil, "", err
	}
	url := resp.header.Get("Location")
	if err := c.hosts.check(url); err != nil {
		return nil, "", badAnswer(op, fmt.Errorf("the answer's Location: %w", err))
	}
	return object, url, nil
}

// parseAccount reads an account object and refuses accounts that cannot be used.
func parseAccount(op string, body []byte) (*accountObject, error) {
	a := &accountObject{}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, inkan.Errorf(inkan.Temporary, op, "the answer is not an account object")
	}
	switch a.Status {
	case statusValid, "":
		return a, nil
	}
	return nil, inkan.Errorf(inkan.Operator, op, "the account is %s", inkan.Printable(a.Status, 40)).
		WithHint("it cannot be used again; register another one under another account name")
}

// storeError classifies an error of the account store.
func (c *Client) storeError(ctx context.Context, op, what string, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx, op, err)
	}
	return inkan.Errorf(inkan.KindOf(err), op, "%s: %w", what, err)
}
