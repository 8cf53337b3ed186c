package dns_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
)

// recordHosts are the hosts that keep single records.
func recordHosts() []hostTest {
	return []hostTest{
		{
			name: "cloudflare", swap: true, skin: cloudflareSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Cloudflare(env, dns.CloudflareConfig{Token: secret(), Endpoint: url + "/client/v4"})
			},
		},
		{
			name: "digitalocean", swap: true, skin: digitalOceanSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.DigitalOcean(env, dns.DigitalOceanConfig{Token: secret(), Endpoint: url})
			},
		},
		{
			name: "hetzner", swap: true, skin: hetznerSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Hetzner(env, dns.HetznerConfig{Token: secret(), Endpoint: url + "/v1"})
			},
		},
		{
			name: "linode", swap: true, skin: linodeSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Linode(env, dns.LinodeConfig{Token: secret(), Endpoint: url + "/v4"})
			},
		},
		{
			name: "vultr", swap: true, skin: vultrSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Vultr(env, dns.VultrConfig{Key: secret(), Endpoint: url})
			},
		},
		{
			name: "scaleway", swap: true, skin: scalewaySkin,
			auth: func(r *http.Request) bool { return r.Header.Get("X-Auth-Token") == theToken },
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Scaleway(env, dns.ScalewayConfig{SecretKey: secret(), Endpoint: url})
			},
		},
		{
			name: "dnsimple", swap: true, skin: dnsimpleSkin,
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.DNSimple(env, dns.DNSimpleConfig{Token: secret(), Endpoint: url})
			},
		},
		{
			name: "porkbun", swap: true, skin: porkbunSkin,
			auth: func(r *http.Request) bool {
				return r.Header.Get("X-API-Key") == "pk1_key" && r.Header.Get("X-Secret-API-Key") == theToken
			},
			open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
				return dns.Porkbun(env, dns.PorkbunConfig{Key: plug.NewSecret("pk1_key"), Secret: secret(), Endpoint: url + "/api/json/v3"})
			},
		},
	}
}

// pageOf reads a page number.
func pageOf(r *http.Request) int {
	if p := r.URL.Query().Get("page"); p != "" {
		return int(number(p))
	}
	return 1
}

func cloudflareSkin(t *table) http.Handler {
	fail := func(w http.ResponseWriter, status, code int, message string) {
		refuse(w, status, j{"success": false, "errors": []j{{"code": code, "message": message}}, "messages": []j{}, "result": nil})
	}
	const id = "023e105f4ecef8ad9ca31a8372d0c353"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /client/v4/zones", func(w http.ResponseWriter, r *http.Request) {
		result := []j{}
		if r.URL.Query().Get("name") == fakeZone {
			result = append(result, j{"id": id, "name": fakeZone, "status": "active"})
		}
		reply(w, 200, j{"success": true, "errors": []j{}, "messages": []j{}, "result": result})
	})
	mux.HandleFunc("GET /client/v4/zones/"+id+"/dns_records", func(w http.ResponseWriter, r *http.Request) {
		rows := t.at("")
		if name := r.URL.Query().Get("name"); name != "" {
			rows = t.at(name + ".")
		}
		rows, pages := t.page(rows, pageOf(r))
		result := []j{}
		for _, x := range rows {
			result = append(result, j{"id": fmt.Sprintf("%032d", x.id), "type": "TXT", "name": strings.TrimSuffix(x.name, "."), "content": quoted(x.value), "ttl": x.ttl, "proxied": false})
		}
		reply(w, 200, j{"success": true, "result": result, "result_info": j{"page": pageOf(r), "total_pages": pages}})
	})
	mux.HandleFunc("POST /client/v4/zones/"+id+"/dns_records/batch", func(w http.ResponseWriter, r *http.Request) {
		type post struct {
			Type, Name, Content string
			TTL                 int
		}
		var in struct {
			Deletes []struct{ ID string }
			Posts   []post
		}
		if !body(w, r, &in) {
			return
		}
		for _, p := range in.Posts {
			value, ok := unquoted(w, p.Content)
			if !ok {
				return
			}
			if p.Type != "TXT" || p.TTL != 1 && p.TTL < 60 || strings.HasSuffix(p.Name, ".") {
				fail(w, 400, 9005, "Content for record is invalid.")
				return
			}
			for _, x := range t.at(p.Name + ".") {
				if x.value == value {
					fail(w, 400, 81058, "An identical record already exists.")
					return
				}
			}
		}
		for _, d := range in.Deletes {
			if !t.remove(number(strings.TrimLeft(d.ID, "0"))) {
				fail(w, 404, 81044, "Record does not exist.")
				return
			}
		}
		for _, p := range in.Posts {
			value, _ := unquoted(w, p.Content)
			t.add(p.Name+".", value, p.TTL)
		}
		reply(w, 200, j{"success": true, "errors": []j{}, "result": j{}})
	})
	return mux
}

func digitalOceanSkin(t *table) http.Handler {
	notFound := j{"id": "not_found", "message": "The resource you were accessing could not be found."}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/domains/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != fakeZone {
			refuse(w, 404, notFound)
			return
		}
		rows := t.at("")
		if name := r.URL.Query().Get("name"); name != "" {
			rows = t.at(name + ".")
		}
		all := len(rows)
		rows, pages := t.page(rows, pageOf(r))
		list := []j{}
		for _, x := range rows {
			list = append(list, j{"id": x.id, "type": "TXT", "name": rel(x.name, "@"), "data": x.value, "ttl": x.ttl, "priority": nil})
		}
		links := j{}
		if pageOf(r) < pages {
			links = j{"pages": j{"next": "https://evil.example/v2/domains/x/records?page=2"}} // is not followed
		}
		reply(w, 200, j{"domain_records": list, "links": links, "meta": j{"total": all}})
	})
	mux.HandleFunc("POST /v2/domains/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Type, Name, Data string
			TTL              int
		}
		if !body(w, r, &in) {
			return
		}
		if in.Type != "TXT" || in.TTL < 30 || in.Data == "" {
			refuse(w, 422, j{"id": "unprocessable_entity", "message": "TTL is too low."})
			return
		}
		reply(w, 201, j{"domain_record": j{"id": t.add(abs(in.Name), in.Data, in.TTL)}})
	})
	mux.HandleFunc("DELETE /v2/domains/{zone}/records/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !t.remove(number(r.PathValue("id"))) {
			refuse(w, 404, notFound)
			return
		}
		w.WriteHeader(204)
	})
	return mux
}

func hetznerSkin(t *table) http.Handler {
	fail := func(w http.ResponseWriter, status int, code, message string) {
		refuse(w, status, j{"error": j{"code": code, "message": message}})
	}
	known := func(w http.ResponseWriter, r *http.Request) bool {
		if r.PathValue("zone") == fakeZone {
			return true
		}
		fail(w, 404, "not_found", "zone not found")
		return false
	}
	type values struct {
		Records []struct{ Value string }
		TTL     int
	}
	var actions atomic.Int64
	done := func(w http.ResponseWriter) {
		status := "success"
		if actions.Add(1)%10 == 0 { // few, because each is a pause in the test
			status = "running"
		}
		reply(w, 201, j{"action": j{"id": 7, "status": status}})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/actions/7", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, j{"action": j{"id": 7, "status": "success", "progress": 100}})
	})
	mux.HandleFunc("GET /v1/zones/{zone}/rrsets/{name}/TXT", func(w http.ResponseWriter, r *http.Request) {
		if !known(w, r) {
			return
		}
		rows := t.at(abs(r.PathValue("name")))
		if len(rows) == 0 {
			fail(w, 404, "not_found", "rrset not found")
			return
		}
		list := []j{}
		for _, x := range rows {
			list = append(list, j{"value": quoted(x.value), "comment": ""})
		}
		reply(w, 200, j{"rrset": j{"id": r.PathValue("name") + "/TXT", "name": r.PathValue("name"), "type": "TXT", "ttl": rows[0].ttl, "records": list}})
	})
	mux.HandleFunc("POST /v1/zones/{zone}/rrsets/{name}/TXT/actions/add_records", func(w http.ResponseWriter, r *http.Request) {
		var in values
		if !known(w, r) || !body(w, r, &in) {
			return
		}
		name := abs(r.PathValue("name"))
		if rows := t.at(name); len(rows) > 0 && in.TTL != 0 && in.TTL != rows[0].ttl && in.TTL != 60 {
			fail(w, 422, "invalid_input", "ttl differs from that of the rrset")
			return
		}
		for _, v := range in.Records {
			value, ok := unquoted(w, v.Value)
			if !ok {
				return
			}
			t.add(name, value, max(in.TTL, 60))
		}
		done(w)
	})
	mux.HandleFunc("POST /v1/zones/{zone}/rrsets/{name}/TXT/actions/remove_records", func(w http.ResponseWriter, r *http.Request) {
		var in values
		if !known(w, r) || !body(w, r, &in) {
			return
		}
		for _, v := range in.Records {
			for _, x := range t.at(abs(r.PathValue("name"))) {
				if quoted(x.value) == v.Value {
					t.remove(x.id)
				}
			}
		}
		done(w)
	})
	return mux
}

func linodeSkin(t *table) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v4/domains", func(w http.ResponseWriter, r *http.Request) {
		data := []j{}
		if r.Header.Get("X-Filter") == `{"domain":"`+fakeZone+`"}` {
			data = append(data, j{"id": 1234, "domain": fakeZone, "type": "master", "status": "active"})
		}
		reply(w, 200, j{"data": data, "page": 1, "pages": 1, "results": len(data)})
	})
	mux.HandleFunc("GET /v4/domains/1234/records", func(w http.ResponseWriter, r *http.Request) {
		rows, pages := t.page(t.at(""), pageOf(r))
		data := []j{{"id": 1, "type": "A", "name": "_acme-challenge", "target": "192.0.2.1"}}
		for _, x := range rows {
			data = append(data, j{"id": x.id, "type": "TXT", "name": rel(x.name, ""), "target": x.value, "ttl_sec": x.ttl})
		}
		reply(w, 200, j{"data": data, "page": pageOf(r), "pages": pages})
	})
	mux.HandleFunc("POST /v4/domains/1234/records", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Type, Name, Target string
			TTL                int `json:"ttl_sec"`
		}
		if !body(w, r, &in) {
			return
		}
		if in.Type != "TXT" || in.Name == "@" {
			refuse(w, 400, j{"errors": []j{{"field": "name", "reason": "Invalid hostname"}}})
			return
		}
		reply(w, 200, j{"id": t.add(abs(in.Name), in.Target, in.TTL)})
	})
	mux.HandleFunc("DELETE /v4/domains/1234/records/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !t.remove(number(r.PathValue("id"))) {
			refuse(w, 404, j{"errors": []j{{"reason": "Not found"}}})
			return
		}
		reply(w, 200, j{})
	})
	return mux
}

func vultrSkin(t *table) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/domains/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != fakeZone {
			refuse(w, 404, j{"error": "Invalid domain.", "status": 404})
			return
		}
		n := 1
		if c := r.URL.Query().Get("cursor"); c != "" {
			n = int(number(strings.TrimPrefix(c, "next+/")))
		}
		rows, pages := t.page(t.at(""), n)
		list := []j{{"id": "x", "type": "NS", "name": "", "data": "ns1.vultr.com"}}
		for _, x := range rows {
			list = append(list, j{"id": fmt.Sprintf("cb676a46-66fd-4dfb-b839-%012d", x.id), "type": "TXT", "name": rel(x.name, ""), "data": quoted(x.value), "priority": -1, "ttl": x.ttl})
		}
		next := ""
		if n < pages {
			next = fmt.Sprintf("next+/%d", n+1)
		}
		reply(w, 200, j{"records": list, "meta": j{"total": len(list), "links": j{"next": next, "prev": ""}}})
	})
	mux.HandleFunc("POST /v2/domains/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Type, Name, Data string
			TTL              int
		}
		if !body(w, r, &in) {
			return
		}
		value, ok := unquoted(w, in.Data)
		if !ok {
			return
		}
		reply(w, 201, j{"record": j{"id": t.add(abs(in.Name), value, in.TTL)}})
	})
	mux.HandleFunc("DELETE /v2/domains/{zone}/records/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if !t.remove(number(strings.TrimLeft(id[strings.LastIndexByte(id, '-')+1:], "0"))) {
			refuse(w, 404, j{"error": "Invalid record.", "status": 404})
			return
		}
		w.WriteHeader(204)
	})
	return mux
}

func scalewaySkin(t *table) http.Handler {
	missing := func(w http.ResponseWriter, what string) {
		refuse(w, 404, j{"message": "resource is not found", "resource": what, "type": "not_found"})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /domain/v2beta1/dns-zones/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != fakeZone {
			missing(w, "domain")
			return
		}
		rows := t.at("")
		if q := r.URL.Query(); q.Get("name") != "" {
			rows = t.at(abs(q.Get("name")))
		}
		total := len(rows)
		rows, _ = t.page(rows, pageOf(r))
		list := []j{}
		for _, x := range rows {
			list = append(list, j{"id": fmt.Sprint(x.id), "name": rel(x.name, ""), "type": "TXT", "data": quoted(x.value), "ttl": x.ttl, "priority": 0})
		}
		reply(w, 200, j{"total_count": total, "records": list})
	})
	mux.HandleFunc("PATCH /domain/v2beta1/dns-zones/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		type rec struct {
			Name, Type, Data string
			TTL              int
		}
		var in struct {
			Changes []struct {
				Add    *struct{ Records []rec }
				Delete *struct{ ID string }
			}
			ReturnAll bool `json:"return_all_records"`
			NoNewZone bool `json:"disallow_new_zone_creation"`
		}
		if !body(w, r, &in) {
			return
		}
		if !in.NoNewZone {
			refuse(w, 400, j{"message": "that would make a zone"})
			return
		}
		for _, c := range in.Changes {
			if c.Delete != nil && !t.remove(number(c.Delete.ID)) {
				missing(w, "record")
				return
			}
			if c.Add == nil {
				continue
			}
			for _, x := range c.Add.Records {
				value, ok := unquoted(w, x.Data)
				if !ok {
					return
				}
				t.add(abs(x.Name), value, x.TTL)
			}
		}
		reply(w, 200, j{"records": []j{}})
	})
	return mux
}

func dnsimpleSkin(t *table) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/whoami", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, j{"data": j{"user": nil, "account": j{"id": 1010, "email": "a@example.com"}}})
	})
	mux.HandleFunc("GET /v2/1010/zones/{zone}/records", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != fakeZone {
			refuse(w, 404, j{"message": "Zone `" + r.PathValue("zone") + "` not found"})
			return
		}
		rows := t.at("")
		if q := r.URL.Query(); q.Has("name") {
			rows = t.at(abs(q.Get("name")))
		}
		total := len(rows)
		rows, pages := t.page(rows, pageOf(r))
		data := []j{}
		for _, x := range rows {
			data = append(data, j{"id": x.id, "zone_id": fakeZone, "name": rel(x.name, ""), "content": x.value, "ttl": x.ttl, "type": "TXT", "system_record": false})
		}
		reply(w, 200, j{"data": data, "pagination": j{"current_page": pageOf(r), "per_page": 3, "total_entries": total, "total_pages": pages}})
	})
	mux.HandleFunc("POST /v2/1010/zones/"+fakeZone+"/batch", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Creates []struct {
				Name, Type, Content string
				TTL                 int
			}
			Deletes []struct{ ID int64 }
		}
		if !body(w, r, &in) {
			return
		}
		for _, c := range in.Creates {
			t.add(abs(c.Name), c.Content, c.TTL)
		}
		for _, d := range in.Deletes {
			if !t.remove(d.ID) {
				refuse(w, 400, j{"message": "Validation failed", "errors": j{"deletes": []j{{"index": 0, "message": "Record not found"}}}})
				return
			}
		}
		reply(w, 200, j{"data": j{}})
	})
	return mux
}

func porkbunSkin(t *table) http.Handler {
	list := func(w http.ResponseWriter, r *http.Request, rows []row) {
		if r.PathValue("zone") != fakeZone {
			refuse(w, 400, j{"status": "ERROR", "code": "INVALID_DOMAIN", "message": "Invalid domain."})
			return
		}
		records := []j{}
		for _, x := range rows {
			records = append(records, j{"id": fmt.Sprint(x.id), "name": strings.TrimSuffix(x.name, "."), "type": "TXT", "content": x.value, "ttl": fmt.Sprint(x.ttl), "prio": nil, "notes": ""})
		}
		reply(w, 200, j{"status": "SUCCESS", "records": records})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/json/v3/dns/retrieve/{zone}", func(w http.ResponseWriter, r *http.Request) { list(w, r, t.at("")) })
	mux.HandleFunc("POST /api/json/v3/dns/retrieveByNameType/{zone}/TXT/{name}", func(w http.ResponseWriter, r *http.Request) {
		list(w, r, t.at(abs(r.PathValue("name"))))
	})
	mux.HandleFunc("POST /api/json/v3/dns/retrieveByNameType/{zone}/TXT", func(w http.ResponseWriter, r *http.Request) {
		list(w, r, t.at(fakeZone+"."))
	})
	mux.HandleFunc("POST /api/json/v3/dns/create/"+fakeZone, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Name, Type, Content, TTL string }
		if !body(w, r, &in) {
			return
		}
		if number(in.TTL) < 600 {
			refuse(w, 400, j{"status": "ERROR", "message": "The minimum TTL is 600."})
			return
		}
		reply(w, 200, j{"status": "SUCCESS", "id": t.add(abs(in.Name), in.Content, int(number(in.TTL)))})
	})
	mux.HandleFunc("POST /api/json/v3/dns/delete/"+fakeZone+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !t.remove(number(r.PathValue("id"))) {
			refuse(w, 400, j{"status": "ERROR", "message": "Invalid record ID."})
			return
		}
		reply(w, 200, j{"status": "SUCCESS"})
	})
	return mux
}
