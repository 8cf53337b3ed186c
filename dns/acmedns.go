package dns

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/txt"
	"github.com/inkan-acme/inkan/plug"
)

// ACMEDNSConfig holds the options of [ACMEDNS].
type ACMEDNSConfig struct {
	_ struct{} `help:"writes TXT records at an acme-dns server, to which _acme-challenge is delegated by CNAME"`

	Endpoint  string           `json:"endpoint" help:"where the server's API is, such as https://auth.example.org" required:"true"`
	Accounts  []ACMEDNSAccount `json:"accounts" help:"the registrations at the server, one for each name that is delegated to it" required:"true"`
	PlainHTTP bool             `json:"plain_http" help:"allow http:// to another machine, where everybody on the way can read the keys"`
}

// ACMEDNSAccount is what a registration at an acme-dns server answered.
type ACMEDNSAccount struct {
	Subdomain string      `json:"subdomain" help:"the subdomain of the registration; the CNAME points to it" required:"true"`
	Username  plug.Secret `json:"username" help:"the user name of the registration" required:"true"`
	Password  plug.Secret `json:"password" help:"the password of the registration" required:"true"`
}

// acmeDNSValues is how many values a subdomain holds; a third takes the place
// of the oldest.
const acmeDNSValues = 2

// ACMEDNS is an acme-dns server. It is a narrower thing than other DNS hosts: a
// subdomain holds its last two values and nothing is ever removed, so RemoveTXT
// does nothing. That is enough for one order with a name and its wildcard;
// orders in parallel need a registration for each. It takes values of dns-01
// only.
//
// Reference: https://github.com/joohoi/acme-dns#api (v1.0, 2026-11).
func ACMEDNS(env plug.Env, c ACMEDNSConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	var secrets []plug.Secret
	for _, a := range c.Accounts {
		secrets = append(secrets, a.Username, a.Password)
	}
	r, err := newREST(env, "acme-dns", "check username and password of the registration, and its allowfrom", c.Endpoint, c.PlainHTTP, secrets...)
	if err != nil {
		return nil, err
	}
	return &acmeDNS{rest: r, accounts: slices.Clone(c.Accounts)}, nil
}

type acmeDNS struct {
	*rest
	accounts []ACMEDNSAccount
	locks    txt.Locks
}

// account returns the registration for a name in the server's zone.
func (p *acmeDNS) account(z zone, name string) (ACMEDNSAccount, error) {
	label := z.relative(name, "")
	for _, a := range p.accounts {
		if strings.EqualFold(a.Subdomain, label) {
			return a, nil
		}
	}
	return ACMEDNSAccount{}, inkan.Errorf(inkan.Operator, p.host, "there is no account for %s", name).
		WithHint("register at the server, add the answer to the option accounts, and point the CNAME of _acme-challenge to its fulldomain")
}

// AddTXT implements inkan.DNSProvider.
func (p *acmeDNS) AddTXT(ctx context.Context, zoneName string, txts []inkan.TXT) error {
	z, txts, err := checked(zoneName, txts)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, t := range txts {
		if _, err := p.account(z, t.Name); err != nil {
			return err
		}
		if len(t.Value) != 43 || strings.ContainsFunc(t.Value, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}) {
			return inkan.Errorf(inkan.Operator, p.host, "it takes only the 43 characters of a dns-01 value, not %q", inkan.Printable(t.Value, 60))
		}
		if count[t.Name]++; count[t.Name] > acmeDNSValues {
			return inkan.Errorf(inkan.Operator, p.host, "a subdomain holds %d values, and more are wanted at %s", acmeDNSValues, t.Name)
		}
	}
	unlock, err := p.locks.Lock(ctx, txt.Names(txts))
	if err != nil {
		return err
	}
	defer unlock()
	for _, t := range txts {
		a, err := p.account(z, t.Name)
		if err != nil {
			return err
		}
		_, err = p.do(ctx, call{
			method: http.MethodPost, path: []string{"update"},
			header: http.Header{"X-Api-User": {a.Username.Reveal()}, "X-Api-Key": {a.Password.Reveal()}},
			in:     map[string]string{"subdomain": a.Subdomain, "txt": t.Value},
		})
		if err != nil {
			return about("adding", p.host, zoneName, err)
		}
	}
	return nil
}

// RemoveTXT implements inkan.DNSProvider. There is nothing that it could do but
// tell of names that are not the server's.
func (p *acmeDNS) RemoveTXT(ctx context.Context, zoneName string, txts []inkan.TXT) error {
	z, txts, err := checked(zoneName, txts)
	if err != nil {
		return err
	}
	for _, t := range txts {
		if _, err := p.account(z, t.Name); err != nil {
			return err
		}
	}
	return ctx.Err()
}
