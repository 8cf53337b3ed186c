package config

import (
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// document is the file as a whole. Its tags are the reference of the format.
type document struct {
	_            struct{}              `help:"what Inkan is to keep on this machine"`
	Defaults     lazy[settings]        `json:"defaults" help:"settings of every certificate that does not say otherwise"`
	Accounts     section[account]      `json:"accounts" help:"accounts at CAs, by name"`
	CAs          section[ca]           `json:"cas" help:"certificate authorities, by name; the built-in ones need no entry"`
	Store        plug.Ref[inkan.Store] `json:"store" help:"where state is kept; default: the directory store in the data directory"`
	Source       word                  `json:"source" help:"name of this configuration among those that share the store; default: made of the host's name and the file's path"`
	Stores       section[instance]     `json:"stores" help:"further stores, by name"`
	Solvers      section[instance]     `json:"solvers" help:"ways of showing control over names, by name"`
	DNS          section[instance]     `json:"dns" help:"DNS hosts at which dns-01 puts its records, by name"`
	Targets      section[instance]     `json:"targets" help:"places to which certificates are deployed, by name"`
	Certificates section[certificate]  `json:"certificates" help:"the certificates wanted, by name"`
}

// settings are what a certificate may have and defaults may give.
type settings struct {
	CA             words         `json:"ca" help:"the CA, or several in order of preference" default:"letsencrypt"`
	Account        word          `json:"account" help:"the account at the CA" default:"default"`
	Key            words         `json:"key" help:"ecdsa-p256, ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096 or ed25519" default:"ecdsa-p256"`
	Validate       rules         `json:"validate" help:"the solver, several in order of preference (another is tried when one fails), or a map of patterns (*, a name, *.domain) to these; none if the CA asks for no proof"`
	Deploy         words         `json:"deploy" help:"the targets, in this order"`
	Profile        string        `json:"profile" help:"the CA's certificate profile"`
	RequireProfile bool          `json:"require_profile" help:"fail rather than go without the profile"`
	PreferredChain string        `json:"preferred_chain" help:"common name of the topmost issuer of the chain to take"`
	Lifetime       plug.Duration `json:"lifetime" help:"the lifetime to ask for, such as 7d; absent leaves it to the CA"`
	AllowSubset    bool          `json:"allow_subset" help:"leave out names that the CA refuses rather than go without a certificate"`
	ReuseKey       bool          `json:"reuse_key" help:"keep the private key on renewal"`
}

// certificate is one wanted certificate.
type certificate struct {
	Names words `json:"names" help:"domain names, wildcards and IP addresses; may be left out with csr"`
	CSR   word  `json:"csr" help:"a file with your own certificate signing request; then no key is kept"`
	settings
}

// account is one account; under cas it may differ from CA to CA.
type account struct {
	accountSettings
	CAs section[accountSettings] `json:"cas" help:"what is different at some CAs, by the CA's name"`
}

type accountSettings struct {
	Email      words `json:"email" help:"addresses to which the CA may write"`
	AgreeTerms bool  `json:"agree_terms" help:"you have read the CA's terms of service and agree"`
	Key        word  `json:"key" help:"type of the account key" default:"ecdsa-p256"`
	EAB        *eab  `json:"eab" help:"the external account binding that the CA gave you"`
}

type eab struct {
	KeyID   string      `json:"kid" help:"key identifier" required:"true"`
	HMACKey plug.Secret `json:"hmac_key" help:"HMAC key, in base64url as the CA shows it" required:"true"`
	Alg     word        `json:"alg" help:"HS256, HS384 or HS512" default:"HS256"`
}

type ca struct {
	Directory word   `json:"directory" help:"URL of the ACME directory; a built-in CA has one"`
	Roots     string `json:"roots" help:"a PEM file of the roots to trust for the CA's own HTTPS, instead of the system's"`
	Staging   bool   `json:"staging" help:"its certificates are for tests only"`
}

// instance is a plug-in with its options; what they are depends on the type.
type instance struct {
	Type string `json:"type" help:"the plug-in; its options stand beside" required:"true"`
}

// lazy keeps the node of a T for later, when what it depends on is known.
type lazy[T any] struct{ node *plug.Node }

func (l *lazy[T]) DecodeNode(n *plug.Node, _ plug.Resolver) error {
	l.node = n
	return nil
}

func (lazy[T]) OptionType() string          { return "map" }
func (lazy[T]) OptionFields() []plug.Option { return plug.OptionsOf(new(T)) }

// section is a map of names to Ts, in the order of the file, kept for later.
type section[T any] []entry

type entry struct {
	name string
	pos  plug.Pos
	node *plug.Node
}

func (s *section[T]) DecodeNode(n *plug.Node, _ plug.Resolver) error {
	var problems plug.Problems
	fields := n.UniqueFields("", &problems)
	*s = make(section[T], 0, len(fields))
	for _, f := range fields {
		if err := inkan.CheckName(f.Key); err != nil {
			problems.AddError(f.Pos, inkan.Printable(f.Key, 60), err)
			continue
		}
		*s = append(*s, entry{f.Key, f.Pos, f.Value})
	}
	return problems.Err()
}

func (section[T]) OptionType() string          { return "map of names" }
func (section[T]) OptionFields() []plug.Option { return plug.OptionsOf(new(T)) }

func (s section[T]) find(name string) (entry, bool) {
	for _, e := range s {
		if e.name == name {
			return e, true
		}
	}
	return entry{}, false
}

func (s section[T]) names() []string {
	names := make([]string, len(s))
	for i, e := range s {
		names[i] = e.name
	}
	return names
}

// word is text that remembers its place.
type word struct {
	text string
	pos  plug.Pos
}

func (w *word) DecodeNode(n *plug.Node, _ plug.Resolver) error {
	s, ok := n.Value.(string)
	if !ok || s == "" {
		return fmt.Errorf("it must be text")
	}
	*w = word{s, n.Pos}
	return nil
}

func (word) OptionType() string { return "string" }

// words is one word or a list of them.
type words []word

func (w *words) DecodeNode(n *plug.Node, r plug.Resolver) error {
	list, ok := n.Value.([]*plug.Node)
	if !ok {
		list = []*plug.Node{n}
	}
	var problems plug.Problems
	*w = make(words, len(list))
	for i, one := range list {
		if err := (*w)[i].DecodeNode(one, r); err != nil {
			problems.AddError(one.Pos, "", err)
		}
	}
	return problems.Err()
}

func (words) OptionType() string { return "string or list of strings" }

func (w words) texts() []string {
	texts := make([]string, len(w))
	for i := range w {
		texts[i] = w[i].text
	}
	return texts
}

// rules say which solver shows control over which names.
type rules []rule

type rule struct {
	match  string
	solver word
}

func (r *rules) DecodeNode(n *plug.Node, res plug.Resolver) error {
	if _, ok := n.Value.([]plug.Field); !ok {
		return r.add("", n, res)
	}
	var problems plug.Problems
	for _, f := range n.UniqueFields("", &problems) {
		match, err := pattern(f.Key)
		if err != nil {
			problems.AddError(f.Pos, "", err)
		}
		if err := r.add(match, f.Value, res); err != nil {
			problems.AddError(f.Value.Pos, f.Key, err)
		}
	}
	return problems.Err()
}

// add adds the solvers of one pattern, in order of preference.
func (r *rules) add(match string, n *plug.Node, res plug.Resolver) error {
	var solvers words
	if err := solvers.DecodeNode(n, res); err != nil {
		return err
	}
	if len(solvers) == 0 {
		return fmt.Errorf("it names no solver")
	}
	for _, w := range solvers {
		*r = append(*r, rule{match, w})
	}
	return nil
}

func (rules) OptionType() string { return "string, list of strings, or map of patterns to these" }

// pattern returns a pattern of a rule in canonical form.
func pattern(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	id, err := inkan.ParseIdentifier(strings.TrimSpace(s))
	return id.Value, err
}

// Schema describes the keys of the file, for docs and help. The options of
// stores, solvers and targets are those of their plug-ins.
func Schema() []plug.Option { return plug.OptionsOf(new(document)) }
