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
	serve(t, r.ca.HTTPPort, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
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
func serve(t *testing.T, port int, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
}
