package dns_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
)

// setHosts are the hosts that replace whole RRsets.
func setHosts() []hostTest {
	return []hostTest{
		{
			name: "gandi", skin: gandiSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Gandi(env, dns.GandiConfig{Token: secret(), Endpoint: url + "/v5/livedns"})
			},
		},
		{
			name: "desec", skin: deSECSkin,
			auth: func(r *http.Request) bool { return r.Header.Get("Authorization") == "Token "+theToken },
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.DeSEC(env, dns.DeSECConfig{Token: secret(), Endpoint: url + "/api/v1"})
			},
		},
		{
			name: "powerdns", skin: powerDNSSkin,
			auth: func(r *http.Request) bool { return r.Header.Get("X-API-Key") == theToken },
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.PowerDNS(env, dns.PowerDNSConfig{Key: secret(), Endpoint: url})
			},
		},
		{
			name: "sakuracloud", swap: true, skin: sakuraSkin,
			auth: func(r *http.Request) bool {
				user, password, _ := r.BasicAuth()
				return user == "sakura-token" && password == theToken
			},
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.SakuraCloud(env, dns.SakuraCloudConfig{Token: plug.NewSecret("sakura-token"), Secret: secret(), Endpoint: url + "/cloud/zone/is1a/api/cloud/1.1"})
			},
		},
	}
}

func gandiSkin(t *table) http.Handler {
	missing := func(w http.ResponseWriter, what string) {
		refuse(w, 404, j{"cause": "Not Found", "code": 404, "message": "The resource could not be found.", "object": what})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v5/livedns/domains/{zone}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != fakeZone {
			missing(w, "HTTPNotFound")
			return
		}
		reply(w, 200, j{"fqdn": fakeZone, "automatic_snapshots": true})
	})
	const path = " /v5/livedns/domains/" + fakeZone + "/records/{name}/TXT"
	mux.HandleFunc("GET"+path, func(w http.ResponseWriter, r *http.Request) {
		rows := t.at(abs(r.PathValue("name")))
		if len(rows) == 0 {
			missing(w, "dns-record")
			return
		}
		reply(w, 200, j{"rrset_name": r.PathValue("name"), "rrset_type": "TXT", "rrset_ttl": rows[0].ttl, "rrset_values": quotedAll(rows)})
	})
	mux.HandleFunc("PUT"+path, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			TTL    int      `json:"rrset_ttl"`
			Values []string `json:"rrset_values"`
		}
		if !body(w, r, &in) {
			return
		}
		if in.TTL < 300 || len(in.Values) == 0 {
			refuse(w, 400, j{"status": "error", "errors": []j{{"location": "body", "name": "rrset_ttl", "description": "300 is the minimum"}}})
			return
		}
		values, ok := unquotedAll(w, in.Values)
		if !ok {
			return
		}
		t.swap(abs(r.PathValue("name")), values, in.TTL, nil)
		reply(w, 201, j{"message": "DNS Record Created"})
	})
	mux.HandleFunc("DELETE"+path, func(w http.ResponseWriter, r *http.Request) {
		t.swap(abs(r.PathValue("name")), nil, 0, nil)
		w.WriteHeader(204)
	})
	return mux
}

func quotedAll(rows []row) []string {
	list := []string{}
	for _, r := range rows {
		list = append(list, quoted(r.value))
	}
	return list
}

func unquotedAll(w http.ResponseWriter, list []string) (values []string, ok bool) {
	for _, v := range list {
		value, ok := unquoted(w, v)
		if !ok {
			return nil, false
		}
		if slices.Contains(values, value) {
			refuse(w, 400, j{"message": "the value is there twice"})
			return nil, false
		}
		values = append(values, value)
	}
	return values, true
}

// sets groups rows by name.
func sets(rows []row) (names []string, by map[string][]row) {
	by = map[string][]row{}
	for _, r := range rows {
		by[r.name] = append(by[r.name], r)
	}
	for name := range by {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, by
}

func deSECSkin(t *table) http.Handler {
	mux := http.NewServeMux()
	known := func(w http.ResponseWriter, r *http.Request) bool {
		if r.PathValue("zone") == fakeZone {
			return true
		}
		refuse(w, 404, j{"detail": "Not found."})
		return false
	}
	mux.HandleFunc("GET /api/v1/domains/{zone}/rrsets/{$}", func(w http.ResponseWriter, r *http.Request) {
		if !known(w, r) {
			return
		}
		q := r.URL.Query()
		rows := t.at("")
		if q.Has("subname") {
			rows = t.at(abs(q.Get("subname")))
		}
		names, by := sets(rows)
		const size = 7
		start := 0
		if c := q.Get("cursor"); c != "" {
			start = int(number(strings.TrimPrefix(c, "bj0=&")))
		}
		end := min(start+size, len(names))
		if end < len(names) {
			w.Header().Set("Link", fmt.Sprintf(`<https://evil.example/?cursor=>; rel="first", <https://evil.example/api/v1/domains/x/rrsets/?cursor=bj0%%3D%%26%d&type=TXT>; rel="next"`, end))
		}
		list := []j{}
		for _, name := range names[start:end] {
			list = append(list, j{"domain": fakeZone, "subname": rel(name, ""), "name": name, "type": "TXT", "ttl": by[name][0].ttl, "records": quotedAll(by[name])})
		}
		reply(w, 200, list)
	})
	mux.HandleFunc("PATCH /api/v1/domains/{zone}/rrsets/{$}", func(w http.ResponseWriter, r *http.Request) {
		var in []struct {
			Subname, Type string
			TTL           int
			Records       []string
		}
		if !known(w, r) || !body(w, r, &in) {
			return
		}
		for _, s := range in {
			if s.TTL < 3600 {
				refuse(w, 400, []j{{"ttl": []string{"Ensure this value is greater than or equal to 3600."}}})
				return
			}
			if s.Records == nil {
				refuse(w, 400, []j{{"records": []string{"This field may not be null."}}})
				return
			}
			if _, ok := unquotedAll(w, s.Records); !ok {
				return
			}
		}
		for _, s := range in {
			values, _ := unquotedAll(w, s.Records)
			t.swap(abs(s.Subname), values, s.TTL, nil)
		}
		reply(w, 200, in)
	})
	return mux
}

func powerDNSSkin(t *table) http.Handler {
	const off = `"a disabled one"` // must survive, though nobody is answered with it
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/servers/localhost/zones/{zone}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != fakeZone+"." {
			refuse(w, 404, j{"error": "Not Found"})
			return
		}
		names, by := sets(t.at(""))
		list := []j{{"name": fakeZone + ".", "type": "SOA", "ttl": 3600, "records": []j{{"content": "a. b. 1 2 3 4 5", "disabled": false}}}}
		for _, name := range names {
			records := []j{{"content": off, "disabled": true}}
			for _, v := range quotedAll(by[name]) {
				records = append(records, j{"content": v, "disabled": false})
			}
			list = append(list, j{"name": name, "type": "TXT", "ttl": by[name][0].ttl, "comments": []j{}, "records": records})
		}
		reply(w, 200, j{"id": fakeZone + ".", "kind": "Native", "rrsets": list})
	})
	mux.HandleFunc("PATCH /api/v1/servers/localhost/zones/"+fakeZone+".", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			RRSets []struct {
				Name, Type, ChangeType string
				TTL                    int
				Records                []struct {
					Content  string
					Disabled bool
				}
			} `json:"rrsets"`
		}
		if !body(w, r, &in) {
			return
		}
		for _, s := range in.RRSets {
			var values []string
			disabled := false
			for _, x := range s.Records {
				if x.Disabled {
					disabled = true
				} else {
					values = append(values, x.Content)
				}
			}
			values, ok := unquotedAll(w, values)
			if !ok {
				return
			}
			if !strings.HasSuffix(s.Name, ".") || s.ChangeType == "REPLACE" && s.TTL == 0 || len(t.at(s.Name)) > 0 && !disabled {
				refuse(w, 422, j{"error": "RRset " + s.Name + " IN TXT: would lose the disabled record, or is not valid"})
				return
			}
			t.swap(s.Name, values, s.TTL, nil)
		}
		w.WriteHeader(204)
	})
	return mux
}

func sakuraSkin(t *table) http.Handler {
	var mu sync.Mutex
	item := func() j {
		records := []j{{"Name": "www", "Type": "A", "RData": "192.0.2.1", "New": "kept"}}
		for _, r := range t.at("") {
			records = append(records, j{"Name": rel(r.name, "@"), "Type": "TXT", "RData": r.value, "TTL": r.ttl})
		}
		sum := sha256.Sum256(fmt.Append(nil, records))
		return j{
			"ID": 112900000000, "Name": fakeZone, "SettingsHash": hex.EncodeToString(sum[:8]), "Provider": j{"Class": "dns"},
			"Settings": j{"DNS": j{"ResourceRecordSets": records, "MonitoringSuiteLog": j{"Enabled": "True"}}},
		}
	}
	mux := http.NewServeMux()
	const path = "/cloud/zone/is1a/api/cloud/1.1/commonserviceitem"
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		items := []j{}
		if strings.Contains(r.URL.RawQuery, "%22Name%22%3A%22"+fakeZone+"%22") {
			items = append(items, j{"ID": 1, "Name": "sub." + fakeZone}, item())
		}
		reply(w, 200, j{"From": 0, "Count": len(items), "Total": len(items), "CommonServiceItems": items})
	})
	mux.HandleFunc("PUT "+path+"/112900000000", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var in struct {
			CommonServiceItem struct {
				SettingsHash string
				Settings     struct {
					DNS struct {
						ResourceRecordSets []struct {
							Name, Type, RData, New string
							TTL                    int
						}
						MonitoringSuiteLog j
					}
				}
			}
		}
		if !body(w, r, &in) {
			return
		}
		d := in.CommonServiceItem.Settings.DNS
		if in.CommonServiceItem.SettingsHash != item()["SettingsHash"] {
			refuse(w, 409, j{"is_fatal": true, "status": "409 Conflict", "error_code": "conflict", "error_msg": "the settings have changed"})
			return
		}
		if len(d.ResourceRecordSets) == 0 || d.ResourceRecordSets[0].New != "kept" || d.MonitoringSuiteLog["Enabled"] != "True" {
			refuse(w, 400, j{"error_code": "bad_request", "error_msg": "something that was not ours is lost"})
			return
		}
		t.mu.Lock()
		t.rows = nil
		t.mu.Unlock()
		for _, x := range d.ResourceRecordSets[1:] {
			t.add(abs(x.Name), x.RData, x.TTL)
		}
		reply(w, 200, j{"Success": true, "CommonServiceItem": item()})
	})
	return mux
}

// A host without a compare-and-swap is safe within a process all the same; this
// shows that the lock does it: two names at once, one name one after another.
func TestSetHostsLockByName(t *testing.T) {
	tab := new(table)
	h := setHosts()[0]
	s := h.serve(t, tab)
	p, err := h.open(plug.Env{HTTP: s.Client()}, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			r := inkan.TXT{Name: "_acme-challenge." + fakeZone + ".", Value: "value" + strconv.Itoa(n)}
			if err := p.AddTXT(t.Context(), fakeZone+".", []inkan.TXT{r}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := tab.values("_acme-challenge." + fakeZone + "."); len(got) != 12 {
		t.Errorf("12 writers left %d values", len(got))
	}
}
