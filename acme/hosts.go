package acme

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/inkan-acme/inkan"
)

// hosts decides which URLs may be asked. A CA names nearly every URL that a
// client uses, so a broken or hostile one could make it ask anything.
type hosts struct {
	home    string   // host:port of the directory
	domain  string   // its registrable domain; "" for an address or a bare name
	allowed []string // host or host:port that the operator allowed besides
}

// newHosts returns the rule for a CA with this directory.
func newHosts(directory string, allowed []string) (hosts, error) {
	u, err := parseHTTPS(directory)
	if err != nil {
		return hosts{}, err
	}
	h := hosts{home: hostPort(u)}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		h.domain, _ = publicsuffix.EffectiveTLDPlusOne(strings.ToLower(u.Hostname()))
	}
	for _, a := range allowed {
		h.allowed = append(h.allowed, strings.ToLower(a))
	}
	return h, nil
}

// errBadURL marks a URL that may not be asked.
var errBadURL = errors.New("it is not asked")

// badURL is an error that is [errBadURL] and says why.
type badURL string

func (e badURL) Error() string        { return string(e) }
func (e badURL) Is(target error) bool { return target == errBadURL }

func badURLf(format string, args ...any) error { return badURL(fmt.Sprintf(format, args...)) }

// check returns nil if raw may be asked: HTTPS, and the directory's own host
// and port, or a host of the same registrable domain on that port or 443, or a
// host that the operator allowed.
func (h hosts) check(raw string) error {
	u, err := parseHTTPS(raw)
	if err != nil {
		return err
	}
	at := hostPort(u)
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return badURLf("the URL %s has no usable host", inkan.Printable(raw, 200))
	}
	if at == h.home || slices.Contains(h.allowed, host) || slices.Contains(h.allowed, at) {
		return nil
	}
	if h.domain != "" && (port == "443" || strings.HasSuffix(h.home, ":"+port)) {
		if d, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil && d == h.domain {
			return nil
		}
	}
	return badURLf("the URL %s is at another host than the directory (%s)", inkan.Printable(raw, 200), h.home)
}

func parseHTTPS(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > 4096:
		return nil, badURLf("%s is not a URL", inkan.Printable(raw, 200))
	case u.Scheme != "https":
		return nil, badURLf("the URL %s is not https", inkan.Printable(raw, 200))
	case u.Host == "" || u.Opaque != "":
		return nil, badURLf("the URL %s names no host", inkan.Printable(raw, 200))
	case u.User != nil || u.Fragment != "":
		return nil, badURLf("the URL %s has a user or a fragment, which no ACME URL has", inkan.Printable(raw, 200))
	}
	return u, nil
}

// hostPort returns the host and port of u, lower case, the port always there.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
