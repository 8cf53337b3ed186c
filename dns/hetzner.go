package dns

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// HetznerConfig holds the options of [Hetzner].
type HetznerConfig struct {
	_ struct{} `help:"writes TXT records at Hetzner, in the Console's DNS (the old DNS Console has closed)"`

	Token    plug.Secret `json:"token" help:"an API token of the project that the zone is in, with Read & Write" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.hetzner.cloud/v1"`
}

// Hetzner is Hetzner's DNS in the Cloud API, which took the place of
// dns.hetzner.com. Values are added to and removed from an RRset by themselves,
// so several processes may work at one name.
//
// Reference: https://docs.hetzner.cloud/reference/cloud#tag/zone-rrset-actions
// (2026-11).
func Hetzner(env plug.Env, c HetznerConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Hetzner", "the API token needs Read & Write in the project that the zone is in", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Token)
	r.refine = func(a answer) (inkan.Kind, bool) {
		// Another action runs at the same RRset.
		return inkan.Temporary, a.status == http.StatusConflict || a.status == http.StatusLocked
	}
	return &records{host: hetzner{r}, name: r.host}, nil
}

type hetzner struct{ *rest }

type hetznerValue struct {
	Value string `json:"value"` // quoted strings of at most 255 characters
}

type hetznerAction struct {
	Action struct {
		ID     int64
		Status string // running, success, error
		Error  struct{ Code, Message string }
	}
}

// find asks for nothing: a zone's name serves as its id. It makes room for the
// names at which list finds an RRset.
func (h hetzner) find(_ context.Context, z zone) (zone, error) {
	z.data = map[string]bool{}
	return z, nil
}

func (h hetzner) list(ctx context.Context, z zone, names []string) (there []record, several bool, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, name := range names {
		g.Go(func() error {
			var out struct {
				RRSet struct{ Records []hetznerValue }
			}
			_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z, name), out: &out})
			if statusOf(err) == http.StatusNotFound {
				return nil // no RRset, or no zone, which change finds out
			}
			mu.Lock()
			defer mu.Unlock()
			z.data.(map[string]bool)[name] = len(out.RRSet.Records) > 0
			for _, r := range out.RRSet.Records {
				there = append(there, record{id: r.Value, name: name, value: unquote(r.Value)})
			}
			return err
		})
	}
	err = g.Wait()
	return there, false, err
}

func (h hetzner) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	type body struct {
		Records []hetznerValue `json:"records"`
		TTL     int            `json:"ttl,omitempty"` // must equal that of an existing RRset, so only for a new one
	}
	adds := map[string]*body{}
	for _, t := range create {
		b := adds[t.Name]
		if b == nil {
			b = new(body)
			adds[t.Name] = b
		}
		b.Records = append(b.Records, hetznerValue{quote(t.Value)})
		if !z.data.(map[string]bool)[t.Name] {
			b.TTL = max(t.TTL, 60)
		}
	}
	for name, b := range adds {
		g.Go(func() error {
			err := h.act(ctx, append(h.path(z, name), "actions", "add_records"), b)
			if statusOf(err) == http.StatusNotFound {
				return h.noZone(z.name)
			}
			return err
		})
	}
	removes := map[string]*body{}
	for _, r := range remove {
		if removes[r.name] == nil {
			removes[r.name] = new(body)
		}
		removes[r.name].Records = append(removes[r.name].Records, hetznerValue{r.id})
	}
	for name, b := range removes {
		g.Go(func() error { return gone(h.act(ctx, append(h.path(z, name), "actions", "remove_records"), b)) })
	}
	return g.Wait()
}

// hetznerPatience bounds the wait for an action.
const hetznerPatience = time.Minute

// act starts an action and waits until it has ended: the next one at the same
// RRset would be refused while it runs.
func (h hetzner) act(ctx context.Context, path []string, in any) error {
	ctx, cancel := context.WithTimeout(ctx, hetznerPatience)
	defer cancel()
	var out hetznerAction
	if _, err := h.do(ctx, call{method: http.MethodPost, path: path, in: in, out: &out}); err != nil {
		return err
	}
	for pause := 100 * time.Millisecond; out.Action.Status == "running"; pause += pause / 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return inkan.Errorf(inkan.Temporary, h.host, "action %d is still running: %w", out.Action.ID, ctx.Err())
		}
		id := anyNumber(out.Action.ID)
		if _, err := h.do(ctx, call{method: http.MethodGet, path: []string{"actions", id.String()}, out: &out}); err != nil {
			return err
		}
	}
	if out.Action.Status == "error" {
		e := out.Action.Error
		return inkan.Errorf(inkan.Temporary, h.host, "action %d failed: %s: %s", out.Action.ID, inkan.Printable(e.Code, 60), inkan.Printable(e.Message, 200))
	}
	return nil
}

func (hetzner) path(z zone, name string) []string {
	return []string{"zones", z.name, "rrsets", z.relative(name, "@"), "TXT"}
}
