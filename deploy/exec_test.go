package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/deploy"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/deploytest"
)

func newExec(t *testing.T, c deploy.ExecConfig) inkan.Deployer {
	t.Helper()
	d, err := deploy.Exec(plug.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func runExec(t *testing.T, c deploy.ExecConfig) error {
	t.Helper()
	v := deploytest.NewCA(t).Version(t, "www", 1)
	_, err := newExec(t, c).Deploy(t.Context(), inkan.Deployment{Version: v, Target: "reload"})
	return err
}

// script writes an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	// Written by another name first: a file open for writing cannot be run,
	// and a child forked meanwhile by another test would hold it open.
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecConformance(t *testing.T) {
	deploytest.Run(t, func(t *testing.T) deploytest.Target {
		dir := t.TempDir()
		broken := filepath.Join(dir, "broken")
		// The command stands for a server that loads a file: here, the number
		// of the version that it was told of.
		d := newExec(t, deploy.ExecConfig{Shell: `test ! -e ` + broken + ` && echo "$INKAN_NOT_AFTER $INKAN_VERSION" > ` + dir + `/$INKAN_NAME.$INKAN_VERSION.tmp && mv ` + dir + `/$INKAN_NAME.$INKAN_VERSION.tmp ` + dir + `/$INKAN_NAME`})
		told := &teller{Deployer: d, versions: make(chan *inkan.Version, 1000)}
		return deploytest.Target{
			Deployer: told,
			Served:   func(t *testing.T, certificate string) inkan.Fingerprint { return told.served(t, dir, certificate) },
			Break: func(t *testing.T) func() {
				if err := os.WriteFile(broken, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				return func() { os.Remove(broken) }
			},
		}
	})
}

// teller remembers which version had which number.
type teller struct {
	inkan.Deployer
	versions chan *inkan.Version
}

func (d *teller) Deploy(ctx context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	if dep.Version != nil && len(dep.Version.Pairs) > 0 {
		d.versions <- dep.Version
	}
	return d.Deployer.Deploy(ctx, dep)
}

func (d *teller) served(t *testing.T, dir, certificate string) inkan.Fingerprint {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, certificate))
	if err != nil {
		return inkan.Fingerprint{}
	}
	_, number, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		t.Fatalf("the command wrote %q", data)
	}
	var found inkan.Fingerprint
	for range len(d.versions) {
		v := <-d.versions
		d.versions <- v
		if v.Name == certificate && v.N == n {
			found = v.Pairs[0].Fingerprint()
		}
	}
	return found
}

func TestH11ExecEnvironment(t *testing.T) {
	t.Setenv("INKAN_LEAK", "from the environment of the process")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	v := deploytest.NewCA(t).Version(t, "www", 3, "www.example", "example.com")
	files := inkan.Receipt(`{"dir":"/etc/ssl/inkan/www"}`)
	d := newExec(t, deploy.ExecConfig{
		Command: []string{"sh", "-c", `env > "$0"; pwd >> "$0"; printf "%s|" "$@" >> "$0"`, out, "a b", "$(id)", "*"},
		Dir:     dir,
		Env:     map[string]plug.Secret{"TOKEN": plug.NewSecret("hush")},
	})
	_, err := d.Deploy(t.Context(), inkan.Deployment{
		Version: v, Target: "reload", Attempt: 2,
		Earlier: []inkan.TargetReceipt{
			{Target: "older", Receipt: inkan.Receipt(`{"dir":"/older"}`)},
			{Target: "files", Receipt: files},
			{Target: "other", Receipt: inkan.Receipt(`{"arn":"x"}`)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, want := range []string{
		"INKAN_NAME=www", "INKAN_NAMES=www.example example.com", "INKAN_DIR=/etc/ssl/inkan/www",
		"INKAN_FULLCHAIN=/etc/ssl/inkan/www/fullchain.pem", "INKAN_CERT=/etc/ssl/inkan/www/cert.pem",
		"INKAN_CHAIN=/etc/ssl/inkan/www/chain.pem", "INKAN_PRIVKEY=/etc/ssl/inkan/www/privkey.pem",
		"INKAN_VERSION=3", "INKAN_TARGET=reload", "INKAN_ATTEMPT=2",
		"INKAN_NOT_AFTER=" + v.Pairs[0].Leaf.NotAfter.UTC().Format(time.RFC3339),
		"RENEWED_LINEAGE=/etc/ssl/inkan/www", "RENEWED_DOMAINS=www.example example.com",
		"LANG=C.UTF-8", "TOKEN=hush", dir, "a b|$(id)|*|",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is missing in\n%s", want, data)
		}
	}
	for _, name := range []string{"PATH=/usr/local/sbin:", "HOME=/"} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) }) {
			t.Errorf("%s... is missing in\n%s", name, data)
		}
	}
	if bytes.Contains(data, []byte("INKAN_LEAK")) || bytes.Contains(data, []byte("PRIVATE KEY")) {
		t.Errorf("the environment holds too much:\n%s", data)
	}

	// Without files and without a key there are no paths.
	_, err = d.Deploy(t.Context(), inkan.Deployment{Version: v})
	if data, _ := os.ReadFile(out); err != nil || bytes.Contains(data, []byte("INKAN_DIR")) || bytes.Contains(data, []byte("RENEWED_LINEAGE")) {
		t.Errorf("%v\n%s", err, data)
	}
	_, err = d.Deploy(t.Context(), inkan.Deployment{Version: deploytest.WithoutKey(v), Earlier: []inkan.TargetReceipt{{Receipt: files}}})
	if data, _ := os.ReadFile(out); err != nil || bytes.Contains(data, []byte("INKAN_PRIVKEY")) || !bytes.Contains(data, []byte("INKAN_CERT")) {
		t.Errorf("%v\n%s", err, data)
	}
}

// K01: exit 1, missing, not executable, no program at all.
func TestK01ExecFailures(t *testing.T) {
	notExecutable := script(t, "#!/bin/sh\n")
	if err := os.Chmod(notExecutable, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config deploy.ExecConfig
		kind   inkan.Kind
		want   string
	}{
		{deploy.ExecConfig{Shell: "echo one; echo two >&2; exit 3"}, inkan.Temporary, "running the shell line: exit status 3; it said: one | two"},
		{deploy.ExecConfig{Command: []string{"false"}}, inkan.Temporary, "running false: exit status 1, and it printed nothing"},
		{deploy.ExecConfig{Shell: "kill -9 $$"}, inkan.Temporary, "signal: killed"},
		{deploy.ExecConfig{Command: []string{"/no/such/program"}}, inkan.Operator, "there is no /no/such/program"},
		{deploy.ExecConfig{Command: []string{"no-such-program"}}, inkan.Operator, "it was not found in the search path"},
		{deploy.ExecConfig{Command: []string{notExecutable}}, inkan.Operator, "is not executable"},
		{deploy.ExecConfig{Command: []string{"/etc"}}, inkan.Operator, "/etc is not a program"},
		{deploy.ExecConfig{Command: []string{script(t, "no first line")}}, inkan.Operator, "it cannot be started"},
		{deploy.ExecConfig{Command: []string{"true"}, Dir: "/no/such/dir"}, inkan.Operator, "it cannot be started"},
		{deploy.ExecConfig{Command: []string{"true"}, Env: map[string]plug.Secret{"PATH": plug.NewSecret("/nowhere")}}, inkan.Operator, "not found"},
	} {
		err := runExec(t, c.config)
		if err == nil || inkan.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v of kind %v, want %q of kind %v", c.config.Command, err, inkan.KindOf(err), c.want, c.kind)
		}
		if c.kind == inkan.Operator && len(inkan.HintsOf(err)) == 0 {
			t.Errorf("%v: no hint", err)
		}
	}
}

func TestExecRefusesBadOptions(t *testing.T) {
	for want, c := range map[string]deploy.ExecConfig{
		"one of the keys command and shell is missing": {},
		"command and shell exclude each other":         {Command: []string{"true"}, Shell: "true"},
		"must be an absolute path or a plain name":     {Command: []string{"./hook"}},
		"write [systemctl, reload, nginx]":             {Command: []string{"systemctl reload nginx"}},
		"dir must be an absolute path":                 {Command: []string{"true"}, Dir: "x"},
		"INKAN_DIR is set by Inkan":                    {Command: []string{"true"}, Env: map[string]plug.Secret{"INKAN_DIR": {}}},
		`"a=b" cannot be an environment variable`:      {Command: []string{"true"}, Env: map[string]plug.Secret{"a=b": {}}},
		"a NUL character":                              {Shell: "true \x00"},
	} {
		if _, err := deploy.Exec(plug.Env{}, c); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Operator) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// J06: output without end is cut, escaped, and fills neither memory nor pipe.
func TestJ06EndlessOutput(t *testing.T) {
	err := runExec(t, deploy.ExecConfig{Shell: `head -c 200000000 /dev/zero | tr '\0' x; printf '\n\033[31mred\nlast\n'; exit 1`})
	if err == nil || !strings.HasSuffix(err.Error(), ` | \u001b[31mred | last`) || len(err.Error()) > 2000 {
		t.Errorf("error %.300v", err)
	}
}

// J06: never ending, deaf to SIGTERM, with children.
func TestJ06NeverEnding(t *testing.T) {
	for name, shell := range map[string]string{
		"sleeps":          `echo started; sleep 1000`,
		"ignores SIGTERM": `trap "" TERM; echo started; while :; do sleep 1000; done`,
		"forks":           `(trap "" TERM; sleep 1000; :) & (sleep 1000; :) & echo started; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			// Every process of the command holds the pipe open, so its end
			// is the end of the last of them.
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			allGone := make(chan error, 1)
			go func() {
				_, err := os.ReadFile(pipe)
				allGone <- err
			}()
			d := newExec(t, deploy.ExecConfig{Shell: "exec 9>" + pipe + "; " + shell, Timeout: plug.Duration(300 * time.Millisecond)})
			deploy.SetGrace(d, 200*time.Millisecond)
			_, err := d.Deploy(t.Context(), inkan.Deployment{Version: deploytest.NewCA(t).Version(t, "www", 1)})
			if err == nil || inkan.KindOf(err) != inkan.Temporary || !strings.Contains(err.Error(), "stopped after 300ms; it said: started") {
				t.Errorf("error %v", err)
			}
			select {
			case err := <-allGone:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("a process of the command is still there")
			}
		})
	}
}

// A server that the command starts in the background lives on, and its open
// output keeps nobody waiting.
func TestExecLeavesBackgroundAlone(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	start := time.Now()
	if err := runExec(t, deploy.ExecConfig{Shell: `sleep 1000 & echo $! > ` + pids}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	data, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the background process is gone: %v", err)
	}
}

func TestExecCancelled(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		os.ReadFile(started) // returns when the command has opened and closed it
		cancel()
	}()
	d := newExec(t, deploy.ExecConfig{Shell: `echo > ` + started + `; sleep 1000`})
	_, err := d.Deploy(ctx, inkan.Deployment{Version: deploytest.NewCA(t).Version(t, "www", 1)})
	if inkan.KindOf(err) != inkan.Pending {
		t.Errorf("error %v of kind %v", err, inkan.KindOf(err))
	}
}

// With once, Deploy only accepts and Activate runs the command.
func TestExecOnce(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	c := deploy.ExecConfig{Shell: "echo run >> " + out + "; env >> " + out, Once: true}
	a, b := newExec(t, c), newExec(t, c)
	v := deploytest.NewCA(t).Version(t, "www", 1)
	for _, d := range []inkan.Deployer{a, b} {
		r, err := d.Deploy(t.Context(), inkan.Deployment{Version: v})
		if err != nil || !json.Valid(r) {
			t.Fatalf("receipt %s, %v", r, err)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("Deploy ran the command")
	}
	key := a.(inkan.Activator).ActivationKey()
	if key == "" || key != b.(inkan.Activator).ActivationKey() {
		t.Errorf("the keys of equal commands are %q and %q", key, b.(inkan.Activator).ActivationKey())
	}
	c.Shell += "; true"
	if other := newExec(t, c).(inkan.Activator).ActivationKey(); other == key {
		t.Error("another command has the same key")
	}
	c.Once = false
	if other := newExec(t, c).(inkan.Activator).ActivationKey(); other != "" {
		t.Errorf("without once the key is %q", other)
	}
	if err := a.(inkan.Activator).Activate(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil || strings.Count(string(data), "run\n") != 1 || strings.Contains(string(data), "INKAN_") {
		t.Errorf("%v\n%s", err, data)
	}
}

// Law 6: secrets of the options are in no log and no error.
func TestN01ExecKeepsSecrets(t *testing.T) {
	var log bytes.Buffer
	// Also when the command itself tells them.
	c := deploy.ExecConfig{Shell: "set -x; : $TOKEN; exit 1", Env: map[string]plug.Secret{"TOKEN": plug.NewSecret("hush-hush")}}
	d, err := deploy.Exec(plug.Env{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Deploy(t.Context(), inkan.Deployment{Version: deploytest.NewCA(t).Version(t, "www", 1)})
	if all := fmt.Sprintf("%v %+v %+v %s", err, c, d, log.String()); err == nil || strings.Contains(all, "hush") || !strings.Contains(log.String(), "command has run") || !strings.Contains(err.Error(), "[secret]") {
		t.Error(all)
	}
}
