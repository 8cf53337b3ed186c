package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
)

// alpnProtocol is what a CA offers to validate tls-alpn-01 (RFC 8737).
const alpnProtocol = "acme-tls/1"

// lookALPN looks for the proof of a tls-alpn-01 challenge at each address.
func (x *examination) lookALPN(ctx context.Context, c inkan.Challenge, addrs []netip.Addr) []Finding {
	return x.lookAround(ctx, c.Identifier.Value, addrs, port{number: 443, unreachable: "port443-unreachable", wrong: "alpn-not-served",
		look: func(ctx context.Context, addr netip.Addr) outcome { return x.shake(ctx, c, addr) }})
}

// shake makes one handshake as a CA does.
func (x *examination) shake(ctx context.Context, c inkan.Challenge, addr netip.Addr) outcome {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	o := outcome{addr: addr}
	at := "port 443 of " + addr.String()
	raw, err := x.connect(ctx, addr, "443")
	if err != nil {
		o.noRoute = addr.Is6() && unroutable(err)
		o.said = at + ": " + connectWords(err)
		return o
	}
	defer raw.Close()
	o.reached = true
	conn := tls.Client(raw, &tls.Config{
		ServerName:         validationName(c.Identifier),
		NextProtos:         []string{alpnProtocol},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // the certificate signs itself; what counts is its extension
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		o.said = at + " ends the handshake: " + connectWords(err)
		return o
	}
	state := conn.ConnectionState()
	switch {
	case state.NegotiatedProtocol != alpnProtocol:
		o.said = at + " does not speak the protocol acme-tls/1"
	case !proves(state, c.KeyAuthorization):
		o.said = fmt.Sprintf("%s answers acme-tls/1 with the proof of somebody else (certificate for %s)", at,
			inkan.Printable(strings.Join(state.PeerCertificates[0].DNSNames, ", "), 200))
	default:
		o.served = true
	}
	return o
}

// proves reports whether the certificate shown holds the hash of keyAuth in the
// extension acmeIdentifier (RFC 8737 section 3).
func proves(state tls.ConnectionState, keyAuth string) bool {
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	want := sha256.Sum256([]byte(keyAuth))
	for _, e := range state.PeerCertificates[0].Extensions {
		var got []byte
		if e.Id.Equal(oid) {
			rest, err := asn1.Unmarshal(e.Value, &got)
			return err == nil && len(rest) == 0 && string(got) == string(want[:])
		}
	}
	return false
}

// validationName is the server name that a CA sends (RFC 8738 section 6).
func validationName(id inkan.Identifier) string {
	if id.Type != inkan.IP {
		return id.Value
	}
	name, err := dns.ReverseAddr(id.Value)
	if err != nil {
		return id.Value // no such identifier passes the request's check
	}
	return undotted(name)
}
