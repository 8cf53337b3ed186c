package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plugins"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"inkan": func() { os.Exit(Main(plugins.All())) }})
}

// TestScript runs the stories in testdata/script. Each is what one person does
// with the program, told in commands:
//
//	ca [WORD...]           start the CA of the story (see startCA)
//	ca2 [WORD...]          start another one, @ca2
//	down                   the first CA goes away
//	serve DIR              a web server for DIR on the port where the CA looks
//	run [STATUS] ARG...    run inkan with these arguments; @ca, @ca2 and @agree
//	                       stand for the flags of a CA and of its account
//	terminal [STATUS] ARG... the same at a terminal; ttyin says what is typed
//	json PATH [VALUE]      look into the JSON on stdout (a.0.b; count is a length)
//	leaf FILE WHAT VALUE   look into a certificate: names, key or issuer
//	samekey FILE FILE      compare the public keys of two certificates or keys
//	asked N PREFIX         how many requests the CA has seen so far
//	advise FILE            let the CA advise to renew the certificate at once
//	check DIR              let openssl judge the files of a certificate
//	keys N                 there are N private keys below data, none was printed
//	secret FILE            what must never be printed
//	damage FILE | DIR NAME flip a bit of a file, or of the one of that name below
//
// At the end of each story nothing that was printed holds a private key or
// another secret.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			s := &story{}
			env.Values[storyKey{}] = s
			env.Setenv("NO_COLOR", "1")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a race-built program sleeps for a second at its end
			return nil
		},
		RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ca":   startCA,
			"ca2":  startCA2,
			"down": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(storyOf(ts).ca.Close()) },
			"nowhere": func(ts *testscript.TestScript, _ bool, args []string) {
				storyOf(ts).ca.DNS.SetRcode(args[0], dns.RcodeNameError)
			},
			"serve":    serve,
			"run":      func(ts *testscript.TestScript, neg bool, args []string) { runInkan(ts, neg, args, false) },
			"terminal": func(ts *testscript.TestScript, neg bool, args []string) { runInkan(ts, neg, args, true) },
			"json":     lookIntoJSON,
			"leaf":     lookIntoLeaf,
			"samekey":  sameKey,
			"asked":    asked,
			"advise":   advise,
			"check":    checkFiles,
			"secret":   secret,
			"damage":   damage,
			"keys":     noSecrets,
		},
	})
}

// story is what one script has of its own.
type story struct {
	ca *testca.CA

	printed bytes.Buffer // all that inkan wrote
	secrets []string
	keys    int // private keys looked for so far
}

type storyKey struct{}

func storyOf(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// startCA starts the CA. The words are: eab (accounts need it), profile=NAME,
// blocked=NAME, alternate (a second chain), reuse (a name is validated once),
// trusting (it asks for proofs, but does not look).
func startCA(ts *testscript.TestScript, _ bool, args []string) {
	ca := newCA(ts, 0, args)
	storyOf(ts).ca = ca
	setCA(ts, "CA", ca)
	ts.Setenv("HTTP_PORT", strconv.Itoa(ca.HTTPPort))
	ts.Setenv("TLS_PORT", strconv.Itoa(ca.TLSPort))
}

// startCA2 starts a CA that looks at the same port as the first.
func startCA2(ts *testscript.TestScript, _ bool, args []string) {
	setCA(ts, "CA2", newCA(ts, storyOf(ts).ca.HTTPPort, args))
}

func setCA(ts *testscript.TestScript, name string, ca *testca.CA) {
	root := ts.MkAbs(strings.ToLower(name) + "-root.pem")
	ts.Check(os.WriteFile(root, ca.RootsPEM, 0o644))
	ts.Setenv(name+"_URL", ca.DirectoryURL)
	ts.Setenv(name+"_ROOT", root)
	ts.Setenv(name+"_DNS", ca.DNSAddr)
}

func newCA(ts *testscript.TestScript, httpPort int, args []string) *testca.CA {
	o := testca.Options{HTTPPort: httpPort, Profiles: map[string]testca.Profile{"default": {Description: "90 days"}}}
	for _, word := range args {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "eab":
			o.EABRequired, o.EABKeys = true, map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
		case "profile":
			o.Profiles[value] = testca.Profile{Description: "6 days", ValidityPeriod: 6 * 24 * time.Hour}
		case "blocked":
			o.DomainBlocklist = []string{value}
		case "reuse":
			o.AuthzReuse = 100
		case "alternate":
			o.AlternateRoots = 1
		case "trusting":
			o.AlwaysValid = true
		default:
			ts.Fatalf("ca: unknown word %s", word)
		}
	}
	ca, err := testca.New(o)
	ts.Check(err)
	ts.Defer(func() { ts.Check(ca.Close()) })
	return ca
}

func serve(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", ts.Getenv("HTTP_PORT")))
	ts.Check(err)
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends by Close
	}()
	ts.Defer(func() { _ = server.Close(); <-done })
}

func runInkan(ts *testscript.TestScript, neg bool, args []string, terminal bool) {
	if neg {
		ts.Fatalf("run: name the exit status instead")
	}
	want := 0
	if n, err := strconv.Atoi(args[0]); err == nil {
		want, args = n, args[1:]
	}
	line := []string{"--data", ts.MkAbs("data")}
	if config := ts.MkAbs("inkan.yaml"); exists(config) {
		line = append(line, "--config", config)
	}
	for _, a := range args {
		switch a {
		case "@ca":
			line = append(line, "--ca", ts.Getenv("CA_URL"), "--ca-root", ts.Getenv("CA_ROOT"))
		case "@ca2":
			line = append(line, "--ca", ts.Getenv("CA2_URL"), "--ca-root", ts.Getenv("CA2_ROOT"))
		case "@agree":
			line = append(line, "--agree-tos", "--email", "ops@example.com")
		default:
			line = append(line, a)
		}
	}
	var err error
	if terminal {
		// testscript closes the terminal as soon as the program ends, with what it
		// has not read yet: the shell holds it open for a moment longer.
		err = ts.Exec("sh", append([]string{"-c", `inkan "$@" >/dev/tty 2>/dev/tty; status=$?; sleep 0.1; exit $status`, "sh"}, line...)...)
	} else {
		err = ts.Exec("inkan", line...)
	}
	if terminal {
		ts.Logf("[ttyout]\n%s", ts.ReadFile("ttyout"))
	}
	s := storyOf(ts)
	for _, stream := range []string{"stdout", "stderr", "ttyout"} {
		s.printed.WriteString(ts.ReadFile(stream))
	}
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run: %v", err)
	}
	checkSecrets(ts, s)
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkSecrets looks for secrets in all that was printed: those that the story
// named, and every private key that lies below the data directory.
func checkSecrets(ts *testscript.TestScript, s *story) {
	printed := s.printed.String()
	for _, secret := range s.secrets {
		if strings.Contains(printed, secret) {
			ts.Fatalf("a secret of the story was printed")
		}
	}
	if strings.Contains(printed, "PRIVATE KEY-----") {
		ts.Fatalf("a private key was printed")
	}
	err := filepath.WalkDir(ts.MkAbs("data"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if m := storedKey.FindSubmatch(data); m != nil { // a certificate's key or an account's, in the store
			if strings.Contains(printed, string(m[1][:60])) {
				return fmt.Errorf("the key in %s was printed as it is stored", path)
			}
			if data, err = base64.StdEncoding.DecodeString(string(m[1])); err != nil {
				return err
			}
		}
		block, _ := pem.Decode(data)
		if block == nil || block.Type != "PRIVATE KEY" {
			return nil
		}
		s.keys++
		text := base64.StdEncoding.EncodeToString(block.Bytes)
		if strings.Contains(printed, text[len(text)/2:len(text)/2+24]) {
			return fmt.Errorf("the key in %s was printed", path)
		}
		return nil
	})
	ts.Check(err)
}

// storedKey finds a key in a value of the store.
var storedKey = regexp.MustCompile(`"form":"plain","data":"([A-Za-z0-9+/=]{100,})"`)

// noSecrets fails unless keys were really looked for.
func noSecrets(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	s := storyOf(ts)
	s.keys = 0
	if checkSecrets(ts, s); s.keys != want {
		ts.Fatalf("there are %d private keys below data, want %d", s.keys, want)
	}
}

func secret(ts *testscript.TestScript, _ bool, args []string) {
	s := storyOf(ts)
	s.secrets = append(s.secrets, strings.TrimSpace(ts.ReadFile(args[0])))
}

// lookIntoJSON: json PATH [VALUE].
func lookIntoJSON(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is no JSON: %v", err)
	}
	for step := range strings.SplitSeq(args[0], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			if step == "count" {
				v = len(at)
				break
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(at) {
				ts.Fatalf("%s: there is no element %s of %d", args[0], step, len(at))
			}
			v = at[i]
		default:
			v = nil
		}
	}
	got := fmt.Sprint(v)
	switch {
	case len(args) == 1 && (v == nil) != neg:
		ts.Fatalf("%s is %s", args[0], got)
	case len(args) == 2 && (got == args[1]) == neg:
		ts.Fatalf("%s is %q", args[0], got)
	}
}

func readLeaf(ts *testscript.TestScript, file string) *x509.Certificate {
	block, _ := pem.Decode([]byte(ts.ReadFile(file)))
	if block == nil {
		ts.Fatalf("%s holds no PEM", file)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	ts.Check(err)
	return leaf
}

func lookIntoLeaf(ts *testscript.TestScript, neg bool, args []string) {
	leaf := readLeaf(ts, args[0])
	var got string
	switch args[1] {
	case "names":
		names := slices.Clone(leaf.DNSNames)
		for _, ip := range leaf.IPAddresses {
			names = append(names, ip.String())
		}
		slices.Sort(names)
		got = strings.Join(names, ",")
	case "key":
		kt, err := inkan.KeyTypeOf(leaf.PublicKey)
		ts.Check(err)
		got = string(kt)
	case "days":
		got = strconv.Itoa(int(leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour).Hours() / 24))
	case "serial":
		got = fmt.Sprintf("%x", leaf.SerialNumber)
	default:
		ts.Fatalf("leaf: unknown word %s", args[1])
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s: %s is %s", args[0], args[1], got)
	}
}

func sameKey(ts *testscript.TestScript, neg bool, args []string) {
	var sums []string
	for _, file := range args {
		data := []byte(ts.ReadFile(file))
		if key, err := inkan.ParseKey(data); err == nil {
			sum, err := inkan.SPKIHash(key.Public())
			ts.Check(err)
			sums = append(sums, sum)
			continue
		}
		sum, err := inkan.SPKIHash(readLeaf(ts, file).PublicKey)
		ts.Check(err)
		sums = append(sums, sum)
	}
	if (sums[0] == sums[1]) == neg {
		ts.Fatalf("the keys of %s are the same: %v", strings.Join(args, " and "), !neg == (sums[0] == sums[1]))
	}
}

func asked(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := storyOf(ts).ca.Count(args[1]); got != want {
		ts.Fatalf("the CA saw %d requests for %s, want %d", got, args[1], want)
	}
}

func advise(ts *testscript.TestScript, _ bool, args []string) {
	now := time.Now().UTC()
	body := fmt.Sprintf(`{"suggestedWindow": {"start": %q, "end": %q}, "explanationURL": "https://ca.example/why"}`,
		now.Add(-2*time.Hour).Format(time.RFC3339), now.Add(-time.Hour).Format(time.RFC3339))
	ts.Check(storyOf(ts).ca.SetRenewalInfo(readLeaf(ts, args[0]), body))
}

// checkFiles lets openssl judge every file of a certificate.
func checkFiles(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for _, f := range []struct {
		name string
		mode fs.FileMode
	}{{"cert.pem", 0o644}, {"chain.pem", 0o644}, {"fullchain.pem", 0o644}, {"privkey.pem", 0o600}} {
		info, err := os.Stat(filepath.Join(dir, f.name))
		ts.Check(err)
		if info.Mode().Perm() != f.mode {
			ts.Fatalf("%s has mode %v", f.name, info.Mode())
		}
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		ts.Logf("SKIPPED: openssl checks: openssl is not installed")
		return
	}
	root := ts.MkAbs("issuer-root.pem")
	ts.Check(os.WriteFile(root, storyOf(ts).ca.IssuerRootPEM(0), 0o644))
	for _, line := range []string{
		"x509 -noout -in cert.pem",
		"pkey -noout -check -in privkey.pem",
		"verify -CAfile " + root + " -untrusted chain.pem cert.pem",
		"verify -CAfile " + root + " -untrusted fullchain.pem fullchain.pem",
	} {
		cmd := exec.Command("openssl", strings.Fields(line)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("openssl %s: %v\n%s", line, err, out)
		}
	}
}

// damage flips a byte in the middle of a file: damage DIR finds the one below it.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	if info.IsDir() {
		var found string
		ts.Check(filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() == args[1] {
				found = p
			}
			return err
		}))
		if found == "" {
			ts.Fatalf("there is no %s below %s", args[1], path)
		}
		path = found
	}
	data, err := os.ReadFile(path)
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}
