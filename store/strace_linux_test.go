package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/durable/crashfs"
	"github.com/inkan-acme/inkan/internal/testsign"
	"github.com/inkan-acme/inkan/plug"
)

// The cross-check on a real file system (C24, D04): a process does the same
// work under strace, which kills it at its N-th system call of a kind or lets
// that call fail; what is left is checked with the shipped code. The process
// tells what it was answered by writev, a call that nothing else here uses and
// that is never injected.

const (
	straceDir  = "INKAN_TEST_STRACE_DIR"
	straceWork = "INKAN_TEST_STRACE_WORK" // "scripts", or the key and certificate of the CA
	toldFD     = 3
)

// straceFaults are the system calls of the file store, with what each can meet.
var straceFaults = []struct {
	call   string
	faults []string
}{
	{"openat", []string{"signal=KILL", "error=EIO", "error=ENOSPC"}},
	{"openat2", []string{"signal=KILL", "error=EIO"}},
	{"write", []string{"signal=KILL", "error=EIO", "error=ENOSPC"}},
	{"fsync", []string{"signal=KILL", "error=EIO", "error=ENOSPC"}},
	{"mkdirat", []string{"signal=KILL", "error=EIO", "error=ENOSPC"}},
	{"renameat", []string{"signal=KILL", "error=EIO", "error=ENOSPC"}},
	{"renameat2", []string{"signal=KILL", "error=EIO", "error=ENOSPC"}},
	{"unlinkat", []string{"signal=KILL", "error=EIO"}},
	{"flock", []string{"signal=KILL", "error=EIO"}},
}

// told is one line of the process about itself.
type told struct {
	Key   string   `json:"key,omitempty"`
	Value string   `json:"value,omitempty"`
	Begin bool     `json:"begin,omitempty"`
	New   bool     `json:"new,omitempty"`   // a creation
	Lost  bool     `json:"lost,omitempty"`  // ErrConflict
	Error string   `json:"error,omitempty"` // any other error
	World *outside `json:"world,omitempty"`
	Done  bool     `json:"done,omitempty"`
}

func tell(t told) {
	line, err := json.Marshal(t)
	if err == nil {
		_, err = unix.Writev(toldFD, [][]byte{append(line, '\n')})
	}
	if err != nil {
		panic(err)
	}
}

// telling is a Store that tells what it is asked and answered.
type telling struct {
	inkan.Store
	prefix string
}

func (s telling) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	return tellAll(told{Key: s.prefix + key, Value: string(data), New: old == ""}, func() (inkan.Rev, error) { return s.Store.Put(ctx, key, data, old) })
}

func (s telling) Delete(ctx context.Context, key string) error {
	_, err := tellAll(told{Key: s.prefix + key, Value: none}, func() (inkan.Rev, error) { return "", s.Store.Delete(ctx, key) })
	return err
}

func tellAll(t told, do func() (inkan.Rev, error)) (inkan.Rev, error) {
	t.Begin = true
	tell(t)
	rev, err := do()
	t.Begin = false
	switch {
	case errors.Is(err, inkan.ErrConflict):
		t.Lost = true
	case err != nil:
		t.Error = err.Error()
	}
	tell(t)
	return rev, err
}

// TestStraceHelper is the process under strace, not a test.
func TestStraceHelper(t *testing.T) {
	dir := os.Getenv(straceDir)
	if dir == "" {
		t.Skip("it runs under strace only, started by the tests below")
	}
	runtime.LockOSThread() // strace counts the calls of each thread
	if work := os.Getenv(straceWork); work != "scripts" {
		for _, name := range []string{"store", "host"} {
			if _, err := File(plug.Env{}, FileConfig{Dir: filepath.Join(dir, name)}); err != nil {
				t.Fatal(err)
			}
		}
		s := realScene(t, dir, decodeAuthority(t, work), newOutside())
		s.disk.After = func(string, *crashfs.Snapshot) { tell(told{World: s.out}) }
		m, _ := s.start()
		s.issue(m)
	} else {
		for i, script := range scripts {
			fsys, err := File(plug.Env{}, FileConfig{Dir: scriptDir(dir, i)})
			if err != nil {
				continue
			}
			for _, a := range script.acts {
				a(telling{fsys, fmt.Sprintf("%d/", i)})
			}
		}
	}
	tell(told{Done: true})
}

func scriptDir(dir string, i int) string { return filepath.Join(dir, fmt.Sprint(i)) }

// realScene is a scene whose stores are on a real file system.
func realScene(t *testing.T, dir string, ca *testsign.Authority, out *outside) *scene {
	s := newScene(crashfs.New(), ca, out)
	s.open = func(_ *crashfs.Process, name string) inkan.Store {
		fsys, err := File(plug.Env{}, FileConfig{Dir: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		return plain{fsys}
	}
	return s
}

func encode(t *testing.T, ca *testsign.Authority) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der) + " " + base64.StdEncoding.EncodeToString(ca.Cert.Raw)
}

func decodeAuthority(t *testing.T, s string) *testsign.Authority {
	t.Helper()
	var der [2][]byte
	for i, part := range strings.Fields(s) {
		var err error
		if der[i], err = base64.StdEncoding.DecodeString(part); err != nil {
			t.Fatal(err)
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(der[0])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der[1])
	if err != nil {
		t.Fatal(err)
	}
	return &testsign.Authority{Key: key.(*ecdsa.PrivateKey), Cert: cert}
}

// straced runs the helper under strace with the injection, none if it is empty,
// and returns what the process told and what strace wrote.
func straced(t *testing.T, dir, work, inject string) (lines []told, trace []byte) {
	t.Helper()
	log := dir + ".trace"
	var calls []string
	for _, c := range straceFaults {
		calls = append(calls, c.call)
	}
	args := []string{"-f", "-q", "-o", log, "-e", "trace=" + strings.Join(calls, ",")}
	if !isKill(inject) {
		args = append(args, "--seccomp-bpf") // several times as fast, and deaf to injected signals
	}
	if inject != "" {
		args = append(args, "-e", "inject="+inject)
	}
	cmd := exec.Command("strace", append(args, os.Args[0], "-test.run=^TestStraceHelper$")...)
	cmd.Env = append(os.Environ(), straceDir+"="+dir, straceWork+"="+work, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer kill.Stop()
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			break // an unfinished line is that of a killed process
		}
		var one told
		if err == nil {
			err = json.Unmarshal(line, &one)
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, one)
	}
	err = cmd.Wait()
	if inject == "" && err != nil {
		t.Fatalf("%v\n%s", err, said.Bytes())
	}
	if trace, err = os.ReadFile(log); err != nil {
		t.Fatal(err)
	}
	return lines, trace
}

// needStrace ends the test if this machine cannot inject.
func needStrace(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-f", "--seccomp-bpf", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "true").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("strace does not work here: %v\n%s", err, out)
	}
	t.Skipf("SKIPPED: NOT PROVEN: strace does not work here: %v: %s", err, out)
}

var tracedCall = regexp.MustCompile(`(?m)^(\d+) +(\w+)\(`)

// injections returns what to inject, from a trace of an undisturbed run: each
// call of each kind up to the last one of the busiest thread.
func injections(trace []byte) (all []string) {
	perThread, most := map[string]int{}, map[string]int{}
	for _, m := range tracedCall.FindAllSubmatch(trace, -1) {
		id := string(m[1]) + " " + string(m[2])
		perThread[id]++
		most[string(m[2])] = max(most[string(m[2])], perThread[id])
	}
	for _, c := range straceFaults {
		for n := 1; n <= most[c.call]; n++ {
			for _, f := range c.faults {
				all = append(all, fmt.Sprintf("%s:%s:when=%d", c.call, f, n))
			}
		}
	}
	return all
}

// isKill reports whether an injection kills; the others make a call fail.
func isKill(inject string) bool { return strings.Contains(inject, "signal=") }

// some takes n kills and n failing calls of all, always the same ones, unless
// the long form is asked for.
func some(all []string, n int) []string {
	if long() {
		return all
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	taken := map[bool]int{}
	return slices.DeleteFunc(all, func(inject string) bool {
		taken[isKill(inject)]++
		return taken[isKill(inject)] > n
	})
}

// tries is how often an injection may be made until it meets its call: strace
// counts the calls of each thread, and those of a process are never spread over
// its threads in quite the same way, least of all on a busy machine.
const tries = 8

// landed counts the injections that met their call.
type landed struct{ kills, killed, errors, failed int }

// strace runs the helper under the injection, in a new directory each time,
// until it meets its call or has had its tries. It returns the directory and
// what the process told.
func (l *landed) strace(t *testing.T, top, work, inject string) (dir string, lines []told) {
	t.Helper()
	kill := isKill(inject)
	mark := "(INJECTED)"
	if kill {
		mark = "+++ killed by SIGKILL"
		l.kills++
	} else {
		l.errors++
	}
	if err := os.Mkdir(top, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range tries {
		var trace []byte
		dir = filepath.Join(top, fmt.Sprint(n))
		lines, trace = straced(t, dir, work, inject)
		if bytes.Contains(trace, []byte(mark)) {
			if kill {
				l.killed++
			} else {
				l.failed++
			}
			break
		}
	}
	return dir, lines
}

func (l *landed) check(t *testing.T) {
	t.Helper()
	t.Logf("proof: %d of %d killed, %d of %d with a failed call", l.killed, l.kills, l.failed, l.errors)
	if 2*l.killed < l.kills || 2*l.failed < l.errors {
		t.Error("most injections met nothing")
	}
}

// TestC24Scripts does what the scripts do, once for each injection.
func TestC24Scripts(t *testing.T) {
	needStrace(t)
	top := t.TempDir()
	_, trace := straced(t, filepath.Join(top, "record"), "scripts", "")
	todo := some(injections(trace), 3)
	var hit landed
	for i, inject := range todo {
		own := filepath.Join(top, fmt.Sprint(i))
		dir, lines := hit.strace(t, own, "scripts", inject)
		l := newLedger(crashfs.New())
		running := map[string]*try{}
		for _, one := range lines {
			switch {
			case one.Done:
			case one.Begin:
				running[one.Key] = l.begin(one.Key, one.Value)
			default:
				var err error
				if one.Lost {
					err = inkan.ErrConflict
				} else if one.Error != "" {
					err = errors.New(one.Error)
				}
				l.end(one.Key, running[one.Key], one.New, err)
			}
		}
		for k := range scripts {
			fsys, err := File(plug.Env{}, FileConfig{Dir: scriptDir(dir, k)})
			if err != nil {
				t.Fatal(err)
			}
			report(t, fmt.Sprintf("%s: %s", inject, scripts[k].name), broken(fsys, l.allowed(), fmt.Sprintf("%d/", k)))
		}
		os.RemoveAll(own)
	}
	hit.check(t)
}

// TestC24Protocol issues a certificate, once for each injection, and then
// recovers a day later.
func TestC24Protocol(t *testing.T) {
	needStrace(t)
	top, ca := t.TempDir(), testsign.New(worldStart)
	work := encode(t, ca)
	lines, trace := straced(t, filepath.Join(top, "record"), work, "")
	if len(lines) == 0 || !lines[len(lines)-1].Done {
		t.Fatal("the undisturbed run did not end")
	}
	todo := some(injections(trace), 3)
	var hit landed
	for i, inject := range todo {
		own := filepath.Join(top, fmt.Sprint(i))
		dir, lines := hit.strace(t, own, work, inject)
		out := newOutside()
		for _, one := range lines {
			if one.World != nil {
				out = one.World
			}
		}
		s := realScene(t, dir, ca, out)
		s.pids = 1 // the one of the dead process
		s.now = worldStart.Add(25 * time.Hour)
		if wrong := s.undue(); wrong != nil {
			t.Errorf("%s: %s", inject, wrong)
		}
		if err := s.recover(); err != nil {
			t.Errorf("%s: recovery: %v", inject, err)
		} else if wrong := s.lost(1, 1, 1); wrong != nil {
			t.Errorf("%s: %s", inject, wrong)
		}
		os.RemoveAll(own)
	}
	hit.check(t)
}
