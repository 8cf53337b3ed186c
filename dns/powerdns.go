package dns

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// PowerDNSConfig holds the options of [PowerDNS].
type PowerDNSConfig struct {
	_ struct{} `help:"writes TXT records at a PowerDNS Authoritative Server through its HTTP API"`

	Key       plug.Secret `json:"key" help:"the server's api-key" required:"true"`
	Endpoint  string      `json:"endpoint" help:"where the server's web server is, such as http://127.0.0.1:8081" required:"true"`
	Server    string      `json:"server" help:"the server's id, which differs behind a proxy only" default:"localhost"`
	PlainHTTP bool        `json:"plain_http" help:"allow http:// to another machine, where everybody on the way can read the key"`
}

// powerDNSBody bounds an answer, which holds a whole zone. A larger one is for
// RFC 2136.
const powerDNSBody = 16 << 20

// PowerDNS is a PowerDNS Authoritative Server. One call writes all its RRsets at
// once. The API replaces whole RRsets and has no compare-and-swap: calls of one
// process wait for each other, but two processes that write at one name at the
// same moment may lose a value; RFC 2136 has no such gap.
// It reads the whole zone each time: for one above some 50,000 names take
// RFC 2136 too.
//
// Reference: https://doc.powerdns.com/authoritative/http-api/zone.html (4.7 to
// 5.0, 2026-11).
func PowerDNS(env plug.Env, c PowerDNSConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "PowerDNS", "check api-key and webserver-allow-from of the server", c.Endpoint, c.PlainHTTP, c.Key)
	if err != nil {
		return nil, err
	}
	r.limit = powerDNSBody
	r.sign = header("X-Api-Key", "", c.Key)
	return &rrsets{host: powerDNS{r, c.Server}, name: r.host, ttl: 60, min: 1}, nil
}

type powerDNS struct {
	*rest
	server string
}

type powerDNSSet struct {
	Name    string           `json:"name"`
	Type    string           `json:"type"`
	TTL     int              `json:"ttl,omitempty"`
	Change  string           `json:"changetype,omitempty"`
	Records []powerDNSRecord `json:"records,omitempty"`
}

type powerDNSRecord struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

// find asks for nothing: the zone is its name, and reading fails without it.
func (h powerDNS) find(_ context.Context, z zone) (zone, error) { return z, nil }

// read reads the whole zone. The API can filter by name, but then leaves out the
// records that are disabled, and writing the RRset back would delete them.
func (h powerDNS) read(ctx context.Context, z zone, names []string) (sets []rrset, err error) {
	var out struct{ RRSets []powerDNSSet }
	_, err = h.do(ctx, call{method: http.MethodGet, path: h.path(z), out: &out})
	if s := statusOf(err); s == http.StatusNotFound || s == http.StatusUnprocessableEntity {
		return nil, h.noZone(z.name)
	}
	for _, found := range out.RRSets {
		s := rrset{name: strings.ToLower(found.Name), ttl: found.TTL}
		if found.Type != "TXT" || !slices.Contains(names, s.name) {
			continue
		}
		var off []powerDNSRecord
		for _, r := range found.Records {
			if r.Disabled {
				off = append(off, r)
			} else {
				s.values = append(s.values, r.Content)
			}
		}
		s.extra = off // disabled records are kept
		sets = append(sets, s)
	}
	return sets, err
}

func (h powerDNS) replace(ctx context.Context, z zone, _, will []rrset) error {
	var sets []powerDNSSet
	for _, s := range will {
		set := powerDNSSet{Name: s.name, Type: "TXT", TTL: s.ttl, Change: "REPLACE"}
		for _, v := range s.values {
			set.Records = append(set.Records, powerDNSRecord{Content: v})
		}
		off, _ := s.extra.([]powerDNSRecord)
		set.Records = append(set.Records, off...)
		if len(set.Records) == 0 {
			set = powerDNSSet{Name: s.name, Type: "TXT", Change: "DELETE"}
		}
		sets = append(sets, set)
	}
	_, err := h.do(ctx, call{method: http.MethodPatch, path: h.path(z), in: map[string]any{"rrsets": sets}})
	return err
}

func (h powerDNS) path(z zone) []string {
	return []string{"api", "v1", "servers", h.server, "zones", z.name + "."}
}
