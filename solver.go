package inkan

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
)

// Solver shows the proof of control that a challenge asks for.
//
// Present makes all challenges visible and returns at once; slow parts belong
// in Wait. It is idempotent: presenting a challenge that is already presented is
// success. It returns one Undo for each challenge, or nil if clean-up needs none.
// After an error too, the caller calls CleanUp for every challenge that it gave to
// Present.
//
// CleanUp removes exactly what Present showed. It needs only the Challenges, so
// that it works in another process and after a crash. It may be called twice: to
// remove what is absent is success.
//
// When ctx has ended before a call, Present shows nothing and returns the error of
// ctx. The caller retries. All methods may be called concurrently, also for challenges
// of different orders at the same name.
type Solver interface {
	Present(ctx context.Context, challenges []Challenge) ([]Undo, error)
	CleanUp(ctx context.Context, challenges []Challenge) error
}

// Waiter is an optional ability of a Solver: Wait returns when the CA can see
// what was presented.
type Waiter interface {
	Wait(ctx context.Context, challenges []Challenge) error
}

// Witness is an optional ability of a Solver: the channel is closed when the
// CA has asked for the challenge, so that polling can begin. It is nil when
// the Solver cannot know that.
type Witness interface {
	Seen(c Challenge) <-chan struct{}
}

// Undo is what a Solver wants to be handed back for clean-up: opaque JSON of at
// most [MaxUndo] bytes, without secrets. It is journalled after Present.
type Undo = json.RawMessage

// MaxUndo is the size limit of an Undo in bytes: the journal of an order for a
// hundred names holds a hundred of them, and must fit into a value (see [Store]).
const MaxUndo = 1 << 10

// Challenge is one challenge of one authorization. It holds all that is needed
// to show and to remove the proof.
type Challenge struct {
	Solver     string     `json:"solver"`     // the name of the solver that was chosen
	Type       string     `json:"type"`       // "http-01", "dns-01" ...
	Identifier Identifier `json:"identifier"` // without the "*." of a wildcard
	Wildcard   bool       `json:"wildcard,omitempty"`
	URL        string     `json:"url"`           // the challenge's URL at the CA
	Authz      string     `json:"authorization"` // the authorization's URL at the CA
	// Token is checked with [IsToken]. dns-persist-01 has none.
	Token string `json:"token,omitempty"`
	// KeyAuthorization is token + "." + thumbprint of the account key (RFC
	// 8555 section 8.1). It is public once presented.
	KeyAuthorization string `json:"key_authorization,omitempty"`
	// Account is the account's URL at the CA. It is set for the types whose
	// proof names the account: dns-account-01 and dns-persist-01.
	Account string `json:"account,omitempty"`
	// Issuers are the issuer domain names of which a dns-persist-01 record may
	// name one. They come from the CA and are checked to be domain names.
	Issuers []string `json:"issuers,omitempty"`
	Undo    Undo     `json:"undo,omitempty"`
}

// IsToken reports whether s can be the token of a challenge: 22 characters of
// base64url at least, which is 128 bits (RFC 8555 section 8.1), and 255 at most,
// because it becomes the name of a file.
func IsToken(s string) bool { return len(s) >= 22 && len(s) <= 255 && IsBase64URL(s) }

// IsBase64URL reports whether s is one or more characters of base64url without
// padding (RFC 4648 section 5).
func IsBase64URL(s string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return s != "" && strings.Trim(s, alphabet) == ""
}

// The challenge types.
const (
	HTTP01    = "http-01"
	TLSALPN01 = "tls-alpn-01"
	DNS01     = "dns-01"
	// DNSAccount01 is of draft-ietf-acme-dns-account-label, DNSPersist01 of
	// draft-ietf-acme-dns-persist.
	DNSAccount01 = "dns-account-01"
	DNSPersist01 = "dns-persist-01"
)

// DNSAccountLabel returns what stands before a domain name in the record of
// dns-account-01, for the account with this URL: "_ujmmovf2vn55tgye._acme-challenge"
// (draft-ietf-acme-dns-account-label section 3.2).
func DNSAccountLabel(account string) string {
	sum := sha256.Sum256([]byte(account))
	return "_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])) + "._acme-challenge"
}
