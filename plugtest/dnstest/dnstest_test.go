package dnstest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

// table is a DNS host in memory.
type table struct {
	mu     sync.Mutex
	values map[string][]string
	ttls   map[string]int
}

func (p *table) AddTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	return p.change(ctx, zone, records, func(r inkan.TXT) {
		if !slices.Contains(p.values[r.Name], r.Value) {
			p.values[r.Name] = append(p.values[r.Name], r.Value)
			p.ttls[r.Name] = max(r.TTL, 60)
		}
	})
}

func (p *table) RemoveTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	return p.change(ctx, zone, records, func(r inkan.TXT) {
		p.values[r.Name] = slices.DeleteFunc(p.values[r.Name], func(v string) bool { return v == r.Value })
	})
}

func (p *table) change(ctx context.Context, zone string, records []inkan.TXT, f func(inkan.TXT)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if zone != "example.org." {
		return inkan.Errorf(inkan.Operator, "", "there is no zone %s", zone)
	}
	for _, r := range records {
		if r.Name != zone && !strings.HasSuffix(r.Name, "."+zone) || strings.Contains(r.Name, "..") {
			return inkan.Errorf(inkan.Operator, "", "%s is outside %s", r.Name, zone)
		}
		odd := func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }
		if r.Value == "" || len(r.Value) > 4096 || strings.ContainsFunc(r.Value, odd) {
			return errors.New("no value of a challenge")
		}
	}
	for _, r := range records {
		f(r)
	}
	return nil
}

// The suite passes on the simplest provider there can be.
func TestSuite(t *testing.T) {
	p := &table{values: map[string][]string{}, ttls: map[string]int{}}
	dnstest.Run(t, dnstest.Harness{
		Open: func(*testing.T) inkan.DNSProvider { return p },
		Zone: "example.org.",
		Values: func(_ *testing.T, name string) []string {
			p.mu.Lock()
			defer p.mu.Unlock()
			return slices.Clone(p.values[name])
		},
		Foreign: func(_ *testing.T, name, value string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.values[name] = append(p.values[name], value)
		},
		TTL: func(_ *testing.T, name string) int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.ttls[name]
		},
		Swap: true,
	})
}
