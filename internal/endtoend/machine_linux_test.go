package endtoend

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// TestJ07NobodyListens: the log cannot be written, because its disk is full or
// because who read it is gone. The work goes on and is done.
func TestJ07NobodyListens(t *testing.T) {
	r := newRig(t, testca.Options{})
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	gone := func() *os.File {
		t.Helper()
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		read.Close()
		t.Cleanup(func() { write.Close() })
		return write
	}
	for i, c := range []struct {
		what        string
		out, errors *os.File
	}{{"disk full", full, full}, {"log gone", nil, gone()}, {"all gone", gone(), gone()}} {
		t.Run(c.what, func(t *testing.T) {
			name := fmt.Sprintf("n%d.example.com", i)
			for n, args := range [][]string{append(r.issueArgs(name), "-v"), {"renew", "--force", "--name", name, "-v"}} {
				cmd := r.command(args...)
				if c.out != nil {
					cmd.Stdout = c.out
				}
				cmd.Stderr = c.errors
				var exit *exec.ExitError
				if err := cmd.Run(); errors.As(err, &exit) && !exit.Exited() {
					t.Errorf("inkan %s: %v", args[0], err)
				}
				r.t = t
				r.sound(name, uint64(n+1))
			}
			r.noProofs()
		})
	}
}

// TestJ09StarvedOfCPU: a process that gets a twentieth of the time is slower
// only: nobody takes its lease, it makes one order for each certificate.
func TestJ09StarvedOfCPU(t *testing.T) {
	r := newRig(t, testca.Options{})
	r.run(r.issueArgs("account.example.com")...)
	const names = 5
	var starved []*exec.Cmd
	for i := range names {
		cmd := r.command(r.issueArgs(fmt.Sprintf("n%d.example.com", i))...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		starved = append(starved, cmd)
	}
	done := make(chan error, names)
	for _, cmd := range starved {
		go func() { done <- cmd.Wait() }()
	}
	start := time.Now()
	turn := time.NewTicker(time.Millisecond)
	defer turn.Stop()
	pulses := 0
	for n, left := 0, names; left > 0; n++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			left--
			continue
		case <-turn.C:
		}
		signal := syscall.SIGSTOP
		if n%20 == 0 {
			signal = syscall.SIGCONT
			pulses++
		}
		if n%20 > 1 {
			continue
		}
		for _, cmd := range starved {
			cmd.Process.Signal(signal) // it may have ended
		}
		if n%2000 == 0 {
			// Somebody who is not starved looks for what is left to do.
			if out, err := r.command("plan").CombinedOutput(); err != nil {
				t.Errorf("plan: %v\n%s", err, out)
			}
		}
	}
	took := time.Since(start)
	if n := r.ca.Orders() - 1; n != names {
		t.Errorf("%d orders, want %d", n, names)
	}
	for i := range names {
		r.sound(fmt.Sprintf("n%d.example.com", i), 1)
	}
	t.Logf("proof: %d certificates by processes that ran one millisecond of twenty: %s, %d pulses, %d orders", names, took.Round(time.Millisecond), pulses, names)
}

// TestN03LeastPrivilege: a whole life as nobody, without any capability, with
// everything read-only but the state and the webroot.
func TestN03LeastPrivilege(t *testing.T) {
	if out, err := exec.Command("unshare", "-m", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: N03: no mount namespace or setpriv here: %v: %s", err, out)
	}
	r := newRig(t, testca.Options{})
	if err := os.Mkdir(r.data, 0o700); err != nil {
		t.Fatal(err)
	}
	for path := range strings.SplitSeq(r.data+" "+r.webroot, " ") {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	// The directories above belong to root, and the temporary ones are closed.
	for dir := filepath.Dir(r.data); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil {
		t.Fatal(err)
	}
	const script = `set -e
data=$1 www=$2; shift 2
mount --bind "$data" "$data"; mount --bind "$www" "$www"
mount -o remount,bind,ro /
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"`
	inkan := func(args ...string) (string, error) {
		cmd := r.command(args...)
		inner := append([]string{"-m", "sh", "-c", script, "sh", r.data, r.webroot}, cmd.Args...)
		outer := exec.Command("unshare", inner...)
		outer.Env = cmd.Env
		out, err := outer.CombinedOutput()
		return string(out), err
	}
	hook := []string{"--run-shell", "test ! -w / && touch " + filepath.Join(r.data, "hook-ran")}
	for _, args := range [][]string{
		append(r.issueArgs("a.example.com"), hook...), {"renew", "--force", "--name", "a.example.com"}, {"list"}, {"show", "a.example.com"}, {"plan"}, {"fsck"},
		{"deploy", "--retry", "a.example.com"},
	} {
		if out, err := inkan(args...); err != nil {
			t.Fatalf("inkan %s: %v\n%s", args[0], err, out)
		}
	}
	// This process is root, and the store refuses what belongs to somebody else.
	issued := r.issuedFor("a.example.com")
	if leaf, err := r.placed("a.example.com"); err != nil || len(issued) != 2 || !leaf.Equal(issued[1]) {
		t.Errorf("placed: %v; %d certificates", err, len(issued))
	}
	if _, err := os.Stat(filepath.Join(r.data, "hook-ran")); err != nil {
		t.Errorf("the hook: %v", err)
	}
	r.noProofs()
	// Its own word for it when it may not write at all.
	if err := os.Chown(r.data, 0, 0); err != nil {
		t.Fatal(err)
	}
	out, err := inkan("renew", "--force", "--name", "a.example.com")
	if err == nil || !strings.Contains(out, "permission denied") || !strings.Contains(out, "hint:") {
		t.Errorf("state of somebody else's: %v\n%s", err, out)
	}
}

// TestB05SilentIPv6: the CA's name has an IPv6 address from which nothing ever
// comes back, and an IPv4 address that works. The test runs itself in a network
// of its own.
func TestB05SilentIPv6(t *testing.T) {
	const inside, own = "INKAN_TEST_INSIDE", "198.51.100.1"
	if os.Getenv(inside) == "" {
		const script = `set -e
export PATH="$PATH:/usr/sbin:/sbin"
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up; ip link set v1 up
ip addr add 2001:db8::2/64 dev v0 nodad
ip addr add ` + own + `/32 dev lo
mount --bind "$1" /etc/hosts
shift; exec "$@"`
		dir := t.TempDir()
		hosts := filepath.Join(dir, "hosts")
		if err := os.WriteFile(hosts, []byte("2001:db8::1 localhost\n"+own+" localhost\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("unshare", "-n", "-m", "sh", "-c", script, "sh", hosts, "true").CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: B05: no network namespace with IPv6 here: %v: %s", err, out)
		}
		cmd := exec.Command("unshare", "-n", "-m", "sh", "-c", script, "sh", hosts, os.Args[0], "-test.run=^TestB05SilentIPv6$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestB05SilentIPv6") {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if _, figure, ok := strings.Cut(line, "proof: "); ok {
				t.Logf("proof: %s", figure)
			}
		}
		return
	}
	r := newRig(t, testca.Options{ListenAddr: own + ":0"})
	directory := strings.Replace(r.ca.DirectoryURL, own, "localhost", 1)
	start := time.Now()
	r.run("issue", "--ca", directory, "--ca-root", r.root, "--email", "ops@example.com", "--agree-tos", "--webroot", r.webroot, "a.example.com")
	took := time.Since(start)
	r.sound("a.example.com", 1)
	if out, err := exec.Command("ip", "-6", "neigh", "show", "2001:db8::1", "dev", "v0").CombinedOutput(); err != nil || !strings.Contains(string(out), "2001:db8::1") {
		t.Errorf("the silent address was not tried: %v %s", err, out)
	}
	if took > 3*time.Second { // after that the kernel gives the silent address up by itself
		t.Errorf("it waited for the silent address: %s", took)
	}
	t.Logf("proof: an account and a certificate in %s beside a silent IPv6 address", took.Round(time.Millisecond))
}
