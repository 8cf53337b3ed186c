package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testport"
)

// serveWebroot is the user's running web server: plain files at the port where
// the CA asks.
func serveWebroot(t *testing.T, dir string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
}

// need skips, or fails in CI, when a program is missing.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if p := filepath.Join(dir, program); exec.Command("test", "-x", p).Run() == nil {
			return p
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", program)
	}
	t.Skipf("SKIPPED: %s is missing", program)
	return ""
}

// TestOpenSSLReadsEveryFile: openssl accepts what is placed, for each key type.
func TestOpenSSLReadsEveryFile(t *testing.T) {
	openssl := need(t, "openssl")
	r := newRig(t, testca.Options{ChainLength: 2})
	roots := filepath.Join(t.TempDir(), "issuer.pem")
	if err := os.WriteFile(roots, r.ca.IssuerRootPEM(0), 0o644); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) string {
		out, err := exec.Command(openssl, args...).CombinedOutput()
		if err != nil {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for _, kt := range []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048"} {
		name := kt + ".example.com"
		r.run(r.issueArgs("--key", kt, name)...)
		dir := filepath.Join(r.data, "live", name)
		file := func(f string) string { return filepath.Join(dir, f+".pem") }
		call("verify", "-CAfile", roots, "-untrusted", file("chain"), "-verify_hostname", name, file("cert"))
		call("verify", "-CAfile", roots, "-untrusted", file("fullchain"), file("fullchain"))
		call("pkey", "-in", file("privkey"), "-noout", "-check")
		leaf := call("x509", "-in", file("cert"), "-noout", "-pubkey")
		if key := call("pkey", "-in", file("privkey"), "-pubout"); key != leaf {
			t.Errorf("%s: the key does not belong to the certificate", kt)
		}
	}
}

// TestNginxServesAndReloads: nginx starts with the files, and after a renewal
// with --run the new certificate is what clients get (D14, K07 in small).
func TestNginxServesAndReloads(t *testing.T) {
	nginx := need(t, "nginx")
	r := newRig(t, testca.Options{})
	name := "www.example.com"
	r.run(r.issueArgs(name)...)
	dir := t.TempDir()
	port := testport.For(t)
	conf := filepath.Join(dir, "nginx.conf")
	live := filepath.Join(r.data, "live", name)
	text := fmt.Sprintf(`daemon off; master_process on; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen 127.0.0.1:%[2]d ssl; ssl_certificate %[3]s/fullchain.pem; ssl_certificate_key %[3]s/privkey.pem; return 204; } }
`, dir, port, live)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(nginx, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Signal(os.Interrupt); server.Wait() })
	served := func() *x509.Certificate {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{ServerName: name, InsecureSkipVerify: true}) // compared byte by byte below
		if err != nil {
			return nil
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	eventually(t, "nginx serves the first certificate", func() bool { c := served(); return c != nil && c.Equal(mustPlaced(t, r, name)) })
	first := served()
	r.run("issue", "--run", nginx+" -c "+conf+" -s reload", name)
	r.run("renew", "--force", "--name", name)
	second := mustPlaced(t, r, name)
	if second.Equal(first) {
		t.Fatal("the renewal placed the old certificate")
	}
	eventually(t, "nginx serves the second certificate", func() bool { c := served(); return c != nil && c.Equal(second) })
}

func mustPlaced(t *testing.T, r *rig, name string) *x509.Certificate {
	t.Helper()
	leaf, err := r.placed(name)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
