package acme

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// maxDirectoryAge is the age at which the stored directory is read again, in the
// background.
const maxDirectoryAge = 24 * time.Hour

// directory is the directory object (RFC 8555 section 7.1.1).
type directory struct {
	NewNonce    string    `json:"newNonce"`
	NewAccount  string    `json:"newAccount"`
	NewOrder    string    `json:"newOrder"`
	RevokeCert  string    `json:"revokeCert"`
	RenewalInfo string    `json:"renewalInfo"` // RFC 9773; may be empty
	KeyChange   laxString `json:"keyChange"`   // checked when it is asked
	NewAuthz    laxString `json:"newAuthz"`
	Meta        struct {
		Terms       string            `json:"termsOfService"`
		EABRequired bool              `json:"externalAccountRequired"`
		Profiles    map[string]string `json:"profiles"` // draft-ietf-acme-profiles
		Website     laxString         `json:"website"`
		CAA         json.RawMessage   `json:"caaIdentities"`
		AutoRenewal json.RawMessage   `json:"auto-renewal"` // RFC 8739
	} `json:"meta"`

	raw []byte
}

// parseDirectory reads and checks a directory: every URL that will be asked
// must pass the host rule, or nothing of it is used (reliability A24).
func parseDirectory(data []byte, h hosts) (*directory, error) {
	d := &directory{raw: data}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, inkan.Errorf(inkan.Temporary, "", "the answer is not an ACME directory")
	}
	for _, e := range []struct {
		name, url string
		optional  bool
	}{
		{"newNonce", d.NewNonce, false}, {"newAccount", d.NewAccount, false}, {"newOrder", d.NewOrder, false},
		{"revokeCert", d.RevokeCert, true}, {"renewalInfo", d.RenewalInfo, true},
	} {
		if e.url == "" {
			if e.optional {
				continue
			}
			return nil, inkan.Errorf(inkan.Temporary, "", "the answer is not an ACME directory: it has no %s", e.name)
		}
		if err := h.check(e.url); err != nil {
			return nil, inkan.Errorf(inkan.Operator, "", "%s: %w", e.name, err).WithHint(hostHint)
		}
	}
	return d, nil
}

// offers reports whether the CA offers a profile.
func (d *directory) offers(profile string) bool {
	_, ok := d.Meta.Profiles[profile]
	return ok
}

// profiles lists the offered profiles for messages.
func (d *directory) profiles() string {
	if len(d.Meta.Profiles) == 0 {
		return "none"
	}
	var names []string
	for name := range d.Meta.Profiles {
		names = append(names, inkan.Printable(name, 40))
	}
	slices.Sort(names)
	return inkan.Printable(strings.Join(names, ", "), 400)
}

// directory returns the CA's directory: from memory, from the account record,
// or from the CA.
func (c *Client) directory(ctx context.Context) (*directory, error) {
	if d := c.dir.Load(); d != nil {
		return d, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, interrupted(ctx, c.op("directory"), err)
	}
	defer unlock()
	if d := c.dir.Load(); d != nil {
		return d, nil
	}
	rec, _, err := c.loadAccount(ctx)
	if err != nil {
		return nil, err
	}
	return c.directoryFrom(ctx, rec)
}

// directoryFrom returns the directory that rec keeps, or else asks the CA. The
// caller holds the gate.
func (c *Client) directoryFrom(ctx context.Context, rec inkan.AccountRecord) (*directory, error) {
	if d := c.dir.Load(); d != nil {
		return d, nil
	}
	if len(rec.Directory) > 0 {
		if d, err := parseDirectory(rec.Directory, c.hosts); err == nil {
			c.dir.Store(d)
			if age := c.now().Sub(rec.DirectoryAt); age > maxDirectoryAge || age < 0 {
				c.refreshDirectory()
			}
			return d, nil
		}
	}
	return c.readDirectory(ctx)
}

// readDirectory asks the CA for its directory and keeps the answer, durably if
// there is an account.
func (c *Client) readDirectory(ctx context.Context) (*directory, error) {
	op := c.op("directory")
	resp, err := c.send(ctx, epDirectory, op, "GET", c.ca.Directory, nil)
	if err != nil {
		return nil, err
	}
	c.nonces.put(resp.nonce())
	if !resp.ok() {
		return nil, c.refused(op, readProblem(resp, c.now()))
	}
	d, err := parseDirectory(resp.body, c.hosts)
	if err != nil {
		if e, ok := err.(*inkan.Error); ok {
			e.Op = op
		}
		return nil, err
	}
	c.dir.Store(d)
	rec, found, err := c.loadAccount(ctx)
	if err != nil || !found || rec.URL == "" {
		return d, nil // creating the account will keep it
	}
	now := c.now()
	err = c.accounts.Update(ctx, func(rec *inkan.AccountRecord) {
		rec.Directory, rec.DirectoryAt = d.raw, now
	})
	if err != nil {
		c.log.DebugContext(ctx, "the directory was not kept", "ca", c.name, "error", err)
	}
	return d, nil
}

// refreshDirectory reads the directory again in the background.
func (c *Client) refreshDirectory() {
	if c.refreshing.Swap(true) {
		return
	}
	started := c.tasks.run(context.Background(), func(ctx context.Context) {
		defer c.refreshing.Store(false)
		if _, err := c.readDirectory(ctx); err != nil {
			c.log.DebugContext(ctx, "the directory was not read again", "ca", c.name, "error", err)
		}
	})
	if !started {
		c.refreshing.Store(false)
	}
}
