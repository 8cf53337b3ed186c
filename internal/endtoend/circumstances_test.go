package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// TestF09SharedChallengeName: a domain and its wildcard need two TXT values at one
// name, and two certificates that want them at the same time as many; a foreign
// value there stays.
func TestF09SharedChallengeName(t *testing.T) {
	w := newTown(t, testca.Options{})
	s := w.newSite(t, false, true)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	old := fmt.Sprintf("certificates: {%s: {names: [%s], ca: test, validate: dns, deploy: [live]}}", s.name, s.name)
	both := "both." + s.name
	config := strings.Replace(string(text), old, fmt.Sprintf(`defaults: {ca: test, validate: dns, deploy: [live]}
certificates:
  %[1]s: {names: [%[1]s, "*.%[1]s"]}
  %[2]s: {names: ["*.%[1]s"]}
`, s.name, both), 1)
	if config == string(text) {
		t.Fatal("the configuration is not what it was")
	}
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	const foreign = "somebody else's value"
	at := "_acme-challenge." + s.name
	w.ca.DNS.AddTXT(at, foreign)
	s.must("config", "check")
	var wg sync.WaitGroup
	for _, verb := range []string{"apply", "renew", "apply"} {
		wg.Go(func() {
			// Only one of them works on a certificate; the others say that it is
			// being worked on, or find it done.
			_, _ = s.call("", verb)
		})
	}
	wg.Wait()
	s.must("apply")
	for _, name := range []string{s.name, both} {
		leaf, err := s.rig.placed(name)
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if name == s.name {
			want = 2
		}
		if len(leaf.DNSNames) != want {
			t.Errorf("%s is for %v", name, leaf.DNSNames)
		}
	}
	if n := len(s.rig.issuedFor("*." + s.name)); n != 2 {
		t.Errorf("the CA issued %d certificates, want 2", n)
	}
	if left := w.ca.DNS.TXT(at); len(left) != 1 || left[0] != foreign {
		t.Errorf("at %s stands %q, want the foreign value alone", at, left)
	}
}

// TestJ01FewFiles works on 20 certificates with 64 open files at most: that is
// enough, or it says what to raise; nothing is lost, and with enough of them all
// is finished, one certificate each.
func TestJ01FewFiles(t *testing.T) {
	w := newTown(t, testca.Options{})
	s := w.newSite(t, false, false)
	names := s.generation(0)
	cmd := s.command(t.Context(), "", "apply")
	limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 64 && exec "$@"`, "sh", s.program}, cmd.Args[1:]...)...)
	limited.Env = cmd.Env
	if out, err := limited.CombinedOutput(); err != nil && !strings.Contains(string(out), "raise the limit of open files") {
		t.Errorf("apply: %v\n%s", err, out)
	}
	s.ahead = 10 * time.Minute // the next try is due
	s.must("renew")
	s.must("apply")
	s.ahead = 0
	for _, name := range names {
		s.sound(name, 1, 1)
	}
}

// TestB08DeadProxy: the message names the proxy, without the password.
func TestB08DeadProxy(t *testing.T) {
	r := newRig(t, testca.Options{})
	for _, address := range []string{listen(t), "127.0.0.1:1"} { // answers nothing; is not there
		cmd := r.command("issue", "--ca", "https://ca.example.net/directory", "--email", "ops@example.com", "--agree-tos", "--webroot", r.webroot, "a.example.com")
		cmd.Env = append(cmd.Env, "HTTPS_PROXY=http://user:pass-word@"+address)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v, want status 1", err)
		}
		if text := string(out); !strings.Contains(text, address) || strings.Contains(text, "pass-word") || !strings.Contains(text, "proxy") {
			t.Errorf("it said:\n%s", text)
		}
	}
}

// TestD13Backup restores state that is older than the last renewal: the certificate
// that only the CA knows is not missed, each name is renewed at most once, and
// what is placed is a pair at every moment.
func TestD13Backup(t *testing.T) {
	w := newTown(t, testca.Options{})
	s := w.newSite(t, false, false)
	s.must(s.issueArgs()...)
	backup := filepath.Join(t.TempDir(), "backup")
	copyTree := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	copyTree(s.rig.data, backup)
	s.must("renew", "--force", "--name", s.name)
	s.sound(s.name, 2, 2)
	if err := os.RemoveAll(s.rig.data); err != nil {
		t.Fatal(err)
	}
	copyTree(backup, s.rig.data)
	orders := s.ordersOf(s.name)
	for range 3 {
		s.must("renew")
	}
	if n := s.ordersOf(s.name) - orders; n != 0 {
		t.Errorf("%d orders after the restore, and nothing is due", n)
	}
	s.must("renew", "--force", "--name", s.name)
	if n := s.ordersOf(s.name) - orders; n != 1 {
		t.Errorf("%d orders for one renewal", n)
	}
	o, err := s.manager().Observe(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	if o.Version == nil || o.Current.N != 2 || len(o.Orders) != 0 {
		t.Errorf("n is %d, %d journals", o.Current.N, len(o.Orders))
	}
	s.pairHolds(true)
	s.calm()
}
