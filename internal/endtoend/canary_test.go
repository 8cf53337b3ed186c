package endtoend

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// aviary is a machine with a canary in every slot for a secret, and all that was
// ever said on it.
type aviary struct {
	*rig
	dir      string
	config   string
	env      map[string]string
	canaries map[string]string // by slot
	said     map[string][]byte // by where it was found
	calls    int
}

// canary makes a secret of 48 bytes in base64url for a slot.
func (v *aviary) canary(slot string) string {
	var b [48]byte
	rand.Read(b[:])
	v.canaries[slot] = base64.RawURLEncoding.EncodeToString(b[:])
	return v.canaries[slot]
}

// say runs inkan at debug level and keeps what it says; want is its status.
func (v *aviary) say(want int, args ...string) string {
	v.t.Helper()
	cmd := v.command(append([]string{"--config", v.config, "-vv"}, args...)...)
	for _, name := range slices.Sorted(maps.Keys(v.env)) {
		cmd.Env = append(cmd.Env, name+"="+v.env[name])
	}
	out, err := cmd.CombinedOutput()
	v.calls++
	v.said[fmt.Sprintf("output of call %d: inkan %s", v.calls, strings.Join(args, " "))] = out
	if got := cmd.ProcessState.ExitCode(); got != want {
		v.t.Errorf("inkan %s: %v, want status %d\n%s", strings.Join(args, " "), err, want, out)
	}
	return string(out)
}

// write puts a file beside the data directory.
func (v *aviary) write(name, text string) string {
	v.t.Helper()
	path := filepath.Join(v.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		v.t.Fatal(err)
	}
	return path
}

// configure writes the configuration; hook is the status with which the hook ends.
func (v *aviary) configure(eab string, hook int) {
	v.t.Helper()
	// A hook tells what it was given and what every process was called with.
	look := v.write("hook", fmt.Sprintf(`#!/bin/sh
for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done >>%[1]q/argv 2>/dev/null
env >>%[1]q/env-$1
echo "hook $1: $TOKEN" >&2
exit %d
`, v.dir, hook))
	v.config = v.write("inkan.yaml", fmt.Sprintf(`cas: {test: {directory: %q, roots: %q}}
accounts: {default: {email: [ops@example.com], agree_terms: true, eab: {kid: kid-1, hmac_key: %s}}}
solvers: {web: {type: webroot, dir: %q}}
targets:
  live: {type: files, dir: %q}
  trusted: {type: exec, command: [%q, trusted], env: {TOKEN: {env: HOOK_TOKEN}, OTHER: {file: %q}}}
  other: {type: exec, command: [%q, other]}
defaults: {ca: test, validate: web, deploy: [live, other, trusted]}
certificates: {a.example.com: {names: [a.example.com]}, rsa.example.com: {names: [rsa.example.com], key: rsa-2048}}
`, v.ca.DirectoryURL, v.root, eab, v.webroot, filepath.Join(v.data, "live"), look, v.write("token", v.canaries["secret file of a hook"]+"\n"), look))
}

// TestN01H11Canaries puts a secret into every slot that takes one, does everything
// that the program can do at debug level, lets it fail and die in all ways, and
// looks for the secrets and for every key that was made in all that was said:
// output, events, state outside the places for keys, the arguments of every
// process and the environment of every hook (N01, H11).
func TestN01H11Canaries(t *testing.T) {
	eab := make([]byte, 48)
	rand.Read(eab)
	proxy := testca.NewProxy(1)
	r := newRig(t, testca.Options{EABRequired: true, EABKeys: map[string]string{"kid-1": base64.RawURLEncoding.EncodeToString(eab)}, Middleware: proxy.Wrap})
	v := &aviary{rig: r, dir: filepath.Dir(r.data), env: map[string]string{}, canaries: map[string]string{}, said: map[string][]byte{}}
	v.canaries["HMAC key"] = base64.RawURLEncoding.EncodeToString(eab)
	v.env["EAB_KEY"] = v.canaries["HMAC key"]
	v.env["HOOK_TOKEN"] = v.canary("environment of a hook")
	v.env["AWS_SECRET_ACCESS_KEY"] = v.canary("somebody else's environment")
	v.canary("secret file of a hook")

	// Before it works: wrong key, bad configuration, what is missing.
	v.configure("{env: NOT_SET}", 0)
	v.say(1, "apply")
	v.configure(v.canary("inline HMAC key that is wrong"), 0)
	v.say(0, "config", "check")
	v.say(1, "apply")
	v.configure("["+v.canary("value at a wrong place")+"]", 0)
	v.say(1, "config", "check")
	v.configure("{env: EAB_KEY, fiel: "+v.canary("value of an unknown key")+"}", 0)
	v.say(1, "plan")
	v.configure("{env: EAB_KEY}", 0)

	// The life of two certificates.
	for _, args := range [][]string{{"plan"}, {"--json", "plan"}, {"apply"}, {"--json", "list"}, {"--json", "show", "a.example.com"}, {"show", "rsa.example.com"},
		{"renew"}, {"--json", "renew", "--name", "a.example.com", "--force"}, {"account", "show", "--ca", "test"}, {"--json", "account", "show", "--ca", "test"},
		{"fsck"}, {"--json", "fsck"}, {"deploy", "--retry"}, {"plugins", "deployer", "exec"}} {
		v.say(0, args...)
	}
	key, err := inkan.GenerateKey(inkan.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	given, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	v.say(0, "issue", "--ca", "test", "--webroot", v.webroot, "--key-file", v.write("own.key", string(given)), "own.example.com")
	v.say(1, "issue", "--ca", "test", "--webroot", v.webroot, "--key-file", v.write("bad.key", strings.Replace(string(given), "M", "N", 1)), "bad.example.com")
	v.say(0, "revoke", "own.example.com")

	// The CA, a hook and a proxy fail.
	for _, fault := range []testca.Fault{testca.Problem(403, "unauthorized", "no"), testca.Truncate(20), testca.DropAfter(), testca.Answer(500, "text/html", "<h1>no</h1>")} {
		for _, path := range []string{testca.PathNewOrder, testca.PathFinalize, testca.PathCertificate} {
			rule := proxy.Add(testca.Rule{Path: path, To: 1, Do: fault})
			out, _ := v.command("--config", v.config, "-vv", "renew", "--name", "a.example.com", "--force").CombinedOutput()
			v.said[fmt.Sprintf("a CA that fails at %s (%d)", path, len(v.said))] = out
			rule.Remove()
		}
	}
	v.configure("{env: EAB_KEY}", 3)
	v.say(1, "renew", "--name", "rsa.example.com", "--force")
	v.say(1, "deploy", "--retry")
	v.configure("{env: EAB_KEY}", 0)
	silent := listen(t)
	for _, url := range []string{"http://user:%s@" + silent, "http://user:%s@[bad", "https://%s:x@" + silent, "socks5://user:%s@" + silent} {
		v.env["HTTPS_PROXY"] = fmt.Sprintf(url, v.canary("proxy "+url))
		v.say(1, "issue", "--ca", "https://ca.example.net/directory", "--email", "ops@example.com", "--agree-tos", "--webroot", v.webroot, "proxy.example.com")
	}
	delete(v.env, "HTTPS_PROXY")

	slots := len(v.canaries)

	// It is killed with a trace of every goroutine while a key is in its hands.
	v.trace(proxy, testca.PathFinalize)
	v.trace(proxy, testca.PathNewOrder)

	v.keys()
	v.damage()
	v.files()
	v.search()
	if env := v.said["env-trusted"]; !bytes.Contains(env, []byte("TOKEN="+v.canaries["environment of a hook"])) || !bytes.Contains(env, []byte("OTHER="+v.canaries["secret file of a hook"])) {
		t.Error("the hook that was given the secrets has not got them: nothing is shown here")
	}
	if !bytes.Contains(v.said["argv"], []byte(binary)) {
		t.Error("inkan is not among the processes that the hook saw")
	}
	t.Logf("proof: %d secrets in slots and %d keys (%d forms of them) in none of %d outputs, files and environments", slots, (len(v.canaries)-slots)/5, len(v.canaries)-slots, len(v.said))
}

// listen takes connections and closes them.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

// trace asks the program for its goroutines while the CA does not answer.
func (v *aviary) trace(proxy *testca.Proxy, path string) {
	v.t.Helper()
	rule := proxy.Add(testca.Rule{Path: path, To: 1, Do: testca.StallBefore()})
	defer rule.Remove()
	ctx, cancel := context.WithTimeout(v.t.Context(), commandTime)
	defer cancel()
	var out bytes.Buffer
	cmd := v.command("--config", v.config, "-vv", "renew", "--name", "a.example.com", "--force")
	cmd.Env = append(cmd.Env, "GOTRACEBACK=all", "EAB_KEY="+v.env["EAB_KEY"], "HOOK_TOKEN="+v.env["HOOK_TOKEN"])
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	select {
	case <-rule.First():
	case <-ctx.Done():
		v.t.Errorf("the CA was not asked for %s", path)
	}
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		v.t.Error(err)
	}
	if err := cmd.Wait(); err == nil || !bytes.Contains(out.Bytes(), []byte("goroutine ")) {
		v.t.Errorf("no trace: %v\n%s", err, out.Bytes())
	}
	v.said["trace at "+path] = out.Bytes()
	rule.Remove()
	v.say(0, "renew")
}

// damage changes one value after the other and looks at the store with each; the
// quick form takes one of each family.
func (v *aviary) damage() {
	v.t.Helper()
	seen := map[string]bool{}
	v.walk(func(path string, data []byte) {
		element := strings.Split(path, "/")
		if element[0] != "store" || element[1] == "events" || len(data) == 0 {
			return
		}
		family := element[1]
		if family == "v" {
			family += element[len(element)-1]
		}
		if seen[family] && !long() {
			return
		}
		seen[family] = true
		file := filepath.Join(v.data, path)
		if err := os.WriteFile(file, bytes.Replace(data, []byte(`"body":`), []byte(`"body":7`), 1), 0o600); err != nil {
			v.t.Fatal(err)
		}
		for _, args := range [][]string{{"fsck"}, {"list"}, {"--json", "show", "a.example.com"}, {"account", "show", "--ca", "test"}} {
			out, _ := v.command(append([]string{"--config", v.config, "-vv"}, args...)...).CombinedOutput()
			v.said["damaged "+path+": "+strings.Join(args, " ")] = out
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			v.t.Fatal(err)
		}
	})
}

// walk calls f with every file of the data directory.
func (v *aviary) walk(f func(path string, data []byte)) {
	v.t.Helper()
	err := filepath.WalkDir(v.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(v.data, path)
		f(filepath.ToSlash(rel), data)
		return err
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// places for keys in the data directory; nothing else there may hold a secret.
var places = regexp.MustCompile(`^(store/v/[^/]+/[^/]+/[^/]+/key|store/accounts/[^/]+/[^/]+|store/orders/[^/]+/[^/]+|host/keys/[^/]+|live/.*/(privkey|combined)\.pem)$`)

// keys adds every private key that was made to the canaries.
func (v *aviary) keys() {
	v.t.Helper()
	found := 0
	v.walk(func(path string, data []byte) {
		if !strings.HasPrefix(path, "store/") && !strings.HasPrefix(path, "host/") {
			return
		}
		var e struct {
			Body struct {
				Data []byte
				Key  *struct{ Data []byte }
			}
		}
		if json.Unmarshal(data, &e) != nil {
			return
		}
		if e.Body.Key != nil {
			e.Body.Data = e.Body.Key.Data
		}
		block, _ := pem.Decode(e.Body.Data)
		if block == nil {
			return
		}
		found++
		tail := block.Bytes[len(block.Bytes)-60:]
		lines := strings.Split(strings.TrimSpace(string(e.Body.Data)), "\n")
		v.canaries["PEM of "+path] = lines[1]
		v.canaries["end of the PEM of "+path] = lines[len(lines)-3][:40]
		v.canaries["base64 of "+path] = base64.StdEncoding.EncodeToString(e.Body.Data)[60:120]
		v.canaries["hex of "+path] = hex.EncodeToString(tail[:20])
		v.canaries["bytes of "+path] = strings.Trim(fmt.Sprint(tail[:20]), "[]")
	})
	if found < 6 {
		v.t.Errorf("%d keys were found; there should be the account's, the one that was given and one for each version", found)
	}
}

// files adds what was left on the disk but at the places for keys.
func (v *aviary) files() {
	v.t.Helper()
	v.walk(func(path string, data []byte) {
		if !places.MatchString(path) {
			v.said["data/"+path] = data
		}
	})
	for _, name := range []string{"argv", "env-trusted", "env-other"} {
		data, err := os.ReadFile(filepath.Join(v.dir, name))
		if err != nil {
			v.t.Error(err)
		}
		v.said[name] = data
	}
}

// search looks for each secret in all that was said.
func (v *aviary) search() {
	v.t.Helper()
	for slot, secret := range v.canaries {
		for where, text := range v.said {
			if where == "env-trusted" && strings.Contains(slot, "of a hook") {
				continue // that is what it was given
			}
			if bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(secret))) {
				v.t.Errorf("%s: found in %s", slot, where)
			}
		}
	}
	for where, text := range v.said {
		if bytes.Contains(text, []byte("BEGIN PRIVATE KEY")) || bytes.Contains(text, []byte("BEGIN EC PRIVATE KEY")) {
			v.t.Errorf("%s holds a private key", where)
		}
	}
	debug := 0
	for _, text := range v.said {
		if bytes.Contains(text, []byte("level=DEBUG")) {
			debug++
		}
	}
	if debug == 0 {
		v.t.Error("nothing was said at debug level")
	}
}
