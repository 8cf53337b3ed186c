package config

import (
	"slices"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Account is what the file says about one account at one CA.
type Account struct {
	Name       string
	Emails     []string
	AgreeTerms bool
	Key        inkan.KeyType
	EAB        *EAB // nil: none
}

// EAB is an external account binding (RFC 8555 section 7.3.4).
type EAB struct {
	KeyID   string
	HMACKey plug.Secret // in base64url
	Alg     string      // HS256, HS384 or HS512
}

// Account returns the settings of the account name at a CA. secret reads the
// HMAC key if it is in a file or the environment. An account that the file
// does not define has no e-mail address and has agreed to nothing.
func (c *Config) Account(name, ca string, secret func(plug.SecretSource) (string, error)) (Account, error) {
	e, ok := c.doc.Accounts.find(name)
	if !ok {
		return Account{Name: name, Key: inkan.ECDSAP256}, nil
	}
	return decodeAccount(e, ca, plug.Resolver{Secret: secret})
}

// decodeAccount reads an account with what is different at one CA.
func decodeAccount(e entry, ca string, r plug.Resolver) (Account, error) {
	var a account
	var problems plug.Problems
	if err := e.node.Decode(r)(&a); err != nil {
		problems.AddError(e.node.Pos, "accounts."+e.name, err)
		return Account{}, problems.Err()
	}
	s := a.accountSettings
	path := "accounts." + e.name
	if special, ok := a.CAs.find(ca); ok {
		path += ".cas." + ca
		if err := overlay(special.node, e.node.Without("cas")).Decode(r)(&s); err != nil {
			problems.AddError(special.node.Pos, path, err)
			return Account{}, problems.Err()
		}
	}
	out := Account{Name: e.name, Emails: s.Email.texts(), AgreeTerms: s.AgreeTerms}
	for _, w := range s.Email {
		if err := email(w.text); err != nil {
			problems.AddError(w.pos, path+".email", err)
		}
	}
	var err error
	if out.Key, err = inkan.ParseKeyType(s.Key.text); err != nil {
		problems.AddError(s.Key.pos, path+".key", err)
	}
	if b := s.EAB; b != nil {
		algs := []string{"HS256", "HS384", "HS512"}
		if !slices.Contains(algs, b.Alg.text) {
			problems.Add(b.Alg.pos, path+".eab.alg", "%s", plug.Unknown("MAC algorithm", b.Alg.text, algs))
		}
		out.EAB = &EAB{b.KeyID, b.HMACKey, b.Alg.text}
	}
	return out, problems.Err()
}

func (l *loader) accounts() {
	for _, e := range l.c.doc.Accounts {
		_, err := decodeAccount(e, "", l.resolver)
		l.add("", e.node, err)
		var a account
		if err != nil || e.node.Decode(l.resolver)(&a) != nil {
			continue
		}
		for _, special := range a.CAs {
			if !l.refer(word{special.name, special.pos}, "accounts."+e.name+".cas", "CA", l.known.cas) {
				continue
			}
			_, err := decodeAccount(e, special.name, l.resolver)
			l.add("", special.node, err)
		}
	}
}

// overlay returns the map special with those keys of base that it lacks.
// Whatever is no map is returned as it is, to be refused when it is decoded.
func overlay(special, base *plug.Node) *plug.Node {
	fields, ok := special.Value.([]plug.Field)
	if !ok || base == nil {
		return special
	}
	more, _ := base.Value.([]plug.Field)
	merged := slices.Clone(fields)
	for _, f := range more {
		if special.Get(f.Key) == nil {
			merged = append(merged, f)
		}
	}
	return &plug.Node{Pos: special.Pos, Value: merged}
}
