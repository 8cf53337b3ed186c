package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/failpoint"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/store"
)

// commandTime is how long any command may take before it counts as hanging
// (V9). The machine may be busy.
const commandTime = 2 * time.Minute

// town is one CA and all that the sites of a test have around them: the program
// that can be killed at a point, a web server for each site, a DNS host, and
// stores in memory behind a connection.
type town struct {
	ca      *testca.CA
	root    string // PEM file
	program string // built with the tag failpoint
	dns     *failpoint.DNSHost
	dnsURL  string
	storage string // URL below which each site has its store

	mu       sync.Mutex
	webroots map[string]string // by name
	stores   map[string]*failpoint.Server
	sites    int
}

// buildFaulty builds the program with failpoints beside the shipped one, once.
var buildFaulty = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "inkan-faulty")
	if out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", path, "../../cmd/inkan").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building inkan with failpoints: %w\n%s", err, out)
	}
	return path, nil
})

func newTown(t *testing.T, o testca.Options) *town {
	t.Helper()
	program, err := buildFaulty()
	if err != nil {
		t.Fatal(err)
	}
	w := &town{ca: testca.Start(t, o), program: program, webroots: map[string]string{}, stores: map[string]*failpoint.Server{}}
	w.root = filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(w.root, w.ca.RootsPEM, 0o644); err != nil {
		t.Fatal(err)
	}
	w.serveWeb(t)
	w.dns = &failpoint.DNSHost{Zone: w.ca.DNS}
	host := httptest.NewServer(w.dns)
	t.Cleanup(host.Close)
	w.dnsURL = host.URL
	stores := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		s := w.stores[strings.TrimPrefix(r.URL.Path, "/")]
		w.mu.Unlock()
		s.ServeHTTP(rw, r)
	}))
	t.Cleanup(stores.Close)
	w.storage = stores.URL
	return w
}

// serveWeb serves the webroot of each site to whoever asks for one of its names.
func (w *town) serveWeb(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", w.ca.HTTPPort))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ":")
		w.mu.Lock()
		dir := w.webroots[host]
		w.mu.Unlock()
		if dir == "" {
			http.NotFound(rw, r)
			return
		}
		http.FileServer(http.Dir(dir)).ServeHTTP(rw, r)
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
}

// site is one machine in the town that wants one certificate.
type site struct {
	*town
	t      *testing.T
	name   string
	rig    rig               // its own data directory and webroot
	remote *failpoint.Server // its store, unless that is in files
	config string            // the configuration file; "" is none
	trace  string            // file to which the points of every command go
	ahead  time.Duration     // how far its clock is ahead
}

// newSite makes a site. remote keeps its store in memory behind a connection,
// byDNS shows control by TXT records.
func (w *town) newSite(t *testing.T, remote, byDNS bool) *site {
	t.Helper()
	w.mu.Lock()
	w.sites++
	s := &site{town: w, t: t, name: fmt.Sprintf("site%d.example.net", w.sites)}
	w.mu.Unlock()
	dir := t.TempDir()
	s.rig = rig{t: t, ca: w.ca, data: filepath.Join(dir, "data"), webroot: filepath.Join(dir, "www"), root: w.root}
	s.trace = filepath.Join(dir, "trace")
	if err := os.Mkdir(s.rig.webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.webroots[s.name] = s.rig.webroot
	w.mu.Unlock()
	var text strings.Builder
	if remote {
		s.remote = &failpoint.Server{Store: store.Mem()}
		w.mu.Lock()
		w.stores[s.name] = s.remote
		w.mu.Unlock()
		fmt.Fprintf(&text, "store: {type: failpoint-remote, url: %s/%s}\n", w.storage, s.name)
	}
	if byDNS {
		fmt.Fprintf(&text, `cas: {test: {directory: %q, roots: %q}}
accounts: {default: {email: [ops@example.com], agree_terms: true}}
solvers: {dns: {type: failpoint-dns, url: %s}}
targets: {live: {type: files, dir: %q}}
certificates: {%s: {names: [%s], ca: test, validate: dns, deploy: [live]}}
`, w.ca.DirectoryURL, w.root, w.dnsURL, filepath.Join(s.rig.data, "live"), s.name, s.name)
	}
	if text.Len() > 0 {
		s.config = filepath.Join(dir, "inkan.yaml")
		if err := os.WriteFile(s.config, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// command makes a call of the program that dies at spec.
func (s *site) command(ctx context.Context, spec string, args ...string) *exec.Cmd {
	all := []string{"--data", s.rig.data}
	if s.config != "" {
		all = append(all, "--config", s.config)
	}
	cmd := exec.CommandContext(ctx, s.program, append(all, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(s.rig.data), "LANG=C.UTF-8",
		"INKAN_FAILPOINT=" + spec, "INKAN_FAILPOINT_TRACE=" + s.trace, "INKAN_FAILPOINT_CLOCK=" + s.ahead.String()}
	return cmd
}

// call runs the program; it dies at spec, or says why it failed.
func (s *site) call(spec string, args ...string) (out string, err error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), commandTime)
	defer cancel()
	data, err := s.command(ctx, spec, args...).CombinedOutput()
	if ctx.Err() != nil {
		s.t.Fatalf("inkan %s: not done after %v (V9)\n%s", strings.Join(args, " "), commandTime, data)
	}
	noSecrets(s.t, data)
	return string(data), err
}

// must is call without harm.
func (s *site) must(args ...string) {
	s.t.Helper()
	if out, err := s.call("", args...); err != nil {
		s.t.Fatalf("inkan %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// issueArgs ask for the site's certificate by http-01.
func (s *site) issueArgs() []string { return s.rig.issueArgs(s.name) }

// errorLine is how a failure is told: what was tried, and what happened.
var errorLine = regexp.MustCompile(`(?m)^inkan: error: [^:\n]+: .+$`)

// saysWhy checks what a command said that failed with err: status 1, and lines
// that name the certificate or the host that was asked (V8).
func (s *site) saysWhy(out string, err error) {
	s.t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		s.t.Errorf("it ended with %v, want status 1\n%s", err, out)
	}
	lines := errorLine.FindAllString(out, -1)
	if len(lines) == 0 || strings.Contains(out, "panic:") || strings.Contains(out, "goroutine ") {
		s.t.Errorf("it does not say why it failed:\n%s", out)
	}
	for _, line := range lines {
		if !strings.Contains(line, s.name) && !strings.Contains(line, "127.0.0.1") {
			s.t.Errorf("it names neither the certificate nor a host: %s", line)
		}
	}
}

// oneMachine are the limits of Let's Encrypt that a site can break by itself;
// the others are shared by all sites of a town, which is no machine.
func oneMachine() *testca.Limits {
	l := testca.LetsEncrypt()
	return &testca.Limits{Orders: l.Orders, Set: l.Set, Failures: l.Failures, Consecutive: l.Consecutive}
}

// killed reports whether err is that of a process that was killed.
func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() == -1
}

// traced returns what the commands of the site changed since the last call.
func (s *site) traced() failpoint.Trace {
	s.t.Helper()
	data, err := os.ReadFile(s.trace)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	trace, err := failpoint.ParseTrace(data)
	if err == nil {
		err = os.RemoveAll(s.trace)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return trace
}

// manager looks at the site's stores as a library would.
func (s *site) manager() *engine.Manager {
	s.t.Helper()
	file := func(name string) inkan.Store {
		fs, err := store.File(plug.Env{}, store.FileConfig{Dir: filepath.Join(s.rig.data, name)})
		if err != nil {
			s.t.Fatal(err)
		}
		return fs
	}
	m := &engine.Manager{Host: file("host")}
	if s.remote != nil {
		m.Store = s.remote.Store
	} else {
		m.Store = file("store")
	}
	return m
}

// ordersOf counts the orders that the CA made for a name.
func (w *town) ordersOf(name string) int {
	n := 0
	for _, r := range w.ca.Requests() {
		if r.Path == testca.PathNewOrder && r.Status == http.StatusCreated &&
			slices.ContainsFunc(r.Identifiers, func(id testca.Identifier) bool { return id.Value == name }) {
			n++
		}
	}
	return n
}

// lostOrders counts the orders of the CA that no journal knows, after a kill:
// their URL was in a reply that nobody took. had is how many there were before.
func (s *site) lostOrders(name string, had int) int {
	s.t.Helper()
	n := s.ordersOf(name) - had
	o, err := s.manager().Observe(s.t.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return n
	}
	if err != nil {
		s.t.Fatal(err)
	}
	unknown := func(r inkan.OrderRecord) bool { return r.Attempt == o.State.Running && r.OrderURL == "" }
	if !slices.ContainsFunc(o.Orders, unknown) {
		n-- // it is in the journal, or done with
	}
	return max(0, n)
}

// pairHolds checks that whatever is placed is a pair (V2); want says that there
// must be one.
func (s *site) pairHolds(want bool) {
	s.t.Helper()
	if _, err := s.rig.placed(s.name); err != nil && (want || !errors.Is(err, fs.ErrNotExist)) {
		s.t.Errorf("placed: %v", err)
	}
}

// keysHidden checks that nothing of the state, and no file with a private key
// anywhere, can be read by others (V10).
func (s *site) keysHidden() {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Dir(s.rig.data), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		if rel, err := filepath.Rel(s.rig.data, path); err == nil && (strings.HasPrefix(rel, "store") || strings.HasPrefix(rel, "host")) {
			s.t.Errorf("%s has mode %v", path, info.Mode().Perm())
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("PRIVATE KEY")) {
			s.t.Errorf("%s holds a key and has mode %v", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// sound checks V1, V3, V4 and V7 of a certificate of the site: version wantN in
// force and placed, as many certificates at the CA, wantOrders orders, and
// nothing left to do or to clear away.
func (s *site) sound(name string, wantN, wantOrders int) {
	s.t.Helper()
	ctx := s.t.Context()
	m := s.manager()
	o, err := m.Observe(ctx, name)
	if err != nil {
		s.t.Fatal(err)
	}
	if o.Version == nil || o.Current.N != uint64(wantN) {
		s.t.Fatalf("%s: n is %d, want %d (%v)", name, o.Current.N, wantN, o.VersionErr)
	}
	leaf, err := s.rig.placed(name)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	if !leaf.Equal(o.Version.Pairs[0].Leaf) {
		s.t.Errorf("%s: the placed certificate is not the one in force", name)
	}
	if n := len(s.rig.issuedFor(name)); n != wantN {
		s.t.Errorf("%s: the CA issued %d certificates, want %d", name, n, wantN)
	}
	if n := s.ordersOf(name); n != wantOrders {
		s.t.Errorf("%s: the CA has %d orders, want %d", name, n, wantOrders)
	}
	if len(o.Orders) != 0 || o.State.Running != "" || o.State.Lease != nil {
		s.t.Errorf("%s: left over: %d journals, running %q, lease %+v", name, len(o.Orders), o.State.Running, o.State.Lease)
	}
}

// calm checks that nothing is broken or left over anywhere on the site, and
// that a further run would do nothing. A killed run leaves due entries that are
// not in force: they are cleared away when their time comes, at the next look at
// the CA's advice at the latest, and that is tried.
func (s *site) calm() {
	s.t.Helper()
	leftovers := func() (dues, others []string) {
		found, err := s.manager().Verify(s.t.Context(), false)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range found {
			line := fmt.Sprintf("%s: %s (%s)", f.Severity, f.What, f.Key)
			switch {
			case f.Severity == engine.Note:
			case f.Severity == engine.Leftover && strings.HasPrefix(f.Key, "due/"):
				dues = append(dues, line)
			default:
				others = append(others, line)
			}
		}
		return dues, others
	}
	dues, others := leftovers()
	if len(dues) > 0 {
		s.ahead = 25 * time.Hour
		s.must("renew")
		s.ahead = 0
		dues, others = leftovers()
	}
	for _, line := range append(dues, others...) {
		s.t.Error(line)
	}
	p, err := s.manager().Plan(s.t.Context(), engine.PlanOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range p.Certificates {
		for _, step := range c.Steps {
			if step.Action != engine.ActionWait {
				s.t.Errorf("still to do: %s %s: %s", step.Action, step.Name, step.Reason)
			}
		}
	}
	s.rig.noProofs()
	if names := s.dns.Names(); slices.Contains(names, "_acme-challenge."+s.name) {
		s.t.Errorf("left in the DNS: %v", names)
	}
}
