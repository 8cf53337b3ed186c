package acme

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Config describes one account at one CA. The zero value of every field but
// Name, or Directory, works.
type Config struct {
	// Name is the CA's name in requests and in the keys of its limits. A
	// built-in name ([KnownCA]) brings its directory, limits and EAB rule;
	// Directory then only overrides the URL.
	Name      string `json:"name" help:"name of the CA; letsencrypt, google, zerossl, sslcom, actalis and others are built in"`
	Directory string `json:"directory" help:"URL of the CA's directory"`

	Account    string        `json:"account" help:"name of the account, as CAs may have several" default:"default"`
	Contacts   []string      `json:"contacts" help:"e-mail addresses that the CA may write to"`
	AgreeTerms bool          `json:"agree_terms" help:"agree to the CA's terms of service when an account is made"`
	KeyType    inkan.KeyType `json:"key_type" help:"type of a new account key: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096" default:"ecdsa-p256"`

	EABKeyID     string      `json:"eab_key_id" help:"key id for external account binding, from the CA's page"`
	EABKey       plug.Secret `json:"eab_key" help:"HMAC key for external account binding, in base64url, from the CA's page"`
	EABAlgorithm string      `json:"eab_algorithm" help:"HS256, HS384 or HS512" default:"HS256"`

	// AllowOtherHosts lists hosts ("api.example.net") or hosts with a port
	// that the CA's URLs may name besides the directory's registrable domain.
	AllowOtherHosts []string `json:"allow_other_hosts" help:"other hosts that the CA's URLs may name"`

	// Roots and Proxy, if set, make the client use a transport of its own
	// ([NewTransport]) in place of the Env's.
	Roots *x509.CertPool                        `json:"-"` // trusted for the CA's own HTTPS; nil is the system's
	Proxy func(*http.Request) (*url.URL, error) `json:"-"`

	// OpenKey opens the account's key, if it is not stored as it is.
	OpenKey inkan.KeyOpener `json:"-"`

	UserAgent string    `json:"-"` // "inkan/1.2"; default "inkan"
	Throttle  *Throttle `json:"-"` // shared by the clients of one CA; nil makes one
}

// Client is a CA together with one account at it. It is safe for concurrent
// use. Close it when it is no longer needed.
type Client struct {
	config    Config
	ca        CA // zero but for its name and directory if the CA is not known
	name      string
	host      string // of the directory, for messages
	userAgent string

	http     *http.Client
	log      *slog.Logger
	now      func() time.Time
	hosts    hosts
	throttle *Throttle
	nonces   *nonces
	accounts inkan.AccountStore
	tasks    *tasks

	requestTime, bodyTime, nonceTime time.Duration

	warm      atomic.Bool
	first     chan struct{} // held by the first request
	skew      atomic.Int64
	skewKnown atomic.Bool

	gate       chan struct{} // held while the account or the directory is being found
	account    atomic.Pointer[account]
	dir        atomic.Pointer[directory]
	refreshing atomic.Bool
	stopped    atomic.Pointer[stopped]
}

var (
	_ inkan.Issuer          = (*Client)(nil)
	_ inkan.RenewalInformer = (*Client)(nil)
	_ inkan.Revoker         = (*Client)(nil)
	_ inkan.SkewMeter       = (*Client)(nil)
)

// New returns a client. It asks nothing of the CA. The errors are of kind
// Operator.
func New(env plug.Env, c Config, accounts inkan.AccountStore) (*Client, error) {
	if c.Name == "" {
		c.Name = CAName(c.Directory)
	}
	ca, known := KnownCA(c.Name)
	if !known { // the limits belong to the URL, whatever the CA is called here
		ca, _ = KnownCA(CAName(c.Directory))
		ca.Name = c.Name
	}
	if c.Directory != "" {
		ca.Directory = c.Directory
	}
	op := "CA " + inkan.Printable(ca.Name, 80)
	if err := inkan.CheckName(ca.Name); err != nil {
		return nil, err
	}
	if ca.Directory == "" {
		return nil, inkan.Errorf(inkan.Operator, op, "it is not built in, and no directory URL is given").
			WithHint("built in are %s", strings.Join(knownNames(), ", "))
	}
	hosts, err := newHosts(ca.Directory, c.AllowOtherHosts)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, op, "directory: %w", err)
	}
	if c.Account == "" {
		c.Account = "default"
	}
	if err := inkan.CheckName(c.Account); err != nil {
		return nil, err
	}
	if c.KeyType == "" {
		c.KeyType = inkan.ECDSAP256
	}
	if err := checkAccountKeyType(op, c.KeyType); err != nil {
		return nil, err
	}
	if c.EABAlgorithm == "" {
		c.EABAlgorithm = string(jose.HS256)
	}
	if eabAlgorithms()[jose.SignatureAlgorithm(c.EABAlgorithm)] == 0 {
		return nil, inkan.Errorf(inkan.Operator, op, "unknown EAB algorithm %s", inkan.Printable(c.EABAlgorithm, 40)).
			WithHint("one of %s", algorithms())
	}
	if (c.EABKeyID == "") != c.EABKey.IsZero() {
		return nil, inkan.Errorf(inkan.Operator, op, "external account binding needs both a key id and a key").WithHint(eabHint)
	}
	if c.Contacts, err = contactURLs(op, c.Contacts); err != nil {
		return nil, err
	}

	u, err := url.Parse(ca.Directory)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, op, "directory: not a URL")
	}
	httpClient := &http.Client{}
	switch {
	case c.Roots != nil || c.Proxy != nil || env.HTTP == nil:
		httpClient.Transport = NewTransport(c.Roots, c.Proxy)
	default:
		*httpClient = *env.HTTP
	}
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	httpClient.Jar = nil

	client := &Client{
		config: c, ca: ca, name: ca.Name, host: u.Host, userAgent: c.UserAgent,
		http: httpClient, log: env.Logger(), now: env.Time, hosts: hosts, throttle: c.Throttle, accounts: accounts,
		tasks:       &tasks{stop: make(chan struct{})},
		requestTime: connectTimeout + tlsTimeout + headerTimeout + bodyTimeout,
		bodyTime:    bodyTimeout,
		nonceTime:   maxNonceTime,
		first:       make(chan struct{}, 1),
		gate:        make(chan struct{}, 1),
	}
	if client.throttle == nil {
		client.throttle = NewThrottle(ca.Limits)
	}
	if client.userAgent == "" {
		client.userAgent = "inkan"
	}
	client.nonces = &nonces{
		now:   client.now,
		fetch: client.fetchNonce,
		tasks: client.tasks,
	}
	return client, nil
}

// CA returns what is known about the client's CA: a built-in record, or the
// name and directory alone.
func (c *Client) CA() CA { return c.ca }

// Close ends background work and closes idle connections. Running calls fail.
func (c *Client) Close() error {
	c.tasks.close()
	c.http.CloseIdleConnections()
	return nil
}

// lock takes the gate; the function it returns gives it back.
func (c *Client) lock(ctx context.Context) (func(), error) {
	select {
	case c.gate <- struct{}{}:
		return func() { <-c.gate }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkAccountKeyType returns nil for the types that CAs take account keys of.
func checkAccountKeyType(op string, kt inkan.KeyType) error {
	switch kt {
	case inkan.ECDSAP256, inkan.ECDSAP384, inkan.RSA2048, inkan.RSA3072, inkan.RSA4096:
		return nil
	}
	return inkan.Errorf(inkan.Operator, op, "an account key cannot be of type %s", inkan.Printable(string(kt), 40)).
		WithHint("one of ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096")
}

// contactURLs returns contacts as mailto URLs (RFC 8555 section 7.3).
func contactURLs(op string, contacts []string) ([]string, error) {
	var urls []string
	for _, contact := range contacts {
		address := strings.TrimPrefix(contact, "mailto:")
		local, domain, ok := strings.Cut(address, "@")
		if !ok || local == "" || domain == "" || strings.ContainsAny(address, " \t\r\n,?<>\"") || inkan.Printable(address, 1000) != address {
			return nil, inkan.Errorf(inkan.Operator, op, "the contact %s is not an e-mail address", inkan.Printable(contact, 100))
		}
		urls = append(urls, "mailto:"+address)
	}
	return urls, nil
}

func knownNames() []string {
	var names []string
	for _, ca := range KnownCAs() {
		names = append(names, ca.Name)
	}
	return names
}
