package dns_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

// TestPowerDNS holds the contract against the real server.
func TestPowerDNS(t *testing.T) {
	s := testdns.New(t).PowerDNS(testdns.Zone{Name: testZone})
	open := func(t *testing.T, key string) inkan.DNSProvider {
		p, err := dns.PowerDNS(plug.Env{}, dns.PowerDNSConfig{Key: plug.NewSecret(key), Endpoint: s.API})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	dnstest.Run(t, dnstest.Harness{
		Open:   func(t *testing.T) inkan.DNSProvider { return open(t, s.APIKey) },
		Zone:   testZone,
		Values: func(t *testing.T, name string) []string { return powerDNSValues(t, s, name) },
		Foreign: func(t *testing.T, name, value string) {
			m := new(miekg.Msg).SetUpdate(testZone)
			m.Insert([]miekg.RR{dnslookup.NewTXT(name, value, 60)})
			m.SetTsig(s.Key.Name, s.Key.Algorithm+".", 300, time.Now().Unix())
			c := miekg.Client{Net: "tcp", TsigSecret: map[string]string{s.Key.Name: s.Key.Secret}}
			if r, _, err := c.Exchange(m, s.Addrs[0]); err != nil || r.Rcode != miekg.RcodeSuccess {
				t.Fatalf("%v: %v", r, err)
			}
		},
		TTL: func(t *testing.T, name string) int { return testdns.TTL(t, s.Addrs[0], name) },
	})

	t.Run("WrongKey", func(t *testing.T) {
		err := open(t, "wrong-key").AddTXT(t.Context(), testZone, []inkan.TXT{{Name: "_acme-challenge." + testZone, Value: "v"}})
		if !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), "PowerDNS") || strings.Contains(err.Error(), "wrong-key") {
			t.Errorf("AddTXT with a wrong key = %v; want an error of kind operator without the key", err)
		}
	})

	// What the API has taken is what the server answers with.
	t.Run("Answered", func(t *testing.T) {
		r := []inkan.TXT{{Name: "_acme-challenge.answered." + testZone, Value: "v", TTL: 120}}
		if err := open(t, s.APIKey).AddTXT(t.Context(), testZone, r); err != nil {
			t.Fatal(err)
		}
		if got := testdns.TXT(t, s.Addrs[0], r[0].Name); len(got) != 1 || got[0] != "v" {
			t.Errorf("%q is answered", got)
		}
	})

	// A record that somebody has disabled is answered to nobody and stays.
	t.Run("Disabled", func(t *testing.T) {
		name := "_acme-challenge.disabled." + testZone
		patch := j{"rrsets": []j{{"name": name, "type": "TXT", "ttl": 60, "changetype": "REPLACE", "records": []j{{"content": `"asleep"`, "disabled": true}}}}}
		if powerDNSCall(t, s, http.MethodPatch, patch); t.Failed() {
			return
		}
		r := []inkan.TXT{{Name: name, Value: "awake"}}
		p := open(t, s.APIKey)
		if err := p.AddTXT(t.Context(), testZone, r); err != nil {
			t.Fatal(err)
		}
		if got := testdns.TXT(t, s.Addrs[0], name); len(got) != 1 || got[0] != "awake" {
			t.Fatalf("%q is answered", got)
		}
		if err := p.RemoveTXT(t.Context(), testZone, r); err != nil {
			t.Fatal(err)
		}
		if zone := powerDNSCall(t, s, http.MethodGet, nil); !strings.Contains(zone, "asleep") || strings.Contains(zone, "awake") {
			t.Errorf("the zone holds %s", zone)
		}
	})
}

// powerDNSValues reads what is stored: the server's caches may answer with what
// stood a moment before.
func powerDNSValues(t *testing.T, s *testdns.Server, name string) (values []string) {
	t.Helper()
	var zone struct {
		RRSets []struct {
			Name, Type string
			Records    []struct{ Content string }
		}
	}
	if err := json.Unmarshal([]byte(powerDNSCall(t, s, http.MethodGet, nil)), &zone); err != nil {
		t.Error(err)
	}
	for _, set := range zone.RRSets {
		for _, r := range set.Records {
			if set.Name != name || set.Type != "TXT" {
				continue
			}
			value, ok := unquoted(httptest.NewRecorder(), r.Content)
			if !ok {
				t.Errorf("%s is no TXT", r.Content)
			}
			values = append(values, value)
		}
	}
	return values
}

func powerDNSCall(t *testing.T, s *testdns.Server, method string, in any) string {
	t.Helper()
	data, err := json.Marshal(in)
	if err != nil {
		t.Error(err)
		return ""
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.API+"/api/v1/servers/localhost/zones/"+testZone, bytes.NewReader(data))
	if err != nil {
		t.Error(err)
		return ""
	}
	req.Header.Set("X-API-Key", s.APIKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(resp.Body); err != nil || resp.StatusCode/100 != 2 {
		t.Errorf("%s: %d %v %s", method, resp.StatusCode, err, out.String())
	}
	return out.String()
}
