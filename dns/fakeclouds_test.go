package dns_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
)

// anyone lets every request through to a skin that checks by itself.
func anyone(*http.Request) bool { return true }

// cloudHosts are the hosts with a login of their own.
func cloudHosts() []hostTest {
	ovhKeys := func(env plug.Env, url string) (inkan.DNSProvider, error) {
		return dns.OVH(env, dns.OVHConfig{ApplicationKey: "app", ApplicationSecret: secret(), ConsumerKey: plug.NewSecret("consumer"), Endpoint: url + "/v1"})
	}
	ovhOAuth := func(env plug.Env, url string) (inkan.DNSProvider, error) {
		return dns.OVH(env, dns.OVHConfig{ClientID: "client", ClientSecret: secret(), Endpoint: url + "/v1", Login: url + "/auth/oauth2/token"})
	}
	google := func(withKey bool) func(env plug.Env, url string) (inkan.DNSProvider, error) {
		return func(env plug.Env, url string) (inkan.DNSProvider, error) {
			c := dns.GoogleConfig{Endpoint: url, Metadata: url}
			if withKey {
				c.Credentials = plug.NewSecret(googleKeyJSON(url + "/token"))
			}
			return dns.Google(env, c)
		}
	}
	azure := func(secret plug.Secret) func(env plug.Env, url string) (inkan.DNSProvider, error) {
		return func(env plug.Env, url string) (inkan.DNSProvider, error) {
			c := dns.AzureConfig{Subscription: "sub", ResourceGroup: "group", ClientID: "client", Endpoint: url, Login: url, Metadata: url}
			if !secret.IsZero() {
				c.Tenant, c.ClientSecret = "tenant", secret
			}
			return dns.Azure(env, c)
		}
	}
	return []hostTest{
		{name: "ovh", swap: true, auth: anyone, skin: ovhSkin, open: ovhKeys},
		{name: "ovh-oauth2", swap: true, auth: anyone, skin: ovhSkin, open: ovhOAuth},
		{name: "google", swap: true, auth: anyone, skin: googleSkin, open: google(true)},
		{name: "google-metadata", swap: true, auth: anyone, skin: googleSkin, open: google(false)},
		{name: "azure", swap: true, auth: anyone, skin: azureSkin, open: azure(secret())},
		{name: "azure-managed-identity", swap: true, auth: anyone, skin: azureSkin, open: azure(plug.Secret{})},
		{name: "conoha", swap: true, auth: anyone, skin: conoHaSkin, open: func(env plug.Env, url string) (inkan.DNSProvider, error) {
			return dns.ConoHa(env, dns.ConoHaConfig{Tenant: "tenant", User: "user", Password: secret(), Endpoint: url, Identity: url})
		}},
	}
}

func ovhSkin(t *table) http.Handler {
	var published atomic.Int64
	mux := http.NewServeMux()
	now := func() int64 { return time.Now().Add(-90 * time.Second).Unix() } // the host's clock is another
	mux.HandleFunc("GET /v1/auth/time", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, now()) })
	mux.HandleFunc("POST /auth/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_secret") != theToken || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "all" {
			refuse(w, 400, j{"error": "invalid_client"})
			return
		}
		reply(w, 200, j{"access_token": "ovh-access", "token_type": "Bearer", "expires_in": 3599})
	})
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			data := drain(r)
			r.Body = http.NoBody
			at := r.Header.Get("X-Ovh-Timestamp")
			sum := sha1.Sum([]byte(theToken + "+consumer+" + r.Method + "+http://" + r.Host + r.URL.RequestURI() + "+" + string(data) + "+" + at))
			signed := r.Header.Get("X-Ovh-Signature") == "$1$"+hex.EncodeToString(sum[:]) && r.Header.Get("X-Ovh-Application") == "app" &&
				r.Header.Get("X-Ovh-Consumer") == "consumer" && max(number(at)-now(), now()-number(at)) < 30
			if !signed && r.Header.Get("Authorization") != "Bearer ovh-access" {
				refuse(w, 403, j{"message": "Invalid signature", "errorCode": "INVALID_SIGNATURE", "httpCode": "403 Forbidden"})
				return
			}
			if !strings.HasPrefix(r.URL.Path, "/v1/domain/zone/"+fakeZone) {
				refuse(w, 404, j{"message": "This service does not exist"})
				return
			}
			r.Header.Set("X-Body", string(data))
			f(w, r)
		})
	}
	const zone = "/v1/domain/zone/{zone}"
	handle("GET "+zone, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, j{"name": fakeZone}) })
	handle("GET "+zone+"/record", func(w http.ResponseWriter, r *http.Request) {
		ids := []int64{}
		for _, x := range t.at(abs(r.URL.Query().Get("subDomain"))) {
			ids = append(ids, x.id)
		}
		reply(w, 200, ids)
	})
	handle("GET "+zone+"/record/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, x := range t.at("") {
			if x.id == number(r.PathValue("id")) {
				reply(w, 200, j{"id": x.id, "zone": fakeZone, "fieldType": "TXT", "subDomain": rel(x.name, ""), "target": quoted(x.value), "ttl": x.ttl})
				return
			}
		}
		refuse(w, 404, j{"message": "The requested object (id = 1) does not exist"})
	})
	handle("POST "+zone+"/record", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			FieldType, SubDomain, Target string
			TTL                          int
		}
		if err := json.Unmarshal([]byte(r.Header.Get("X-Body")), &in); err != nil || in.FieldType != "TXT" {
			refuse(w, 400, j{"message": "Invalid parameters"})
			return
		}
		if value, ok := unquoted(w, in.Target); ok {
			reply(w, 200, j{"id": t.add(abs(in.SubDomain), value, in.TTL)})
		}
	})
	handle("DELETE "+zone+"/record/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !t.remove(number(r.PathValue("id"))) {
			refuse(w, 404, j{"message": "The requested object does not exist"})
			return
		}
		reply(w, 200, nil)
	})
	handle("POST "+zone+"/refresh", func(w http.ResponseWriter, _ *http.Request) {
		published.Add(1)
		reply(w, 200, nil)
	})
	return mux
}

// googleKey is the service account's key, made once.
var googleKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func googleKeyJSON(tokenURI string) string {
	der, err := x509.MarshalPKCS8PrivateKey(googleKey())
	if err != nil {
		panic(err)
	}
	data, err := json.Marshal(j{
		"type": "service_account", "project_id": "project", "private_key_id": "key-1", "client_email": "inkan@project.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURI,
	})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// claimed checks a signed claim as Google's token endpoint does.
func claimed(assertion, audience string) error {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return errors.New("not three parts")
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&googleKey().PublicKey, crypto.SHA256, sum[:], sig); err != nil {
		return err
	}
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &claims); err != nil {
		return err
	}
	if claims.Iss != "inkan@project.iam.gserviceaccount.com" || claims.Aud != audience || claims.Exp-claims.Iat > 3600 ||
		claims.Scope != "https://www.googleapis.com/auth/ndev.clouddns.readwrite" {
		return fmt.Errorf("claims %+v", claims)
	}
	return nil
}

func googleSkin(t *table) http.Handler {
	fail := func(w http.ResponseWriter, status int, reason, message string) {
		refuse(w, status, j{"error": j{"code": status, "message": message, "errors": []j{{"message": message, "domain": "global", "reason": reason}}}})
	}
	type set struct {
		Name, Type string
		TTL        int
		RRDatas    []string
	}
	var mu sync.Mutex // a change is one transaction
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if err := claimed(r.FormValue("assertion"), "http://"+r.Host+"/token"); err != nil || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			refuse(w, 400, j{"error": "invalid_grant", "error_description": fmt.Sprint(err)})
			return
		}
		reply(w, 200, j{"access_token": "google-access", "expires_in": 3599, "token_type": "Bearer"})
	})
	mux.HandleFunc("GET /computeMetadata/v1/", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Metadata-Flavor") != "Google":
			w.WriteHeader(403)
		case strings.HasSuffix(r.URL.Path, "/project/project-id"):
			fmt.Fprint(w, "project")
		default:
			reply(w, 200, j{"access_token": "google-access", "expires_in": 3599, "token_type": "Bearer"})
		}
	})
	handle := func(pattern string, f http.HandlerFunc) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /dns/v1/projects/project/managedZones"+path, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer google-access" {
				fail(w, 401, "authError", "Request had invalid authentication credentials.")
				return
			}
			f(w, r)
		})
	}
	handle("GET ", func(w http.ResponseWriter, r *http.Request) {
		zones := []j{}
		if r.URL.Query().Get("dnsName") == fakeZone+"." {
			zones = append(zones, j{"name": "inside", "dnsName": fakeZone + ".", "visibility": "private"}, j{"name": "outside", "dnsName": fakeZone + ".", "visibility": "public"})
		}
		reply(w, 200, j{"managedZones": zones})
	})
	handle("GET /outside/rrsets", func(w http.ResponseWriter, r *http.Request) {
		list := []j{}
		if rows := t.at(r.URL.Query().Get("name")); len(rows) > 0 {
			list = append(list, j{"name": rows[0].name, "type": "TXT", "ttl": rows[0].ttl, "rrdatas": quotedAll(rows)})
		}
		reply(w, 200, j{"rrsets": list})
	})
	handle("POST /outside/changes", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var in struct{ Additions, Deletions []set }
		if !body(w, r, &in) {
			return
		}
		gone := map[string]bool{}
		for i, d := range in.Deletions {
			rows := t.at(d.Name)
			switch {
			case len(rows) == 0:
				fail(w, 404, "notFound", fmt.Sprintf("The 'entity.change.deletions[%d]' resource named '%s (TXT)' does not exist.", i, d.Name))
				return
			case rows[0].ttl != d.TTL || !slices.Equal(quotedAll(rows), d.RRDatas):
				fail(w, 412, "conditionNotMet", fmt.Sprintf("Precondition not met for 'entity.change.deletions[%d]'", i))
				return
			}
			gone[d.Name] = true
		}
		for i, a := range in.Additions {
			if len(t.at(a.Name)) > 0 && !gone[a.Name] {
				fail(w, 409, "alreadyExists", fmt.Sprintf("The resource 'entity.change.additions[%d]' named '%s (TXT)' already exists", i, a.Name))
				return
			}
			if _, ok := unquotedAll(w, a.RRDatas); !ok {
				return
			}
		}
		// Nobody sees a set that is replaced without any values.
		for _, d := range in.Deletions {
			if !slices.ContainsFunc(in.Additions, func(a set) bool { return a.Name == d.Name }) {
				t.swap(d.Name, nil, 0, nil)
			}
		}
		for _, a := range in.Additions {
			values, _ := unquotedAll(w, a.RRDatas)
			t.swap(a.Name, values, a.TTL, nil)
		}
		reply(w, 200, j{"id": "1", "status": "pending"})
	})
	return mux
}

func azureSkin(t *table) http.Handler {
	mux := http.NewServeMux()
	token := func(w http.ResponseWriter, expires any) {
		reply(w, 200, j{"access_token": "azure-access", "expires_in": expires, "token_type": "Bearer"})
	}
	mux.HandleFunc("POST /tenant/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_secret") != theToken || r.FormValue("client_id") != "client" || r.FormValue("scope") != "http://"+r.Host+"/.default" {
			refuse(w, 401, j{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
			return
		}
		token(w, 3599)
	})
	mux.HandleFunc("GET /metadata/identity/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("Metadata") != "true" || q.Get("client_id") != "client" || q.Get("resource") != "http://"+r.Host+"/" {
			refuse(w, 400, j{"error": "invalid_request"})
			return
		}
		token(w, "3599") // in quotes, as it is there
	})
	etag := func(rows []row) string {
		sum := sha256.Sum256(fmt.Append(nil, rows))
		return hex.EncodeToString(sum[:8])
	}
	mux.HandleFunc("/subscriptions/sub/resourceGroups/group/providers/Microsoft.Network/dnsZones/{zone}/TXT/{name}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer azure-access" || r.URL.Query().Get("api-version") != "2018-05-01":
			refuse(w, 401, j{"error": j{"code": "InvalidAuthenticationToken", "message": "The access token is invalid."}})
			return
		case r.PathValue("zone") != fakeZone:
			refuse(w, 404, j{"error": j{"code": "ParentResourceNotFound", "message": "Can not perform requested operation on nested resource. Parent resource not found."}})
			return
		}
		name := abs(r.PathValue("name"))
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		ok := func(rows []row) bool {
			return match != "" && len(rows) > 0 && match == etag(rows) || none == "*" && len(rows) == 0
		}
		failed := func() {
			refuse(w, 412, j{"code": "PreconditionFailed", "message": "The condition '" + match + "' in the If-Match header was not satisfied."})
		}
		switch r.Method {
		case http.MethodGet:
			rows := t.at(name)
			if len(rows) == 0 {
				refuse(w, 404, j{"code": "NotFound", "message": "The resource record '" + r.PathValue("name") + "' does not exist in resource group 'group'."})
				return
			}
			list := []j{}
			for _, x := range rows {
				v := []string{}
				for s := range slices.Chunk([]byte(x.value), 255) {
					v = append(v, string(s))
				}
				list = append(list, j{"value": v})
			}
			reply(w, 200, j{"name": r.PathValue("name"), "etag": etag(rows), "properties": j{"TTL": rows[0].ttl, "TXTRecords": list}})
		case http.MethodPut:
			var in struct {
				ETag       string
				Properties struct {
					TTL        int
					TXTRecords []struct{ Value []string }
				}
			}
			if !body(w, r, &in) {
				return
			}
			var values []string
			for _, x := range in.Properties.TXTRecords {
				if slices.ContainsFunc(x.Value, func(s string) bool { return len(s) > 255 }) {
					refuse(w, 400, j{"code": "BadRequest", "message": "a string is longer than 255"})
					return
				}
				values = append(values, strings.Join(x.Value, ""))
			}
			if !t.swap(name, values, in.Properties.TTL, ok) {
				failed()
				return
			}
			reply(w, 200, j{})
		case http.MethodDelete:
			if !t.swap(name, nil, 0, ok) {
				failed()
				return
			}
			w.WriteHeader(200)
		}
	})
	return mux
}

func conoHaSkin(t *table) http.Handler {
	const id = "89acac79-38e7-497d-807c-a011e1310438"
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, r *http.Request) {
		want := `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"user","password":"` + theToken + `"}}},"scope":{"project":{"id":"tenant"}}}}`
		if string(drain(r)) != want {
			refuse(w, 401, j{"error": j{"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}})
			return
		}
		w.Header().Set("X-Subject-Token", "conoha-access")
		reply(w, 201, j{"token": j{"methods": []string{"password"}}})
	})
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Auth-Token") != "conoha-access" {
				refuse(w, 401, j{"message": "Unauthorized"})
				return
			}
			f(w, r)
		})
	}
	handle("GET /v1/domains", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, j{"domains": []j{{"uuid": id, "name": fakeZone + ".", "ttl": 3600}}, "total_count": 1})
	})
	handle("GET /v1/domains/"+id+"/records", func(w http.ResponseWriter, _ *http.Request) {
		list := []j{{"uuid": "a", "name": "www." + fakeZone + ".", "type": "A", "data": "192.0.2.1"}}
		for _, x := range t.at("") {
			list = append(list, j{"uuid": fmt.Sprint(x.id), "domain_id": id, "name": x.name, "type": "TXT", "data": x.value, "ttl": x.ttl})
		}
		reply(w, 200, j{"records": list})
	})
	handle("POST /v1/domains/"+id+"/records", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name, Type, Data string
			TTL              int
		}
		if !body(w, r, &in) {
			return
		}
		if !strings.HasSuffix(in.Name, ".") {
			refuse(w, 400, j{"code": 400, "error": "name must end in a period"})
			return
		}
		reply(w, 200, j{"uuid": fmt.Sprint(t.add(in.Name, in.Data, in.TTL))})
	})
	handle("DELETE /v1/domains/"+id+"/records/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !t.remove(number(r.PathValue("id"))) {
			refuse(w, 404, j{"code": 404, "error": "not found"})
			return
		}
		w.WriteHeader(204)
	})
	return mux
}
