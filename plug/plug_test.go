package plug

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
)

// note is a deployer and, in these tests, whatever else is needed.
type note struct {
	inkan.Deployer
	config noteConfig
}

type noteConfig struct {
	_        struct{}              `help:"notes things"`
	Channel  string                `json:"channel" help:"where to" required:"true"`
	Token    Secret                `json:"token" help:"who we are"`
	Wait     Duration              `json:"wait" help:"how long" default:"30s"`
	Plain    time.Duration         `json:"plain" help:"how long, in the plain type" default:"1m"`
	Mode     Mode                  `json:"mode" help:"of the file" default:"0640"`
	Retries  int                   `json:"retries" help:"how often" default:"3"`
	Port     uint16                `json:"port" help:"of the server"`
	Loud     bool                  `json:"loud" help:"in capitals"`
	Only     *bool                 `json:"only" help:"set or not"`
	Words    []string              `json:"words" help:"to look for" default:"a,b"`
	Labels   map[string]string     `json:"labels" help:"to add"`
	Where    *place                `json:"where" help:"the place"`
	KeyType  inkan.KeyType         `yaml:"key_type" json:"other" help:"named by its yaml tag"`
	HMACName string                `help:"named by its field"`
	Store    Ref[inkan.Store]      `json:"store" help:"keeps notes"`
	More     []Ref[inkan.Deployer] `json:"more" help:"others to tell"`
	Hidden   string                `json:"-"`
	embedded
}

type place struct {
	City string `json:"city" help:"its name" required:"true"`
}

type embedded struct {
	Inner string `json:"inner" help:"of an embedded struct"`
}

func (c *noteConfig) Check() error {
	if c.Channel == "bad" {
		return inkan.Errorf(inkan.Operator, "", "the channel is bad")
	}
	return nil
}

type box struct {
	inkan.Store
	dir string
}

type boxConfig struct {
	Dir string `json:"dir" help:"where" required:"true"`
}

func testSet() *Set {
	s := new(Set)
	Add(&s.Deployers, "note", func(_ Env, c noteConfig) (inkan.Deployer, error) { return &note{config: c}, nil })
	Add(&s.Stores, "box", func(_ Env, c boxConfig) (inkan.Store, error) { return &box{dir: c.Dir}, nil })
	return s
}

func openNote(t *testing.T, options string, r Resolver) (noteConfig, error) {
	t.Helper()
	s := testSet()
	n, err := Open(s, &s.Deployers, Env{}, "note", DecodeJSON([]byte(options), r))
	if err != nil {
		return noteConfig{}, err
	}
	return n.(*note).config, nil
}

func TestOpen(t *testing.T) {
	c, err := openNote(t, `{
		"channel": "#ops", "token": "hush", "wait": "1d12h", "mode": "0600", "port": 65535, "loud": true, "only": false,
		"words": ["x"], "labels": {"k": "v"}, "where": {"city": "Kyoto"}, "key_type": "ed25519", "hmac_name": "h", "inner": "i",
		"store": {"type": "box", "dir": "/d"}, "more": [{"type": "note", "channel": "#dev"}]}`, Resolver{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Channel != "#ops" || c.Token.Reveal() != "hush" || time.Duration(c.Wait) != 36*time.Hour || c.Mode != 0o600 ||
		c.Port != 65535 || !c.Loud || c.Only == nil || *c.Only || c.KeyType != inkan.Ed25519 || c.HMACName != "h" || c.Inner != "i" ||
		c.Where.City != "Kyoto" || c.Labels["k"] != "v" || !slices.Equal(c.Words, []string{"x"}) {
		t.Errorf("decoded %+v", c)
	}
	if c.Retries != 3 || c.Plain != time.Minute {
		t.Errorf("the defaults of absent keys are %d and %v", c.Retries, c.Plain)
	}
	if b, ok := c.Store.Value.(*box); !ok || b.dir != "/d" {
		t.Errorf("the inline store is %#v", c.Store.Value)
	}
	if len(c.More) != 1 || c.More[0].Value.(*note).config.Channel != "#dev" {
		t.Errorf("the inline deployers are %v", c.More)
	}
}

func TestOpenRefuses(t *testing.T) {
	const ok = `"channel": "c"`
	for _, c := range []struct{ options, want string }{
		{`{}`, `the key "channel" is missing`},
		{`{` + ok + `, "chanel": "x"}`, `chanel: unknown key; did you mean "channel"?`},
		{`{` + ok + `, "hmac-name": "x"}`, `hmac-name: unknown key; did you mean "hmac_name"?`},
		{`{` + ok + `, "zzzzz": 1}`, "zzzzz: unknown key"},
		{`{` + ok + `, "Hidden": "x"}`, "Hidden: unknown key"},
		{`{` + ok + `, ` + ok + `}`, "channel: the key is given twice"},
		{`{"channel": 5}`, `channel: it must be text, not the number 5; write it in quotes: "5"`},
		{`{"channel": null}`, "channel: it must be text, not nothing"},
		{`{"channel": "bad"}`, "the channel is bad"},
		{`{` + ok + `, "wait": 30}`, `wait: "30" is not a duration such as 30s, 12h or 90d`},
		{`{` + ok + `, "wait": "-1s"}`, "wait: "},
		{`{` + ok + `, "wait": "9999999d9999999h"}`, "wait: "},
		{`{` + ok + `, "plain": true}`, "plain: it must be a duration, not true"},
		{`{` + ok + `, "mode": "0999"}`, `mode: "0999" is not a file mode such as 0640`},
		{`{` + ok + `, "mode": "04755"}`, "mode: "},
		{`{` + ok + `, "port": 65536}`, "port: it must be a whole number from 0 to 65535, not the number 65536"},
		{`{` + ok + `, "retries": 1.5}`, "retries: it must be a whole number, not the number 1.5"},
		{`{` + ok + `, "retries": 99999999999999999999}`, "retries: it must be a whole number"},
		{`{` + ok + `, "loud": "yes"}`, `loud: it must be true or false, not "yes"`},
		{`{` + ok + `, "words": "x"}`, `words: it must be a list, not "x"; write [x]`},
		{`{` + ok + `, "words": ["x", 1]}`, "words[1]: it must be text"},
		{`{` + ok + `, "labels": []}`, "labels: it must be a map, not a list"},
		{`{` + ok + `, "labels": {"a": "1", "a": "2"}}`, "labels.a: the key is given twice"},
		{`{` + ok + `, "where": {"ctiy": "x"}}`, `where.ctiy: unknown key; did you mean "city"?`},
		{`{` + ok + `, "token": 5}`, "token: a secret is text; write it in quotes"},
		{`{` + ok + `, "token": {"file": "a", "env": "b"}}`, "token: give one of file and env"},
		{`{` + ok + `, "token": {"fil": "a"}}`, `token.fil: unknown key; did you mean "file"?`},
		{`{` + ok + `, "token": {"file": "/s"}}`, "token: the secret in file /s cannot be read here"},
		{`{` + ok + `, "store": {"dir": "/d"}}`, `store: the key "type" is missing`},
		{`{` + ok + `, "store": {"type": "bx", "dir": "/d"}}`, `there is no store type "bx"; did you mean "box"?`},
		{`{` + ok + `, "store": {"type": "box", "dri": "/d"}}`, `dri: unknown key; did you mean "dir"?`},
		{`{` + ok + `, "store": "../x"}`, "store: "},
		{`{` + ok + `, "store": "main"}`, "no named instances here"},
		{`[]`, "it must be a map, not a list"},
		{`{` + ok, "unexpected EOF"},
		{`{` + ok + `} {}`, "there is something after the value"},
		{strings.Repeat(`{"where":`, 100), "nested deeper than 32"},
	} {
		_, err := openNote(t, c.options, Resolver{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", c.options, err, c.want)
		}
		if err != nil && !errors.Is(err, inkan.Operator) {
			t.Errorf("%s: the error is of kind %v", c.options, inkan.KindOf(err))
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := openNote(t, `{"wait": "x", "mode": "y", "bogus": 1, "port": -1}`, Resolver{})
	p, ok := errors.AsType[*Problems](err)
	if !ok || len(p.List()) != 5 {
		t.Fatalf("%v: want five problems", err)
	}
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, `"k%d": 1,`, i)
	}
	_, err = openNote(t, `{`+b.String()+`"channel": "c"}`, Resolver{})
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxProblems+1 || lines[maxProblems] != "and 80 more" {
		t.Errorf("%d lines, the last: %s", len(lines), lines[len(lines)-1])
	}
}

func TestNamedRefs(t *testing.T) {
	main := &box{dir: "/main"}
	r := Resolver{Instance: func(kind, name string) (any, error) {
		switch {
		case kind == "store" && name == "main":
			return main, nil
		case kind == "store" && name == "odd":
			return "not a store", nil
		}
		return nil, fmt.Errorf("no %s %s", kind, name)
	}}
	c, err := openNote(t, `{"channel": "c", "store": "main"}`, r)
	if err != nil || c.Store.Value != inkan.Store(main) {
		t.Errorf("the named store is %v, %v", c.Store.Value, err)
	}
	if _, err := openNote(t, `{"channel": "c", "store": "other"}`, r); err == nil || err.Error() != "no store other" {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := openNote(t, `{"channel": "c", "store": "odd"}`, r); !errors.Is(err, inkan.Bug) {
		t.Errorf("an instance of another type: %v", err)
	}

	s := testSet()
	_, refs, err := Check(s, &s.Deployers, "note", DecodeJSON([]byte(
		`{"channel": "c", "store": "main", "more": ["x", {"type": "note", "channel": "d", "store": "deep"}]}`), Resolver{}))
	want := []NamedRef{{Kind: "store", Name: "main"}, {Kind: "deployer", Name: "x"}, {Kind: "store", Name: "deep"}}
	if diff := cmp.Diff(want, refs); diff != "" || err != nil {
		t.Errorf("named references: %v\n%s", err, diff)
	}
}

func TestUnknownPlugin(t *testing.T) {
	s := testSet()
	_, err := Open(s, &s.Stores, Env{}, "bocks", DecodeJSON([]byte(`{}`), Resolver{}))
	if !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), `there is no store type "bocks"; the only one is box`) {
		t.Errorf("error %v", err)
	}
}

func TestSecretSources(t *testing.T) {
	r := Resolver{Secret: func(s SecretSource) (string, error) {
		switch s {
		case SecretSource{File: "/run/token"}:
			return "from file\r\n", nil
		case SecretSource{Env: "TOKEN"}:
			return "from env", nil
		case SecretSource{File: "/empty"}:
			return "\n", nil
		}
		return "", errors.New("no such thing")
	}}
	for _, c := range []struct{ source, want, fault string }{
		{`{"file": "/run/token"}`, "from file", ""},
		{`{"env": "TOKEN"}`, "from env", ""},
		{`{"file": "/empty"}`, "", "the secret in file /empty is empty"},
		{`{"env": "X"}`, "", "reading the secret in environment variable X: no such thing"},
		{`""`, "", "the secret is empty"},
	} {
		got, err := openNote(t, `{"channel": "c", "token": `+c.source+`}`, r)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) || got.Token.Reveal() != c.want {
			t.Errorf("%s: %q, %v", c.source, got.Token.Reveal(), err)
		}
	}
}

// Law 6: a secret shows itself in no way of printing, not even from an
// unexported field, where fmt does not call methods.
func TestSecretNeverPrints(t *testing.T) {
	type holder struct {
		Shown  Secret
		hidden Secret
		List   []Secret
		Map    map[string]Secret
		Ptr    *Secret
	}
	s := NewSecret("hush")
	h := holder{s, s, []Secret{s}, map[string]Secret{"k": s}, &s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb, s, h, &h)
	}
	fmt.Fprint(&out, s, h, errors.New(s.String()), fmt.Errorf("%w %v", errors.New("x"), s))
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "h", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "h", h)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	for _, leak := range []string{"hush", fmt.Sprintf("%x", "hush"), fmt.Sprintf("%X", "hush")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the secret shows as %q in\n%s", leak, out.String())
		}
	}
	if s.Reveal() != "hush" || s.IsZero() || !(Secret{}).IsZero() {
		t.Error("Reveal and IsZero")
	}
}

func TestOptions(t *testing.T) {
	s := testSet()
	options := s.Deployers.Options("note")
	byName := map[string]Option{}
	for _, o := range options {
		byName[o.Name] = o
	}
	for _, want := range []Option{
		{Name: "channel", Type: "string", Help: "where to", Required: true},
		{Name: "token", Type: "secret", Help: "who we are", Secret: true},
		{Name: "wait", Type: "duration", Help: "how long", Default: "30s"},
		{Name: "mode", Type: "file mode", Help: "of the file", Default: "0640"},
		{Name: "port", Type: "number", Help: "of the server"},
		{Name: "only", Type: "bool", Help: "set or not"},
		{Name: "words", Type: "list of strings", Help: "to look for", Default: "a,b"},
		{Name: "labels", Type: "map of names to strings", Help: "to add"},
		{Name: "where", Type: "map", Help: "the place", Fields: []Option{{Name: "city", Type: "string", Help: "its name", Required: true}}},
		{Name: "key_type", Type: "string", Help: "named by its yaml tag"},
		{Name: "hmac_name", Type: "string", Help: "named by its field"},
		{Name: "store", Type: "store, by name or as {type: ...}", Help: "keeps notes"},
		{Name: "inner", Type: "string", Help: "of an embedded struct"},
	} {
		if diff := cmp.Diff(want, byName[want.Name]); diff != "" {
			t.Errorf("option %s:\n%s", want.Name, diff)
		}
	}
	if len(options) != 17 || options[0].Name != "channel" {
		t.Errorf("%d options, the first is %s", len(options), options[0].Name)
	}
	if s.Deployers.Help("note") != "notes things" || s.Deployers.Options("x") != nil || s.Deployers.Help("x") != "" {
		t.Error("help")
	}
	if kinds := s.Describe(); len(kinds) != 4 || kinds[3].Kind != "deployer" || kinds[3].Plugins[0].Name != "note" {
		t.Errorf("Describe: %v", kinds)
	}
}

// A constructor called with a struct written in Go gets the same defaults.
func TestDefaults(t *testing.T) {
	c := noteConfig{Retries: 7}
	Defaults(&c)
	if c.Retries != 7 || c.Mode != 0o640 || time.Duration(c.Wait) != 30*time.Second || !slices.Equal(c.Words, []string{"a", "b"}) {
		t.Errorf("%+v", c)
	}
}

func TestMistakesPanic(t *testing.T) {
	type badType struct {
		C chan int `json:"c"`
	}
	type badDefault struct {
		N int `json:"n" default:"many"`
	}
	type badBool struct {
		B bool `json:"b" default:"true"`
	}
	type twice struct {
		A string `json:"x"`
		B string `yaml:"x"`
	}
	type refInMap struct {
		M map[string]Ref[inkan.Store] `json:"m"`
	}
	for name, add := range map[string]func(*Set){
		"challenge": func(s *Set) {
			AddSolver(&s.Solvers, "x", "http01", func(Env, struct{}) (inkan.Solver, error) { return nil, nil })
		},
		"type":    func(s *Set) { Add(&s.Stores, "x", func(Env, badType) (inkan.Store, error) { return nil, nil }) },
		"default": func(s *Set) { Add(&s.Stores, "x", func(Env, badDefault) (inkan.Store, error) { return nil, nil }) },
		"bool":    func(s *Set) { Add(&s.Stores, "x", func(Env, badBool) (inkan.Store, error) { return nil, nil }) },
		"twice":   func(s *Set) { Add(&s.Stores, "x", func(Env, twice) (inkan.Store, error) { return nil, nil }) },
		"ref":     func(s *Set) { Add(&s.Stores, "x", func(Env, refInMap) (inkan.Store, error) { return nil, nil }) },
		"string":  func(s *Set) { Add(&s.Stores, "x", func(Env, string) (inkan.Store, error) { return nil, nil }) },
		"name":    func(s *Set) { Add(&s.Stores, "X", func(Env, boxConfig) (inkan.Store, error) { return nil, nil }) },
		"again":   func(s *Set) { Add(&s.Stores, "box", func(Env, boxConfig) (inkan.Store, error) { return nil, nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			s := testSet()
			add(s)
			s.Describe()
		})
	}
}

func TestSolverChallenge(t *testing.T) {
	s := new(Set)
	AddSolver(&s.Solvers, "web", inkan.HTTP01, func(Env, boxConfig) (inkan.Solver, error) { return nil, nil })
	if s.Solvers.Challenge("web") != "http-01" || s.Solvers.Challenge("x") != "" || !s.Solvers.Has("web") {
		t.Error("the challenge type of a solver")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"certificates", "cas", "dir", "dir_mode", "preferred_chain"}
	for word, want := range map[string]string{
		"certificate": "certificates", "certifcates": "certificates", "Dir": "dir", "dri": "dir", "dir-mode": "dir_mode",
		"preferedchain": "preferred_chain", "ca": "cas", "x": "", "zzz": "", "": "", strings.Repeat("d", 500): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestTextForms(t *testing.T) {
	for text, want := range map[string]string{"90d": "90d", "1d12h": "1d12h0m0s", "36h": "1d12h0m0s", "30s": "30s", "0d": "0s"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("%s: %s, %v", text, d, err)
		}
	}
	var m Mode
	if err := m.UnmarshalText([]byte("640")); err != nil || m.String() != "0640" || m.Perm() != 0o640 {
		t.Errorf("mode %s, %v", m, err)
	}
	for pos, want := range map[Pos]string{{"f", 3, 7}: "f:3:7", {"f", 0, 0}: "f", {"", 3, 7}: "3:7", {}: ""} {
		if pos.String() != want {
			t.Errorf("%#v is %q", pos, pos)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"channel": "c", "wait": "1d", "store": {"type": "box", "dir": "/"}, "token": {"env": "X"}}`))
	f.Add([]byte(`{"more": [{"type": "note", "more": [{}]}], "mode": 0640}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := testSet()
		n, err := Open(s, &s.Deployers, Env{}, "note", DecodeJSON(data, Resolver{Secret: Unread}))
		if err == nil && n.(*note).config.Channel == "bad" {
			t.Error("Check was not called")
		}
		if err != nil && !errors.Is(err, inkan.Operator) {
			t.Errorf("kind %v: %v", inkan.KindOf(err), err)
		}
	})
}

// TestC30Constructors: a constructor that panics or returns nothing is an error
// that names its plug-in.
func TestC30Constructors(t *testing.T) {
	s := testSet()
	Add(&s.Deployers, "mad", func(_ Env, c struct{}) (inkan.Deployer, error) { panic("out of its mind") })
	Add(&s.Deployers, "empty", func(_ Env, c struct{}) (inkan.Deployer, error) { return nil, nil })
	for name, want := range map[string]string{"mad": "deployer mad: it panicked: out of its mind", "empty": "deployer empty: its constructor returned nothing"} {
		d, err := Open(s, &s.Deployers, Env{}, name, DecodeJSON([]byte("{}"), Resolver{}))
		if d != nil || !errors.Is(err, inkan.Bug) || err.Error() != want {
			t.Errorf("%v, %v; want %q", d, err, want)
		}
	}
}
