package solve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// oidACMEIdentifier is id-pe-acmeIdentifier, RFC 8737 section 3.
func oidACMEIdentifier() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
}

// challengeCertificate makes the self-signed certificate of RFC 8737 section
// 3: for exactly the identifier, with the hash of the key authorization in a
// critical extension. Nobody reads its dates, but they cover a clock that is
// off by a day.
func challengeCertificate(id inkan.Identifier, keyAuth string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(keyAuth))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		Subject:         pkix.Name{CommonName: "ACME challenge"},
		NotBefore:       now.Add(-24 * time.Hour),
		NotAfter:        now.Add(7 * 24 * time.Hour),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{{Id: oidACMEIdentifier(), Critical: true, Value: value}},
	}
	if id.Type == inkan.IP {
		addr, err := netip.ParseAddr(id.Value)
		if err != nil {
			return nil, err
		}
		template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
	} else {
		template.DNSNames = []string{id.Value}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

const (
	reverse4 = ".in-addr.arpa"
	reverse6 = ".ip6.arpa"
)

// serverName returns what a CA sends as server name to validate id: the name,
// or for an address its name in the reverse DNS (RFC 8738 section 6).
func serverName(id inkan.Identifier) string {
	addr, err := netip.ParseAddr(id.Value)
	if id.Type != inkan.IP || err != nil {
		return strings.ToLower(id.Value)
	}
	raw := addr.AsSlice()
	var labels []string
	suffix := reverse6
	if addr.Is4() {
		suffix = reverse4
		for _, b := range raw {
			labels = append(labels, strconv.Itoa(int(b)))
		}
	} else {
		labels = strings.Split(hex.EncodeToString(raw), "")
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".") + suffix
}

// identifierOf is the inverse of serverName. ok is false for what no CA sends.
func identifierOf(server string) (id inkan.Identifier, ok bool) {
	if name, isReverse := strings.CutSuffix(server, reverse4); isReverse {
		labels := strings.Split(name, ".")
		slices.Reverse(labels)
		id = inkan.Identifier{Type: inkan.IP, Value: strings.Join(labels, ".")}
	} else if name, isReverse := strings.CutSuffix(server, reverse6); isReverse {
		labels := strings.Split(name, ".")
		slices.Reverse(labels)
		raw, err := hex.DecodeString(strings.Join(labels, ""))
		addr, fits := netip.AddrFromSlice(raw)
		if err != nil || !fits {
			return id, false
		}
		id = inkan.Identifier{Type: inkan.IP, Value: addr.String()}
	} else {
		id = inkan.Identifier{Type: inkan.DNS, Value: server}
	}
	canonical, err := inkan.ParseIdentifier(id.Value)
	return canonical, err == nil && canonical == id && !id.Wildcard() && serverName(canonical) == server
}
