package deploy_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/deploy"
	"github.com/inkan-acme/inkan/plugtest/deploytest"
)

// A crash leaves a temporary directory, or a version that is not in force.
func TestFilesAfterACrash(t *testing.T) {
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	old, v := ca.Version(t, "www", 1), ca.Version(t, "www", 2)
	d := newFiles(t, deploy.FilesConfig{Dir: dir})
	put(t, d, old, nil)
	put(t, d, v, old)
	// As if the switch had not happened, and another run had died writing.
	www := filepath.Join(dir, "www")
	if err := errors.Join(os.Remove(www), os.Symlink(".versions/www/"+old.Dir(), www)); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, ".versions", "www", ".tmp-inkan-abcdefghijklmnopqrstuvwxyz")
	if err := errors.Join(os.Mkdir(temp, 0o755), os.WriteFile(filepath.Join(temp, "privkey.pem"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	put(t, d, v, old)
	if served(t, www) != v.Pairs[0].Fingerprint() {
		t.Error("the version is not in place")
	}
	want := strings.Join([]string{".lock", old.Dir(), v.Dir()}, " ")
	if got := list(t, filepath.Join(dir, ".versions", "www")); got != want {
		t.Errorf("the versions are %s, want %s", got, want)
	}
}

// D14: a thousand times a second readers open the directory once, or
// combined.pem, and meet a whole version through 10,000 switches (300 in the quick
// form). Who opens
// certificate and key by two paths always finds both; if a switch came between
// them they are of two versions, and reading again heals it.
func TestD14ReadersMeetWholeVersions(t *testing.T) {
	switches := 300
	if os.Getenv("INKAN_LONG") != "" {
		switches = 10000
	}
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	versions := make([]*inkan.Version, 20)
	for i := range versions {
		versions[i] = ca.Version(t, "www", uint64(i+1))
	}
	d := newFiles(t, deploy.FilesConfig{Dir: dir, Combined: true, Keep: 1})
	put(t, d, versions[0], nil)
	www := filepath.Join(dir, "www")
	var mixed, longest int // seen by the reader of two paths
	readers := []struct {
		name string
		read func() error
	}{
		{"of the directory", func() error {
			root, err := os.OpenRoot(www)
			if err != nil {
				return err
			}
			defer root.Close()
			_, err = leafOf(root)
			return err
		}},
		{"of combined.pem", func() error {
			b, err := os.ReadFile(filepath.Join(www, "combined.pem"))
			if err != nil {
				return err
			}
			_, err = tls.X509KeyPair(b, b)
			return err
		}},
		{"of two paths", func() error {
			for again := 0; ; again++ {
				cert, err := os.ReadFile(filepath.Join(www, "fullchain.pem"))
				if err != nil {
					return err
				}
				key, err := os.ReadFile(filepath.Join(www, "privkey.pem"))
				if err != nil {
					return err
				}
				if _, err = tls.X509KeyPair(cert, key); err == nil {
					longest = max(longest, again)
					return nil
				}
				if again == 0 {
					mixed++
				}
				if again == 100 {
					return fmt.Errorf("still not a pair when read again: %w", err)
				}
			}
		}},
	}
	reads := make([]int, len(readers))
	errs := make([]error, len(readers))
	done := make(chan struct{})
	var began, wg sync.WaitGroup
	for i, r := range readers {
		began.Add(1)
		wg.Go(func() {
			pace := time.NewTicker(time.Second / 1000)
			defer pace.Stop()
			for ; errs[i] == nil; reads[i]++ {
				if reads[i] == 1 {
					began.Done()
				}
				select {
				case <-done:
					return
				case <-pace.C:
					errs[i] = r.read()
				}
			}
			if reads[i] <= 1 {
				began.Done() // it failed at once
			}
		})
	}
	began.Wait()
	// Half of the switches make a version that is new on disk.
	for i := 1; i <= switches; i++ {
		v := *versions[i%len(versions)]
		if i%2 == 0 {
			v.Seq, v.ID = uint64(1000+i), fmt.Sprintf("%016x", i)
		}
		put(t, d, &v, nil)
	}
	close(done)
	wg.Wait()
	for i, r := range readers {
		if errs[i] != nil {
			t.Errorf("the reader %s met %v after %d reads", r.name, errs[i], reads[i])
		}
	}
	t.Logf("proof: %d switches: %d reads of the directory and %d of combined.pem: 0 mixed, 0 missing; %d by two paths: %d mixed and healed within %d further reads, 0 missing",
		switches, reads[0], reads[1], reads[2], mixed, longest)
}

// D01, D02: a full disk. What is in place stays, the error says what to do, and
// the next try with room succeeds.
func TestD01D02K13FullDisk(t *testing.T) {
	dir := t.TempDir()
	for name, option := range map[string]string{"bytes": "size=128k", "inodes": "size=8m,nr_inodes=24"} {
		t.Run(name, func(t *testing.T) {
			disk := filepath.Join(dir, name)
			if err := os.Mkdir(disk, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", option, "tmpfs", disk).CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: a full disk needs a small tmpfs, which cannot be mounted here: %v %s", err, out)
			}
			t.Cleanup(func() {
				if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
					t.Errorf("umount: %v %s", err, out)
				}
			})
			ca := deploytest.NewCA(t)
			old, v := ca.Version(t, "www", 1), ca.Version(t, "www", 2)
			d := newFiles(t, deploy.FilesConfig{Dir: filepath.Join(disk, "ssl")})
			put(t, d, old, nil)
			fill := fillDisk(t, disk)
			www := filepath.Join(disk, "ssl", "www")
			for missing := range 30 { // more room each time, so that each write is the one that fails
				_, err := d.Deploy(t.Context(), inkan.Deployment{Version: v, Previous: old})
				if err == nil {
					if missing == 0 {
						t.Error("the full disk took it")
					}
					break
				}
				if !errors.Is(err, inkan.Operator) || len(inkan.HintsOf(err)) == 0 {
					t.Fatalf("error %v of kind %v, hints %q", err, inkan.KindOf(err), inkan.HintsOf(err))
				}
				if served(t, www) != old.Pairs[0].Fingerprint() {
					t.Fatalf("after %v the old version is not in place", err)
				}
				if strings.Contains(list(t, filepath.Join(disk, "ssl", ".versions", "www")), ".tmp-") {
					t.Error("a temporary directory is left over")
				}
				if err := os.Remove(fill[missing]); err != nil {
					t.Fatal(err)
				}
			}
			if served(t, www) != v.Pairs[0].Fingerprint() {
				t.Error("with room again, the version is not in place")
			}
		})
	}
}

// fillDisk takes the last byte and inode and returns the files that hold them.
func fillDisk(t *testing.T, disk string) (files []string) {
	t.Helper()
	for i := range 10_000 {
		path := filepath.Join(disk, fmt.Sprintf("fill%d", i))
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			if os.Remove(path) == nil {
				// An empty file took an inode; only the room is gone.
				continue
			}
			return files
		}
		files = append(files, path)
	}
	return files
}
