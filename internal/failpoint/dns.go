package failpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/inkan-acme/inkan"
)

// DNSConfig holds the options of [DNS].
type DNSConfig struct {
	_   struct{} `help:"TXT records at a DNS host that tests imitate"`
	URL string   `json:"url" help:"where the host takes orders" required:"true"`
}

// DNS returns a dns-01 Solver over a [DNSHost], one request for each record. It
// journals the record's id at the host, and does without it when the crash came
// before the journal.
func DNS(client *http.Client, c DNSConfig) inkan.Solver { return dnsSolver{client, c.URL} }

type dnsSolver struct {
	client *http.Client
	url    string
}

// dnsRecord is one record as the host knows it.
type dnsRecord struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// record is the TXT record of a challenge (RFC 8555 section 8.4).
func recordOf(c inkan.Challenge) dnsRecord {
	sum := sha256.Sum256([]byte(c.KeyAuthorization))
	return dnsRecord{Name: "_acme-challenge." + c.Identifier.Value, Value: base64.RawURLEncoding.EncodeToString(sum[:])}
}

// Present implements inkan.Solver.
func (s dnsSolver) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	var undo []inkan.Undo
	for _, c := range challenges {
		id, err := s.call(ctx, "/add", recordOf(c))
		if err != nil {
			return nil, err
		}
		undo = append(undo, id)
	}
	return undo, nil
}

// CleanUp implements inkan.Solver.
func (s dnsSolver) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	for _, c := range challenges {
		r := recordOf(c)
		if len(c.Undo) > 0 {
			r = dnsRecord{}
			if err := json.Unmarshal(c.Undo, &r); err != nil {
				return err
			}
		}
		if _, err := s.call(ctx, "/remove", r); err != nil {
			return err
		}
	}
	return nil
}

func (s dnsSolver) call(ctx context.Context, path string, r dnsRecord) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, inkan.Errorf(inkan.Temporary, "DNS host", "%w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, inkan.Errorf(inkan.Temporary, "DNS host", "it answered %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, inkan.MaxUndo))
}

// DNSHost is the DNS host behind [DNS]. Zone holds what it serves.
type DNSHost struct {
	Zone interface {
		AddTXT(name, value string)
		RemoveTXT(name, value string)
	}

	mu      sync.Mutex
	made    int
	records []dnsRecord
}

// Names returns the names at which a record stands.
func (h *DNSHost) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, r := range h.records {
		names = append(names, r.Name)
	}
	return names
}

// ServeHTTP implements http.Handler: /add answers the record's id, the same for
// a record that stands; /remove takes an id, or a name and a value.
func (h *DNSHost) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var r dnsRecord
	if err := json.NewDecoder(req.Body).Decode(&r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	same := func(x dnsRecord) bool { return x.ID == r.ID || x.Name == r.Name && x.Value == r.Value }
	i := slices.IndexFunc(h.records, same)
	switch req.URL.Path {
	case "/add":
		if i < 0 {
			h.made++
			r.ID = fmt.Sprint(h.made)
			i = len(h.records)
			h.records = append(h.records, r)
			h.Zone.AddTXT(r.Name, r.Value)
		}
		_ = json.NewEncoder(w).Encode(dnsRecord{ID: h.records[i].ID}) // the client notices
	case "/remove":
		if i >= 0 {
			h.Zone.RemoveTXT(h.records[i].Name, h.records[i].Value)
			h.records = slices.Delete(h.records, i, i+1)
		}
	default:
		http.NotFound(w, req)
	}
}
