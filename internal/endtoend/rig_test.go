package endtoend

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/store"
)

// long reports whether the long form was asked for: INKAN_LONG=1.
func long() bool { return os.Getenv("INKAN_LONG") != "" }

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "inkan-endtoend-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "inkan")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/inkan").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building inkan: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// rig is one CA, one data directory and the binary.
type rig struct {
	t       *testing.T
	ca      *testca.CA
	data    string
	webroot string
	root    string // PEM file
}

func newRig(t *testing.T, o testca.Options) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, ca: testca.Start(t, o), data: filepath.Join(dir, "data"), webroot: filepath.Join(dir, "www"), root: filepath.Join(dir, "root.pem")}
	if err := os.Mkdir(r.webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.root, r.ca.RootsPEM, 0o644); err != nil {
		t.Fatal(err)
	}
	serveWebroot(t, r.webroot, r.ca.HTTPPort)
	return r
}

// command makes a call of the binary that sees nothing of our environment.
func (r *rig) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"--data", r.data}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(r.data), "LANG=C.UTF-8"}
	return cmd
}

// issueArgs are those of a first certificate by webroot.
func (r *rig) issueArgs(names ...string) []string {
	return append([]string{"issue", "--ca", r.ca.DirectoryURL, "--ca-root", r.root, "--email", "ops@example.com", "--agree-tos", "--webroot", r.webroot}, names...)
}

// run runs the binary and fails the test if it fails.
func (r *rig) run(args ...string) string {
	r.t.Helper()
	out, err := r.command(args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("inkan %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// observe reads the store as a library would.
func (r *rig) observe(name string) (*engine.Observed, error) {
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: filepath.Join(r.data, "store")})
	if err != nil {
		return nil, err
	}
	m := &engine.Manager{Store: s}
	return m.Observe(context.Background(), name)
}

// placed loads the pair that was placed for name as a Go server would; crypto/tls
// checks that key and leaf belong together.
func (r *rig) placed(name string) (*x509.Certificate, error) {
	dir := filepath.Join(r.data, "live", name)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
	if err != nil {
		return nil, err
	}
	return pair.Leaf, nil
}

// issuedFor returns the certificates that the CA issued for name.
func (r *rig) issuedFor(name string) []*x509.Certificate {
	r.t.Helper()
	var certs []*x509.Certificate
	for _, der := range r.ca.Certificates() {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			r.t.Fatal(err)
		}
		if slices.Contains(c.DNSNames, name) {
			certs = append(certs, c)
		}
	}
	return certs
}

// sound checks that name has exactly one certificate, in force and placed.
func (r *rig) sound(name string, wantN uint64) {
	r.t.Helper()
	o, err := r.observe(name)
	if err != nil {
		r.t.Fatal(err)
	}
	if o.Version == nil || o.Current.N != wantN {
		r.t.Fatalf("%s: n is %d, want %d; version %v (%v)", name, o.Current.N, wantN, o.Version, o.VersionErr)
	}
	leaf, err := r.placed(name)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	if !leaf.Equal(o.Version.Pairs[0].Leaf) {
		r.t.Errorf("%s: the placed certificate is not the one in force", name)
	}
	if n := len(r.issuedFor(name)); n != int(wantN) {
		r.t.Errorf("%s: the CA issued %d certificates, want %d", name, n, wantN)
	}
	if len(o.Orders) != 0 || o.State.Running != "" || o.State.Lease != nil {
		r.t.Errorf("%s: left over: %d journals, running %q, lease %+v", name, len(o.Orders), o.State.Running, o.State.Lease)
	}
}

// noProofs checks that no answer to a challenge was left in the webroot (V7). A
// kill in the middle of a write leaves a hidden temporary file; the store removes
// those of dead writers when they are an hour old.
func (r *rig) noProofs() {
	r.t.Helper()
	left, err := filepath.Glob(filepath.Join(r.webroot, ".well-known/acme-challenge/*"))
	if err != nil {
		r.t.Fatal(err)
	}
	left = slices.DeleteFunc(left, func(p string) bool { return strings.HasPrefix(filepath.Base(p), ".tmp-") })
	if len(left) > 0 {
		r.t.Errorf("left in the webroot: %v", left)
	}
}

// noSecrets fails if output shows a private key (V6).
func noSecrets(t *testing.T, output []byte) {
	t.Helper()
	if bytes.Contains(output, []byte("PRIVATE KEY")) {
		t.Error("the output shows a private key")
	}
}

// eventually polls until cond is true; the whole test's deadline bounds it.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-tick.C
	}
}
