package acme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/inkan-acme/inkan"
)

// maxBody bounds every answer, chains too, in bytes.
const maxBody = 1 << 20

// response is one answer, read to its end.
type response struct {
	status int
	header http.Header
	body   []byte
}

// ok reports whether the CA did what it was asked.
func (r *response) ok() bool { return r.status >= 200 && r.status <= 299 }

// nonce returns the Replay-Nonce of the answer, or "" when there is none or it
// is not base64url (RFC 8555 section 6.5.1). No answer needs to have one.
func (r *response) nonce() string {
	n := r.header.Get("Replay-Nonce")
	if len(n) > 1024 || !inkan.IsBase64URL(n) {
		return ""
	}
	return n
}

// send sends one request and reads the answer. Whatever the status, an answer
// is no error. The errors are of kind Pending when ctx ended, Operator when the
// URL may not be asked or the server is not trusted, else Temporary.
func (c *Client) send(ctx context.Context, ep endpoint, op, method, target string, body []byte) (*response, error) {
	return c.sendIf(ctx, nil, ep, op, method, target, body)
}

// sendIf is send, but for a request that is of no use any more when it may go
// out: needed, if not nil, is asked then, and the error is errNotNeeded.
func (c *Client) sendIf(ctx context.Context, needed func() bool, ep endpoint, op, method, target string, body []byte) (*response, error) {
	if err := c.hosts.check(target); err != nil {
		return nil, inkan.Errorf(inkan.Operator, op, "%w", err).WithHint(hostHint)
	}
	// First the connection, then the CA's limit: what the limit lets pass
	// leaves at once. The other way round, requests would pile up behind the
	// first one and reach the CA together.
	release, err := c.warmUp(ctx)
	if err != nil {
		return nil, interrupted(ctx, op, err)
	}
	defer release()
	over, err := c.throttle.wait(ctx, ep)
	if err != nil {
		return nil, interrupted(ctx, op, err)
	}
	sent := false
	defer func() { over(sent) }()
	if needed != nil && !needed() {
		return nil, errNotNeeded
	}

	// The transport has a deadline for each phase up to the header; these two
	// hold with any transport, and against a body that never ends.
	limited, cancel := context.WithTimeoutCause(ctx, c.requestTime, errTooSlow)
	defer cancel()
	limited, stop := context.WithCancelCause(limited)
	defer stop(nil)

	req, err := http.NewRequestWithContext(limited, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, inkan.Errorf(inkan.Bug, op, "%w", err)
	}
	req.Header.Set("User-Agent", c.userAgent) // RFC 8555 section 6.1
	if body != nil {
		req.Header.Set("Content-Type", "application/jose+json")
	}
	start := time.Now()
	sent = true
	httpResp, err := c.http.Do(req)
	if ctx.Err() == nil {
		c.throttle.easing.note(err == nil && httpResp.StatusCode < 500)
	}
	if err != nil {
		return nil, c.netError(ctx, limited, op, c.throughProxy(req, err))
	}
	defer httpResp.Body.Close()
	timer := time.AfterFunc(c.bodyTime, func() { stop(errTooSlow) })
	defer timer.Stop()
	data, err := io.ReadAll(io.LimitReader(httpResp.Body, maxBody+1))
	if err != nil {
		return nil, c.netError(ctx, limited, op, err)
	}
	c.noteDate(httpResp.Header)
	c.log.DebugContext(ctx, "acme request", "ca", c.name, "method", method, "url", target,
		"status", httpResp.StatusCode, "bytes", len(data), "ms", time.Since(start).Milliseconds())
	if len(data) > maxBody {
		return nil, inkan.Errorf(inkan.Temporary, op, "the answer (status %d) is larger than 1 MiB", httpResp.StatusCode)
	}
	if httpResp.StatusCode >= 300 && httpResp.StatusCode <= 399 {
		return nil, inkan.Errorf(inkan.Operator, op, "the answer is a redirect (status %d) to %s; ACME has none, so it is not followed",
			httpResp.StatusCode, inkan.Printable(httpResp.Header.Get("Location"), 200)).
			WithHint("check the directory URL, and whether a proxy or portal intercepts the request")
	}
	return &response{status: httpResp.StatusCode, header: httpResp.Header, body: data}, nil
}

// throughProxy names the proxy of a request that failed: most often it is to
// blame, and the message of a connection that broke does not tell.
func (c *Client) throughProxy(req *http.Request, err error) error {
	if c.config.Proxy == nil {
		return err
	}
	proxy, proxyErr := c.config.Proxy(req)
	if proxy == nil || proxyErr != nil {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // as in netError
	}
	return fmt.Errorf("through the proxy %s: %w", inkan.Printable(proxy.Host, 200), err)
}

// errTooSlow is the cause when a request ran out of its time.
var errTooSlow = errors.New("the answer took too long")

// warmUp lets the first request of a client go alone, so that a burst of
// orders shares its connection and does not open one for each. The function it
// returns must be called when the request is over.
func (c *Client) warmUp(ctx context.Context) (func(), error) {
	if c.warm.Load() {
		return func() {}, nil
	}
	select {
	case c.first <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.warm.Load() {
		<-c.first
		return func() {}, nil
	}
	return func() {
		c.warm.Store(true)
		<-c.first
	}, nil
}

// noteDate keeps the difference between the CA's clock and ours.
func (c *Client) noteDate(h http.Header) {
	if h.Get("Age") != "" {
		return // from a cache: its date is old
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		c.skew.Store(int64(date.Sub(c.now())))
		c.skewKnown.Store(true)
	}
}

// ClockSkew implements [inkan.SkewMeter]. The skew is exact to about a second.
func (c *Client) ClockSkew() (skew time.Duration, ok bool) {
	return time.Duration(c.skew.Load()), c.skewKnown.Load()
}

// engineNow returns the time by which the engine decides, for instants that
// are handed to it.
func (c *Client) engineNow() time.Time {
	now := c.now()
	if skew, ok := c.ClockSkew(); ok && skew.Abs() > inkan.MaxSkew {
		return now.Add(skew)
	}
	return now
}

// caNow returns the time by the CA's clock if ours is off by more than five
// minutes, else ours.
func (c *Client) caNow() time.Time {
	now := c.now()
	if skew, ok := c.ClockSkew(); ok && skew.Abs() > 5*time.Minute {
		return now.Add(skew)
	}
	return now
}

// get asks with an unsigned GET: the directory and renewal information.
func (c *Client) get(ctx context.Context, ep endpoint, op, target string) (*response, error) {
	resp, err := c.send(ctx, ep, op, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	c.nonces.put(resp.nonce())
	if !resp.ok() {
		return nil, c.refused(op, readProblem(resp, c.now()))
	}
	return resp, nil
}

// op names a step together with the host that is asked.
func (c *Client) op(step string) string { return step + " at " + c.host }

// netError turns a failed exchange into an error. Its text comes from the
// network in part, so it is made printable.
func (c *Client) netError(ctx, limited context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx, op, err)
	}
	if context.Cause(limited) == errTooSlow {
		return inkan.Errorf(inkan.Temporary, op, "%w", marked{errTooSlow, inkan.ErrNoService})
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the method and URL say nothing new
	}
	if untrusted(err) {
		return inkan.Errorf(inkan.Operator, op, "its TLS certificate is not trusted: %w", printableError{err}).
			WithHint("if this CA has a root of its own, name its file (--ca-root, or roots in the configuration file); if not, somebody intercepts the connection")
	}
	return inkan.Errorf(inkan.Temporary, op, "%w", marked{printableError{err}, inkan.ErrNoService})
}

// interrupted is the error of work that stops because ctx ended. The journal
// holds the work, so it is Pending.
func interrupted(ctx context.Context, op string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return inkan.Errorf(inkan.Pending, op, "interrupted: %w", err)
}

// printableError shows err in a form fit for a terminal.
type printableError struct{ err error }

func (e printableError) Error() string { return inkan.Printable(e.err.Error(), maxShown) }
func (e printableError) Unwrap() error { return e.err }

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
