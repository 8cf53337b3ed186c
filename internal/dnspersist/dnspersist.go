// Package dnspersist reads and writes the records of dns-persist-01: a TXT
// record that stands for as long as its owner wants and lets one account at one
// CA get certificates for a name.
//
// The format is that of draft-ietf-acme-dns-persist-01. The draft still moves
// (a hashed account URI is discussed), so everybody goes through [Format].
package dnspersist

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Label stands before the domain name of a record.
const Label = "_validation-persist"

// Record is what one record says.
type Record struct {
	Issuer   string    // the CA's issuer domain name, in lower case
	Account  string    // the account's URL
	Wildcard bool      // wildcard names too (policy=wildcard)
	Until    time.Time // no validation after it; zero: no end
}

// Allows reports whether r lets the account get a certificate for the name, or
// for its wildcard, at t; if not, why.
func (r Record) Allows(account string, wildcard bool, t time.Time) error {
	switch {
	case r.Account != account:
		return errors.New("it is for another account")
	case wildcard && !r.Wildcard:
		return errors.New("it allows no wildcard; it lacks policy=wildcard")
	case !r.Until.IsZero() && t.After(r.Until):
		return fmt.Errorf("it ran out on %s", r.Until.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return nil
}

// Format is one version of the record's form.
type Format interface {
	Name() string                       // of the draft
	Value(Record) string                // the value of the TXT record
	Parse(value string) (Record, error) // what is not for this format is an error
}

// Current is the format that CAs read today.
func Current() Format { return draft01{} }

// draft01 is draft-ietf-acme-dns-persist-01 section 4: the issue-value syntax of
// RFC 8659.
type draft01 struct{}

func (draft01) Name() string { return "draft-ietf-acme-dns-persist-01" }

func (draft01) Value(r Record) string {
	v := r.Issuer + "; accounturi=" + r.Account
	if r.Wildcard {
		v += "; policy=wildcard"
	}
	if !r.Until.IsZero() {
		v += "; persistUntil=" + strconv.FormatInt(r.Until.Unix(), 10)
	}
	return v
}

// maxValue bounds a record that is read.
const maxValue = 4 << 10

func (draft01) Parse(value string) (Record, error) {
	var r Record
	if len(value) > maxValue {
		return r, fmt.Errorf("it is longer than %d bytes", maxValue)
	}
	// RFC 8659 section 4.2 allows printable ASCII only. Folding the case of more
	// would make one domain name of two: strings.ToLower maps U+212A to k.
	if i := strings.IndexFunc(value, func(c rune) bool { return c != '\t' && (c < ' ' || c > '~') }); i >= 0 {
		return r, fmt.Errorf("byte %d is no printable ASCII", i+1)
	}
	issuer, rest, _ := strings.Cut(value, ";")
	r.Issuer = strings.TrimSuffix(strings.ToLower(strings.Trim(issuer, " \t")), ".")
	if r.Issuer == "" || strings.ContainsAny(r.Issuer, " \t=") || strings.HasSuffix(r.Issuer, ".") {
		return r, errors.New("it begins with no issuer domain name")
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(rest, ";") {
		if part = strings.Trim(part, " \t"); part == "" {
			continue
		}
		tag, v, ok := strings.Cut(part, "=")
		tag, v = strings.ToLower(strings.TrimRight(tag, " \t")), strings.TrimLeft(v, " \t")
		if !ok || tag == "" {
			return r, errors.New("a parameter is not written as name=value")
		}
		if seen[tag] {
			return r, fmt.Errorf("the parameter %q stands there twice", tag)
		}
		seen[tag] = true
		switch tag {
		case "accounturi":
			r.Account = v
		case "policy":
			r.Wildcard = strings.EqualFold(v, "wildcard")
		case "persistuntil":
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || n < 0 || n > 1<<40 {
				return r, errors.New("persistUntil is not a number of seconds since 1970")
			}
			r.Until = time.Unix(n, 0).UTC()
		}
	}
	if r.Account == "" {
		return r, errors.New("it names no account (accounturi)")
	}
	return r, nil
}
