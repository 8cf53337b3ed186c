// Package dnslookup asks the questions of the Domain Name System that Inkan
// has: where a zone begins, which servers answer for it, and what each of them
// says. What comes back is not trusted: sizes, lengths of chains and the shape
// of answers are checked, and nothing is cached.
package dnslookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
)

const (
	// bufferSize is what fits through the network unfragmented (RFC 9715).
	bufferSize     = 1232
	defaultTimeout = 5 * time.Second
	// firstResend is when a question is sent again; each pause is twice as
	// long as the one before.
	firstResend = 500 * time.Millisecond
	// maxWrong is how many packets that do not answer the question are
	// passed over before a server is given up.
	maxWrong = 100
)

// Client asks name servers. Its zero value works; it is safe for concurrent
// use as long as nobody changes it.
type Client struct {
	// Resolvers are the recursive servers to ask, each host:port, or a host
	// that answers at port 53. None: those of the operating system.
	Resolvers []string
	// Timeout is for one question to one server; 0: five seconds.
	Timeout time.Duration
	// Port is where authoritative servers answer; 0: 53.
	Port int
}

// Question is one question to one server.
type Question struct {
	Server  string // host:port, or a host that answers at port 53
	Name    string
	Type    uint16 // dns.TypeTXT ...
	Recurse bool   // RD: the server shall ask others
	DNSSEC  bool   // DO: signatures are wanted
	NoCheck bool   // CD: a resolver shall answer what it could not validate
}

func (q Question) String() string {
	return fmt.Sprintf("asking %s for %s %s", q.Server, typeName(q.Type), inkan.Printable(q.Name, 300))
}

// Answer is what a server said.
type Answer struct {
	Question      Question
	Code          int  // dns.RcodeSuccess, dns.RcodeNameError (NXDOMAIN) ...
	Authoritative bool // AA
	Authenticated bool // AD: the resolver has validated it by DNSSEC
	Records       []dns.RR
	Authority     []dns.RR
	Additional    []dns.RR
}

// Query asks one resolver: it may ask others. See [Client.Ask].
func (c *Client) Query(ctx context.Context, server, name string, qtype uint16) (*Answer, error) {
	return c.Ask(ctx, Question{Server: server, Name: name, Type: qtype, Recurse: true})
}

// Ask asks one question: over UDP, and over TCP when the answer was cut short
// or the server garbled the question. NXDOMAIN is an answer; any other code
// than success is an error that comes with the answer. Errors name the server.
func (c *Client) Ask(ctx context.Context, q Question) (*Answer, error) {
	q.Server = withPort(q.Server, 53)
	if _, ok := dns.IsDomainName(q.Name); !ok || q.Name == "" {
		return nil, inkan.Errorf(inkan.Operator, q.String(), "it is no name of the DNS")
	}
	q.Name = strings.ToLower(dns.Fqdn(q.Name))
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, err := exchange(limited, "udp", q)
	if errors.Is(err, errAgain) {
		a, err = exchange(limited, "tcp", q)
	}
	if err != nil {
		return nil, lost(ctx, limited, q, timeout, err)
	}
	return a, a.refusal()
}

// lost explains why there is no answer.
func lost(ctx, limited context.Context, q Question, timeout time.Duration, err error) error {
	switch end := ended(ctx); {
	case end != nil:
		return &inkan.Error{Op: q.String(), Kind: inkan.KindOf(end), Err: end}
	case limited.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return &inkan.Error{Op: q.String(), Err: &SilentError{fmt.Errorf("no answer within %v", timeout)}}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = &SilentError{fmt.Errorf("%s: %w", e.Op, e.Err)} // without the addresses, which stand before it
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = &SilentError{errors.New("it closed the connection")}
	}
	return &inkan.Error{Op: q.String(), Err: err}
}

// ended returns why ctx has ended, or nil. Sockets see a deadline pass a moment
// before ctx says so.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// SilentError says that a server did not answer at all.
type SilentError struct{ Err error }

func (e *SilentError) Error() string { return e.Err.Error() }
func (e *SilentError) Unwrap() error { return e.Err }

// CodeError says that a server answered with a code that tells nothing about
// the name: SERVFAIL, REFUSED ...
type CodeError struct{ Code int }

func (e *CodeError) Error() string {
	what := map[int]string{
		dns.RcodeServerFailure:  "it failed to find out",
		dns.RcodeRefused:        "it refuses to answer us",
		dns.RcodeFormatError:    "it did not understand the question",
		dns.RcodeNotImplemented: "it cannot do that",
	}[e.Code]
	if what == "" {
		what = "it answered with an error"
	}
	return what + " (" + CodeName(e.Code) + ")"
}

// refusal returns the error that an answer is, or nil.
func (a *Answer) refusal() error {
	if a.Code == dns.RcodeSuccess || a.Code == dns.RcodeNameError {
		return nil
	}
	e := &inkan.Error{Op: a.Question.String(), Err: &CodeError{a.Code}}
	switch {
	case a.Code == dns.RcodeServerFailure && a.Question.Recurse:
		e.Hint = "the name's own servers may be down or its DNSSEC broken"
	case a.Code == dns.RcodeRefused && a.Question.Recurse:
		e.Hint = "name other resolvers, which answer this machine"
	case a.Code == dns.RcodeRefused:
		e.Hint = "the zone is delegated to this server, but it does not serve it"
	}
	return e
}

// CodeName returns the word for a response code: "NXDOMAIN".
func CodeName(code int) string {
	if s, ok := dns.RcodeToString[code]; ok {
		return s
	}
	return "code " + strconv.Itoa(code)
}

func typeName(t uint16) string {
	if s, ok := dns.TypeToString[t]; ok {
		return s
	}
	return "type " + strconv.Itoa(int(t))
}

// Recurse asks the resolvers, one after the other, until one has an answer.
func (c *Client) Recurse(ctx context.Context, name string, qtype uint16) (*Answer, error) {
	var servers []string
	for _, s := range c.Asked(ctx) {
		servers = append(servers, s.Addr)
	}
	return c.ask(ctx, servers, Question{Name: name, Type: qtype, Recurse: true})
}

// ask asks one server after the other until one has an answer. Its error is
// that of the first server.
func (c *Client) ask(ctx context.Context, servers []string, q Question) (*Answer, error) {
	var first error
	for _, q.Server = range servers {
		a, err := c.Ask(ctx, q)
		if err == nil {
			return a, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// system returns the recursive servers that the operating system names. The Go
// resolver knows them, and tells whoever lends it a way to connect.
func system(ctx context.Context) []string {
	var servers []string
	r := net.Resolver{PreferGo: true, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		if !slices.Contains(servers, address) {
			servers = append(servers, address)
		}
		return nil, errors.New("only the address is wanted")
	}}
	_, _ = r.LookupTXT(context.WithoutCancel(ctx), "invalid.")
	if len(servers) == 0 {
		return []string{"127.0.0.1:53"} // as resolv.conf(5) has it
	}
	return servers
}

// CheckServer refuses what cannot be the address of a server: a name or an
// address, with a port or without. The error is of kind Operator.
func CheckServer(server string) error {
	host, port, err := net.SplitHostPort(withPort(server, 53))
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || n == 0 || !ValidName(host) && !isAddr(host) {
		return inkan.Errorf(inkan.Operator, "", "%q is not a server such as 192.0.2.1, [2001:db8::1]:53 or ns.example.org:53", inkan.Printable(server, 80))
	}
	return nil
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// withPort adds a port where none is given.
func withPort(server string, port int) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), strconv.Itoa(port))
}

// Asked returns the resolvers that [Client.Recurse] asks.
func (c *Client) Asked(ctx context.Context) []Server {
	list := c.Resolvers
	if len(list) == 0 {
		list = system(ctx)
	}
	servers := make([]Server, len(list))
	for i, s := range list {
		servers[i] = Server{Host: s, Addr: withPort(s, 53)}
	}
	return servers
}
