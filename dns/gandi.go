package dns

import (
	"context"
	"net/http"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// GandiConfig holds the options of [Gandi].
type GandiConfig struct {
	_ struct{} `help:"writes TXT records at Gandi (LiveDNS)"`

	Token    plug.Secret `json:"token" help:"a personal access token for the domain with the permission to manage its technical configuration" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.gandi.net/v5/livedns"`
}

// Gandi is Gandi LiveDNS. It replaces whole RRsets and has no compare-and-swap:
// calls of one process wait for each other, but two processes that write at
// one name at the same moment may lose a value. The least TTL is 300 seconds.
//
// Reference: https://api.gandi.net/docs/livedns/ (2026-11).
func Gandi(env plug.Env, c GandiConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Gandi", "the token needs the permission \"Manage domain name technical configurations\" for this domain", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Token)
	return &rrsets{host: gandi{r}, name: r.host, ttl: 300, min: 300}, nil
}

type gandi struct{ *rest }

type gandiSet struct {
	TTL    int      `json:"rrset_ttl"`
	Values []string `json:"rrset_values"`
}

func (h gandi) find(ctx context.Context, z zone) (zone, error) {
	_, err := h.do(ctx, call{method: http.MethodGet, path: []string{"domains", z.name}})
	if statusOf(err) == http.StatusNotFound {
		return z, h.noZone(z.name)
	}
	return z, err
}

func (h gandi) read(ctx context.Context, z zone, names []string) ([]rrset, error) {
	return readEach(ctx, names, func(ctx context.Context, name string) (rrset, error) {
		var out gandiSet
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z, name), out: &out})
		return rrset{name: name, ttl: out.TTL, values: out.Values}, gone(err)
	})
}

func (h gandi) replace(ctx context.Context, z zone, was, will []rrset) error {
	return writeEach(ctx, was, will, func(ctx context.Context, _, s rrset) error {
		if len(s.values) == 0 {
			_, err := h.do(ctx, call{method: http.MethodDelete, path: h.path(z, s.name)})
			return gone(err)
		}
		_, err := h.do(ctx, call{method: http.MethodPut, path: h.path(z, s.name), in: gandiSet{s.ttl, s.values}})
		return err
	})
}

func (gandi) path(z zone, name string) []string {
	return []string{"domains", z.name, "records", z.relative(name, "@"), "TXT"}
}
