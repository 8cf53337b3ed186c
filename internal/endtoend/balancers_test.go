package endtoend

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testport"
)

// newBareRig is a rig where nothing listens yet on the port where the CA looks.
func newBareRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, ca: testca.Start(t, testca.Options{}), data: filepath.Join(dir, "data"), webroot: filepath.Join(dir, "www"), root: filepath.Join(dir, "root.pem")}
	write(t, r.root, string(r.ca.RootsPEM), 0o644)
	if err := os.Mkdir(r.webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// caArgs are the flags of the CA and its account.
func (r *rig) caArgs() []string {
	return []string{"--ca", r.ca.DirectoryURL, "--ca-root", r.root, "--agree-tos"}
}

// front is a server that people have in front of everything: it checks and
// serves a configuration that holds a snippet.
type front struct {
	name   string
	config func(dir string, port int, snippet string) string
	check  func(program, file string) []string // argv
	serve  func(program, file string) []string
	binary string
}

func fronts() []front {
	return []front{
		{
			name: "nginx", binary: "nginx",
			config: func(dir string, port int, snippet string) string {
				return fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log %[1]s/error.log; worker_processes 1;
events {}
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen 127.0.0.1:%[2]d; location / { return 404; }
%[3]s
} }
`, dir, port, snippet)
			},
			check: func(p, f string) []string { return []string{p, "-t", "-q", "-c", f, "-e", f + ".log"} },
			serve: func(p, f string) []string { return []string{p, "-c", f, "-e", f + ".log"} },
		},
		{
			name: "haproxy", binary: "haproxy",
			config: func(_ string, port int, snippet string) string {
				// What follows "... and" is a section of its own.
				line, section, _ := strings.Cut(snippet, "# ... and")
				return fmt.Sprintf(`global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend web
    bind 127.0.0.1:%d
%s
    default_backend none
backend none
#%s
`, port, line, section)
			},
			check: func(p, f string) []string { return []string{p, "-c", "-q", "-f", f} },
			serve: func(p, f string) []string { return []string{p, "-db", "-q", "-f", f} },
		},
		{
			name: "apache", binary: "apache2",
			config: func(dir string, port int, snippet string) string {
				var modules strings.Builder
				for _, m := range []string{"mpm_event", "authz_core", "alias", "mime", "proxy", "proxy_http", "rewrite"} {
					fmt.Fprintf(&modules, "LoadModule %[1]s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", m)
				}
				return fmt.Sprintf("%[3]sServerName localhost\nListen 127.0.0.1:%[2]d\nServerRoot %[1]s\nDefaultRuntimeDir %[1]s\nPidFile %[1]s/pid\nErrorLog %[1]s/error.log\nTypesConfig /dev/null\nDocumentRoot %[1]s\nStartServers 1\n<VirtualHost *:%[2]d>\n%[4]s</VirtualHost>\n",
					dir, port, modules.String(), snippet)
			},
			check: func(p, f string) []string { return []string{p, "-t", "-f", f} },
			serve: func(p, f string) []string { return []string{p, "-D", "FOREGROUND", "-f", f} },
		},
		{
			name: "caddy", binary: "caddy",
			config: func(dir string, port int, snippet string) string {
				return fmt.Sprintf("{\nadmin off\nauto_https off\nstorage file_system %s\n}\nhttp://:%d {\nbind 127.0.0.1\n%s}\n", dir, port, snippet)
			},
			check: func(p, f string) []string { return []string{p, "validate", "--adapter", "caddyfile", "--config", f} },
			serve: func(p, f string) []string { return []string{p, "run", "--adapter", "caddyfile", "--config", f} },
		},
	}
}

// start checks the configuration as the server does and serves it.
func (f front) start(t *testing.T, port int, snippet string) {
	t.Helper()
	program := need(t, f.binary)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // workers run as another user
		t.Fatal(err)
	}
	file := filepath.Join(dir, "conf")
	write(t, file, f.config(dir, port, snippet), 0o644)
	check := f.check(program, file)
	if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s refuses the configuration: %v\n%s\n%s", f.name, err, out, snippet)
	}
	serve := f.serve(program, file)
	cmd := exec.Command(serve[0], serve[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it was told to end
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("%s said: %s%s", f.name, out.Bytes(), log)
		}
	})
	eventually(t, f.name+" listens", func() bool {
		conn, err := net.Dial("tcp", testport.Addr(port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// TestF37SnippetsIssue issues a certificate through each web server and load
// balancer, configured by what inkan snippet prints: challenges passed on to one
// host, answered from the thumbprint, redirected to another server, and served
// from a directory.
func TestF37SnippetsIssue(t *testing.T) {
	for _, f := range fronts() {
		t.Run(f.name, func(t *testing.T) {
			need(t, f.binary)
			for _, kind := range []string{"proxy", "stateless", "redirect", "webroot"} {
				if kind == "webroot" && f.name == "haproxy" {
					continue // it serves no files
				}
				t.Run(kind, func(t *testing.T) { issueThrough(t, f, kind) })
			}
			if f.name == "nginx" {
				t.Run("redirect-s3", func(t *testing.T) { issueThrough(t, f, "redirect-s3") })
			}
		})
	}
}

func issueThrough(t *testing.T, f front, kind string) {
	r := newBareRig(t)
	var value, how []string
	switch kind {
	case "proxy":
		addr := testport.Addr(testport.For(t))
		value, how = []string{addr}, []string{"--standalone", addr}
	case "stateless":
		r.run(append([]string{"account", "register"}, r.caArgs()...)...)
		value = []string{"--ca", r.ca.DirectoryURL, "--ca-root", r.root}
		config := filepath.Join(t.TempDir(), "inkan.yaml")
		write(t, config, "solvers: {servers: {type: stateless}}\n", 0o644)
		how = []string{"--solver", "servers", "--config", config}
	case "redirect":
		other := testport.For(t)
		serveWebroot(t, r.webroot, other)
		value, how = []string{"http://" + testport.Addr(other)}, []string{"--webroot", r.webroot}
	case "redirect-s3":
		// The CA and nginx see the bucket as everybody does (S1-02, F-36).
		gateway := testaws.StartGateway(t, "public-answers")
		config := filepath.Join(t.TempDir(), "inkan.yaml")
		write(t, config, fmt.Sprintf("solvers: {bucket: {type: http-01, store: {type: s3, bucket: public-answers, endpoint: %q, path_style: true, content_type: text/plain, %s}}}\n",
			gateway.Endpoint, s3Account), 0o600)
		value, how = []string{gateway.Endpoint + "/public-answers"}, []string{"--solver", "bucket", "--config", config}
	case "webroot":
		for dir := r.webroot; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil { // workers run as another user
				t.Fatal(err)
			}
		}
		value, how = []string{r.webroot}, []string{"--webroot", r.webroot}
	}
	kind, _, _ = strings.Cut(kind, "-")
	snippet := r.run(append([]string{"snippet", kind, f.name}, value...)...)
	f.start(t, r.ca.HTTPPort, snippet)
	args := append([]string{"issue"}, r.caArgs()...)
	r.run(append(append(args, how...), "www.example.com", "example.com")...)
	if _, err := r.placed("www.example.com"); err != nil {
		t.Error(err)
	}
	r.noProofs()
}
