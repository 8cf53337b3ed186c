package solve_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
)

// script writes an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	// Written by another name first: a file open for writing cannot be run,
	// and a child forked meanwhile by another test would hold it open.
	if err := os.WriteFile(path+".new", []byte("#!/bin/sh\nset -eu\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// The hooks keep each proof as a file $DIR/NAME/PROOF.
const (
	dehydratedHook = `
verb=$1; shift
case $verb in deploy_challenge|clean_challenge) ;; *) exit 0;; esac
while [ $# -ge 3 ]; do
	case $verb in
	deploy_challenge) mkdir -p "$DIR/$1"; : >"$DIR/$1/$3" ;;
	*) rm -f "$DIR/$1/$3" ;;
	esac
	shift 3
done
`
	modMDHook = `
case $1 in
setup) mkdir -p "$DIR/$2"; : >"$DIR/$2/$3" ;;
teardown) rm -f "$DIR/$2/${3:?version 2}" ;;
esac
`
	certbotAuth    = `mkdir -p "$DIR/$CERTBOT_DOMAIN"; : >"$DIR/$CERTBOT_DOMAIN/$CERTBOT_VALIDATION"; echo "id of $CERTBOT_VALIDATION"`
	certbotCleanUp = `
test "${CERTBOT_AUTH_OUTPUT-none}" = none || test "$CERTBOT_AUTH_OUTPUT" = "id of $CERTBOT_VALIDATION"
rm -f "$DIR/$CERTBOT_DOMAIN/$CERTBOT_VALIDATION"
`
	acmeClientHook    = `while read -r type name proof; do mkdir -p "$DIR/$name"; : >"$DIR/$name/$proof"; echo "$type $name $proof"; done`
	acmeClientCleanUp = `while read -r type name proof; do rm -f "$DIR/$name/$proof"; done`
)

// hooks returns the options for every dialect.
func hooks(t *testing.T) map[string]solve.Hook {
	t.Helper()
	deploy := script(t, dehydratedHook)
	return map[string]solve.Hook{
		"certbot":     {Dialect: "certbot", Command: []string{script(t, certbotAuth)}, CleanUp: []string{script(t, certbotCleanUp)}},
		"dehydrated":  {Dialect: "dehydrated", Command: []string{deploy}},
		"HOOK_CHAIN":  {Dialect: "dehydrated", Command: []string{deploy}, Chain: true},
		"mod_md":      {Dialect: "mod_md_2", Command: []string{script(t, modMDHook)}},
		"acme-client": {Dialect: "acme-client", Command: []string{script(t, acmeClientHook)}, CleanUp: []string{script(t, acmeClientCleanUp)}},
	}
}

func inDir(h solve.Hook, dir string) solve.Hook {
	h.Env = map[string]plug.Secret{"DIR": plug.NewSecret(dir)}
	return h
}

// TestExecConformance runs the suite over a hook in each dialect, for dns-01
// and, where the dialect has it, http-01.
func TestExecConformance(t *testing.T) {
	for name, hook := range hooks(t) {
		for _, challengeType := range []string{inkan.DNS01, inkan.HTTP01} {
			if name == "mod_md" && challengeType == inkan.HTTP01 {
				continue
			}
			t.Run(name+" "+challengeType, func(t *testing.T) {
				t.Parallel()
				var dir string
				h := solvetest.Harness{
					Type: challengeType,
					Place: func(t *testing.T) func() inkan.Solver {
						dir = t.TempDir()
						return func() inkan.Solver { return openHook(t, challengeType, inDir(hook, dir)) }
					},
					Visible: func(t *testing.T, _ inkan.Solver, c inkan.Challenge) []string {
						files, err := os.ReadDir(filepath.Join(dir, c.Identifier.Base()))
						if err != nil && !errors.Is(err, os.ErrNotExist) {
							t.Error(err)
						}
						var names []string
						for _, f := range files {
							names = append(names, f.Name())
						}
						return names
					},
				}
				if challengeType == inkan.DNS01 && name != "acme-client" {
					h.Proof = solve.DNS01Value
				}
				solvetest.Run(t, h)
			})
		}
	}
}

func openHook(t *testing.T, challengeType string, h solve.Hook) inkan.Solver {
	t.Helper()
	var s inkan.Solver
	var err error
	if challengeType == inkan.DNS01 {
		s, err = solve.Exec(plug.Env{}, solve.ExecConfig{Hook: h, Propagation: solve.Propagation{CheckAt: "none"}})
	} else {
		s, err = solve.ExecHTTP(plug.Env{}, solve.ExecHTTPConfig{Hook: h})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// CB-26: what certbot's hooks are told.
func TestExecCertbotEnvironment(t *testing.T) {
	t.Setenv("CERTBOT_LEAK", "from the environment of the process")
	dir := t.TempDir()
	s := openHook(t, inkan.HTTP01, inDir(solve.Hook{
		Dialect: "certbot",
		Shell:   `env | grep ^CERTBOT_ | sort >"$DIR/$CERTBOT_DOMAIN"; printf 'out\n of %s' "$CERTBOT_DOMAIN"; echo debug >&2`,
		CleanUp: []string{"sh", "-c", `printf %s "$CERTBOT_AUTH_OUTPUT" >"$DIR/clean-$CERTBOT_DOMAIN"`},
	}, dir))
	a, b := solvetest.Harness{Type: inkan.HTTP01}.Challenge("a.example.com", 1), solvetest.Harness{Type: inkan.HTTP01}.Challenge("b.example.com", 2)
	undo, err := s.Present(t.Context(), []inkan.Challenge{a, b})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "a.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`CERTBOT_ALL_DOMAINS=a.example.com,b.example.com
CERTBOT_ALL_IDENTIFIERS=a.example.com,b.example.com
CERTBOT_DOMAIN=a.example.com
CERTBOT_IDENTIFIER=a.example.com
CERTBOT_REMAINING_CHALLENGES=1
CERTBOT_TOKEN=%s
CERTBOT_VALIDATION=%s
`, a.Token, a.KeyAuthorization)
	if string(got) != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	a.Undo, b.Undo = undo[0], undo[1]
	if err := s.CleanUp(t.Context(), []inkan.Challenge{a, b}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "clean-b.example.com")); string(got) != "out\n of b.example.com" {
		t.Errorf("the clean-up got %q", got)
	}
}

// MD-05 version 1 takes away all values at a name, as it has no other words.
func TestExecModMD1(t *testing.T) {
	dir := t.TempDir()
	s := openHook(t, inkan.DNS01, inDir(solve.Hook{Dialect: "mod_md", Command: []string{"sh", "-c", `echo "$@" >>"$DIR/calls"`, "hook"}}, dir))
	c := dnsChallenge("*.example.com", 1)
	if _, err := s.Present(t.Context(), []inkan.Challenge{c}); err != nil {
		t.Fatal(err)
	}
	if err := s.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(filepath.Join(dir, "calls"))
	if want := "setup example.com " + solve.DNS01Value(c) + "\nteardown example.com\n"; string(got) != want {
		t.Errorf("calls %q; want %q", got, want)
	}
}

// TestJ06Hooks: hooks that fail, hang, fork, print without end, are missing or
// do not speak the dialect.
func TestJ06Hooks(t *testing.T) {
	c := []inkan.Challenge{dnsChallenge("www.example.com", 1)}
	for _, test := range []struct {
		name string
		hook solve.Hook
		kind inkan.Kind
		want string
	}{
		{"fails", solve.Hook{Dialect: "certbot", Shell: "echo no such zone >&2; exit 3"}, inkan.Temporary, "dns-01 hook for www.example.com: running the shell line: exit status 3; it said: no such zone"},
		{"is missing", solve.Hook{Dialect: "dehydrated", Command: []string{"/no/hook"}}, inkan.Operator, "there is no /no/hook"},
		{"hangs", solve.Hook{Dialect: "certbot", Shell: "echo started; exec sleep 1000", HookLimit: plug.Duration(200 * time.Millisecond)}, inkan.Temporary, "stopped after 200ms; it said: started"},
		{"prints without end", solve.Hook{Dialect: "certbot", Shell: "head -c 100000000 /dev/zero | tr '\\0' x; exit 1"}, inkan.Temporary, "exit status 1; it said: xxx"},
		{"says nothing", solve.Hook{Dialect: "acme-client", Shell: "cat >/dev/null"}, inkan.Temporary, "did not write back the line of its challenge"},
		{"says a secret", inDir(solve.Hook{Dialect: "acme-client", Shell: `cat >/dev/null; echo "token $DIR"`}, "hush-hush"), inkan.Temporary, "it said: token [secret]"},
		{"says something else", solve.Hook{Dialect: "acme-client", Shell: "cat >/dev/null; echo 'dns-01 www.example.com x'"}, inkan.Temporary, "it said: dns-01 www.example.com x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := openHook(t, inkan.DNS01, test.hook).Present(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), test.want) || inkan.KindOf(err) != test.kind || len(err.Error()) > 2500 {
				t.Errorf("error %.600v of kind %v; want %q of kind %v", err, inkan.KindOf(err), test.want, test.kind)
			}
		})
	}
	t.Run("prints 100 MB and succeeds", func(t *testing.T) {
		undo, err := openHook(t, inkan.DNS01, solve.Hook{Dialect: "certbot", Shell: "head -c 100000000 /dev/zero"}).Present(t.Context(), c)
		if err != nil || len(undo[0]) > inkan.MaxUndo {
			t.Errorf("%d bytes of undo, %v", len(undo[0]), err)
		}
	})
	t.Run("forks and hangs", func(t *testing.T) {
		// Every process of the hook holds the pipe open, so its end is the
		// end of the last of them.
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		allGone := make(chan error, 1)
		go func() {
			_, err := os.ReadFile(pipe)
			allGone <- err
		}()
		hook := solve.Hook{Dialect: "certbot", Shell: "exec 9>" + pipe + "; (sleep 1000; :) & (sleep 1000; :) & wait", HookLimit: plug.Duration(300 * time.Millisecond)}
		if _, err := openHook(t, inkan.DNS01, hook).Present(t.Context(), c); err == nil || !strings.Contains(err.Error(), "stopped after 300ms") {
			t.Errorf("error %v", err)
		}
		select {
		case err := <-allGone:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("a process of the hook is still there")
		}
	})
}

// A clean-up tries every challenge, whatever fails.
func TestExecCleanUpGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := openHook(t, inkan.DNS01, inDir(solve.Hook{Dialect: "dehydrated", Command: []string{script(t, `echo "$2" >>"$DIR/calls"; test "$2" != a.example.com`)}}, dir))
	err := s.CleanUp(t.Context(), []inkan.Challenge{dnsChallenge("a.example.com", 1), dnsChallenge("b.example.com", 2)})
	if err == nil || !strings.Contains(err.Error(), "a.example.com") || strings.Contains(err.Error(), "b.example.com") {
		t.Errorf("error %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "calls")); string(got) != "a.example.com\nb.example.com\n" {
		t.Errorf("calls %q", got)
	}
}

// A hook that returns at once is enough: Wait looks for the record, also where
// a CNAME record leads.
func TestExecWaits(t *testing.T) {
	host, open := dnsWorld(t, testdns.Zone{Name: "example.com.", Records: []string{"_acme-challenge.www CNAME x"}})
	_ = open
	resolver := testdns.Fake(t, "127.0.0.1:0", host.Resolver)
	s, err := solve.Exec(plug.Env{}, solve.ExecConfig{
		Hook:        solve.Hook{Dialect: "dehydrated", Command: []string{"true"}},
		Propagation: solve.Propagation{CheckAt: "resolvers", Resolvers: []string{resolver}, Timeout: plug.Duration(10 * time.Second)},
	})
	if err != nil {
		t.Fatal(err)
	}
	cs := []inkan.Challenge{dnsChallenge("www.example.com", 1)}
	if _, err := s.Present(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.(inkan.Waiter).Wait(t.Context(), cs) }()
	for host.Asked("resolver TXT", "x.example.com.") < 2 {
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	host.Add("example.com.", "x.example.com.", solve.DNS01Value(cs[0]))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExecOptions(t *testing.T) {
	ok := []string{"true"}
	for want, h := range map[string]solve.Hook{
		`dialect: "bash" is none of`:              {Dialect: "bash", Command: ok},
		"one of the keys command and shell":       {Dialect: "certbot"},
		"command and shell exclude each other":    {Dialect: "certbot", Command: ok, Shell: "true"},
		"dehydrated calls command again":          {Dialect: "dehydrated", Command: ok, CleanUp: ok},
		"cleanup_command: command and shell":      {Dialect: "certbot", Command: ok, CleanUp: ok, CleanUpSh: "true"},
		"a hook of mod_md gets arguments":         {Dialect: "mod_md", Shell: "true"},
		"only dehydrated has it":                  {Dialect: "certbot", Command: ok, Chain: true},
		"env: CERTBOT_DOMAIN is set by Inkan":     {Dialect: "certbot", Command: ok, Env: map[string]plug.Secret{"CERTBOT_DOMAIN": {}}},
		"must be an absolute path or a plain nam": {Dialect: "certbot", Command: []string{"./hook"}},
	} {
		if _, err := solve.Exec(plug.Env{}, solve.ExecConfig{Hook: h}); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Operator) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
	if _, err := solve.ExecHTTP(plug.Env{}, solve.ExecHTTPConfig{Hook: solve.Hook{Dialect: "mod_md", Command: ok}}); err == nil || !strings.Contains(err.Error(), "is none of certbot, dehydrated, acme-client") {
		t.Errorf("error %v", err)
	}
	if s, _ := solve.ExecHTTP(plug.Env{}, solve.ExecHTTPConfig{Hook: solve.Hook{Dialect: "certbot", Command: ok}}); s == nil {
		t.Error("no solver")
	} else if _, waits := s.(inkan.Waiter); waits {
		t.Error("http-01 has nothing to wait for")
	}
}
