package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

const (
	// maxBody bounds what is read of an answer.
	maxBody = 1 << 20
	// maxPages bounds a listing: a host that always names a next page must not
	// keep us for ever.
	maxPages = 200
	// parallel is how many requests one call has under way at a host that
	// takes one record at a time.
	parallel = 4
)

// rest is an HTTP API that speaks JSON. It neither retries nor follows
// redirects, which would carry the credentials to another place.
type rest struct {
	host    string // for messages: "Cloudflare"
	need    string // a hint: what the credentials must be allowed to do
	client  *http.Client
	base    *url.URL
	now     func() time.Time
	sign    func(ctx context.Context, req *http.Request, body []byte) error // may be nil
	secrets []plug.Secret                                                   // must not stand in an error
	refine  func(a answer) (inkan.Kind, bool)                               // may be nil: kinds that the status does not tell
	limit   int64                                                           // of an answer's size in bytes
	tokens  *tokens                                                         // may be nil; sign uses them
}

// newREST returns the API at an endpoint. Credentials travel in every request,
// so it must be HTTPS, but on this machine or if plain is set.
func newREST(env plug.Env, host, need, endpoint string, plain bool, secrets ...plug.Secret) (*rest, error) {
	fail := func(format string, args ...any) (*rest, error) {
		return nil, inkan.Errorf(inkan.Operator, "the endpoint of "+host, format, args...)
	}
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	switch {
	case err != nil:
		return fail("it is no URL")
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fail("it must be a URL such as https://api.example, without user, query or fragment")
	case u.Scheme == "https", u.Scheme == "http" && (plain || loopback(u.Hostname())):
	default:
		return fail("it must begin with https://, because the credentials travel in every request")
	}
	client := *env.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &rest{host: host, need: need, client: &client, base: u, now: env.Time, secrets: secrets, limit: maxBody}, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// call is one request.
type call struct {
	method string
	path   []string // segments; each is escaped
	query  url.Values
	raw    string // the query as one text, in place of query
	header http.Header
	in     any        // the body as JSON, nil: none
	form   url.Values // the body as a form, in place of in
	out    any        // the answer's JSON goes here, nil: it is not looked at
}

// answer is what came back: the status, the header and the whole body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// refusal is an answer whose status is no success.
type refusal struct {
	answer
	text string
}

func (r *refusal) Error() string { return r.text }

// statusOf returns the HTTP status with which a host refused, 0 if err is
// something else.
func statusOf(err error) int {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status
	}
	return 0
}

// hasCode reports whether a refusal names one of the numeric error codes in
// errors[].code.
func hasCode(err error, codes ...int) bool {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		return false
	}
	var body struct{ Errors []struct{ Code int } }
	return json.Unmarshal(r.body, &body) == nil &&
		slices.ContainsFunc(body.Errors, func(e struct{ Code int }) bool { return slices.Contains(codes, e.Code) })
}

// do sends one request. Its errors are *inkan.Error with the kind that the
// status says; a refusal is in their chain.
func (r *rest) do(ctx context.Context, c call) (answer, error) {
	op := r.host + ": " + c.method + " /" + strings.Join(c.path, "/")
	req, body, err := r.request(ctx, c)
	if err != nil {
		return answer{}, inkan.Errorf(inkan.Bug, op, "%w", err)
	}
	if r.sign != nil {
		if err := r.sign(ctx, req, body); err != nil {
			return answer{}, err
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{}, r.unreachable(op, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, r.limit+1))
	if err != nil {
		return answer{}, r.unreachable(op, err)
	}
	a := answer{resp.StatusCode, resp.Header, data}
	switch {
	case int64(len(data)) > r.limit:
		return a, inkan.Errorf(inkan.Temporary, op, "it answered %d with more than %d bytes", a.status, r.limit)
	case a.status/100 != 2:
		return a, r.refused(op, a)
	case c.out == nil:
		return a, nil
	}
	if err := json.Unmarshal(data, c.out); err != nil {
		return a, inkan.Errorf(inkan.Temporary, op, "it answered %d with what is not the JSON of its reference: %s", a.status, inkan.Printable(err.Error(), 200))
	}
	return a, nil
}

func (r *rest) request(ctx context.Context, c call) (*http.Request, []byte, error) {
	var body []byte
	var media string
	switch {
	case c.form != nil:
		body, media = []byte(c.form.Encode()), "application/x-www-form-urlencoded"
	case c.in != nil:
		var err error
		if body, err = json.Marshal(c.in); err != nil {
			return nil, nil, err
		}
		media = "application/json"
	}
	u := *r.base
	for _, segment := range c.path {
		u.RawPath = u.EscapedPath() + "/" + url.PathEscape(segment)
		u.Path += "/" + segment
	}
	if u.RawQuery = c.query.Encode(); c.raw != "" {
		u.RawQuery = url.QueryEscape(c.raw)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "inkan")
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	return req, body, nil
}

// unreachable is the error for a request without an answer. The URL that
// net/http puts in front is left out: op says where.
func (r *rest) unreachable(op string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	kind := inkan.Temporary
	if errors.Is(err, context.Canceled) {
		kind = inkan.Pending // as inkan.KindOf has it
	}
	var unknown *net.DNSError
	if errors.As(err, &unknown) && unknown.IsNotFound {
		return inkan.Errorf(kind, op, "%w", err).WithHint("check the option endpoint and this machine's resolver")
	}
	return inkan.Errorf(kind, op, "%w", err)
}

// refused turns a status into an error.
func (r *rest) refused(op string, a answer) error {
	text := fmt.Sprintf("it answered %d %s", a.status, http.StatusText(a.status))
	if why := r.scrub(explain(a.body)); why != "" {
		text += ": " + why
	}
	err := &inkan.Error{Op: op, Kind: inkan.Rejected, Err: &refusal{a, text}}
	switch {
	case a.status == http.StatusUnauthorized:
		if r.tokens != nil {
			r.tokens.drop()
		}
		err.Kind, err.Hint = inkan.Operator, "check the credentials; "+r.need
	case a.status == http.StatusForbidden:
		err.Kind, err.Hint = inkan.Operator, r.need
	case a.status == http.StatusTooManyRequests:
		err.Kind = inkan.RateLimited
	case a.status == http.StatusRequestTimeout, a.status >= 500:
		err.Kind = inkan.Temporary
	case a.status/100 == 3:
		err.Kind, err.Hint = inkan.Operator, "it redirects, which is not followed: check the option endpoint"
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		err.Kind = inkan.Operator
	}
	if r.refine != nil {
		if kind, ok := r.refine(a); ok {
			err.Kind = kind
		}
	}
	if err.Kind == inkan.RateLimited || err.Kind == inkan.Temporary {
		err.RetryAfter = retryAfter(a.header, r.now())
	}
	return err
}

// scrub takes the credentials out of what a host says.
func (r *rest) scrub(text string) string {
	for _, s := range r.secrets {
		if v := s.Reveal(); v != "" {
			text = strings.ReplaceAll(text, v, s.String())
		}
	}
	return inkan.Printable(text, 300)
}

// pages calls f for the pages 1, 2 ... until it says that there is no more. It
// reports whether there were several.
func (r *rest) pages(f func(page int) (more bool, err error)) (several bool, err error) {
	for page := 1; page <= maxPages; page++ {
		if more, err := f(page); err != nil || !more {
			return page > 1, err
		}
	}
	return true, inkan.Errorf(inkan.Temporary, r.host, "its listing has not ended after %d pages", maxPages)
}

// noZone is the error for a zone that the host does not have.
func (r *rest) noZone(zone string) error {
	return inkan.Errorf(inkan.Operator, r.host, "there is no zone %s that these credentials may see", zone).WithHint("%s", r.need)
}

// retryAfter reads when a host wants to be asked again: Retry-After (RFC 9110
// section 10.2.3), or the reset header that many send instead, in seconds or as
// a Unix time. Zero means that it did not say. The core clamps it.
func retryAfter(h http.Header, now time.Time) time.Time {
	for _, name := range []string{"Retry-After", "RateLimit-Reset", "X-RateLimit-Reset"} {
		value := h.Get(name)
		if n, err := strconv.ParseInt(value, 10, 40); err == nil && n >= 0 {
			if n > 1e9 {
				return time.Unix(n, 0)
			}
			return now.Add(time.Duration(n) * time.Second)
		}
		if at, err := http.ParseTime(value); err == nil {
			return at
		}
	}
	return time.Time{}
}

// explain returns the message for people in the JSON of a refusal. Hosts name its
// field differently, so the usual names are looked for at any depth; if there are
// none, every string counts. An answer that is not JSON, such as a proxy's page,
// says nothing.
func explain(body []byte) string {
	var v any
	if len(body) > 64<<10 || json.Unmarshal(body, &v) != nil {
		return ""
	}
	var said, all []string
	var walk func(v any, key string, depth int)
	walk = func(v any, key string, depth int) {
		if depth > 8 || len(all) > 50 {
			return
		}
		switch v := v.(type) {
		case string:
			v = strings.TrimSpace(v)
			switch key {
			case "message", "reason", "detail", "details", "error", "error_description", "error_msg", "error_code", "code", "title":
				if v != "" && !slices.Contains(said, v) {
					said = append(said, v)
				}
			}
			if v != "" {
				all = append(all, v)
			}
		case []any:
			for _, one := range v {
				walk(one, key, depth+1)
			}
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k], strings.ToLower(k), depth+1)
			}
		}
	}
	walk(v, "error", 0)
	if len(said) == 0 {
		said = all
	}
	return strings.Join(said[:min(len(said), 4)], "; ")
}
