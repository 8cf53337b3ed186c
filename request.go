package inkan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CertificateRequest is what somebody wants. It names CAs, accounts, solvers
// and targets; what the names mean comes from the configuration of the machine
// that does the work, never from the Store (design law 7).
type CertificateRequest struct {
	Name        string       `json:"name"`
	Identifiers []Identifier `json:"identifiers"`
	CAs         []string     `json:"cas"` // in order of preference; at least one
	Account     string       `json:"account"`
	KeyTypes    []KeyType    `json:"key_types"`
	Key         KeyPolicy    `json:"key"`

	Profile        string        `json:"profile,omitempty"`         // preferred (draft-ietf-acme-profiles)
	RequireProfile bool          `json:"require_profile,omitempty"` // fail rather than go without it
	Lifetime       time.Duration `json:"lifetime,omitempty"`        // asked by notAfter; 0 leaves it to the CA
	CSR            []byte        `json:"csr,omitempty"`             // the user's own, in DER; then no key is kept

	PreferredChain string       `json:"preferred_chain,omitempty"` // common name of the topmost issuer
	Validations    []Validation `json:"validations,omitempty"`     // in order of preference; see Ways
	Targets        []string     `json:"targets,omitempty"`         // deployed to in this order
	// AllowSubset allows a certificate without the names that the CA refuses.
	// The next renewal asks for them again.
	AllowSubset bool `json:"allow_subset,omitempty"`
}

// maxWord bounds the name of a profile, a chain or a challenge type, in bytes.
const maxWord = 300

// KeyPolicy says where the private key of the next version comes from.
type KeyPolicy struct {
	// Mode is "new" (default when empty), "reuse" (the key of the current
	// version, if it has one of the key type) or "given" (the key whose SPKI
	// hash is Given, from the current version or from the Host store).
	Mode  string `json:"mode,omitempty"`
	Given string `json:"given,omitempty"` // hex SHA-256 of the public key (SubjectPublicKeyInfo)
}

// The key policy modes.
const (
	KeyNew   = "new"
	KeyReuse = "reuse"
	KeyGiven = "given"
)

// Validation says how control over some identifiers is shown.
type Validation struct {
	// Match is "" or "*" for every identifier, an identifier, or "*.<domain>"
	// for the wildcard and everything below the domain.
	Match  string `json:"match,omitempty"`
	Type   string `json:"type"`   // the challenge type
	Solver string `json:"solver"` // the name of the solver
}

// Matches reports whether v applies to id.
func (v Validation) Matches(id Identifier) bool {
	if v.Match == "" || v.Match == "*" || v.Match == id.Value {
		return true
	}
	below, ok := strings.CutPrefix(v.Match, "*")
	return ok && strings.HasSuffix(id.Base(), below) || ok && id.Wildcard() && "."+id.Base() == below
}

// Check checks r and returns the first fault, of kind Operator.
func (r *CertificateRequest) Check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	fail := func(format string, args ...any) *Error {
		return Errorf(Operator, "certificate "+r.Name, format, args...)
	}
	if len(r.Identifiers) == 0 {
		return fail("it has no names")
	}
	for _, id := range r.Identifiers {
		canonical, err := ParseIdentifier(id.Value)
		if err != nil {
			return err
		}
		if canonical != id {
			return fail("the name %s is not in canonical form (%s)", Printable(id.Value, 80), canonical.Value)
		}
	}
	if len(r.CAs) == 0 {
		return fail("no CA is named")
	}
	if r.Account == "" {
		return fail("no account is named")
	}
	for _, n := range slices.Concat(r.CAs, []string{r.Account}, r.Targets) {
		if err := CheckName(n); err != nil {
			return err
		}
	}
	switch {
	case len(r.KeyTypes) == 0:
		return fail("no key type is named")
	case len(r.KeyTypes) > 1:
		return fail("two key types in one certificate (%s) are not possible yet", joinKeyTypes(r.KeyTypes)).
			WithHint("ask for one key type, or for two certificates with different --name")
	case !r.KeyTypes[0].Valid():
		return fail("unknown key type %q", Printable(string(r.KeyTypes[0]), 40)).
			WithHint("one of %s", joinKeyTypes(AllKeyTypes()))
	case r.Lifetime < 0:
		return fail("the lifetime is negative")
	case r.AllowSubset && r.CSR != nil:
		return fail("names cannot be left out of the user's own CSR")
	case r.RequireProfile && r.Profile == "":
		return fail("a profile is required but none is named")
	}
	for _, text := range []string{r.Profile, r.PreferredChain} {
		if Printable(text, maxWord) != text {
			return fail("%q is not the name of a profile or a chain", Printable(text, 80))
		}
	}
	switch r.Key.Mode {
	case "", KeyNew, KeyReuse:
	case KeyGiven:
		if len(r.Key.Given) != 64 {
			return fail("the hash of the given key is missing")
		}
	default:
		return fail("unknown key policy %q", Printable(r.Key.Mode, 40))
	}
	for _, v := range r.Validations {
		if v.Type == "" {
			return fail("a validation names no challenge type")
		}
		if err := CheckName(v.Solver); err != nil {
			return err
		}
		if Printable(v.Match+v.Type, maxWord) != v.Match+v.Type {
			return fail("a validation has a bad pattern or challenge type (pattern %q)", Printable(v.Match, 80))
		}
	}
	return nil
}

// OrderHash returns the hash of what makes an order different: CA, account, sorted
// identifiers, key type, profile, lifetime, key policy and CSR. Validation,
// deployments and chain preference are not in it.
func (r *CertificateRequest) OrderHash(ca string, kt KeyType) string {
	ids := make([]string, len(r.Identifiers))
	for i, id := range r.Identifiers {
		ids[i] = id.Type + ":" + id.Value
	}
	slices.Sort(ids)
	key := r.Key
	if key.Mode == "" {
		key.Mode = KeyNew
	}
	b, err := json.Marshal([]any{"ask1", ca, r.Account, ids, kt, r.Profile, r.RequireProfile, int64(r.Lifetime / time.Second), key.Mode, key.Given, r.CSR})
	if err != nil {
		panic(fmt.Sprintf("ask of plain data: %v", err)) // strings and numbers always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func joinKeyTypes(kts []KeyType) string {
	words := make([]string, len(kts))
	for i, kt := range kts {
		words[i] = string(kt)
	}
	return strings.Join(words, ", ")
}
