package dns

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// DNSimpleConfig holds the options of [DNSimple].
type DNSimpleConfig struct {
	_ struct{} `help:"writes TXT records at DNSimple"`

	Token    plug.Secret `json:"token" help:"an account access token, limited to this zone where the plan allows it" required:"true"`
	Account  string      `json:"account" help:"the number of the account; else the token's own, which is asked for"`
	Endpoint string      `json:"endpoint" help:"where the API is; https://api.sandbox.dnsimple.com is the sandbox" default:"https://api.dnsimple.com"`
}

// DNSimple is the DNS host DNSimple. Each record stands by itself, so several
// processes may work at one name; one call is one batch.
//
// Reference: https://developer.dnsimple.com/v2/zones/records/ (2026-11).
func DNSimple(env plug.Env, c DNSimpleConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "DNSimple", "the token must be an account token with access to this zone's records", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Token)
	return &records{host: dnsimple{r, c.Account}, name: r.host}, nil
}

type dnsimple struct {
	*rest
	account string
}

type dnsimpleRecord struct {
	ID      int64  `json:"id,omitempty"`
	Name    string `json:"name"` // relative, "" for the apex
	Type    string `json:"type,omitempty"`
	Content string `json:"content,omitempty"`
	TTL     int    `json:"ttl,omitempty"`
}

// find learns the account, which stands in every path.
func (h dnsimple) find(ctx context.Context, z zone) (zone, error) {
	if z.id = h.account; z.id != "" {
		return z, nil
	}
	var out struct {
		Data struct{ Account *struct{ ID int64 } }
	}
	if _, err := h.do(ctx, call{method: http.MethodGet, path: []string{"v2", "whoami"}, out: &out}); err != nil {
		return z, err
	}
	if out.Data.Account == nil {
		return z, inkan.Errorf(inkan.Operator, h.host, "the token belongs to a user, not to an account").WithHint("make an account access token, or set the option account")
	}
	z.id = strconv.FormatInt(out.Data.Account.ID, 10)
	return z, nil
}

func (h dnsimple) list(ctx context.Context, z zone, names []string) ([]record, bool, error) {
	return byName(ctx, names, func(ctx context.Context, name string) ([]record, bool, error) { return h.at(ctx, z, name) })
}

// at lists the records at a name, or for "" all.
func (h dnsimple) at(ctx context.Context, z zone, name string) (there []record, several bool, err error) {
	query := url.Values{"type": {"TXT"}, "per_page": {"100"}}
	if name != "" {
		query.Set("name", z.relative(name, ""))
	}
	several, err = h.pages(func(page int) (bool, error) {
		var out struct {
			Data       []dnsimpleRecord
			Pagination struct {
				TotalPages int `json:"total_pages"`
			}
		}
		query.Set("page", strconv.Itoa(page))
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z, "records"), query: query, out: &out})
		if statusOf(err) == http.StatusNotFound {
			return false, h.noZone(z.name)
		}
		for _, r := range out.Data {
			there = append(there, record{id: strconv.FormatInt(r.ID, 10), name: z.absolute(r.Name), value: unquote(r.Content)})
		}
		return page < out.Pagination.TotalPages, err
	})
	return there, several, err
}

// dnsimpleBatch is how many changes go into one batch.
const dnsimpleBatch = 100

func (h dnsimple) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	type deletion struct {
		ID int64 `json:"id"`
	}
	send := func(in any) error {
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z, "batch"), in: in})
		return err
	}
	for some := range slices.Chunk(create, dnsimpleBatch) {
		var list []dnsimpleRecord
		for _, t := range some {
			list = append(list, dnsimpleRecord{Name: z.relative(t.Name, ""), Type: "TXT", Content: t.Value, TTL: max(t.TTL, 60)})
		}
		if err := send(map[string]any{"creates": list}); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(remove, dnsimpleBatch) {
		var list []deletion
		for _, r := range some {
			id, err := strconv.ParseInt(r.id, 10, 64)
			if err != nil {
				return err
			}
			list = append(list, deletion{id})
		}
		err := send(map[string]any{"deletes": list})
		if s := statusOf(err); s == http.StatusNotFound || s == http.StatusBadRequest {
			return errConflict // one is gone, so none was deleted
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h dnsimple) path(z zone, last string) []string {
	return []string{"v2", z.id, "zones", z.name, last}
}
