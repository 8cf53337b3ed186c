package dns

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// SakuraCloudConfig holds the options of [SakuraCloud].
type SakuraCloudConfig struct {
	_ struct{} `help:"writes TXT records at the DNS appliance of Sakura Cloud"`

	Token    plug.Secret `json:"token" help:"the access token of an API key that may create and delete" required:"true"`
	Secret   plug.Secret `json:"secret" help:"the API key's access token secret" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://secure.sakura.ad.jp/cloud/zone/is1a/api/cloud/1.1"`
}

// SakuraCloud is the DNS appliance of Sakura Cloud. It replaces all records of a
// zone at once, if the hash of the settings that were read is still the
// present one: a compare-and-swap, so several processes may work in one zone.
//
// Reference: https://manual.sakura.ad.jp/cloud-api/1.1/appliance/index.html and
// the vendor's client https://github.com/sacloud/iaas-api-go (2026-11). That a
// stale hash is refused with 409 is not in the reference.
func SakuraCloud(env plug.Env, c SakuraCloudConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Sakura Cloud", "the API key needs the access level to create and delete resources", c.Endpoint, false, c.Token, c.Secret)
	if err != nil {
		return nil, err
	}
	r.sign = func(_ context.Context, req *http.Request, _ []byte) error {
		req.SetBasicAuth(c.Token.Reveal(), c.Secret.Reveal())
		return nil
	}
	return &rrsets{host: sakuraCloud{r}, name: r.host, ttl: 300, min: 10, whole: true}, nil
}

type sakuraCloud struct{ *rest }

// sakuraItem is a zone. What Inkan does not know in it is kept as it is.
type sakuraItem struct {
	ID           json.RawMessage
	Name         string
	SettingsHash string
	Settings     map[string]json.RawMessage
}

type sakuraRecord struct {
	Name  string // relative, @ for the apex
	Type  string
	RData string
	TTL   int `json:",omitempty"`
}

// sakuraZone is what find read: the settings in three layers.
type sakuraZone struct {
	item    sakuraItem
	dns     map[string]json.RawMessage
	records []json.RawMessage
}

func (h sakuraCloud) find(ctx context.Context, z zone) (zone, error) {
	filter, err := json.Marshal(map[string]any{"From": 0, "Count": 1000, "Filter": map[string]any{"Provider.Class": "dns", "Name": z.name}})
	if err != nil {
		return z, err
	}
	var out struct{ CommonServiceItems []sakuraItem }
	if _, err := h.do(ctx, call{method: http.MethodGet, path: []string{"commonserviceitem"}, raw: string(filter), out: &out}); err != nil {
		return z, err
	}
	i := slices.IndexFunc(out.CommonServiceItems, func(i sakuraItem) bool { return strings.EqualFold(i.Name, z.name) })
	if i < 0 {
		return z, h.noZone(z.name)
	}
	s := &sakuraZone{item: out.CommonServiceItems[i]}
	z.id, z.data = strings.Trim(string(s.item.ID), `"`), s
	odd := func(settings json.RawMessage, into any) error {
		if len(settings) == 0 {
			return nil
		}
		if err := json.Unmarshal(settings, into); err != nil {
			return inkan.Errorf(inkan.Temporary, h.host, "the settings of the zone %s are not those of its reference: %s", z.name, inkan.Printable(err.Error(), 200))
		}
		return nil
	}
	if err := odd(s.item.Settings["DNS"], &s.dns); err != nil {
		return z, err
	}
	return z, odd(s.dns["ResourceRecordSets"], &s.records)
}

func (h sakuraCloud) read(_ context.Context, z zone, names []string) (sets []rrset, err error) {
	for _, name := range names {
		s := rrset{name: name}
		for _, raw := range z.data.(*sakuraZone).records {
			if r, ok := sakuraTXT(z, raw, name); ok {
				s.ttl, s.values = r.TTL, append(s.values, quote(r.RData))
			}
		}
		sets = append(sets, s)
	}
	return sets, nil
}

// sakuraTXT reads a record if it is TXT at name.
func sakuraTXT(z zone, raw json.RawMessage, name string) (r sakuraRecord, ok bool) {
	return r, json.Unmarshal(raw, &r) == nil && r.Type == "TXT" && z.absolute(r.Name) == name
}

func (h sakuraCloud) replace(ctx context.Context, z zone, was, will []rrset) error {
	s := z.data.(*sakuraZone)
	kept := slices.Clone(s.records)
	for i, set := range will {
		kept = slices.DeleteFunc(kept, func(raw json.RawMessage) bool {
			r, ok := sakuraTXT(z, raw, set.name)
			return ok && !slices.Contains(set.values, quote(r.RData))
		})
		for _, v := range set.values {
			if slices.Contains(was[i].values, v) {
				continue
			}
			raw, err := json.Marshal(sakuraRecord{z.relative(set.name, "@"), "TXT", unquote(v), set.ttl})
			if err != nil {
				return err
			}
			kept = append(kept, raw)
		}
	}
	if kept == nil {
		kept = []json.RawMessage{}
	}
	dns := map[string]any{}
	for k, v := range s.dns {
		dns[k] = v
	}
	dns["ResourceRecordSets"] = kept
	settings := map[string]any{}
	for k, v := range s.item.Settings {
		settings[k] = v
	}
	settings["DNS"] = dns
	in := map[string]any{"CommonServiceItem": map[string]any{"Settings": settings, "SettingsHash": s.item.SettingsHash}}
	_, err := h.do(ctx, call{method: http.MethodPut, path: []string{"commonserviceitem", z.id}, in: in})
	if s := statusOf(err); s == http.StatusConflict || s == http.StatusPreconditionFailed {
		return errConflict
	}
	return err
}
