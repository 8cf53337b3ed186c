package dns

import (
	"context"
	"net/http"
	"net/url"
	"regexp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// DeSECConfig holds the options of [DeSEC].
type DeSECConfig struct {
	_ struct{} `help:"writes TXT records at deSEC"`

	Token    plug.Secret `json:"token" help:"a token whose policy allows writing TXT at _acme-challenge of this domain only" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://desec.io/api/v1"`
}

// DeSEC is the DNS host deSEC. One call writes all its RRsets at once. It
// replaces whole RRsets and has no compare-and-swap: calls of one process wait
// for each other, but two processes that write at one name at the same moment
// may lose a value. The least TTL is 3600 seconds, writing is throttled.
//
// Reference: https://desec.readthedocs.io/en/latest/dns/rrsets.html (2026-11).
func DeSEC(env plug.Env, c DeSECConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "deSEC", "the token needs a policy with perm_write for TXT records of this domain", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = header("Authorization", "Token ", c.Token)
	return &rrsets{host: deSEC{r}, name: r.host, ttl: 3600, min: 3600}, nil
}

type deSEC struct{ *rest }

type deSECSet struct {
	Subname string   `json:"subname"`
	Type    string   `json:"type"`
	TTL     int      `json:"ttl"`
	Records []string `json:"records"`
}

// deSECNext finds the cursor of the next page in a Link header. The URL itself
// is not followed, because the token would go where it says.
var deSECNext = regexp.MustCompile(`<[^>]*[?&]cursor=([^>&]*)[^>]*>;\s*rel="next"`)

// find asks for nothing: the zone is its name, and reading fails without it.
func (h deSEC) find(_ context.Context, z zone) (zone, error) { return z, nil }

func (h deSEC) read(ctx context.Context, z zone, names []string) (sets []rrset, err error) {
	query := url.Values{"type": {"TXT"}, "cursor": {""}}
	if len(names) == 1 {
		query.Set("subname", z.relative(names[0], ""))
	}
	_, err = h.pages(func(int) (bool, error) {
		var out []deSECSet
		a, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), query: query, out: &out})
		if statusOf(err) == http.StatusNotFound {
			return false, h.noZone(z.name)
		}
		for _, s := range out {
			sets = append(sets, rrset{name: z.absolute(s.Subname), ttl: s.TTL, values: s.Records})
		}
		for _, link := range a.header.Values("Link") {
			if m := deSECNext.FindStringSubmatch(link); m != nil && err == nil {
				cursor, err := url.QueryUnescape(m[1])
				query.Set("cursor", cursor)
				return true, err
			}
		}
		return false, err
	})
	return sets, err
}

func (h deSEC) replace(ctx context.Context, z zone, _, will []rrset) error {
	var in []deSECSet
	for _, s := range will {
		records := s.values
		if records == nil {
			records = []string{} // deletes
		}
		in = append(in, deSECSet{z.relative(s.name, ""), "TXT", s.ttl, records})
	}
	_, err := h.do(ctx, call{method: http.MethodPatch, path: h.path(z), in: in})
	return err
}

// path ends in a slash, without which deSEC redirects.
func (deSEC) path(z zone) []string { return []string{"domains", z.name, "rrsets", ""} }
