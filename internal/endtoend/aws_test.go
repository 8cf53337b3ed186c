package endtoend

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/internal/testca"
)

// s3Account are the options that every server of testaws takes.
const s3Account = "access_key_id: " + testaws.AccessKey + ", secret_access_key: " + testaws.SecretKey

// TestHTTP01ThroughS3 keeps everything in a real S3 server and answers http-01
// from a bucket of it: the name's own web server only redirects there, and
// needs no access to anything (S1-02, F-36). A second machine then renews from
// the same bucket.
func TestHTTP01ThroughS3(t *testing.T) {
	g := testaws.StartGateway(t, "state", "public-answers")
	r := newRigWithoutWebroot(t, testca.Options{})
	server, err := url.Parse(g.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// The CA resolves every name to 127.0.0.1.
	bucket := "http://s3.example:" + server.Port() + "/public-answers"
	var redirected, typed atomic.Int64
	serveOn(t, r.ca.HTTPPort, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		redirected.Add(1)
		if out, err := http.Get(strings.Replace(bucket, "s3.example", "127.0.0.1", 1) + req.URL.Path); err == nil {
			if out.Header.Get("Content-Type") == "text/plain" {
				typed.Add(1)
			}
			out.Body.Close()
		}
		http.Redirect(w, req, bucket+req.URL.Path, http.StatusFound)
	}))
	config := filepath.Join(filepath.Dir(r.data), "inkan.yaml")
	write(t, config, fmt.Sprintf(`store: {type: s3, bucket: state, prefix: inkan/, endpoint: %[1]q, path_style: true, %[2]s}
cas:
  test: {directory: %[3]q, roots: %[4]q}
accounts:
  ops: {email: ops@example.com, agree_terms: true}
solvers:
  bucket: {type: http-01, store: {type: s3, bucket: public-answers, endpoint: %[1]q, path_style: true, content_type: text/plain, %[2]s}}
defaults: {ca: test, account: ops, validate: bucket}
certificates:
  www: {names: [www.example.com, example.com]}
`, g.Endpoint, s3Account, r.ca.DirectoryURL, r.root), 0o600)
	r.run("--config", config, "apply")
	if redirected.Load() < 2 || typed.Load() != redirected.Load() {
		t.Errorf("%d requests were redirected, %d of the answers are text/plain", redirected.Load(), typed.Load())
	}
	left, err := os.ReadDir(filepath.Join(g.Dir, "public-answers", ".well-known", "acme-challenge"))
	if err == nil && len(left) > 0 {
		t.Errorf("%d answers are left in the bucket, the first is %s", len(left), left[0].Name())
	}
	if _, err := os.Stat(filepath.Join(g.Dir, "state", "inkan", "current", "www")); err != nil {
		t.Error(err)
	}
	r.data = filepath.Join(t.TempDir(), "second")
	r.run("--config", config, "renew", "--force", "--name", "www")
	if certs := r.issuedFor("www.example.com"); len(certs) != 2 {
		t.Errorf("the CA issued %d certificates, want 2", len(certs))
	}
}

// TestB10StoreAway: the link to the bucket goes down while the CA is up, in each
// phase of an order. The run ends with a word about the store; when the link is
// back the same order is finished, and no certificate is lost or made twice.
func TestB10StoreAway(t *testing.T) {
	phases := []string{testca.PathFinalize, testca.PathCertificate}
	if long() {
		phases = append(phases, testca.PathNewOrder, testca.PathChallenge)
	}
	for _, phase := range phases {
		t.Run(strings.Trim(phase, "/"), func(t *testing.T) {
			t.Parallel() // most of it is waiting for a store that does not answer
			f := testaws.StartS3(t, "state")
			var away, was atomic.Bool
			f.Set(func(s *testaws.S3Settings) {
				s.Fault = func(string, string) testaws.Fault {
					if away.Load() {
						return testaws.NotDone
					}
					return testaws.None
				}
			})
			r := newRig(t, testca.Options{Middleware: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if strings.HasPrefix(req.URL.Path, phase) && was.CompareAndSwap(false, true) {
						away.Store(true)
					}
					next.ServeHTTP(w, req)
				})
			}})
			config := filepath.Join(filepath.Dir(r.data), "inkan.yaml")
			write(t, config, fmt.Sprintf(`store: {type: s3, bucket: state, endpoint: %q, path_style: true, %s}
cas:
  test: {directory: %q, roots: %q}
accounts:
  ops: {email: ops@example.com, agree_terms: true}
solvers:
  web: {type: webroot, dir: %q}
targets:
  live: {type: files, dir: %q}
defaults: {ca: test, account: ops, validate: web, deploy: [live]}
certificates:
  www: {names: [www.example.com]}
`, f.Endpoint, s3Account, r.ca.DirectoryURL, r.root, r.webroot, filepath.Join(r.data, "live")), 0o600)
			apply := func() (string, error) {
				out, err := r.command("--config", config, "apply").CombinedOutput()
				return string(out), err
			}
			if out, err := apply(); err == nil || !strings.Contains(out, "s3 store state/") || !strings.Contains(out, "www") {
				t.Errorf("while the store was away: %v\n%s", err, out)
			}
			away.Store(false)
			if out, err := apply(); err != nil {
				t.Errorf("when it was back: %v\n%s", err, out)
			}
			if n := len(r.issuedFor("www.example.com")); n != 1 {
				t.Errorf("the CA issued %d certificates, want 1", n)
			}
			want := 1
			if phase == testca.PathNewOrder {
				want = 2 // its URL could not be written down
			}
			if n := r.ca.Orders(); n != want {
				t.Errorf("%d orders, want %d", n, want)
			}
			if _, err := r.placed("www"); err != nil {
				t.Error(err)
			}
			r.noProofs()
		})
	}
}

// TestDNS01ThroughRoute53 issues a name with its wildcard through a Route 53
// whose changes take a moment to arrive; Pebble asks its name server.
func TestDNS01ThroughRoute53(t *testing.T) {
	f := testaws.StartRoute53(t) // five requests a second, as AWS takes them
	f.AddZone("Z0PRIVATE", "example.com.", true)
	f.AddZone("Z0PUBLIC", "example.com.", false)
	f.Set(func(s *testaws.Route53Settings) { s.Sync = 300 * time.Millisecond })
	names := f.ServeDNS(t)
	r := newRigWithoutWebroot(t, testca.Options{DNSServer: names})
	config := filepath.Join(filepath.Dir(r.data), "inkan.yaml")
	write(t, config, fmt.Sprintf(`cas:
  test: {directory: %q, roots: %q}
accounts:
  ops: {email: ops@example.com, agree_terms: true}
dns:
  amazon: {type: route53, endpoint: %q, %s}
solvers:
  dns: {type: dns-01, zones: [{zone: example.com, dns: amazon, servers: [%q]}], resolvers: [%[5]q]}
defaults: {ca: test, account: ops, validate: dns}
certificates:
  www: {names: [example.com, "*.example.com", www.example.com]}
`, r.ca.DirectoryURL, r.root, f.Endpoint, s3Account, names), 0o600)
	r.run("--config", config, "apply")
	if certs := r.issuedFor("*.example.com"); len(certs) != 1 {
		t.Errorf("the CA issued %d certificates, want 1", len(certs))
	}
	var changes int
	for _, request := range f.Requests() {
		if request == "ChangeResourceRecordSets" {
			changes++
		}
	}
	if changes != 2 {
		t.Errorf("it took %d changes; one to present and one to remove are enough", changes)
	}
	for _, name := range []string{"_acme-challenge.example.com.", "_acme-challenge.www.example.com."} {
		if left := f.Get("Z0PUBLIC", name); len(left.Values) > 0 {
			t.Errorf("left at %s: %q", name, left.Values)
		}
	}
}

// newRigWithoutWebroot is newRig without anybody listening where the CA asks.
func newRigWithoutWebroot(t *testing.T, o testca.Options) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, ca: testca.Start(t, o), data: filepath.Join(dir, "data"), root: filepath.Join(dir, "root.pem")}
	write(t, r.root, string(r.ca.RootsPEM), 0o644)
	return r
}

// serve lets a handler answer where the CA asks.
func serveOn(t *testing.T, port int, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
}
