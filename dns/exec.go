package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/command"
	"github.com/inkan-acme/inkan/plug"
)

// ExecConfig holds the options of [Exec].
type ExecConfig struct {
	_       struct{} `help:"changes records by a program of yours that reads JSON"`
	Command []string `json:"command" help:"the program and its arguments; no shell reads them"`
	Shell   string   `json:"shell" help:"a line for /bin/sh, in place of command"`
	ExecOptions
}

// ACMEShConfig holds the options of [ACMESh].
type ACMEShConfig struct {
	_    struct{} `help:"changes records by a dnsapi script of an installed acme.sh, with the credentials that it keeps or those in env"`
	Home string   `json:"home" help:"the directory in which acme.sh stands, with its dnsapi directory" required:"true"`
	API  string   `json:"api" help:"the script, such as dns_cf" required:"true"`
	ExecOptions
}

// ExecOptions are common to the DNS hosts that run programs.
type ExecOptions struct {
	Timeout plug.Duration          `json:"timeout" help:"how long one run may take before it is stopped" default:"2m"`
	Dir     string                 `json:"dir" help:"the directory it runs in" default:"/"`
	Env     map[string]plug.Secret `json:"env" help:"further environment variables; it gets nothing of Inkan's own environment"`
}

func (o *ExecOptions) program(args []string, shell string, env plug.Env) *command.Command {
	c := &command.Command{Args: args, Shell: shell, Dir: o.Dir, Timeout: time.Duration(o.Timeout), Log: env.Logger()}
	for _, name := range slices.Sorted(maps.Keys(o.Env)) {
		c.Env = append(c.Env, name+"="+o.Env[name].Reveal())
	}
	return c
}

// Check refuses what the tags cannot.
func (c *ExecConfig) Check() error {
	if err := c.program(c.Command, c.Shell, plug.Env{}).Check(); err != nil {
		return err
	}
	return command.CheckEnv(c.Env, "INKAN_")
}

// Check refuses what the tags cannot.
func (c *ACMEShConfig) Check() error {
	odd := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_')
	}
	switch {
	case c.Home != "" && !filepath.IsAbs(c.Home):
		return inkan.Errorf(inkan.Operator, "", "home must be an absolute path, not %q", inkan.Printable(c.Home, 200))
	case c.API != "" && (!strings.HasPrefix(c.API, "dns_") || strings.ContainsFunc(c.API, odd)):
		return inkan.Errorf(inkan.Operator, "", "api: %q is not the name of a dnsapi script such as dns_cf", inkan.Printable(c.API, 80))
	}
	if err := c.program([]string{"sh"}, "", plug.Env{}).Check(); err != nil {
		return err
	}
	return command.CheckEnv(c.Env, "INKAN_", "LE_WORKING_DIR")
}

const maxReply = 64 << 10

// Exec returns a DNSProvider that runs a program for each change. On standard
// input it gets one JSON object:
//
//	{"version": 1, "action": "add", "zone": "example.org.", "records":
//	  [{"name": "_acme-challenge.example.org.", "value": "...", "ttl": 60}]}
//
// action is add or remove; ttl is absent where none is wanted. It must keep
// other values at the names, and succeed if the records are there (or absent)
// already. It may say on standard output how it went:
//
//	{"error": "no such zone", "kind": "operator", "hint": "create it first"}
//
// kind is one of inkan.Kind's words. No output, or an empty error, and exit
// status 0 are success. Runs follow each other.
func Exec(env plug.Env, c ExecConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &execHost{program: c.program(c.Command, c.Shell, env), turn: make(chan struct{}, 1)}, nil
}

type execHost struct {
	program *command.Command
	turn    chan struct{} // holds one while the program runs
}

// execRequest is what the program reads.
type execRequest struct {
	Version int          `json:"version"`
	Action  string       `json:"action"`
	Zone    string       `json:"zone"`
	Records []execRecord `json:"records"`
}

type execRecord struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	TTL   int    `json:"ttl,omitempty"`
}

// execReply is what the program may answer.
type execReply struct {
	Error string     `json:"error"`
	Kind  inkan.Kind `json:"kind"`
	Hint  string     `json:"hint"`
}

// AddTXT implements inkan.DNSProvider.
func (h *execHost) AddTXT(ctx context.Context, zoneName string, records []inkan.TXT) error {
	return h.change(ctx, "add", zoneName, records)
}

// RemoveTXT implements inkan.DNSProvider.
func (h *execHost) RemoveTXT(ctx context.Context, zoneName string, records []inkan.TXT) error {
	return h.change(ctx, "remove", zoneName, records)
}

func (h *execHost) change(ctx context.Context, action, zoneName string, records []inkan.TXT) error {
	z, records, err := checked(zoneName, records)
	if err != nil || len(records) == 0 {
		return err
	}
	r := execRequest{Version: 1, Action: action, Zone: z.name + "."}
	for _, t := range records {
		r.Records = append(r.Records, execRecord{t.Name, t.Value, t.TTL})
	}
	in, err := json.Marshal(r)
	if err != nil {
		return err
	}
	leave, err := oneAtATime(ctx, h.turn)
	if err != nil {
		return err
	}
	defer leave()
	out, err := h.program.Run(ctx, command.Call{Stdin: append(in, '\n'), MaxOutput: maxReply})
	if err != nil {
		return err
	}
	return h.reply(out)
}

// reply reads what the program said.
func (h *execHost) reply(out []byte) error {
	if len(bytes.TrimSpace(out)) == 0 {
		return nil
	}
	fail := func(kind inkan.Kind, format string, args ...any) *inkan.Error {
		return inkan.Errorf(kind, h.program.Op(), format, args...)
	}
	if len(out) >= maxReply {
		return fail(inkan.Operator, "it printed more than %d KB where JSON was expected", maxReply>>10)
	}
	var r execReply
	d := json.NewDecoder(bytes.NewReader(out))
	if err := d.Decode(&r); err != nil {
		return fail(inkan.Operator, "what it printed is not JSON: %s", inkan.Printable(h.program.Hidden(string(out)), 200)).
			WithHint("let it print its messages to standard error")
	}
	if _, err := d.Token(); err != io.EOF {
		return fail(inkan.Operator, "it printed something behind its JSON")
	}
	if r.Error == "" {
		return nil
	}
	return fail(r.Kind, "%s", inkan.Printable(h.program.Hidden(r.Error), 1000)).WithHint("%s", inkan.Printable(h.program.Hidden(r.Hint), 1000))
}

// oneAtATime waits until no other run is under way.
func oneAtATime(ctx context.Context, turn chan struct{}) (leave func(), err error) {
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// acmeShim loads acme.sh for its functions, then one dnsapi script, and calls a
// function of it: $1 home, $2 script, $3 function, $4 name, $5 value. acme.sh
// runs the command that it is given; "true" makes it do nothing.
const acmeShim = `home=$1 script=$2 call=$3 name=$4 value=$5
LE_WORKING_DIR=$home
LE_CONFIG_HOME=${LE_CONFIG_HOME:-$home}
export LE_WORKING_DIR LE_CONFIG_HOME
set -- true
. "$home/acme.sh" >/dev/null || exit 1
_initpath || exit 1
DOMAIN_CONF=${DOMAIN_CONF:-/dev/null}
. "$script" || exit 1
"$call" "$name" "$value"
`

// ACMESh returns a DNSProvider that calls the functions dns_xx_add and
// dns_xx_rm of an installed acme.sh, for one record after the other, by a small
// program for /bin/sh. acme.sh keeps the credentials in its account.conf.
func ACMESh(env plug.Env, c ACMEShConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Home == "" || c.API == "" {
		return nil, inkan.Errorf(inkan.Operator, "acme.sh", "home and api must be given")
	}
	args := []string{"/bin/sh", "-c", acmeShim, c.API, c.Home, filepath.Join(c.Home, "dnsapi", c.API+".sh")}
	return &acmeSh{program: c.program(args, "", env), api: c.API, turn: make(chan struct{}, 1)}, nil
}

type acmeSh struct {
	program *command.Command
	api     string
	turn    chan struct{}
}

// AddTXT implements inkan.DNSProvider.
func (h *acmeSh) AddTXT(ctx context.Context, zoneName string, records []inkan.TXT) error {
	return h.change(ctx, "_add", zoneName, records)
}

// RemoveTXT implements inkan.DNSProvider.
func (h *acmeSh) RemoveTXT(ctx context.Context, zoneName string, records []inkan.TXT) error {
	return h.change(ctx, "_rm", zoneName, records)
}

func (h *acmeSh) change(ctx context.Context, verb, zoneName string, records []inkan.TXT) error {
	_, records, err := checked(zoneName, records)
	if err != nil {
		return err
	}
	leave, err := oneAtATime(ctx, h.turn)
	if err != nil {
		return err
	}
	defer leave()
	for _, r := range records {
		_, err := h.program.Run(ctx, command.Call{Args: []string{h.api + verb, strings.TrimSuffix(r.Name, "."), r.Value}})
		if err != nil {
			return inkan.Errorf(inkan.KindOf(err), h.api+verb+" of acme.sh for "+strings.TrimSuffix(r.Name, "."), "%w", err)
		}
	}
	return nil
}

var (
	_ inkan.DNSProvider = (*execHost)(nil)
	_ inkan.DNSProvider = (*acmeSh)(nil)
	_ plug.Checker      = (*ExecConfig)(nil)
	_ plug.Checker      = (*ACMEShConfig)(nil)
)
