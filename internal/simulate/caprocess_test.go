package simulate

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// The CA of the mass replacement is a process of its own, so that its memory
// is not counted as ours: this test binary, started with caEnv set.
const caEnv = "INKAN_SIMULATE_CA"

func TestMain(m *testing.M) {
	if options := os.Getenv(caEnv); options != "" {
		if err := serveCA(options); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// caOptions is what the test says, caFacts what the CA answers to every line.
type caOptions struct{ Limits bool }

type caFacts struct {
	Directory string
	Roots     []byte
	HTTPPort  int

	Requests   int            // all so far
	Endpoints  map[string]int // by endpoint
	Orders     int
	Replacing  int      // orders with replaces that were accepted
	Plain      []string // names of the orders without replaces that were accepted
	Refused    []string // orders that were refused, but for bad nonces
	Issued     []string // names, in order of issuance
	Violations []string // of documented limits
	Advice     int      // renewal informations given
	Revoked    int
}

// serveCA runs the CA until stdin ends. Its commands: "facts", "revoke" (what
// was issued so far: its renewal windows are in the past from now on), and
// "advance <duration>" (of its clock).
func serveCA(options string) error {
	var o caOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return err
	}
	var mu sync.Mutex
	revoked := map[string]bool{} // ARI ids
	var shift time.Duration
	opts := testca.Options{NonceReject: 5, Profiles: map[string]testca.Profile{
		"default": {Description: "90 days"}, "short": {Description: "30 days", ValidityPeriod: 30 * day}}}
	if o.Limits {
		opts.Boulder, opts.CheckLimits = true, testca.LetsEncrypt()
	}
	opts.Middleware = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			now := time.Now().Add(shift).UTC()
			id, ari := strings.CutPrefix(r.URL.Path, testca.PathRenewalInfo)
			past := ari && revoked[id]
			mu.Unlock()
			w.Header().Set("Date", now.Format(http.TimeFormat))
			if !past {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "21600")
			fmt.Fprintf(w, `{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":"https://ca.example/incident"}`,
				now.Add(-48*time.Hour).Format(time.RFC3339), now.Add(-24*time.Hour).Format(time.RFC3339))
		})
	}
	c, err := testca.New(opts)
	if err != nil {
		return err
	}
	defer c.Close()
	out := json.NewEncoder(os.Stdout)
	facts := func() error {
		f := caFacts{Directory: c.DirectoryURL, Roots: c.RootsPEM, HTTPPort: c.HTTPPort, Endpoints: map[string]int{}, Orders: c.Orders(), Revoked: len(revoked)}
		for _, r := range c.Requests() {
			f.Requests++
			f.Endpoints[testca.Endpoint(r.Path)]++
			switch {
			case testca.Endpoint(r.Path) != "new-order" || len(r.Identifiers) == 0:
			case r.Status == http.StatusCreated && r.Replaces != "":
				f.Replacing++
			case r.Status == http.StatusCreated:
				f.Plain = append(f.Plain, r.Identifiers[0].Value)
			case r.Status != http.StatusBadRequest:
				f.Refused = append(f.Refused, fmt.Sprintf("%s: status %d, replaces %q", r.Identifiers[0].Value, r.Status, r.Replaces))
			}
		}
		for _, der := range c.Certificates() {
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				return err
			}
			f.Issued = append(f.Issued, leaf.DNSNames[0])
		}
		for _, v := range c.Violations() {
			f.Violations = append(f.Violations, v.String())
		}
		return out.Encode(f)
	}
	if err := facts(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		command, arg, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "revoke":
			mu.Lock()
			for _, der := range c.Certificates() {
				leaf, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				serial := leaf.SerialNumber.Bytes()
				if serial[0]&0x80 != 0 {
					serial = append([]byte{0}, serial...)
				}
				revoked[base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId)+"."+base64.RawURLEncoding.EncodeToString(serial)] = true
			}
			mu.Unlock()
		case "advance":
			d, err := time.ParseDuration(arg)
			if err != nil {
				return err
			}
			mu.Lock()
			shift += d
			mu.Unlock()
		}
		if err := facts(); err != nil {
			return err
		}
	}
	return nil
}

// caProcess is the test's end of it.
type caProcess struct {
	t   *testing.T
	in  io.Writer
	out *json.Decoder
}

func startCA(t *testing.T, o caOptions) (*caProcess, caFacts) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), caEnv+"="+string(options))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the CA's process: %v", err)
		}
	})
	p := &caProcess{t, in, json.NewDecoder(out)}
	return p, p.answer()
}

func (p *caProcess) do(command string) caFacts {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	return p.answer()
}

func (p *caProcess) answer() (f caFacts) {
	p.t.Helper()
	if err := p.out.Decode(&f); err != nil {
		p.t.Fatal(err)
	}
	return f
}

// since tells what was asked after an earlier moment, as "endpoint n" words.
func (f caFacts) since(before caFacts) string {
	var words []string
	for _, e := range slices.Sorted(maps.Keys(f.Endpoints)) {
		if n := f.Endpoints[e] - before.Endpoints[e]; n > 0 {
			words = append(words, fmt.Sprintf("%s %d", e, n))
		}
	}
	return strings.Join(words, ", ")
}
