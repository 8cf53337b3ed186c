package inkan

import (
	"context"
	"crypto/x509"
	"time"
)

// MaxSkew is how far this machine's clock may be off before decisions are made
// by the CA's. Certificates live for days or months, so an hour matters to none.
const MaxSkew = time.Hour

// Issuer is a certificate authority together with an account at it.
//
// Issue makes one order and gets one certificate for one key type. It keeps
// the journal ahead of every request that needs it (design law 2): the order
// URL is journalled before anything is asked about the order, every challenge
// before it is presented, the undo information after, and the CSR (by calling
// IssueRequest.CSR, which journals key and CSR) before finalize. If the journal
// already names an order, Issue goes on with that order and its CSR; it opens
// a new one only when the journal names none. An order that the CA no longer
// carries is an error of kind Rejected that wraps [ErrOrderDead].
//
// The names to order are those of the journal. Control over each is shown in the
// first of its [Ways] that the CA offers and whose Solver works: a Solver that
// fails before the CA validates is an error only if no other way is left.
//
// A [RefusedError] says what the CA refused. An error in which the CA had no part
// wraps [ErrOurSide]. An error because the CA was out of service wraps
// [ErrNoService]. An error because the CA refused the key wraps [ErrKeyRefused].
//
// Issue retries only badNonce (RFC 8555 section 6.5) and returns every other
// error. Polling is part of the order, not a retry. Issue may be called
// concurrently for different journals. After a crash, call it again with the same
// journal. The caller checks the returned chains.
type Issuer interface {
	Issue(ctx context.Context, r IssueRequest) (*Issued, error)
}

// RenewalInformer is an optional ability of an Issuer: the ACME renewal
// information of RFC 9773 for a leaf.
type RenewalInformer interface {
	RenewalInfo(ctx context.Context, leaf *x509.Certificate) (*RenewalInfo, error)
}

// Revoker is an optional ability of an Issuer. key is nil to sign with the
// account key, else the certificate's own key (RFC 8555 section 7.6). A
// certificate that is revoked already is success.
type Revoker interface {
	Revoke(ctx context.Context, leaf *x509.Certificate, reason RevocationReason, key *PrivateKey) error
}

// SkewMeter is an optional ability of an Issuer: it compares this machine's clock
// with the CA's. ClockSkew sends no request: it returns by how much the CA's clock
// was ahead when the CA last answered; ok is false before the first answer. While
// the skew is larger than [MaxSkew], instants in the Issuer's errors and answers
// are by the CA's clock. Safe for concurrent use.
type SkewMeter interface {
	ClockSkew() (skew time.Duration, ok bool)
}

// ErrOrderDead marks an order that can no longer lead to a certificate:
// invalid, expired or unknown to the CA.
var ErrOrderDead = errorString("the order can no longer be completed")

// ErrOurSide marks an error of an Issuer in which no CA had a part: a Solver
// could not show a proof, or the journal could not be written. Another CA would
// not help.
var ErrOurSide = errorString("the fault is on this side")

// ErrNoService marks an error of an Issuer whose CA could not be reached, or
// answered with a failure of its own (5xx). Such an outage ends for all of the
// CA's certificates at the same time.
var ErrNoService = errorString("the CA gave no service")

// ErrKeyRefused marks an error of an Issuer whose CA refused the certificate
// request, or the key in it: it may stand on a list of compromised keys.
var ErrKeyRefused = errorString("the CA refused the key")

type errorString string

func (e errorString) Error() string { return string(e) }

// IssueRequest is what an Issuer needs for one order.
type IssueRequest struct {
	Request CertificateRequest
	KeyType KeyType
	// CSR journals the key and the CSR, then returns the CSR in DER. It may
	// be called at any time before finalize, also while the order waits, and
	// returns the same bytes each time. It is safe to call while the journal
	// is being updated elsewhere.
	CSR      func(ctx context.Context) ([]byte, error)
	Solvers  map[string]Solver // by the names used in Request.Validations
	Refusals []Refusal         // what CAs refused of late; see Ways
	Limiter  Limiter           // never nil
	Journal  Journal           // never nil
	Replaces *x509.Certificate // the leaf that this order replaces, or nil; a hint (RFC 9773 section 5)
	// AfterOutage says that this certificate and many others last failed with
	// [ErrNoService] at this CA, so that the Issuer spreads its first requests.
	AfterOutage bool
	// Progress, if not nil, is told the steps. It must return at once.
	Progress func(step string)
}

// Issued holds the chains that the CA offered, its default first. Each is a PEM
// bundle with the leaf first. They are unchecked.
type Issued struct {
	Chains [][]byte
}

// RenewalInfo is the CA's advice on when to renew (RFC 9773 section 4.2).
type RenewalInfo struct {
	Start, End     time.Time // the suggested window
	ExplanationURL string    // may be empty; only ever shown
	RetryAfter     time.Time // when to look again; zero when the CA did not say. Not clamped
}

// RevocationReason is a CRL reason code of RFC 5280 section 5.3.1.
type RevocationReason int

// The reasons that ACME CAs accept from subscribers.
const (
	Unspecified          RevocationReason = 0
	KeyCompromise        RevocationReason = 1
	AffiliationChanged   RevocationReason = 3
	Superseded           RevocationReason = 4
	CessationOfOperation RevocationReason = 5
)
