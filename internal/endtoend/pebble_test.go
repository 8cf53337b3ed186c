package endtoend

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testport"
)

// TestSeparatePebble issues from Pebble as its makers ship it, started as a
// process of its own with its default chaos: 5 % bad nonces, validations that
// sleep up to 5 s, authorizations reused by half, Retry-After of 3 and 5 s, a
// random profile.
func TestSeparatePebble(t *testing.T) {
	t.Parallel() // most of it is waiting for validations that sleep
	rounds := 1
	if long() {
		rounds = 200
	}
	dir := t.TempDir()
	directory, root, httpPort := startPebble(t, dir)
	webroot := filepath.Join(dir, "www")
	if err := os.Mkdir(webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	serveWebroot(t, webroot, httpPort)
	start := time.Now()
	for i := range rounds {
		name := fmt.Sprintf("n%d.example.com", i)
		cmd := exec.Command(binary, "--data", filepath.Join(dir, "data"), "issue", "--ca", directory, "--ca-root", root,
			"--email", "ops@example.com", "--agree-tos", "--webroot", webroot, name, "www."+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("certificate %d of %d: %v\n%s", i+1, rounds, err, out)
		}
	}
	t.Logf("proof: %d of %d issued from a separately started Pebble with its default chaos, %.1f s each", rounds, rounds, time.Since(start).Seconds()/float64(rounds))
}

// startPebble builds and starts Pebble and its DNS server.
func startPebble(t *testing.T, dir string) (directory, root string, httpPort int) {
	t.Helper()
	for _, program := range []string{"pebble", "pebble-challtestsrv"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, program), "github.com/letsencrypt/pebble/v2/cmd/"+program).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", program, err, out)
		}
	}
	source, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/letsencrypt/pebble/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(strings.TrimSpace(string(source)), "test/certs")
	acmePort, dnsPort, managementPort := testport.For(t), testport.For(t), testport.For(t)
	httpPort = testport.For(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", acmePort), "certificate": filepath.Join(certs, "localhost/cert.pem"),
		"privateKey": filepath.Join(certs, "localhost/key.pem"), "httpPort": httpPort, "tlsPort": testport.For(t), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 3, "order": 5},
		"profiles": map[string]any{
			"default":    map[string]any{"description": "90 days", "validityPeriod": 90 * 86400},
			"shortlived": map[string]any{"description": "6 days", "validityPeriod": 6 * 86400},
		}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o644); err != nil {
		t.Fatal(err)
	}
	start := func(program string, args ...string) {
		cmd := exec.Command(filepath.Join(dir, program), args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no knobs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	}
	start("pebble-challtestsrv", "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dnsPort), "-management", fmt.Sprintf("127.0.0.1:%d", managementPort),
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", "")
	start("pebble", "-config", file, "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dnsPort))
	for _, port := range []int{acmePort, dnsPort} {
		eventually(t, fmt.Sprintf("port %d answers", port), func() bool {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
	return fmt.Sprintf("https://127.0.0.1:%d/dir", acmePort), filepath.Join(certs, "pebble.minica.pem"), httpPort
}
