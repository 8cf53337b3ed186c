package deploy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/deploy"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/deploytest"
)

func newFiles(t *testing.T, c deploy.FilesConfig) inkan.Deployer {
	t.Helper()
	return newFilesAt(t, c, time.Now)
}

func newFilesAt(t *testing.T, c deploy.FilesConfig, now func() time.Time) inkan.Deployer {
	t.Helper()
	d, err := deploy.Files(plug.Env{Now: now}, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, d inkan.Deployer, v, previous *inkan.Version) {
	t.Helper()
	if _, err := d.Deploy(t.Context(), inkan.Deployment{Version: v, Previous: previous, Target: "t", Attempt: 1}); err != nil {
		t.Fatal(err)
	}
}

// served checks that the files of a directory fit each other and returns the
// leaf.
func served(t *testing.T, dir string) inkan.Fingerprint {
	t.Helper()
	root, err := os.OpenRoot(dir) // once: what is read then is one version
	if errors.Is(err, fs.ErrNotExist) {
		return inkan.Fingerprint{}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := leafOf(root)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func leafOf(root *os.Root) (inkan.Fingerprint, error) {
	var none inkan.Fingerprint
	files := map[string][]byte{}
	for _, name := range []string{"fullchain.pem", "cert.pem", "chain.pem", "privkey.pem"} {
		data, err := root.ReadFile(name)
		if err != nil {
			return none, err
		}
		files[name] = data
	}
	if !bytes.Equal(slices.Concat(files["cert.pem"], files["chain.pem"]), files["fullchain.pem"]) {
		return none, errors.New("fullchain.pem is not cert.pem and chain.pem")
	}
	pair, err := tls.X509KeyPair(files["fullchain.pem"], files["privkey.pem"]) // checks that the key fits
	if err != nil {
		return none, err
	}
	p := inkan.Pair{Leaf: pair.Leaf}
	if combined, err := root.ReadFile("combined.pem"); err == nil {
		if !bytes.Equal(combined, slices.Concat(files["privkey.pem"], files["fullchain.pem"])) {
			return none, errors.New("combined.pem is not privkey.pem and fullchain.pem")
		}
	}
	return p.Fingerprint(), nil
}

func TestFilesConformance(t *testing.T) {
	for _, combined := range []bool{false, true} {
		t.Run(fmt.Sprintf("Combined=%v", combined), func(t *testing.T) {
			deploytest.Run(t, func(t *testing.T) deploytest.Target {
				dir := filepath.Join(t.TempDir(), "etc", "ssl")
				return deploytest.Target{
					Deployer: newFiles(t, deploy.FilesConfig{Dir: dir, Combined: combined}),
					Served: func(t *testing.T, certificate string) inkan.Fingerprint {
						return served(t, filepath.Join(dir, certificate))
					},
					Break: func(t *testing.T) func() {
						// A file where the versions belong stops everybody, also root.
						versions := filepath.Join(dir, ".versions", "www")
						if err := os.Rename(versions, versions+".away"); err != nil {
							t.Fatal(err)
						}
						if err := os.WriteFile(versions, nil, 0o600); err != nil {
							t.Fatal(err)
						}
						return func() {
							if err := errors.Join(os.Remove(versions), os.Rename(versions+".away", versions)); err != nil {
								t.Fatal(err)
							}
						}
					},
				}
			})
		})
	}
}

func TestFilesLayout(t *testing.T) {
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	v := ca.Version(t, "_.example.com", 7, "*.example.com", "example.com")
	d := newFiles(t, deploy.FilesConfig{Dir: dir, Combined: true})
	r, err := d.Deploy(t.Context(), inkan.Deployment{Version: v, Target: "t"})
	if err != nil {
		t.Fatal(err)
	}
	var receipt inkan.FilesReceipt
	if err := json.Unmarshal(r, &receipt); err != nil || receipt.Dir != filepath.Join(dir, "_.example.com") {
		t.Errorf("receipt %s, %v", r, err)
	}
	link, err := os.Readlink(receipt.Dir)
	if err != nil || link != ".versions/_.example.com/"+v.Dir() {
		t.Errorf("the link leads to %s, %v", link, err)
	}
	modes := map[string]string{}
	entries, err := os.ReadDir(receipt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[e.Name()] = info.Mode().String()
	}
	want := map[string]string{
		"cert.pem": "-rw-r--r--", "chain.pem": "-rw-r--r--", "fullchain.pem": "-rw-r--r--",
		"privkey.pem": "-rw-------", "combined.pem": "-rw-------",
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Error(diff)
	}
	chain, err := os.ReadFile(filepath.Join(receipt.Dir, "chain.pem"))
	if block, rest := pem.Decode(chain); err != nil || block == nil || len(rest) != 0 {
		t.Errorf("chain.pem: %v, %q", err, chain)
	}
}

// The user's own CSR: there is no key to write, and no combined file.
func TestFilesWithoutKey(t *testing.T) {
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	v := deploytest.WithoutKey(ca.Version(t, "www", 1))
	put(t, newFiles(t, deploy.FilesConfig{Dir: dir, Combined: true}), v, nil)
	if got := list(t, filepath.Join(dir, "www")); got != "cert.pem chain.pem fullchain.pem" {
		t.Errorf("files: %s", got)
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestFilesOptions(t *testing.T) {
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	v := ca.Version(t, "www", 1)
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12345, 23456 // need not exist
	}
	c := deploy.FilesConfig{
		Dir: filepath.Join(dir, "new"), Names: map[string]string{"www": "site"},
		Owner: fmt.Sprint(uid), Group: fmt.Sprint(gid), Mode: 0o640, CertMode: 0o444, DirMode: 0o750,
	}
	put(t, newFiles(t, c), v, nil)
	site := filepath.Join(dir, "new", "site")
	for path, want := range map[string]fs.FileMode{
		"": fs.ModeDir | 0o750, "../": fs.ModeDir | 0o750, "../../": fs.ModeDir | 0o750,
		"privkey.pem": 0o640, "fullchain.pem": 0o444,
	} {
		info, err := os.Stat(site + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		if u, g := ownerOf(info); u != uid || g != gid {
			t.Errorf("%q belongs to %d:%d, want %d:%d", path, u, g, uid, gid)
		}
	}
	// Changed options take effect for the version in place, in a new
	// directory: the old one is never changed under a reader.
	before, err := os.Readlink(site)
	if err != nil {
		t.Fatal(err)
	}
	c.Mode = 0o600
	put(t, newFiles(t, c), v, v)
	after, err := os.Readlink(site)
	if err != nil || after != before+"-2" {
		t.Errorf("the link was %s and is %s, %v", before, after, err)
	}
	c.Mode = 0o640
	put(t, newFiles(t, c), v, v)
	if after, err = os.Readlink(site); err != nil || after != before {
		t.Errorf("going back to the old options made %s, %v", after, err)
	}
}

func TestFilesRefusesBadOptions(t *testing.T) {
	for want, c := range map[string]deploy.FilesConfig{
		"dir must be an absolute path":        {Dir: "ssl"},
		"lets everybody read the private key": {Dir: "/x", Mode: 0o644},
		"does not let Inkan itself write":     {Dir: "/x", DirMode: 0o500},
		"keep is negative":                    {Dir: "/x", Keep: -1},
		"both a and b write /x/c":             {Dir: "/x", Names: map[string]string{"a": "c", "b": "c"}},
		"there is no such user":               {Dir: "/x", Owner: "no-such-user"},
		"there is no such group":              {Dir: "/x", Group: "no-such-group"},
		"name ../c: it begins with":           {Dir: "/x", Names: map[string]string{"a": "../c"}},
	} {
		_, err := deploy.Files(plug.Env{}, c)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Operator) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The same version again writes nothing.
func TestFilesTwiceWritesNothing(t *testing.T) {
	dir := t.TempDir()
	v := deploytest.NewCA(t).Version(t, "www", 1)
	d := newFiles(t, deploy.FilesConfig{Dir: dir})
	put(t, d, v, nil)
	before := snapshot(t, dir)
	put(t, d, v, v)
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("deploying again changed:\n%s", diff)
	}
}

// snapshot tells inode, times, modes and content of everything below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			content, _ = os.Readlink(path)
		}
		all[path] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), inode(info), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// D08: somebody edited a file in place. The version comes back whole, and the
// edited copy is not overwritten.
func TestD08EditedFiles(t *testing.T) {
	dir := t.TempDir()
	v := deploytest.NewCA(t).Version(t, "www", 1)
	d := newFiles(t, deploy.FilesConfig{Dir: dir})
	put(t, d, v, nil)
	edited := filepath.Join(dir, ".versions", "www", v.Dir(), "cert.pem")
	if err := os.WriteFile(edited, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	put(t, d, v, v)
	if served(t, filepath.Join(dir, "www")) != v.Pairs[0].Fingerprint() {
		t.Error("the version is not in place")
	}
	if b, err := os.ReadFile(edited); string(b) != "mine" {
		t.Errorf("the edited file holds %q, %v", b, err)
	}
}

// What Inkan did not make is refused, with what to do, and stays.
func TestFilesRefusesForeignThings(t *testing.T) {
	v := deploytest.NewCA(t).Version(t, "www", 1)
	for name, c := range map[string]struct {
		plant func(path string) error
		want  string
	}{
		"directory":    {func(p string) error { return os.Mkdir(p, 0o755) }, "there is a directory that Inkan did not make"},
		"file":         {func(p string) error { return os.WriteFile(p, nil, 0o644) }, "there is a file that Inkan did not make"},
		"link":         {func(p string) error { return os.Symlink("/etc", p) }, "there is a symbolic link that Inkan did not make"},
		"link outside": {func(p string) error { return os.Symlink(".versions/www/../../x", p) }, "there is a symbolic link that Inkan did not make"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "www")
			if err := c.plant(path); err != nil {
				t.Fatal(err)
			}
			d := newFiles(t, deploy.FilesConfig{Dir: dir})
			before := snapshot(t, dir)
			_, err := d.Deploy(t.Context(), inkan.Deployment{Version: v})
			if !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), c.want) || len(inkan.HintsOf(err)) == 0 {
				t.Errorf("error %v, hints %q", err, inkan.HintsOf(err))
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("it changed:\n%s", diff)
			}
		})
	}
}

// D09: a symbolic link planted below the directory is not followed.
func TestD09PlantedLink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	v := deploytest.NewCA(t).Version(t, "www", 1)
	if err := os.Symlink(elsewhere, filepath.Join(dir, ".versions")); err != nil {
		t.Fatal(err)
	}
	_, err := newFiles(t, deploy.FilesConfig{Dir: dir}).Deploy(t.Context(), inkan.Deployment{Version: v})
	if !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("error %v", err)
	}
	if got := list(t, elsewhere); got != "" {
		t.Errorf("behind the link there is %s", got)
	}
}

// The target directory itself may be a symbolic link.
func TestFilesDirMayBeALink(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "ssl")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	v := deploytest.NewCA(t).Version(t, "www", 1)
	put(t, newFiles(t, deploy.FilesConfig{Dir: link}), v, nil)
	if served(t, filepath.Join(real, "www")) != v.Pairs[0].Fingerprint() {
		t.Error("it was not written there")
	}
}

func TestFilesKeep(t *testing.T) {
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	now := time.Now()
	d := newFilesAt(t, deploy.FilesConfig{Dir: dir, Keep: 2}, func() time.Time { return now })
	var versions []*inkan.Version
	var previous *inkan.Version
	for seq := range uint64(6) {
		v := ca.Version(t, "www", seq+1)
		put(t, d, v, previous)
		versions, previous = append(versions, v), v
	}
	kept := func() (seqs string) {
		for _, e := range strings.Fields(list(t, filepath.Join(dir, ".versions", "www"))) {
			if e != ".lock" {
				seqs += e[9:10]
			}
		}
		return seqs
	}
	if got := kept(); got != "123456" {
		t.Errorf("kept %s: what somebody may be reading was removed", got)
	}
	now = now.Add(time.Hour)
	// Going back to 3 from 1: both stay beside the newest two.
	put(t, d, versions[2], versions[0])
	if got := kept(); got != "1356" {
		t.Errorf("kept versions %s, want 1356", got)
	}
	put(t, d, versions[5], versions[2])
	if got := kept(); got != "356" {
		t.Errorf("kept versions %s, want 356", got)
	}
}

// openssl accepts what is written.
func TestFilesOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("SKIPPED: openssl is not installed")
	}
	dir := t.TempDir()
	ca := deploytest.NewCA(t)
	v := ca.Version(t, "www", 1, "www.example", "192.0.2.1.example")
	put(t, newFiles(t, deploy.FilesConfig{Dir: dir, Combined: true}), v, nil)
	www := filepath.Join(dir, "www")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = www
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("pkey", "-check", "-noout", "-in", "privkey.pem")
	run("verify", "-CAfile", "chain.pem", "cert.pem")
	key := run("pkey", "-pubout", "-in", "privkey.pem")
	for _, f := range []string{"cert.pem", "fullchain.pem", "combined.pem"} {
		if got := run("x509", "-pubkey", "-noout", "-in", f); got != key {
			t.Errorf("%s is for another key", f)
		}
	}
	if got := run("pkey", "-pubout", "-in", "combined.pem"); got != key {
		t.Error("combined.pem holds another key")
	}
}

func TestFilesCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := deploytest.NewCA(t).Version(t, "www", 1)
	_, err := newFiles(t, deploy.FilesConfig{Dir: t.TempDir()}).Deploy(ctx, inkan.Deployment{Version: v})
	if inkan.KindOf(err) != inkan.Pending {
		t.Errorf("error %v of kind %v", err, inkan.KindOf(err))
	}
}
