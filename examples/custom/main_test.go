package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/cli"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugins"
	"github.com/inkan-acme/inkan/plugtest/deploytest"
)

// A certificate is issued and brought to a target of the program's own, by the
// command that knows it.
func TestOwnPluginInTheCommand(t *testing.T) {
	set := plugins.All()
	plug.Add(&set.Deployers, "fingerprint", newFingerprint)
	ca := testca.Start(t, testca.Options{})
	dir := t.TempDir()
	config := filepath.Join(dir, "inkan.yaml")
	must(t, os.WriteFile(filepath.Join(dir, "roots.pem"), ca.RootsPEM, 0o600))
	must(t, os.WriteFile(config, fmt.Appendf(nil, `
cas:
  test: {directory: %s, roots: %s}
accounts:
  default: {agree_terms: true}
solvers:
  here: {type: standalone, addr: "127.0.0.1:%d"}
targets:
  files: {type: files, dir: %s}
  monitor: {type: fingerprint, dir: %s}
certificates:
  www: {names: [www.example.com], ca: test, validate: here, deploy: [files, monitor]}
`, ca.DirectoryURL, filepath.Join(dir, "roots.pem"), ca.HTTPPort, filepath.Join(dir, "live"), dir), 0o600))
	run := func(set *plug.Set, args ...string) (int, string) {
		var out bytes.Buffer
		status := cli.Run(t.Context(), set, nil, &out, &out, os.Environ(), append([]string{"--data", filepath.Join(dir, "data"), "--config", config}, args...))
		return status, out.String()
	}
	if status, out := run(set, "apply"); status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	placed, err := os.ReadFile(filepath.Join(dir, "live", "www", "cert.pem"))
	must(t, err)
	block, _ := pem.Decode(placed)
	noted, err := os.ReadFile(filepath.Join(dir, "www.sha256"))
	if want := fmt.Sprintf("%x\n", sha256.Sum256(block.Bytes)); err != nil || string(noted) != want {
		t.Errorf("noted %q, %v, want %q", noted, err, want)
	}
	if status, out := run(plugins.All(), "config", "check"); status != 1 || !strings.Contains(out, "fingerprint") {
		t.Errorf("the command without the plug-in: exit status %d\n%s", status, out)
	}
	if status, out := run(set, "list"); status != 0 || !strings.Contains(out, "ok") {
		t.Errorf("list: exit status %d\n%s", status, out)
	}
}

// TestFingerprintConforms runs the suite that every deployer passes.
func TestFingerprintConforms(t *testing.T) {
	deploytest.Run(t, func(t *testing.T) deploytest.Target {
		dir := filepath.Join(t.TempDir(), "monitor")
		must(t, os.Mkdir(dir, 0o700))
		d, err := newFingerprint(plug.Env{}, fingerprintConfig{Dir: dir})
		must(t, err)
		return deploytest.Target{
			Deployer: d,
			Served: func(t *testing.T, certificate string) (f inkan.Fingerprint) {
				text, err := os.ReadFile(filepath.Join(dir, certificate+".sha256"))
				if err == nil {
					_, err = hex.Decode(f[:], bytes.TrimSpace(text))
				}
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				return f
			},
			Break: func(t *testing.T) func() {
				must(t, os.Rename(dir, dir+"-away"))
				return func() { must(t, os.Rename(dir+"-away", dir)) }
			},
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
