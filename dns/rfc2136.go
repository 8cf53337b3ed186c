package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/plug"
)

// RFC2136Config holds the options of [RFC2136].
type RFC2136Config struct {
	_         struct{}      `help:"changes records at any server that takes DNS updates, such as BIND, Knot, PowerDNS and Windows"`
	Server    string        `json:"server" help:"the primary server of the zones: host or host:port" required:"true"`
	Key       string        `json:"key" help:"the name of the TSIG key; without it updates are not signed, and the server must know this machine by its address"`
	Algorithm string        `json:"algorithm" help:"of the key: hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512" default:"hmac-sha256"`
	Secret    plug.Secret   `json:"secret" help:"the key itself, in base64 as tsig-keygen prints it"`
	Timeout   plug.Duration `json:"timeout" help:"how long the server may take for an answer" default:"15s"`
}

// Check refuses what the tags cannot.
func (c *RFC2136Config) Check() error {
	fail := func(format string, args ...any) error { return inkan.Errorf(inkan.Operator, "", format, args...) }
	if c.Server != "" {
		if err := dnslookup.CheckServer(c.Server); err != nil {
			return err
		}
	}
	switch c.Algorithm {
	case "", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512":
	default:
		return fail("algorithm: %q is none of hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512", inkan.Printable(c.Algorithm, 40))
	}
	if (c.Key == "") != c.Secret.IsZero() {
		return fail("key and secret belong together: one of them is missing")
	}
	if _, ok := miekg.IsDomainName(c.Key); !ok && c.Key != "" {
		return fail("key: %q is not the name of a key", inkan.Printable(c.Key, 80))
	}
	return nil // the constructor checks the secret: Check does not read it
}

const (
	// defaultTTL is that of records without one: they live for minutes.
	defaultTTL = 60
	// maxUpdate bounds the records of one message, which holds 64 KB; a record
	// with the longest value takes about 2.5 KB.
	maxUpdate = 24
	tsigFudge = 300 // seconds that the clocks may differ, RFC 8945 section 10
)

// RFC2136 returns a DNSProvider that sends DNS updates (RFC 2136) to a server
// over TCP, signed by TSIG (RFC 8945). An update adds or deletes single
// records, so that other values stay and several processes may work at one
// name. The records of one call are changed together, 24 at a time.
func RFC2136(env plug.Env, c RFC2136Config) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Server == "" {
		return nil, inkan.Errorf(inkan.Operator, "rfc2136", "no server given")
	}
	if _, err := base64.StdEncoding.DecodeString(c.Secret.Reveal()); err != nil {
		return nil, inkan.Errorf(inkan.Operator, "rfc2136", "the secret of the key %s is not base64", inkan.Printable(c.Key, 80)).
			WithHint("copy it as tsig-keygen prints it")
	}
	if _, _, err := net.SplitHostPort(c.Server); err != nil {
		c.Server = net.JoinHostPort(strings.Trim(c.Server, "[]"), "53")
	}
	return &rfc2136{RFC2136Config: c, env: env}, nil
}

type rfc2136 struct {
	RFC2136Config
	env plug.Env
}

// AddTXT implements inkan.DNSProvider.
func (p *rfc2136) AddTXT(ctx context.Context, zoneName string, records []inkan.TXT) error {
	return p.update(ctx, zoneName, records, (*miekg.Msg).Insert)
}

// RemoveTXT implements inkan.DNSProvider.
func (p *rfc2136) RemoveTXT(ctx context.Context, zoneName string, records []inkan.TXT) error {
	return p.update(ctx, zoneName, records, (*miekg.Msg).Remove)
}

func (p *rfc2136) update(ctx context.Context, zoneName string, records []inkan.TXT, change func(*miekg.Msg, []miekg.RR)) error {
	z, records, err := checked(zoneName, records)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("updating the zone %s at %s", z.name, p.Server)
	for batch := range slices.Chunk(records, maxUpdate) {
		m := new(miekg.Msg).SetUpdate(z.name + ".")
		var rrs []miekg.RR
		for _, r := range batch {
			ttl := r.TTL
			if ttl == 0 {
				ttl = defaultTTL
			}
			rrs = append(rrs, dnslookup.NewTXT(r.Name, r.Value, uint32(ttl)))
		}
		change(m, rrs)
		if err := p.send(ctx, op, m); err != nil {
			return err
		}
	}
	return nil
}

// send sends one update and judges the answer.
func (p *rfc2136) send(ctx context.Context, op string, m *miekg.Msg) error {
	limited, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout))
	defer cancel()
	answer, err := p.exchange(limited, m)
	code, tsig := 0, tsigError(answer)
	if answer != nil {
		code = answer.Rcode
	}
	fail := func(kind inkan.Kind, format string, args ...any) *inkan.Error {
		return inkan.Errorf(kind, op, format, args...)
	}
	switch {
	case ctx.Err() != nil:
		return &inkan.Error{Op: op, Kind: inkan.KindOf(ctx.Err()), Err: ctx.Err()}
	case limited.Err() != nil:
		return fail(inkan.Temporary, "no answer within %v", p.Timeout)
	case tsig == miekg.RcodeBadKey:
		return fail(inkan.Operator, "the server does not know the key %s (BADKEY)", p.Key).
			WithHint("name and algorithm of the key must be those in the server's configuration")
	case tsig == miekg.RcodeBadSig:
		return fail(inkan.Operator, "the server's secret for the key %s is another one (BADSIG)", p.Key).
			WithHint("secret and algorithm of the key must be those in the server's configuration")
	case tsig == miekg.RcodeBadTime:
		return fail(inkan.Operator, "the clocks of the server and of this machine differ by more than %d s (BADTIME)", tsigFudge).
			WithHint("set both clocks, for instance by NTP")
	case tsig != 0:
		return fail(inkan.Operator, "the server did not accept the signature (%s)", dnslookup.CodeName(tsig))
	case answer == nil:
		if e, ok := errors.AsType[*net.OpError](err); ok {
			err = fmt.Errorf("%s: %w", e.Op, e.Err) // without the addresses, which stand before it
		}
		return fail(inkan.Temporary, "%w", err)
	case code == miekg.RcodeRefused:
		return fail(inkan.Operator, "the server refuses the update (REFUSED)").
			WithHint("the key must be allowed to change TXT records of the zone: see update-policy of BIND, acl of Knot, TSIG-ALLOW-DNSUPDATE of PowerDNS")
	case code == miekg.RcodeNotAuth && p.Key == "":
		return fail(inkan.Operator, "the server is not the primary of the zone, or takes signed updates only (NOTAUTH)").
			WithHint("give the zone's primary server, or a key")
	case code == miekg.RcodeNotAuth, code == miekg.RcodeNotZone:
		return fail(inkan.Operator, "the server does not serve the zone (%s)", dnslookup.CodeName(code)).
			WithHint("give the primary server of the zone")
	case code == miekg.RcodeNotImplemented:
		return fail(inkan.Operator, "the server takes no updates (NOTIMP)").WithHint("give the primary server of the zone")
	case code != miekg.RcodeSuccess:
		return fail(inkan.Temporary, "the server answered %s", dnslookup.CodeName(code))
	case err != nil: // a success that is not signed as it must be
		return fail(inkan.Temporary, "the server's answer cannot be trusted: %w", err)
	}
	return nil
}

// exchange sends one message over TCP. An answer comes with an error if its
// signature is missing or wrong.
func (p *rfc2136) exchange(ctx context.Context, m *miekg.Msg) (*miekg.Msg, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", p.Server)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	conn := &miekg.Conn{Conn: raw}
	if p.Key != "" {
		name := miekg.CanonicalName(p.Key)
		m.SetTsig(name, p.Algorithm+".", tsigFudge, p.env.Time().Unix())
		conn.TsigSecret = map[string]string{name: p.Secret.Reveal()}
	}
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	answer, err := conn.ReadMsg()
	if e, ok := errors.AsType[*miekg.Error](err); ok && (answer == nil || answer.IsTsig() == nil) {
		return nil, fmt.Errorf("its answer is garbled: %w", e)
	}
	switch {
	case err != nil && (answer == nil || answer.IsTsig() == nil):
		return nil, err
	case answer.Id != m.Id || !answer.Response || answer.Opcode != miekg.OpcodeUpdate:
		return nil, errors.New("the server answered something else")
	case err == nil && p.Key != "" && answer.IsTsig() == nil:
		err = errors.New("it is not signed")
	}
	return answer, err
}

// tsigError returns the error code in the answer's signature, 0 for none.
func tsigError(answer *miekg.Msg) int {
	if answer == nil {
		return 0
	}
	if t := answer.IsTsig(); t != nil {
		return int(t.Error)
	}
	return 0
}

var (
	_ inkan.DNSProvider = (*rfc2136)(nil)
	_ plug.Checker      = (*RFC2136Config)(nil)
)
