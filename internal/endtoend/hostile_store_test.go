package endtoend

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan/internal/testca"
)

// TestH13HostileWriter: somebody who may write to the store, and makes the
// checksums fit, reaches nothing beyond it: no host but the CA that this machine
// knows is asked, no file outside is written, no command of theirs runs, no
// program falls over, and what is placed stays a pair.
func TestH13HostileWriter(t *testing.T) {
	r := newRig(t, testca.Options{})
	r.run(r.issueArgs("a.example.com")...)
	dir := filepath.Dir(r.data)
	sentinel := filepath.Join(dir, "sentinel")
	if err := os.Mkdir(sentinel, 0o755); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command("cp", "-a", r.data, backup).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	evil, asked := strangers(t)
	up := strings.Repeat("../", 12)
	touch := "touch " + filepath.Join(sentinel, "ran")

	for what, c := range map[string]struct {
		family string
		edit   func(body map[string]any)
		refuse string // in what inkan fsck says; "" where the forged value only leads to no harm
	}{
		"request: a target that is a path": {"request", func(b map[string]any) { b["targets"] = []any{up + "etc", sentinel, "; " + touch} }, "the recorded request is not valid"},
		"request: a solver that is a command": {"request", func(b map[string]any) {
			b["validations"] = []any{map[string]any{"type": "http-01", "solver": touch}, map[string]any{"type": "http-01", "solver": up + "tmp"}}
		}, "the recorded request is not valid"},
		"request: a CA that is a URL":                 {"request", func(b map[string]any) { b["cas"] = []any{evil + "/dir"} }, "the recorded request is not valid"},
		"request: a CA that is a path":                {"request", func(b map[string]any) { b["cas"] = []any{up + "dev/null"} }, "the recorded request is not valid"},
		"request: names that are paths":               {"request", func(b map[string]any) { b["identifiers"] = []any{map[string]any{"type": "dns", "value": up + "x"}} }, "the recorded request is not valid"},
		"request: another name":                       {"request", func(b map[string]any) { b["name"] = up + "x" }, "the recorded request is not valid"},
		"request: no CA":                              {"request", func(b map[string]any) { b["cas"] = []any{} }, "the recorded request is not valid"},
		"request: no key type":                        {"request", func(b map[string]any) { delete(b, "key_types") }, "the recorded request is not valid"},
		"request: nothing":                            {"request", func(b map[string]any) { clear(b) }, "the recorded request is not valid"},
		"request: of the configuration, another name": {"request", func(b map[string]any) { b["origin"], b["name"] = "config", "b.example.com" }, "the recorded request is not valid"},
		"account: its URL elsewhere":                  {"accounts", func(b map[string]any) { b["url"] = evil + "/account/1" }, ""},
		"account: a directory of strangers": {"accounts", func(b map[string]any) {
			list := map[string]string{}
			for _, name := range []string{"newNonce", "newAccount", "newOrder", "revokeCert", "renewalInfo", "keyChange"} {
				list[name] = evil + "/" + name
			}
			data, err := json.Marshal(list)
			if err != nil {
				t.Fatal(err)
			}
			b["directory"] = base64.StdEncoding.EncodeToString(data)
		}, ""},
		"current: a version that is a path": {"current", func(b map[string]any) { b["id"], b["seq"] = up+"tmp/x", 7 }, "the version in force is damaged"},
		"current: no pairs of this machine": {"current", func(b map[string]any) { b["pairs"] = map[string]any{up + "x": map[string]any{"cert": "0"}} }, "the version in force is damaged"},
		"state: entries that are paths": {"state", func(b map[string]any) {
			b["due"], b["running"] = up+"sentinel", up+"sentinel"
		}, ""},
		"state: of another shape":   {"state", func(b map[string]any) { b["last_error"] = map[string]any{"kind": 1} }, "its content does not fit its place"},
		"account: of another shape": {"accounts", func(b map[string]any) { b["key"] = "none" }, "its content does not fit its place"},
		"state: advice with escapes": {"state", func(b map[string]any) {
			b["last_error"] = map[string]any{"at": "2026-01-01T00:00:00Z", "kind": "operator", "message": "\x1b]0;evil\x07\x1b[2J\r\n", "hints": []any{"\x1b[31m"}}
			b["ari"] = map[string]any{"n": 1, "looked": "2026-01-01T00:00:00Z", "error": "\x1b[2J", "explanation_url": "\x1b]8;;" + evil}
		}, ""},
		"version: a chain of nonsense": {"v", func(b map[string]any) { b["chains"] = []any{"-----BEGIN PRIVATE KEY-----\n", up} }, "something other than certificates"},
	} {
		t.Run(what, func(t *testing.T) {
			if err := os.RemoveAll(r.data); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("cp", "-a", backup, r.data).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v\n%s", err, out)
			}
			edited := 0
			err := filepath.WalkDir(filepath.Join(r.data, "store", c.family), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || strings.HasSuffix(path, "/key") {
					return err
				}
				edited++
				return forge(path, c.edit)
			})
			if err != nil || edited == 0 {
				t.Fatalf("%d values forged, %v", edited, err)
			}
			placed, err := r.placed("a.example.com")
			if err != nil {
				t.Fatal(err)
			}
			orders := r.ca.Orders()
			for _, args := range [][]string{
				{"plan", "a.example.com"}, {"list"}, {"show", "a.example.com"}, {"renew"}, {"renew", "--force", "--name", "a.example.com"},
				{"deploy", "--retry"}, {"fsck"}, {"fsck", "--repair"}, {"renew"}, {"revoke", "a.example.com"}, {"delete", "--yes", "a.example.com"},
			} {
				out, err := r.command(args...).CombinedOutput()
				if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() > 2 || exit.ExitCode() < 0) {
					t.Errorf("inkan %s: %v\n%s", strings.Join(args, " "), err, out)
				}
				if args[0] == "fsck" && len(args) == 1 && !strings.Contains(strings.Join(strings.Fields(string(out)), " "), c.refuse) {
					t.Errorf("inkan fsck says %s", out)
				}
				if bytes.Contains(out, []byte("panic")) || bytes.Contains(out, []byte("PRIVATE KEY")) || bytes.ContainsAny(out, "\x1b\x07") {
					t.Errorf("inkan %s says %q", strings.Join(args, " "), out)
				}
			}
			if n := r.ca.Orders() - orders; strings.HasPrefix(what, "request") && n > 0 {
				t.Errorf("%d orders for a request that is not to be believed", n)
			}
			if o, err := r.observe("a.example.com"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it could not be deleted: %+v, %v", o, err)
			}
			if n := asked.Swap(0); n > 0 {
				t.Errorf("a stranger was asked %d times", n)
			}
			if left, err := os.ReadDir(sentinel); err != nil || len(left) > 0 {
				t.Errorf("written outside: %v, %v", left, err)
			}
			if leaf, err := r.placed("a.example.com"); err != nil || !slices.Equal(leaf.DNSNames, placed.DNSNames) {
				t.Errorf("placed: %v", err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 4 { // data, www, root.pem, sentinel
				t.Errorf("beside the data: %v, %v", entries, err)
			}
		})
	}
}

// TestH13AskedAgain: what was forged is put right by asking again, on the command
// line and by the configuration file.
func TestH13AskedAgain(t *testing.T) {
	r := newRig(t, testca.Options{})
	r.run(r.issueArgs("a.example.com")...)
	config := filepath.Join(t.TempDir(), "inkan.yaml")
	write(t, config, fmt.Sprintf(`cas: {test: {directory: %q, roots: %q}}
accounts: {default: {email: ops@example.com, agree_terms: true}}
solvers: {web: {type: webroot, dir: %q}}
targets: {live: {type: files, dir: %q}}
defaults: {ca: test, validate: web, deploy: [live]}
certificates: {c.example.com: {names: [c.example.com]}}
`, r.ca.DirectoryURL, r.root, r.webroot, filepath.Join(r.data, "live")), 0o600)
	r.run("--config", config, "apply")
	for what, edit := range map[string]func(map[string]any){
		"targets":   func(b map[string]any) { b["targets"] = []any{"../x"} },
		"name":      func(b map[string]any) { b["name"] = "b.example.com" },
		"key types": func(b map[string]any) { b["key_types"] = []any{"none"} },
		"nothing":   func(b map[string]any) { clear(b) },
	} {
		t.Run(what, func(t *testing.T) {
			r.t = t
			for _, name := range []string{"a.example.com", "c.example.com"} {
				if err := forge(filepath.Join(r.data, "store", "request", name), edit); err != nil {
					t.Fatal(err)
				}
			}
			r.run(r.issueArgs("a.example.com")...)
			if out := r.run("--config", config, "plan"); !strings.Contains(out, "cannot be followed") {
				t.Errorf("plan says %s", out)
			}
			r.run("--config", config, "apply")
			if out := r.run("--config", config, "apply"); !strings.Contains(out, "nothing to do") {
				t.Errorf("apply again says %s", out)
			}
			r.run("list")
			r.run("fsck")
			r.sound("a.example.com", 1)
			r.sound("c.example.com", 1)
		})
	}
}

// forge changes a stored value and makes its checksum fit.
func forge(path string, edit func(map[string]any)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var e map[string]json.RawMessage
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var body map[string]any
	if err := json.Unmarshal(e["body"], &body); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	edit(body)
	if e["body"], err = json.Marshal(body); err != nil {
		return err
	}
	sum := sha256.Sum256(e["body"])
	e["sum"] = json.RawMessage(`"` + hex.EncodeToString(sum[:]) + `"`)
	if data, err = json.Marshal(e); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// strangers listens as a host that nobody has a reason to ask, and counts who
// does.
func strangers(t *testing.T) (url string, asked *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	}()
	return "https://" + l.Addr().String(), asked
}
