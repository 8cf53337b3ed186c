package acme

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/inkan-acme/inkan"
)

// The bounds of the one retry there is, for refused nonces (RFC 8555 section
// 6.5). They survive a CA that refuses nine nonces of ten.
const (
	maxNonceTries  = 150
	maxNonceTime   = time.Minute
	quickTries     = 3                      // that go out at once
	maxNoncePause  = 75 * time.Millisecond  // between later ones
	bareNoncePause = 100 * time.Millisecond // when the refusal brought no nonce: at most 10 newNonce requests a second
)

// post signs payload and sends it; a nil payload is POST-as-GET. It returns
// answers of success only; every other answer is an error that wraps *Problem.
// If the account has another key by now, it goes out once more with that one.
func (c *Client) post(ctx context.Context, ep endpoint, op, target string, id identity, payload []byte) (*response, error) {
	id = c.latest(id)
	resp, err := c.postAs(ctx, ep, op, target, id, payload)
	if err == nil || id.kid == "" || id.pinned || !mayBeOldKey(err) {
		return resp, err
	}
	fresh, changed := c.changedKey(ctx, id)
	if !changed {
		return nil, err
	}
	return c.postAs(ctx, ep, op, target, fresh, payload)
}

// postAs is post with the key of id.
func (c *Client) postAs(ctx context.Context, ep endpoint, op, target string, id identity, payload []byte) (*response, error) {
	start := time.Now()
	nonce := ""
	for try := 1; ; try++ {
		if nonce == "" {
			var err error
			if nonce, err = c.nonces.get(ctx); err != nil {
				if ctx.Err() != nil {
					return nil, interrupted(ctx, op, err)
				}
				return nil, err
			}
		}
		body, err := id.sign(target, nonce, payload)
		if err != nil {
			return nil, inkan.Errorf(inkan.Operator, op, "signing: %w", err)
		}
		resp, err := c.send(ctx, ep, op, http.MethodPost, target, body)
		if err != nil {
			return nil, err
		}
		nonce = resp.nonce()
		if resp.ok() {
			c.nonces.put(nonce)
			return resp, nil
		}
		problem := readProblem(resp, c.now())
		if !problem.is(badNonce) {
			c.nonces.put(nonce)
			err := c.refused(op, problem)
			c.noteRefusal(err)
			return nil, err
		}
		if try == maxNonceTries || time.Since(start) > c.nonceTime {
			return nil, inkan.Errorf(inkan.Temporary, op, "it refused %d nonces in a row, each fresh: %w", try, problem).
				WithHint("the CA, or a proxy in front of it, loses or repeats nonces")
		}
		pause := time.Duration(0)
		if try >= quickTries {
			pause = rand.N(maxNoncePause)
		}
		if nonce == "" && try > 1 {
			pause = max(pause, bareNoncePause)
		}
		if pause > 0 {
			if err := sleep(ctx, pause); err != nil {
				return nil, interrupted(ctx, op, err)
			}
		}
	}
}

// postDirectory posts to a URL of the directory. If the answer looks as if the
// endpoint had moved, the directory is read again, and if it names another URL
// the request goes there, once.
func (c *Client) postDirectory(ctx context.Context, ep endpoint, op string, where func(*directory) string, id identity, payload func(target string) ([]byte, error)) (*response, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		target := where(dir)
		body, err := payload(target)
		if err != nil {
			return nil, err
		}
		resp, err := c.post(ctx, ep, op, target, id, body)
		if err == nil || again || !movedAway(err) {
			return resp, err
		}
		fresh, readErr := c.readDirectory(ctx)
		if readErr != nil || where(fresh) == "" || where(fresh) == target {
			return nil, err
		}
		dir = fresh
	}
}

// movedAway reports whether err may mean that the endpoint is elsewhere now.
func movedAway(err error) bool {
	p := problemOf(err)
	return p != nil && (p.Status == http.StatusNotFound || p.Status == http.StatusMethodNotAllowed || p.Status == http.StatusGone) &&
		!p.is(accountDoesNotExist)
}

// mustJSON encodes our own plain data.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("acme: encoding plain data: " + err.Error())
	}
	return b
}
