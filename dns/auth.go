package dns

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/inkan-acme/inkan/plug"
)

// header returns a sign function that puts a secret into a header.
func header(name, prefix string, secret plug.Secret) func(context.Context, *http.Request, []byte) error {
	return func(_ context.Context, req *http.Request, _ []byte) error {
		req.Header.Set(name, prefix+secret.Reveal())
		return nil
	}
}

// bearer returns a sign function for a token that does not expire.
func bearer(secret plug.Secret) func(context.Context, *http.Request, []byte) error {
	return header("Authorization", "Bearer ", secret)
}

// tokens keeps an access token until shortly before it expires.
type tokens struct {
	now   func() time.Time
	fetch func(ctx context.Context) (token string, life time.Duration, err error)

	mu    sync.Mutex // held while a token is fetched, so that only one is
	token string
	until time.Time
}

// tokenMargin is how long before its end a token is not used any more.
const tokenMargin = 2 * time.Minute

func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && t.now().Before(t.until) {
		return t.token, nil
	}
	token, life, err := t.fetch(ctx)
	if err != nil {
		return "", err
	}
	t.token, t.until = token, t.now().Add(life-tokenMargin)
	return token, nil
}

// drop forgets a token that the host did not take.
func (t *tokens) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = ""
}

// use makes r send the tokens in a header.
func (r *rest) use(t *tokens, name, prefix string) {
	r.tokens = t
	r.sign = func(ctx context.Context, req *http.Request, _ []byte) error {
		token, err := t.get(ctx)
		if err != nil {
			return err
		}
		req.Header.Set(name, prefix+token)
		return nil
	}
}

// accessToken is the answer of a token endpoint (RFC 6749 section 5.1).
type accessToken struct {
	AccessToken string    `json:"access_token"`
	ExpiresIn   anyNumber `json:"expires_in"` // seconds; Azure's metadata service puts it in quotes
}

func (t accessToken) life() time.Duration {
	return time.Duration(t.ExpiresIn) * time.Second
}
