package doctor_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/internal/testca"
)

// TestA20CAA goes through the rules of RFC 8659 and RFC 8657.
func TestA20CAA(t *testing.T) {
	const mine = "pebble.letsencrypt.org"
	ca := testca.Start(t, testca.Options{})
	for _, c := range []struct {
		name    string
		names   []string
		records []string // of the zone
		want    string
	}{
		{"issuewild rules wildcards", []string{"*.shop.example"}, []string{`@ CAA 0 issue "` + mine + `"`, `@ CAA 0 issuewild "other.example"`}, "caa-forbids"},
		{"issuewild lets wildcards", []string{"*.shop.example"}, []string{`@ CAA 0 issue ";"`, `@ CAA 0 issuewild "` + mine + `"`}, ""},
		{"issuewild is nothing to others", []string{"www.shop.example"}, []string{`@ CAA 0 issuewild "other.example"`}, ""},
		{"issue rules wildcards without issuewild", []string{"*.shop.example"}, []string{`@ CAA 0 issue ";"`}, "caa-forbids"},
		{"an empty value forbids", []string{"www.shop.example"}, []string{`@ CAA 0 issue ""`}, "caa-forbids"},
		{"letters do not matter", []string{"www.shop.example"}, []string{`@ CAA 0 ISSUE "Pebble.LetsEncrypt.org."`}, ""},
		{"the nearest counts", []string{"www.shop.example"}, []string{`@ CAA 0 issue "` + mine + `"`, `www CAA 0 issue "other.example"`}, "caa-forbids"},
		{"only who wants mail", []string{"www.shop.example"}, []string{`www CAA 0 iodef "mailto:a@b.example"`, `@ CAA 0 issue ";"`}, ""},
		{"a CNAME is followed", []string{"alias.shop.example"}, []string{`alias CNAME front`, `front A 127.0.0.1`, `front CAA 0 issue "other.example"`, `@ CAA 0 issue "` + mine + `"`}, "caa-forbids"},
		{"malformed lets nobody", []string{"www.shop.example"}, []string{`@ CAA 0 issue "` + mine + `\; nonsense"`}, "caa-forbids"},
		{"two accounts let nobody", []string{"www.shop.example"}, []string{`@ CAA 0 issue "` + mine + `\; accounturi=a\; accounturi=b"`}, "caa-forbids"},
		{"an unknown parameter is passed over", []string{"www.shop.example"}, []string{`@ CAA 0 issue "` + mine + `\; policy=ev"`}, ""},
		{"an unknown property is passed over", []string{"www.shop.example"}, []string{`@ CAA 0 tbs "x"`}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, ca)
			w.register()
			w.names(inkan.HTTP01, c.names...)
			w.own = append(w.own, c.records...)
			if strings.HasPrefix(c.names[0], "*") {
				w.names(inkan.DNS01, c.names...)
				w.dns01(&dnsHost{})
			}
			want := []string{}
			if c.want != "" {
				want = append(want, c.want)
			}
			if diff := cmp.Diff(want, ids(w.examine())); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

// TestQuick: what is looked at after a failure asks the CA nothing.
func TestQuick(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	w := newWorld(t, ca)
	w.own = append(w.own, `@ CAA 0 issue "other.example"`)
	w.names(inkan.HTTP01, host, "gone.shop.example", "127.0.0.1")
	w.start()
	rec := inkan.AccountRecord{URL: "https://ca.example/acct/1", Directory: []byte(`{"meta":{"caaIdentities":["mine.example"]}}`)}
	found := w.doctor.Quick(t.Context(), &doctor.CA{Record: rec, Public: false}, &w.request, w.request.Identifiers)
	if diff := cmp.Diff([]string{"caa-forbids", "nxdomain"}, ids(found)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if n := ca.Count(""); n != 0 {
		t.Errorf("the CA was asked %d times", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found := w.doctor.Quick(ended, &doctor.CA{Record: rec}, &w.request, w.request.Identifiers); len(found) > 0 {
		t.Errorf("without time: %+v", found)
	}
}

// TestInterrupted: what was put in place is removed although the examination is
// cut short, and no half answer is told.
func TestInterrupted(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	w := newWorld(t, ca)
	w.register()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() })
	w.start()
	w.doctor.CA = func(context.Context, string, string) (*doctor.CA, error) {
		rec, err := w.accounts.Load(ctx)
		return &doctor.CA{Client: w.client(), Record: rec}, err
	}
	w.doctor.Solver = func(context.Context, string) (inkan.Solver, error) { return w.solver() }
	if found := w.doctor.Examine(ctx, []inkan.CertificateRequest{w.request}); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	w.clean()
}

// TestH08RedirectInside: a redirect that leads to another host shows that it
// does, never what the host says.
func TestH08RedirectInside(t *testing.T) {
	w := newWorld(t, testca.Start(t, testca.Options{}))
	w.register()
	w.handler = http.RedirectHandler("http://127.0.0.3/latest/meta-data/", http.StatusFound)
	var asked atomic.Int64
	serveHTTP(t, "127.0.0.3", w.doctor.HTTPPort, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		rw.Write([]byte("the credentials of this machine"))
	}))
	found := w.examine()
	if len(found) != 1 || found[0].ID != "webroot-not-served" || !strings.Contains(found[0].Seen, "http://127.0.0.3/latest/meta-data/") || asked.Load() == 0 {
		t.Errorf("asked %d times, found %+v", asked.Load(), found)
	}
	for _, f := range found {
		if strings.Contains(f.Name+f.Seen+f.Do, "credentials") {
			t.Errorf("it is shown: %q", f.Seen)
		}
	}
}

// TestHostileServers: what DNS and web servers say is shown harmlessly and
// bounds nothing.
func TestHostileServers(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	w := newWorld(t, ca)
	w.register()
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", "http://\x1b]0;evil")
		rw.WriteHeader(http.StatusFound)
		for range 1000 {
			if _, err := rw.Write([]byte("\x1b[31mred\u202e" + strings.Repeat("x", 10000))); err != nil {
				return
			}
		}
	})
	w.ask = func(q *dns.Msg) *dns.Msg {
		if !asks(q, dns.TypeCAA, zoneOwn) {
			return nil
		}
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.CAA{Hdr: dns.RR_Header{Name: zoneOwn, Rrtype: dns.TypeCAA, Class: dns.ClassINET}, Tag: "issue", Value: strings.Repeat("\x1b", 200)}}
		return m
	}
	found := w.examine()
	if len(found) != 2 {
		t.Errorf("found %+v", found)
	}
	for _, f := range found {
		if text := f.Name + f.Seen + f.Do; strings.ContainsAny(text, "\x1b\u202e\n") || len(text) > 4000 {
			t.Errorf("%q", text)
		}
	}
}
