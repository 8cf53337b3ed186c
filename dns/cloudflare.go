package dns

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// CloudflareConfig holds the options of [Cloudflare].
type CloudflareConfig struct {
	_ struct{} `help:"writes TXT records at Cloudflare"`

	Token    plug.Secret `json:"token" help:"an API token with DNS Edit, and Zone Read unless zone_id is given, for this zone only" required:"true"`
	ZoneID   string      `json:"zone_id" help:"the id of the one zone to write to; then the token needs no Zone Read"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.cloudflare.com/client/v4"`
}

// Cloudflare is the DNS host Cloudflare. Each record stands by itself, so
// several processes may work at one name; one call is one batch.
//
// Reference: https://developers.cloudflare.com/api/resources/dns/subresources/records/
// (2026-11).
func Cloudflare(env plug.Env, c CloudflareConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Cloudflare", "the API token needs the permissions DNS Edit and Zone Read for this zone", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Token)
	return &records{host: cloudflare{r, c.ZoneID}, name: r.host}, nil
}

type cloudflare struct {
	*rest
	zoneID string
}

// cloudflareBatch is how many records the free plan takes in one batch.
const cloudflareBatch = 200

type cloudflareRecord struct {
	ID      string `json:"id,omitempty"`
	Type    string `json:"type,omitempty"`
	Name    string `json:"name,omitempty"`
	Content string `json:"content,omitempty"`
	TTL     int    `json:"ttl,omitempty"` // 1 is automatic
}

func (h cloudflare) find(ctx context.Context, z zone) (zone, error) {
	if z.id = h.zoneID; z.id != "" {
		return z, nil
	}
	var out struct {
		Result []struct{ ID, Name string }
	}
	_, err := h.do(ctx, call{method: http.MethodGet, path: []string{"zones"}, query: url.Values{"name": {z.name}}, out: &out})
	if err != nil {
		return z, err
	}
	for _, r := range out.Result {
		if strings.EqualFold(r.Name, z.name) {
			z.id = r.ID
			return z, nil
		}
	}
	return z, h.noZone(z.name)
}

func (h cloudflare) list(ctx context.Context, z zone, names []string) ([]record, bool, error) {
	return byName(ctx, names, func(ctx context.Context, name string) ([]record, bool, error) { return h.at(ctx, z, name) })
}

// at lists the records at a name, or for "" all.
func (h cloudflare) at(ctx context.Context, z zone, name string) (there []record, several bool, err error) {
	query := url.Values{"type": {"TXT"}, "per_page": {"1000"}}
	if name != "" {
		query.Set("name", strings.TrimSuffix(name, "."))
	}
	several, err = h.pages(func(page int) (bool, error) {
		var out struct {
			Result     []cloudflareRecord
			ResultInfo struct {
				TotalPages int `json:"total_pages"`
			} `json:"result_info"`
		}
		query.Set("page", strconv.Itoa(page))
		_, err := h.do(ctx, call{method: http.MethodGet, path: []string{"zones", z.id, "dns_records"}, query: query, out: &out})
		for _, r := range out.Result {
			there = append(there, record{id: r.ID, name: z.absolute(r.Name), value: unquote(r.Content)})
		}
		return page < out.ResultInfo.TotalPages, err
	})
	return there, several, err
}

func (h cloudflare) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	var posts, deletes []cloudflareRecord
	for _, t := range create {
		ttl := max(t.TTL, 60)
		if t.TTL == 0 {
			ttl = 1
		}
		posts = append(posts, cloudflareRecord{Type: "TXT", Name: strings.TrimSuffix(t.Name, "."), Content: quote(t.Value), TTL: ttl})
	}
	for _, r := range remove {
		deletes = append(deletes, cloudflareRecord{ID: r.id})
	}
	send := func(key string, list []cloudflareRecord) error {
		for some := range slices.Chunk(list, cloudflareBatch) {
			_, err := h.do(ctx, call{method: http.MethodPost, path: []string{"zones", z.id, "dns_records", "batch"}, in: map[string]any{key: some}})
			if s := statusOf(err); s == http.StatusNotFound && key == "deletes" || s == http.StatusBadRequest && hasCode(err, 81044, 81058) {
				return errConflict // one is gone, or there already
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := send("deletes", deletes); err != nil {
		return err
	}
	return send("posts", posts)
}
