package endtoend

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// TestC22KillIssue kills `inkan issue` at a random moment, follows it at once
// with `inkan renew`, and finds one certificate, one matching pair and at most
// one order more; or, killed before the request was recorded, nothing, and
// `issue` again works.
func TestC22KillIssue(t *testing.T) {
	r := newRig(t, testca.Options{NonceReject: 5, AuthzReuse: 0})
	start := time.Now()
	r.run(r.issueArgs("first.example.com")...)
	whole := time.Since(start)
	rounds := 25
	if long() {
		rounds = 300
	}
	before, again := 0, 0
	for i := range rounds {
		name := fmt.Sprintf("k%d.example.com", i)
		orders := r.ca.Orders()
		cmd := r.command(r.issueArgs(name)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.Int64N(int64(whole)))
		timer := time.AfterFunc(after, func() { cmd.Process.Signal(syscall.SIGKILL) })
		killed := cmd.Wait() != nil
		timer.Stop()
		if out, err := r.command("renew").CombinedOutput(); err != nil {
			t.Fatalf("%s: killed after %v, then renew: %v\n%s", name, after, err, out)
		}
		if _, err := r.observe(name); errors.Is(err, fs.ErrNotExist) {
			if n := r.ca.Orders() - orders; n != 0 {
				t.Errorf("%s: %d orders without a request", name, n)
			}
			before++
			r.run(r.issueArgs(name)...)
		}
		r.sound(name, 1)
		if n := r.ca.Orders() - orders; n > 2 {
			t.Errorf("%s: killed after %v: %d orders, want at most 2", name, after, n)
		} else if n == 2 {
			again++
		}
		if t.Failed() {
			t.Logf("killed: %v after %v of %v", killed, after, whole)
			return
		}
	}
	r.noProofs()
	t.Logf("proof: %d kills within %v: %d before the request was recorded, %d cost a second order", rounds, whole, before, again)
}

// TestF01ManyProcesses starts many processes for the same new name at once: one
// order, one certificate, and all of them are content.
func TestF01ManyProcesses(t *testing.T) {
	r := newRig(t, testca.Options{})
	r.run(r.issueArgs("account.example.com")...) // makes the account
	orders := r.ca.Orders()
	n := 12
	if long() {
		n = 50
	}
	name := "same.example.com"
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			if out, err := r.command(r.issueArgs(name)...).CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	r.sound(name, 1)
	if got := r.ca.Orders() - orders; got != 1 {
		t.Errorf("%d orders, want 1", got)
	}
	t.Logf("proof: %d processes at once: 1 order, 1 certificate", n)
}

// TestChaos issues again and again from a CA with its default chaos.
func TestChaos(t *testing.T) {
	t.Parallel() // most of it is waiting for validations that sleep
	rounds := 10
	if long() {
		rounds = 200
	}
	r := newRig(t, testca.Options{NonceReject: 5, AuthzReuse: 50, Sleep: long(), SleepSeconds: 5})
	for i := range rounds {
		name := fmt.Sprintf("n%d.example.com", i%7)
		out, err := r.command(append(r.issueArgs("--force"), name, "www."+name)...).CombinedOutput()
		if err != nil {
			t.Fatalf("round %d: %v\n%s", i, err, out)
		}
		noSecrets(t, out)
	}
}

// TestD01D03FullDisk renews on a disk that has no room, then gives it room: the
// old pair stays in place throughout and nothing issued is thrown away.
func TestD01D03FullDisk(t *testing.T) {
	r := newRig(t, testca.Options{})
	disk := smallDisk(t)
	r.data = filepath.Join(disk, "data")
	name := "full.example.com"
	r.run(r.issueArgs(name)...)
	old := mustPlaced(t, r, name)
	orders := r.ca.Orders()

	// D03: no room for another certificate: refused before an order is sent.
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	out, err := r.command("renew", "--force", "--name", name).CombinedOutput()
	if err == nil {
		t.Fatal("renewed on a full disk")
	}
	if !strings.Contains(string(out), "space") {
		t.Errorf("the message does not speak of space:\n%s", out)
	}
	if got := r.ca.Orders(); got != orders {
		t.Errorf("%d orders were sent from a full disk", got-orders)
	}
	if !mustPlaced(t, r, name).Equal(old) {
		t.Error("the placed pair changed")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.run("renew", "--force", "--name", name)
	r.sound(name, 2)
}

// TestD01FullDuringOrder fills the disk when the CA is asked to finalize: the
// certificate that was issued is stored as soon as there is room, from the same
// order.
func TestD01FullDuringOrder(t *testing.T) {
	disk := smallDisk(t)
	ballast := filepath.Join(disk, "ballast")
	var full atomic.Bool
	r := newRig(t, testca.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if full.Load() && strings.HasPrefix(req.URL.Path, testca.PathFinalize) {
				fill(t, ballast)
			}
			next.ServeHTTP(w, req)
		})
	}})
	r.data = filepath.Join(disk, "data")
	name := "full.example.com"
	r.run(r.issueArgs(name)...)
	old := mustPlaced(t, r, name)
	full.Store(true)
	out, err := r.command("renew", "--force", "--name", name).CombinedOutput()
	if err == nil {
		t.Fatalf("renewed on a full disk:\n%s", out)
	}
	full.Store(false)
	if !mustPlaced(t, r, name).Equal(old) {
		t.Error("the placed pair changed")
	}
	if n := len(r.issuedFor(name)); n != 2 {
		t.Fatalf("the CA issued %d certificates; the disk was to be full after the second", n)
	}
	orders := r.ca.Orders()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.run("renew")
	r.sound(name, 2)
	if n := r.ca.Orders() - orders; n != 0 {
		t.Errorf("%d further orders", n)
	}
}

// smallDisk mounts a file system of 4 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no tmpfs can be mounted here: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return disk
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) >= 1; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}
