package dns_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/dnstest"
)

// TestExecHelper is no test: it is the program that the exec host runs. It
// keeps each value as a file DIR/NAME/HASH.
func TestExecHelper(t *testing.T) {
	dir := os.Getenv("EXEC_HELPER_DIR")
	if dir == "" {
		t.Skip("only run by TestExec")
	}
	var r struct {
		Version      int
		Action, Zone string
		Records      []struct {
			Name, Value string
			TTL         int
		}
	}
	d := json.NewDecoder(os.Stdin)
	d.DisallowUnknownFields()
	err := d.Decode(&r)
	if err == nil && (r.Version != 1 || len(r.Records) == 0) {
		err = fmt.Errorf("bad request %+v", r)
	}
	if r.Zone != testZone {
		fmt.Printf(`{"error": "there is no zone %s", "kind": "operator", "hint": "create it"}`, r.Zone)
		os.Exit(0)
	}
	for _, one := range r.Records {
		file := filepath.Join(dir, one.Name, fmt.Sprintf("%x", sha256.Sum256([]byte(one.Value))))
		switch r.Action {
		case "add":
			err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(one.Value), 0o600))
		case "remove":
			if e := os.Remove(file); !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		default:
			err = errors.New("bad action")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fileValues reads what a program keeps below dir/name.
func fileValues(t *testing.T, dir string) func(*testing.T, string) []string {
	return func(t *testing.T, name string) []string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, name, "*"))
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				if errors.Is(err, os.ErrNotExist) {
					continue
				}
				t.Fatal(err)
			}
			values = append(values, string(data))
		}
		return values
	}
}

func foreignFile(dir string) func(*testing.T, string, string) {
	return func(t *testing.T, name, value string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name, fmt.Sprintf("foreign-%x", value[:min(len(value), 50)]))
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExec holds the contract over a program that reads JSON.
func TestExec(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := dns.ExecConfig{Command: []string{program, "-test.run=^TestExecHelper$"}}
	c.Env = map[string]plug.Secret{
		"EXEC_HELPER_DIR": plug.NewSecret(dir),
		"GORACE":          plug.NewSecret("atexit_sleep_ms=0"), // a race-built program sleeps for a second at its end
	}
	dnstest.Run(t, dnstest.Harness{
		Open: func(t *testing.T) inkan.DNSProvider {
			p, err := dns.Exec(plug.Env{}, c)
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		Zone: testZone, Values: fileValues(t, dir), Foreign: foreignFile(dir), Swap: true,
	})
}

// fakeACMESh stands for an installed acme.sh: it runs the command it is given,
// and its scripts use functions and variables of it.
const fakeACMESh = `#!/usr/bin/env sh
_info() { echo "info: $1"; }
_err() { echo "error: $1" >&2; return 1; }
_initpath() { ACCOUNT_CONF_PATH="$LE_CONFIG_HOME/account.conf"; . "$ACCOUNT_CONF_PATH"; }
showhelp() { echo "Usage"; }
main() {
  [ -z "$1" ] && showhelp && return
  "$@"
}
main "$@"
`

const fakeDNSAPI = `#!/usr/bin/env sh
_file() { printf '%s/%s./%s' "$FAKE_DIR" "$1" "$(printf %s "$2" | cksum | tr -dc 0-9)"; }
dns_fake_add() {
  [ -n "$FAKE_DIR" ] || { _err "FAKE_DIR is not set"; return 1; }
  [ -z "$FAKE_FAIL" ] || { _err "the host said: $FAKE_FAIL"; return 1; }
  _info "adding $1"
  mkdir -p "$FAKE_DIR/$1." && printf %s "$2" >"$(_file "$1" "$2")"
}
dns_fake_rm() {
  _info "removing $1"
  rm -f "$(_file "$1" "$2")"
}
`

func installACMESh(t *testing.T, dir string) (home string) {
	t.Helper()
	home = t.TempDir()
	for name, text := range map[string]string{
		"acme.sh": fakeACMESh, "dnsapi/dns_fake.sh": fakeDNSAPI, "account.conf": "FAKE_DIR='" + dir + "'\n",
	} {
		if err := os.MkdirAll(filepath.Join(home, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// TestACMESh holds the contract over a dnsapi script.
func TestACMESh(t *testing.T) {
	dir := t.TempDir()
	home := installACMESh(t, dir)
	dnstest.Run(t, dnstest.Harness{
		Open: func(t *testing.T) inkan.DNSProvider {
			p, err := dns.ACMESh(plug.Env{}, dns.ACMEShConfig{Home: home, API: "dns_fake"})
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		Zone: testZone, Values: fileValues(t, dir), Foreign: foreignFile(dir), Swap: true, AnyZone: true,
	})
}

func TestACMEShFailures(t *testing.T) {
	dir := t.TempDir()
	home := installACMESh(t, dir)
	record := []inkan.TXT{{Name: "_acme-challenge." + testZone, Value: "v"}}
	for want, c := range map[string]dns.ACMEShConfig{
		"dns_fake_add of acme.sh for _acme-challenge.example.com: running sh: exit status 1; it said: error: the host said: no": {Home: home, API: "dns_fake",
			ExecOptions: dns.ExecOptions{Env: map[string]plug.Secret{"FAKE_FAIL": plug.NewSecret("no")}}},
		"dns_none.sh":   {Home: home, API: "dns_none"},
		"/none/acme.sh": {Home: "/none", API: "dns_fake"},
	} {
		p, err := dns.ACMESh(plug.Env{}, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AddTXT(t.Context(), testZone, record); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
	for want, c := range map[string]dns.ACMEShConfig{
		"home and api must be given":     {},
		"home must be an absolute path":  {Home: "x", API: "dns_cf"},
		"is not the name of a dnsapi sc": {Home: "/x", API: "dns_cf;id"},
		`api: "cf" is not the name`:      {Home: "/x", API: "cf"},
		"LE_WORKING_DIR is set by Inkan": {Home: "/x", API: "dns_cf", ExecOptions: dns.ExecOptions{Env: map[string]plug.Secret{"LE_WORKING_DIR": {}}}},
	} {
		if _, err := dns.ACMESh(plug.Env{}, c); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, inkan.Operator) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
}

// TestJ06ExecHost: a program that fails, hangs, answers nonsense or too much.
func TestJ06ExecHost(t *testing.T) {
	record := []inkan.TXT{{Name: "_acme-challenge." + testZone, Value: "v"}}
	for _, c := range []struct {
		shell string
		kind  inkan.Kind
		want  string
	}{
		{"cat >/dev/null", 0, ""},
		{"exit 0", 0, ""}, // without reading
		{`echo '{"error": ""}'`, 0, ""},
		{`echo '{"error": "no such zone\u001b", "kind": "operator", "hint": "create it"}'`, inkan.Operator, `running the shell line: no such zone\u001b`},
		{`echo '{"error": "later", "kind": "rate-limited"}'`, inkan.RateLimited, "later"},
		{`echo '{"error": "what", "kind": "new word"}'`, inkan.Temporary, "what"},
		{`printf '{"error": "bad token %s"}' "$TOKEN"`, inkan.Temporary, "bad token [secret]"},
		{`echo "$TOKEN"`, inkan.Operator, "not JSON: [secret]"},
		{"echo done", inkan.Operator, "what it printed is not JSON: done"},
		{`echo '{} {}'`, inkan.Operator, "it printed something behind its JSON"},
		{"head -c 100000 /dev/zero", inkan.Operator, "it printed more than 64 KB"},
		{"echo oops >&2; exit 2", inkan.Temporary, "exit status 2; it said: oops"},
		{"exec sleep 1000", inkan.Temporary, "stopped after 200ms"},
	} {
		config := dns.ExecConfig{Shell: c.shell}
		config.Env = map[string]plug.Secret{"TOKEN": plug.NewSecret("hush-hush")}
		if strings.Contains(c.shell, "sleep") {
			config.Timeout = plug.Duration(200 * time.Millisecond)
		}
		p, err := dns.Exec(plug.Env{}, config)
		if err != nil {
			t.Fatal(err)
		}
		err = p.AddTXT(t.Context(), testZone, record)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || inkan.KindOf(err) != c.kind):
			t.Errorf("%s: error %v of kind %v; want %q of kind %v", c.shell, err, inkan.KindOf(err), c.want, c.kind)
		}
	}
}
