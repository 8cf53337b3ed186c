package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

const (
	apex     = "example.com."
	apexZone = "Z0APEX"
)

// startRoute53 starts the fake with one zone, as fast as it can.
func startRoute53(t *testing.T) *testaws.Route53 {
	isolate(t)
	f := testaws.StartRoute53(t)
	f.Set(func(s *testaws.Route53Settings) { s.PerSecond = 0 })
	f.AddZone(apexZone, apex, false)
	return f
}

// quick asks as fast as the fake allows.
func quick() *aws.Pace { return &aws.Pace{PerSecond: 10_000, Poll: time.Millisecond} }

func openRoute53(t *testing.T, pace *aws.Pace, cfg aws.Route53Config) inkan.DNSProvider {
	t.Helper()
	p, err := pace.Route53(plug.Env{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func route53Config(f *testaws.Route53) aws.Route53Config {
	return aws.Route53Config{Endpoint: f.Endpoint, Account: account()}
}

func txt(n int, values ...string) (list []inkan.TXT) {
	for i := range n {
		for _, v := range values {
			list = append(list, inkan.TXT{Name: fmt.Sprintf("_acme-challenge.n%02d.%s", i, apex), Value: v})
		}
	}
	return list
}

// count returns how often an operation is among the requests.
func count(requests []string, operation string) (n int) {
	for _, r := range requests {
		if r == operation {
			n++
		}
	}
	return n
}

func unquoted(s testaws.RecordSet) (values []string) {
	for _, v := range s.Values {
		values = append(values, testaws.Unquoted(v))
	}
	return values
}

func TestRoute53Conformance(t *testing.T) {
	f := startRoute53(t)
	f.Set(func(s *testaws.Route53Settings) { s.Sync = time.Millisecond })
	dnstest.Run(t, dnstest.Harness{
		Zone: apex,
		Swap: true,
		Open: func(t *testing.T) inkan.DNSProvider { return openRoute53(t, quick(), route53Config(f)) },
		Values: func(_ *testing.T, name string) []string {
			return unquoted(f.Get(apexZone, name))
		},
		TTL: func(_ *testing.T, name string) int { return int(f.Get(apexZone, name).TTL) },
		Foreign: func(_ *testing.T, name, value string) {
			s := f.Get(apexZone, name)
			s.TTL = 300
			s.Values = append(slices.Clone(s.Values), presented(value))
			f.Put(apexZone, name, s)
		},
	})
}

// presented writes a value as somebody at the console does.
func presented(value string) string {
	value = strings.NewReplacer(`\`, `\134`, `"`, `\"`).Replace(value)
	if len(value) > 200 {
		return `"` + value[:200] + `"  "` + value[200:] + `"`
	}
	return `"` + value + `"`
}

// TestRoute53FiftyNames: 50 names, with their wildcards, take one change to
// present and one to remove, two where somebody else has values; Wait returns
// when they are INSYNC and not before, at the pace that AWS allows.
func TestRoute53FiftyNames(t *testing.T) {
	isolate(t)
	for _, foreign := range []int{0, 3} {
		t.Run(fmt.Sprintf("foreign %d", foreign), func(t *testing.T) {
			f := testaws.StartRoute53(t) // five requests a second
			f.AddZone(apexZone, apex, false)
			for i := range foreign {
				f.Put(apexZone, txt(10*i+1, "x")[10*i].Name, testaws.RecordSet{TTL: 300, Values: []string{`"foreign"`}})
			}
			p := openRoute53(t, &aws.Pace{Poll: time.Millisecond}, route53Config(f))
			records := txt(50, "base", "wildcard")
			f.Set(func(s *testaws.Route53Settings) { s.Hold = true })
			if err := p.AddTXT(t.Context(), apex, records); err != nil {
				t.Fatal(err)
			}
			requests := f.Requests()
			want := 1
			if foreign > 0 {
				want = 2
			}
			if got := count(requests, "ChangeResourceRecordSets"); got != want || len(requests) > want+2 {
				t.Errorf("presenting took %q", requests)
			}
			waited := make(chan error, 1)
			go func() { waited <- p.(inkan.DNSWaiter).Wait(t.Context(), apex, records) }()
			select {
			case err := <-waited:
				t.Fatalf("Wait returned %v while the change was PENDING", err)
			case <-time.After(50 * time.Millisecond):
			}
			f.Set(func(s *testaws.Route53Settings) { s.Hold = false })
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if !slices.Contains(unquoted(f.Get(apexZone, r.Name)), r.Value) {
					t.Fatalf("%s lacks %s", r.Name, r.Value)
				}
			}
			f.Requests()
			if err := p.RemoveTXT(t.Context(), apex, records); err != nil {
				t.Fatal(err)
			}
			requests = f.Requests()
			if got := count(requests, "ChangeResourceRecordSets"); got != want {
				t.Errorf("removing took %q", requests)
			}
			for i, r := range txt(50, "") {
				want := []string(nil)
				if i%10 == 0 && i/10 < foreign {
					want = []string{"foreign"}
				}
				if got := unquoted(f.Get(apexZone, r.Name)); !slices.Equal(got, want) {
					t.Errorf("%s holds %q, want %q", r.Name, got, want)
				}
			}
		})
	}
}

// TestRoute53Batches: more than a request may hold is divided.
func TestRoute53Batches(t *testing.T) {
	f := startRoute53(t)
	p := openRoute53(t, quick(), route53Config(f))
	for _, c := range []struct {
		records []inkan.TXT
		changes int
	}{
		{txt(99, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"), 2}, // 1,089 records
		{txt(20, strings.Repeat("x", 3000)), 2},                             // 60,000 characters
	} {
		if err := p.AddTXT(t.Context(), apex, c.records); err != nil {
			t.Fatal(err)
		}
		if got := count(f.Requests(), "ChangeResourceRecordSets"); got != c.changes {
			t.Errorf("%d records took %d changes to add", len(c.records), got)
		}
		if err := p.(inkan.DNSWaiter).Wait(t.Context(), apex, c.records); err != nil {
			t.Fatal(err)
		}
		if err := p.RemoveTXT(t.Context(), apex, c.records); err != nil {
			t.Fatal(err)
		}
		if got := count(f.Requests(), "ChangeResourceRecordSets"); got != c.changes {
			t.Errorf("%d records took %d changes to remove", len(c.records), got)
		}
	}
}

// TestRoute53CompareAndSwap: what somebody else writes between our read and
// our change is kept, and who never leaves off is given up on.
func TestRoute53CompareAndSwap(t *testing.T) {
	f := startRoute53(t)
	p := openRoute53(t, quick(), route53Config(f))
	r := txt(1, "ours")
	var n atomic.Int64
	limit := int64(4)
	f.Set(func(s *testaws.Route53Settings) {
		s.Between = func() {
			if i := n.Add(1); i <= limit {
				old := f.Get(apexZone, r[0].Name)
				f.Put(apexZone, r[0].Name, testaws.RecordSet{TTL: 30, Values: append(slices.Clone(old.Values), fmt.Sprintf(`"other %d"`, i))})
			}
		}
	})
	if err := p.AddTXT(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	want := []string{"other 1", "other 2", "other 3", "other 4", "ours"}
	if diff := cmp.Diff(want, unquoted(f.Get(apexZone, r[0].Name))); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	n.Store(0)
	if err := p.RemoveTXT(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	if got := unquoted(f.Get(apexZone, r[0].Name)); slices.Contains(got, "ours") || len(got) != 8 {
		t.Errorf("after removing: %q", got)
	}
	n.Store(-1000)
	limit = 1000
	f.Set(func(s *testaws.Route53Settings) {
		s.Between = func() {
			f.Put(apexZone, r[0].Name, testaws.RecordSet{TTL: 30, Values: []string{fmt.Sprintf(`"%d"`, n.Add(1))}})
		}
	})
	wantError(t, p.AddTXT(t.Context(), apex, r), inkan.Temporary, "_acme-challenge.n00.example.com.", "somebody else")
}

// TestRoute53LostReply: a change that was done and not confirmed is an error;
// doing it again succeeds, and Wait then has a change to wait for.
func TestRoute53LostReply(t *testing.T) {
	for _, fault := range []testaws.Fault{testaws.Lost, testaws.Done500, testaws.NotDone, testaws.Failed} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			f := startRoute53(t)
			p := openRoute53(t, quick(), route53Config(f))
			r := txt(2, "ours")
			once := func() {
				var n atomic.Int64
				f.Set(func(s *testaws.Route53Settings) {
					s.Fault = func(operation string) testaws.Fault {
						if operation == "ChangeResourceRecordSets" && n.Add(1) == 1 {
							return fault
						}
						return testaws.None
					}
				})
			}
			once()
			wantError(t, p.AddTXT(t.Context(), apex, r), inkan.Temporary, "add TXT in example.com.")
			f.Requests()
			if err := p.AddTXT(t.Context(), apex, r); err != nil {
				t.Fatal(err)
			}
			if err := p.(inkan.DNSWaiter).Wait(t.Context(), apex, r); err != nil {
				t.Fatal(err)
			}
			if got := count(f.Requests(), "GetChange"); got != 1 {
				t.Errorf("Wait asked %d times for the change", got)
			}
			once()
			wantError(t, p.RemoveTXT(t.Context(), apex, r), inkan.Temporary, "remove TXT")
			if err := p.RemoveTXT(t.Context(), apex, r); err != nil {
				t.Fatal(err)
			}
			if got := f.Get(apexZone, r[0].Name); len(got.Values) != 0 {
				t.Errorf("%q stands", got.Values)
			}
		})
	}
}

// TestRoute53WaitAfterCrash: another process that finds the values there waits
// for a change of its own; where they are gone it says so.
func TestRoute53WaitAfterCrash(t *testing.T) {
	f := startRoute53(t)
	r := txt(3, "ours")
	if err := openRoute53(t, quick(), route53Config(f)).AddTXT(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	before := f.Get(apexZone, r[1].Name)
	f.Requests()
	second := openRoute53(t, quick(), route53Config(f)).(inkan.DNSWaiter)
	if err := second.Wait(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	requests := f.Requests()
	if count(requests, "ChangeResourceRecordSets") != 1 || count(requests, "GetChange") != 1 {
		t.Errorf("Wait took %q", requests)
	}
	if diff := cmp.Diff(before, f.Get(apexZone, r[1].Name)); diff != "" {
		t.Errorf("the set changed:\n%s", diff)
	}
	if err := second.Wait(t.Context(), apex, r); err != nil || len(f.Requests()) != 0 {
		t.Errorf("a second Wait asked again, %v", err)
	}
	f.Put(apexZone, r[1].Name, testaws.RecordSet{TTL: 1, Values: []string{`"another"`}})
	third := openRoute53(t, quick(), route53Config(f)).(inkan.DNSWaiter)
	wantError(t, third.Wait(t.Context(), apex, r), inkan.Temporary, r[1].Name, "no TXT record")
}

// TestRoute53Throttling: refusals for speed are waited out, in the end told.
func TestRoute53Throttling(t *testing.T) {
	f := startRoute53(t)
	var n atomic.Int64
	f.Set(func(s *testaws.Route53Settings) {
		s.Fault = func(string) testaws.Fault {
			return []testaws.Fault{testaws.Slow, testaws.Busy, testaws.None}[n.Add(1)%3]
		}
	})
	p := openRoute53(t, quick(), route53Config(f))
	r := txt(2, "ours")
	if err := errors.Join(p.AddTXT(t.Context(), apex, r), p.(inkan.DNSWaiter).Wait(t.Context(), apex, r), p.RemoveTXT(t.Context(), apex, r)); err != nil {
		t.Fatal(err)
	}
	f.Set(func(s *testaws.Route53Settings) { s.Fault = func(string) testaws.Fault { return testaws.Slow } })
	wantError(t, p.AddTXT(t.Context(), apex, r), inkan.Temporary, "Throttling", "127.0.0.1")
}

// TestRoute53Pace: instances of one account share their pace, so that the fake
// that throttles at five a second never has to.
func TestRoute53Pace(t *testing.T) {
	isolate(t)
	f := testaws.StartRoute53(t)
	f.AddZone(apexZone, apex, false)
	var throttled atomic.Int64
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		out, err := http.DefaultTransport.RoundTrip(r)
		if err == nil && out.StatusCode == http.StatusBadRequest {
			throttled.Add(1)
		}
		return out, err
	})
	pace := &aws.Pace{Poll: time.Millisecond}
	done := make(chan error, 2)
	for i := range 2 {
		p, err := pace.Route53(plug.Env{HTTP: &http.Client{Transport: transport}}, route53Config(f))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			records := []inkan.TXT{{Name: fmt.Sprintf("_acme-challenge.p%d.%s", i, apex), Value: "v"}}
			done <- errors.Join(p.AddTXT(t.Context(), apex, records), p.(inkan.DNSWaiter).Wait(t.Context(), apex, records), p.RemoveTXT(t.Context(), apex, records))
		}()
	}
	start := time.Now()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if throttled.Load() != 0 {
		t.Errorf("%d requests were throttled", throttled.Load())
	}
	if n := len(f.Requests()); n != 8 || time.Since(start) < time.Second {
		t.Errorf("%d requests in %v; the sixth has to wait for the second second", n, time.Since(start))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRoute53FindsZone: by name over pages, past private ones and neighbours.
func TestRoute53FindsZone(t *testing.T) {
	f := startRoute53(t)
	f.AddZone("Z0PRIV1", "pages.example.", true)
	f.AddZone("Z0PRIV2", "pages.example.", true)
	f.AddZone("Z0ZPUBLIC", "pages.example.", false)
	f.AddZone("Z0SUB", "sub.pages.example.", false)
	f.AddZone("Z0PRIV3", "private.example.", true)
	f.AddZone("Z0TWICE1", "twice.example.", false)
	f.AddZone("Z0TWICE2", "twice.example.", false)
	f.Set(func(s *testaws.Route53Settings) { s.PageSize = 1 })
	p := openRoute53(t, quick(), route53Config(f))
	add := func(p inkan.DNSProvider, zone string) error {
		return p.AddTXT(t.Context(), zone, []inkan.TXT{{Name: "_acme-challenge." + zone, Value: "v"}})
	}
	for range 2 {
		if err := add(p, "pages.example."); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.Get("Z0ZPUBLIC", "_acme-challenge.pages.example."); len(got.Values) != 1 {
		t.Errorf("the public zone holds %q", got.Values)
	}
	if got := count(f.Requests(), "ListHostedZonesByName"); got != 3 {
		t.Errorf("%d pages were asked for; the id is remembered", got)
	}
	wantError(t, add(p, "private.example."), inkan.Operator, "private", "public hosted zone")
	wantError(t, add(p, "twice.example."), inkan.Operator, "Z0TWICE1, Z0TWICE2", "hosted_zone_id")
	wantError(t, add(p, "missing.example."), inkan.Operator, "no hosted zone missing.example.", "role_arn")
	byID := route53Config(f)
	byID.HostedZoneID = "/hostedzone/Z0TWICE2"
	f.Requests()
	if err := add(openRoute53(t, quick(), byID), "twice.example."); err != nil {
		t.Fatal(err)
	}
	if got := f.Requests(); !slices.Equal(got, []string{"ChangeResourceRecordSets"}) {
		t.Errorf("with an id: %q", got)
	}
	wantError(t, add(openRoute53(t, quick(), byID), "pages.example."), inkan.Operator, "not permitted in zone")
	byID.HostedZoneID = "Z0NOSUCH"
	wantError(t, add(openRoute53(t, quick(), byID), "pages.example."), inkan.Operator, "NoSuchHostedZone", "hosted_zone_id")
}

func TestRoute53Errors(t *testing.T) {
	f := startRoute53(t)
	r := txt(1, "v")
	for operation, words := range map[string][]string{
		"ListHostedZonesByName":    {"look for the hosted zone"},
		"ChangeResourceRecordSets": {"_acme-challenge.n00.example.com."},
	} {
		f.Set(func(s *testaws.Route53Settings) { s.Denied = operation })
		err := openRoute53(t, quick(), route53Config(f)).AddTXT(t.Context(), apex, r)
		wantError(t, err, inkan.Operator, append(words, "AccessDenied", "route53:"+operation, "127.0.0.1", "add TXT in example.com.")...)
	}
	f.Set(func(s *testaws.Route53Settings) { s.Denied = "GetChange" })
	p := openRoute53(t, quick(), route53Config(f))
	if err := p.AddTXT(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	wantError(t, p.(inkan.DNSWaiter).Wait(t.Context(), apex, r), inkan.Operator, "route53:GetChange")

	wrong := route53Config(f)
	wrong.AccessKeyID, wrong.SecretAccessKey = "nobody", plug.NewSecret("secret-of-nobody")
	wantError(t, openRoute53(t, quick(), wrong).AddTXT(t.Context(), apex, r), inkan.Operator, "InvalidClientTokenId", "credentials are wrong")
	wantError(t, openRoute53(t, quick(), aws.Route53Config{Endpoint: f.Endpoint}).AddTXT(t.Context(), apex, r), inkan.Operator, "no AWS credentials")
	long := []inkan.TXT{{Name: r[0].Name, Value: strings.Repeat("x", 64<<10)}} // B06
	wantError(t, p.AddTXT(t.Context(), apex, long), inkan.Rejected, "65536 bytes")

	f.Set(func(s *testaws.Route53Settings) { *s = testaws.Route53Settings{Hold: true} })
	p = openRoute53(t, quick(), route53Config(f))
	if err := errors.Join(p.RemoveTXT(t.Context(), apex, r), p.AddTXT(t.Context(), apex, r)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.(inkan.DNSWaiter).Wait(ctx, apex, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v; want the end of the context", err)
	}
}

func TestRoute53BadOptions(t *testing.T) {
	for _, c := range []aws.Route53Config{
		{HostedZoneID: "../Z1"}, {TTL: -1}, {Endpoint: "http://route53.example"}, {Account: aws.Account{ExternalID: "x"}},
	} {
		_, err := aws.Route53(plug.Env{}, c)
		wantError(t, err, inkan.Operator, "route53")
	}
}

// TestRoute53AssumeRole: the role of another account, with its external id.
func TestRoute53AssumeRole(t *testing.T) {
	f := startRoute53(t)
	t.Setenv("AWS_ENDPOINT_URL_STS", f.Endpoint)
	f.Set(func(s *testaws.Route53Settings) { s.ExternalID = "customer-42" })
	cfg := route53Config(f)
	cfg.RoleARN, cfg.ExternalID = "arn:aws:iam::210987654321:role/dns", "customer-42"
	r := txt(1, "v")
	p := openRoute53(t, quick(), cfg)
	if err := errors.Join(p.AddTXT(t.Context(), apex, r), p.RemoveTXT(t.Context(), apex, r)); err != nil {
		t.Fatal(err)
	}
	if got := count(f.Requests(), "AssumeRole"); got != 1 {
		t.Errorf("the role was assumed %d times", got)
	}
	cfg.ExternalID = "somebody-else"
	wantError(t, openRoute53(t, quick(), cfg).AddTXT(t.Context(), apex, r), inkan.Operator, "sts:AssumeRole", "trust policy", "external id")
}

// TestRoute53VisibleByDNS: the fake's name server answers with a value when
// its change is INSYNC and not before: what Wait promises holds for a CA.
func TestRoute53VisibleByDNS(t *testing.T) {
	f := startRoute53(t)
	server := f.ServeDNS(t)
	f.Set(func(s *testaws.Route53Settings) { s.Hold = true })
	p := openRoute53(t, quick(), route53Config(f))
	r := txt(1, "base", "wildcard")
	if err := p.AddTXT(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	ask := func(network string) (values []string) {
		q := new(dns.Msg)
		q.SetQuestion(r[0].Name, dns.TypeTXT)
		c := dns.Client{Net: network}
		in, _, err := c.Exchange(q, server)
		if err != nil || !in.Authoritative {
			t.Fatal(in, err)
		}
		for _, rr := range in.Answer {
			values = append(values, strings.Join(rr.(*dns.TXT).Txt, ""))
		}
		return values
	}
	if got := ask("udp"); len(got) != 0 {
		t.Errorf("%q is visible while the change is PENDING", got)
	}
	f.Set(func(s *testaws.Route53Settings) { s.Hold = false })
	if err := p.(inkan.DNSWaiter).Wait(t.Context(), apex, r); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if got := ask(network); !slices.Equal(got, []string{"base", "wildcard"}) {
			t.Errorf("over %s: %q", network, got)
		}
	}
}
