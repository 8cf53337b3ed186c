package libdns_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	lib "github.com/libdns/libdns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns/libdns"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

const zone = "example.org."

// memory is a libdns provider as the weaker ones are: it appends what is there
// already, reads and writes a name without a guard, and ignores its context.
type memory struct {
	mu      sync.Mutex
	records []lib.RR
}

func (m *memory) AppendRecords(_ context.Context, z string, recs []lib.Record) ([]lib.Record, error) {
	if z != zone {
		return nil, inkan.Errorf(inkan.Operator, "memory", "no zone %s", z)
	}
	for _, r := range recs {
		rr := r.RR()
		if rr.Name == "" || strings.HasSuffix(rr.Name, ".") {
			return nil, errors.New("names are relative")
		}
		before := m.at(rr.Name)
		m.put(rr.Name, append(before, rr))
	}
	return recs, nil
}

func (m *memory) DeleteRecords(_ context.Context, z string, recs []lib.Record) ([]lib.Record, error) {
	for _, r := range recs {
		rr := r.RR()
		m.put(rr.Name, slices.DeleteFunc(m.at(rr.Name), func(x lib.RR) bool {
			return x.Data == rr.Data && x.Type == rr.Type && (rr.TTL == 0 || x.TTL == rr.TTL)
		}))
	}
	return recs, nil
}

func (m *memory) at(name string) []lib.RR {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.records), func(r lib.RR) bool { return r.Name != name })
}

func (m *memory) put(name string, list []lib.RR) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(slices.DeleteFunc(m.records, func(r lib.RR) bool { return r.Name == name }), list...)
}

// lister can list besides.
type lister struct{ *memory }

func (l lister) GetRecords(_ context.Context, _ string) (list []lib.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r.Name == "_acme-challenge.twice" {
			r.Name += "." + zone // as some providers return it
		}
		list = append(list, r)
	}
	return list, nil
}

func TestConformance(t *testing.T) {
	m := new(memory)
	p := libdns.New("memory", lister{m})
	dnstest.Run(t, dnstest.Harness{
		Open: func(*testing.T) inkan.DNSProvider { return p },
		Zone: zone,
		Values: func(_ *testing.T, name string) (values []string) {
			for _, r := range m.at(lib.RelativeName(name, zone)) {
				values = append(values, r.Data)
			}
			return values
		},
		Foreign: func(_ *testing.T, name, value string) {
			rel := lib.RelativeName(name, zone)
			m.put(rel, append(m.at(rel), lib.RR{Name: rel, Type: "TXT", Data: value, TTL: time.Hour}))
		},
		TTL: func(_ *testing.T, name string) int {
			ttl := m.at(lib.RelativeName(name, zone))[0].TTL
			return max(1, int(ttl/time.Second)) // 0 is the host's default
		},
	})
}

// failing fails as a provider does whose context ended.
type failing struct {
	*memory
	err error
}

func (f failing) AppendRecords(context.Context, string, []lib.Record) ([]lib.Record, error) {
	return nil, f.err
}

func TestErrors(t *testing.T) {
	r := []inkan.TXT{{Name: "_acme-challenge." + zone, Value: "v"}}
	for _, c := range []struct {
		err  error
		kind inkan.Kind
	}{
		{errors.New("boom"), inkan.Temporary},
		{context.Canceled, inkan.Pending},
		{inkan.Errorf(inkan.Operator, "", "no"), inkan.Operator},
	} {
		err := libdns.New("Example Host", failing{new(memory), c.err}).AddTXT(t.Context(), zone, r)
		if inkan.KindOf(err) != c.kind || !errors.Is(err, c.err) || !strings.Contains(err.Error(), "Example Host") {
			t.Errorf("AddTXT = %v (%v); want %v of kind %v", err, inkan.KindOf(err), c.err, c.kind)
		}
	}
}
