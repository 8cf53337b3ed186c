package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan"
)

// What a CA allows a web server: Let's Encrypt follows ten redirects and takes
// ten seconds.
const (
	maxRedirects = 10
	probeTime    = 10 * time.Second
	maxBody      = 1 << 10
	shownBody    = 80
)

// lookHTTP fetches the answer of an http-01 challenge from each address.
func (x *examination) lookHTTP(ctx context.Context, c inkan.Challenge, addrs []netip.Addr) []Finding {
	return x.lookAround(ctx, c.Identifier.Value, addrs, port{number: 80, unreachable: "port80-unreachable", wrong: "webroot-not-served",
		look: func(ctx context.Context, addr netip.Addr) outcome { return x.fetch(ctx, c, addr) }})
}

// fetch asks for the answer of c at one address of its name, and where the
// redirects lead from there.
func (x *examination) fetch(ctx context.Context, c inkan.Challenge, addr netip.Addr) outcome {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	f := &fetching{x: x, host: c.Identifier.Value, addr: addr, token: c.Token}
	host := f.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	next := "http://" + host + "/.well-known/acme-challenge/" + c.Token
	for {
		if slices.Contains(f.chain, next) || len(f.chain) > maxRedirects {
			f.chain = append(f.chain, next)
			return f.wrong("redirect-loop", f.way())
		}
		f.chain = append(f.chain, next)
		status, body, location, err := f.get(ctx, next)
		if err != nil {
			return f.failed(err)
		}
		if !redirects(status) || location == "" {
			if status == http.StatusOK && string(bytes.TrimRight(body, " \t\r\n")) == c.KeyAuthorization {
				return outcome{addr: addr, served: true}
			}
			return f.other(status, body)
		}
		if next, err = follow(next, location); err != nil {
			return f.wrong("redirect-refused", fmt.Sprintf("%s answers with a redirect to %s: %v", f.way(), inkan.Printable(location, 200), err))
		}
	}
}

// fetching is one fetch with its redirects.
type fetching struct {
	x       *examination
	host    string // whose address is given
	addr    netip.Addr
	token   string
	chain   []string
	reached bool // the first server answered a connection
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow returns where a redirect leads, if a CA goes there.
func follow(from, location string) (string, error) {
	base, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	to, err := base.Parse(location)
	switch {
	case err != nil:
		return "", errors.New("it is no URL")
	case to.Scheme != "http" && to.Scheme != "https":
		return "", fmt.Errorf("the scheme %s is neither http nor https", inkan.Printable(to.Scheme, 40))
	case to.Hostname() == "":
		return "", errors.New("it names no host")
	case to.Port() != "" && to.Port() != "80" && to.Port() != "443":
		return "", fmt.Errorf("port %s is neither 80 nor 443", inkan.Printable(to.Port(), 10))
	}
	to.Fragment, to.User = "", nil
	next := to.String()
	if _, err := url.Parse(next); err != nil {
		return "", errors.New("it is no URL")
	}
	return next, nil
}

func (f *fetching) get(ctx context.Context, target string) (status int, body []byte, location string, err error) {
	transport := &http.Transport{
		DialContext:            f.dial,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, // as CAs do: the token is the proof
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("User-Agent", "inkan doctor")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil && len(body) == 0 {
		return 0, nil, "", err
	}
	return resp.StatusCode, body, resp.Header.Get("Location"), nil
}

// dial connects to the given address of the name, or to one of another name.
func (f *fetching) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{f.addr}
	if !strings.EqualFold(host, f.host) {
		if addr, err := netip.ParseAddr(host); err == nil {
			addrs = []netip.Addr{addr}
		} else if addrs, _ = f.x.addresses(ctx, host, host); len(addrs) == 0 {
			return nil, fmt.Errorf("%s: %w", inkan.Printable(host, 260), errNoAddress)
		}
	}
	for _, addr := range addrs {
		var conn net.Conn
		if conn, err = f.x.connect(ctx, addr, number); err == nil {
			f.reached = true
			return conn, nil
		}
	}
	return nil, err
}

// connect connects to a port of an address; port 80 and 443 stand for those at
// which the CA looks.
func (x *examination) connect(ctx context.Context, addr netip.Addr, number string) (net.Conn, error) {
	switch {
	case number == "80" && x.HTTPPort != 0:
		number = fmt.Sprint(x.HTTPPort)
	case number == "443" && x.TLSPort != 0:
		number = fmt.Sprint(x.TLSPort)
	}
	dial := x.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return dial(ctx, "tcp", net.JoinHostPort(addr.String(), number))
}

// way is the chain of URLs, the token shortened.
func (f *fetching) way() string {
	short := make([]string, len(f.chain))
	for i, u := range f.chain {
		short[i] = inkan.Printable(strings.ReplaceAll(u, f.token, f.token[:6]+".."), 160)
	}
	return strings.Join(short, " -> ") + " (" + f.addr.String() + ")"
}

func (f *fetching) wrong(kind, seen string) outcome {
	return outcome{addr: f.addr, reached: true, wrong: []Finding{findingOf(kind, f.host, seen, "")}}
}

// other is the outcome of an answer that is not the proof. What another host
// said is not shown: a redirect may lead to one that only this machine sees
// (reliability H08).
func (f *fetching) other(status int, body []byte) outcome {
	if last, err := url.Parse(f.chain[len(f.chain)-1]); err != nil || !strings.EqualFold(last.Hostname(), f.host) {
		return outcome{addr: f.addr, reached: true, said: fmt.Sprintf("%s answers %d, and not with the proof", f.way(), status)}
	}
	text := strings.Join(strings.Fields(string(body)), " ")
	return outcome{addr: f.addr, reached: true, said: fmt.Sprintf("%s answers %d: %q", f.way(), status, inkan.Printable(text, shownBody))}
}

// failed is the outcome of a request without an answer.
func (f *fetching) failed(err error) outcome {
	o := outcome{addr: f.addr, reached: f.reached, noRoute: !f.reached && f.addr.Is6() && unroutable(err)}
	o.said = fmt.Sprintf("%s: %s", f.way(), connectWords(err))
	return o
}

// connectWords tells in few words why a connection failed.
func connectWords(err error) string {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Sprintf("no answer within %v", probeTime)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	}
	return inkan.Printable(err.Error(), 200)
}

// interfaces returns up to n addresses of this machine's interfaces, loopback
// first.
func interfaces(n int) []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}
	var addrs []netip.Addr
	for _, a := range list {
		if p, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(p.IP); ok && !addr.Unmap().IsLinkLocalUnicast() {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int {
		switch {
		case a.IsLoopback() == b.IsLoopback():
			return 0
		case a.IsLoopback():
			return -1
		}
		return 1
	})
	return addrs[:min(n, len(addrs))]
}
