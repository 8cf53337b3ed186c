package solve

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// alpnProtocol is the only protocol that a validating CA offers: RFC 8737
// section 6.2.
const alpnProtocol = "acme-tls/1"

// TLSALPNConfig holds the options of [NewTLSALPN].
type TLSALPNConfig struct {
	_    struct{} `help:"answers tls-alpn-01 challenges itself, on a port that it opens while challenges stand"`
	Addr string   `json:"addr" help:"the address to listen on; without a host, all IPv4 and IPv6 addresses; the CA always connects to port 443" default:":443"`
}

// NewTLSALPN returns a Solver for tls-alpn-01 that listens itself, from the
// first Present until the last challenge is cleaned up. Use one for all orders
// that share the address. It implements inkan.Waiter and inkan.Witness.
//
// Only validations are answered: others get an alert, a connection lives at
// most 10 s, and nothing follows the handshake. A program that serves TLS on
// port 443 itself uses [TLSALPN] instead.
func NewTLSALPN(env plug.Env, cfg TLSALPNConfig) (inkan.Solver, error) {
	plug.Defaults(&cfg)
	proofs := new(TLSALPN)
	s := &tlsALPN{proofs: proofs, listening: listening{
		memory:    proofs,
		challenge: inkan.TLSALPN01,
		flag:      "tls-alpn",
		instead:   "a server that speaks TLS there already can only be left running if it passes connections with the protocol acme-tls/1 on to another port; else validate by http-01 or dns-01",
		usual:     "443",
		log:       env.Logger(),
	}}
	s.newServer = func() server { return newHandshaker(proofs.validation(), s.log) }
	return s, s.at(cfg.Addr)
}

type tlsALPN struct {
	listening
	proofs *TLSALPN
}

// Wait implements inkan.Waiter.
func (s *tlsALPN) Wait(ctx context.Context, challenges []inkan.Challenge) error {
	return s.proofs.Wait(ctx, challenges)
}

// TLSALPN is a Solver for tls-alpn-01 (RFC 8737, and RFC 8738 for addresses)
// that answers within the TLS server of a program: [TLSALPN.Config] or
// [TLSALPN.Serve] lets it see the handshakes.
//
//	var proofs solve.TLSALPN
//	server := &http.Server{TLSConfig: &tls.Config{GetCertificate: certificates.GetCertificate}}
//	proofs.Serve(server)
//
// A name can show one proof at a time. Orders that need the same name at once
// wait for each other, in Wait, until the proof before theirs is cleaned up.
//
// Its zero value is ready, and its methods may be called concurrently; do not
// change Store once it is in use. It implements inkan.Waiter and inkan.Witness.
type TLSALPN struct {
	// Store lets every node of a cluster answer for every other: each runs a
	// TLSALPN over the same Store. What is presented stands there below
	// tls-alpn-01/, without secrets, so a node needs to read no more than
	// that. Nil: only this process answers.
	Store inkan.Store

	mu    sync.Mutex
	shown map[string][]*alpnProof // by server name; the first is shown, the others wait

	once  sync.Once
	reads chan struct{} // bounds the readings of the Store at once
}

// alpnProof is one challenge at its name.
type alpnProof struct {
	keyAuth string
	cert    *tls.Certificate
	held    bool          // the slot in the Store is ours
	turn    chan struct{} // closed when it is the first
	seen    chan struct{} // closed when the certificate was asked for
	asked   sync.Once
}

// Present implements inkan.Solver.
func (t *TLSALPN) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkAll(inkan.TLSALPN01, challenges); err != nil {
		return nil, err
	}
	// One lock covers all names, so of two orders the same one is first at
	// every name they share, and they cannot wait for each other.
	if first, err := t.enqueue(challenges); err != nil || !first || t.Store == nil {
		return nil, err
	}
	_, err := t.take(ctx, challenges)
	return nil, err
}

// enqueue makes a proof for each challenge that has none, and reports whether
// each is the first at its name.
func (t *TLSALPN) enqueue(challenges []inkan.Challenge) (first bool, err error) {
	made := make([]*alpnProof, len(challenges))
	names := map[string]bool{}
	for i, c := range challenges {
		if name := serverName(c.Identifier); names[name] {
			return false, inkan.Errorf(inkan.Bug, "tls-alpn-01 for "+c.Identifier.Value, "one order wants two proofs at once")
		} else {
			names[name] = true
		}
		cert, err := challengeCertificate(c.Identifier, c.KeyAuthorization)
		if err != nil {
			return false, inkan.Errorf(inkan.Bug, "tls-alpn-01 for "+c.Identifier.Value, "its certificate: %w", err)
		}
		made[i] = &alpnProof{keyAuth: c.KeyAuthorization, cert: cert, turn: make(chan struct{}), seen: make(chan struct{})}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shown == nil {
		t.shown = map[string][]*alpnProof{}
	}
	first = true
	for i, c := range challenges {
		name := serverName(c.Identifier)
		if t.find(c) == nil {
			t.shown[name] = append(t.shown[name], made[i])
			t.advance(name)
		}
		first = first && t.shown[name][0].keyAuth == c.KeyAuthorization
	}
	return first, nil
}

// find returns the proof of c. t.mu is held.
func (t *TLSALPN) find(c inkan.Challenge) *alpnProof {
	for _, p := range t.shown[serverName(c.Identifier)] {
		if p.keyAuth == c.KeyAuthorization {
			return p
		}
	}
	return nil
}

// advance tells the first in the line of name that its turn has come. t.mu is
// held.
func (t *TLSALPN) advance(name string) {
	if line := t.shown[name]; len(line) > 0 {
		select {
		case <-line[0].turn:
		default:
			close(line[0].turn)
		}
	}
}

// Wait implements inkan.Waiter: it returns when the proofs are the ones shown.
func (t *TLSALPN) Wait(ctx context.Context, challenges []inkan.Challenge) error {
	limited, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	for _, c := range challenges {
		t.mu.Lock()
		p := t.find(c)
		t.mu.Unlock()
		if p == nil {
			return inkan.Errorf(inkan.Bug, "tls-alpn-01 for "+inkan.Printable(c.Identifier.Value, 80), "it is waited for, but not presented")
		}
		select {
		case <-p.turn:
		case <-limited.Done():
			return notOurTurn(ctx, c.Identifier.Value)
		}
	}
	if t.Store == nil {
		return nil
	}
	return t.takeAll(ctx, limited, challenges)
}

// notOurTurn is the error of waiting too long.
func notOurTurn(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return inkan.Errorf(inkan.Temporary, "tls-alpn-01 for "+inkan.Printable(name, 80), "another order has shown its proof for this name for %v, and only one can be shown at a time", turnTime)
}

// CleanUp implements inkan.Solver.
func (t *TLSALPN) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	err := t.release(ctx, challenges) // before another order of this process takes the slot
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range challenges {
		name := serverName(c.Identifier)
		var left []*alpnProof
		for _, p := range t.shown[name] {
			if p.keyAuth != c.KeyAuthorization {
				left = append(left, p)
			}
		}
		if len(left) == 0 {
			delete(t.shown, name)
			continue
		}
		t.shown[name] = left
		t.advance(name)
	}
	return err
}

// Seen implements inkan.Witness: the channel is closed when somebody, the CA
// most likely, has asked for the proof. It is nil for a challenge that is not
// presented here, and with a Store, as the CA may meet another node.
func (t *TLSALPN) Seen(c inkan.Challenge) <-chan struct{} {
	if t.Store != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.find(c); p != nil {
		return p.seen
	}
	return nil
}

// idle reports whether nothing is presented.
func (t *TLSALPN) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.shown) == 0
}

// Config returns base with one change: handshakes that offer the protocol
// acme-tls/1 and no other get the proof for their server name, or an alert. They
// have a configuration of their own, without base's client certificates and
// session tickets. After such a handshake the server must not speak: close the
// connection when its NegotiatedProtocol is acme-tls/1. [TLSALPN.Serve] does
// that for an http.Server.
func (t *TLSALPN) Config(base *tls.Config) *tls.Config {
	config := base.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	next, validation := config.GetConfigForClient, t.validation()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if isValidation(hello) {
			return validation, nil
		}
		if next != nil {
			return next(hello)
		}
		return nil, nil
	}
	return config
}

// Serve makes h answer validations: its TLSConfig becomes that of
// [TLSALPN.Config], and connections that are validations are closed after the
// handshake. Call it before h serves.
func (t *TLSALPN) Serve(h *http.Server) {
	h.TLSConfig = t.Config(h.TLSConfig)
	if h.TLSNextProto == nil {
		// An entry in TLSNextProto alone would switch HTTP/2 off.
		if h.Protocols == nil {
			h.Protocols = new(http.Protocols)
			h.Protocols.SetHTTP1(true)
			h.Protocols.SetHTTP2(true)
		}
		h.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	h.TLSNextProto[alpnProtocol] = func(_ *http.Server, c *tls.Conn, _ http.Handler) { c.Close() }
}

// validation is the configuration of handshakes that are validations.
func (t *TLSALPN) validation() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12, // RFC 8737 section 4
		NextProtos:             []string{alpnProtocol},
		GetCertificate:         t.certificate,
		SessionTicketsDisabled: true,
	}
}

func isValidation(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == alpnProtocol
}

// certificate returns the certificate that proves control over the server name
// of a validation. Without one the client gets the alert unrecognized_name.
func (t *TLSALPN) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !isValidation(hello) || name == "" {
		return nil, nil
	}
	t.mu.Lock()
	line := t.shown[name]
	t.mu.Unlock()
	if len(line) > 0 && (t.Store == nil || t.holds(line[0])) {
		line[0].asked.Do(func() { close(line[0].seen) })
		return line[0].cert, nil
	}
	if t.Store == nil {
		return nil, nil
	}
	return t.stored(hello.Context(), name)
}

func (t *TLSALPN) holds(p *alpnProof) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.held
}
