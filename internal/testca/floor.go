package testca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Floor is the least an ACME client can do to get certificates: nothing is
// stored, nothing is checked, nothing is retried. Its times are the lower
// bound that a real client on the same machine is measured against, and it
// puts load on the test CA. Its methods are safe for concurrent use.
type Floor struct {
	client *http.Client
	dir    floorDirectory
	key    *ecdsa.PrivateKey
	kid    string
	thumb  string
	nonces chan string
}

type floorDirectory struct {
	NewNonce   string `json:"newNonce"`
	NewAccount string `json:"newAccount"`
	NewOrder   string `json:"newOrder"`
}

type floorOrder struct {
	Status         string          `json:"status"`
	Authorizations []string        `json:"authorizations"`
	Finalize       string          `json:"finalize"`
	Certificate    string          `json:"certificate"`
	Error          json.RawMessage `json:"error"`
}

type floorAuthz struct {
	Status     string `json:"status"`
	Challenges []struct {
		Type  string `json:"type"`
		URL   string `json:"url"`
		Token string `json:"token"`
	} `json:"challenges"`
}

// NewFloor reads the directory and creates an account with a fresh P-256 key.
func NewFloor(ctx context.Context, client *http.Client, directoryURL string) (*Floor, error) {
	f, err := newFloor(ctx, client, directoryURL)
	if err != nil {
		return nil, err
	}
	return f, f.register(ctx, []byte(`{"termsOfServiceAgreed":true}`))
}

// newFloor makes a key and reads the directory.
func newFloor(ctx context.Context, client *http.Client, directoryURL string) (*Floor, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: key.Public()}
	thumb, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	f := &Floor{client: client, key: key, thumb: base64.RawURLEncoding.EncodeToString(thumb), nonces: make(chan string, 1024)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, directoryURL, nil)
	if err != nil {
		return nil, err
	}
	body, _, err := f.do(req)
	if err != nil {
		return nil, err
	}
	return f, json.Unmarshal(body, &f.dir)
}

// register creates the account.
func (f *Floor) register(ctx context.Context, payload []byte) error {
	_, header, err := f.post(ctx, f.dir.NewAccount, payload)
	if err != nil {
		return err
	}
	f.kid = header.Get("Location")
	return nil
}

// With returns a Floor with the same account and directory that has no nonces
// and speaks through client: a process that starts anew.
func (f *Floor) With(client *http.Client) *Floor {
	return &Floor{client: client, dir: f.dir, key: f.key, kid: f.kid, thumb: f.thumb, nonces: make(chan string, 1024)}
}

// Issue gets one certificate for names, proved by http-01: show must make the
// key authorization visible before it returns; it is called for several
// tokens at once. The result is the chain as PEM and its P-256 key.
func (f *Floor) Issue(ctx context.Context, names []string, show func(token, keyAuth string) error) ([]byte, *ecdsa.PrivateKey, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type identifier struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	ids := make([]identifier, len(names))
	for i, name := range names {
		ids[i] = identifier{"dns", name}
	}
	payload, err := json.Marshal(map[string]any{"identifiers": ids})
	if err != nil {
		return nil, nil, err
	}

	// While the order is made: a nonce for each authorization but the one that
	// the answer to newOrder brings, and key and CSR.
	var beside sync.WaitGroup
	defer beside.Wait()
	for range len(names) - 1 - len(f.nonces) {
		beside.Go(func() {
			if nonce, err := f.newNonce(ctx); err == nil {
				f.nonces <- nonce
			}
		})
	}
	var key *ecdsa.PrivateKey
	var csr []byte
	var csrErr error
	made := make(chan struct{})
	go func() {
		defer close(made)
		if key, csrErr = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); csrErr == nil {
			csr, csrErr = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
		}
	}()

	var order floorOrder
	header, err := f.postJSON(ctx, f.dir.NewOrder, payload, &order)
	if err != nil {
		return nil, nil, err
	}
	orderURL := header.Get("Location")

	errs := make(chan error, len(order.Authorizations))
	for _, url := range order.Authorizations {
		go func() { errs <- f.authorize(ctx, url, show) }()
	}
	for range order.Authorizations {
		if err := <-errs; err != nil {
			return nil, nil, err
		}
	}
	if err := f.await(ctx, orderURL, &order, "ready"); err != nil {
		return nil, nil, err
	}
	<-made
	if csrErr != nil {
		return nil, nil, csrErr
	}
	finalize, err := json.Marshal(map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)})
	if err != nil {
		return nil, nil, err
	}
	if _, err := f.postJSON(ctx, order.Finalize, finalize, &order); err != nil {
		return nil, nil, err
	}
	if order.Status != "valid" {
		if err := f.await(ctx, orderURL, &order, "valid"); err != nil {
			return nil, nil, err
		}
	}
	chain, _, err := f.post(ctx, order.Certificate, nil)
	return chain, key, err
}

// authorize reads one authorization, shows its http-01 proof and answers.
func (f *Floor) authorize(ctx context.Context, url string, show func(token, keyAuth string) error) error {
	var authz floorAuthz
	if _, err := f.postJSON(ctx, url, nil, &authz); err != nil {
		return err
	}
	if authz.Status == "valid" {
		return nil
	}
	for _, ch := range authz.Challenges {
		if ch.Type != "http-01" {
			continue
		}
		if err := show(ch.Token, ch.Token+"."+f.thumb); err != nil {
			return err
		}
		_, _, err := f.post(ctx, ch.URL, []byte("{}"))
		return err
	}
	return fmt.Errorf("%s: %s, no http-01 challenge", url, authz.Status)
}

// await polls the order until it has the status wanted.
func (f *Floor) await(ctx context.Context, url string, order *floorOrder, want string) error {
	for pause := 2 * time.Millisecond; ; pause = min(pause*3/2, 25*time.Millisecond) {
		if _, err := f.postJSON(ctx, url, nil, order); err != nil {
			return err
		}
		switch order.Status {
		case want:
			return nil
		case "invalid":
			return fmt.Errorf("order invalid: %s", order.Error)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (f *Floor) postJSON(ctx context.Context, url string, payload []byte, v any) (http.Header, error) {
	body, header, err := f.post(ctx, url, payload)
	if err != nil {
		return nil, err
	}
	return header, json.Unmarshal(body, v)
}

// post sends a signed request; a nil payload is POST-as-GET.
func (f *Floor) post(ctx context.Context, url string, payload []byte) ([]byte, http.Header, error) {
	var nonce string
	select {
	case nonce = <-f.nonces:
	default:
		var err error
		if nonce, err = f.newNonce(ctx); err != nil {
			return nil, nil, err
		}
	}
	options := (&jose.SignerOptions{NonceSource: fixedNonce(nonce), EmbedJWK: f.kid == ""}).WithHeader("url", url)
	if f.kid != "" {
		options.WithHeader("kid", f.kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: f.key}, options)
	if err != nil {
		return nil, nil, err
	}
	if payload == nil {
		payload = []byte{} // go-jose leaves a nil payload out, ACME wants ""
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(jws.FullSerialize())))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/jose+json")
	return f.do(req)
}

func (f *Floor) newNonce(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, f.dir.NewNonce, nil)
	if err != nil {
		return "", err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return "", err
	}
	_ = resp.Body.Close()
	nonce := resp.Header.Get("Replay-Nonce")
	if nonce == "" {
		return "", errors.New("newNonce: no nonce")
	}
	return nonce, nil
}

// do sends a request and keeps the nonce that comes back.
func (f *Floor) do(req *http.Request) ([]byte, http.Header, error) {
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, nil, err
	}
	if nonce := resp.Header.Get("Replay-Nonce"); nonce != "" {
		select {
		case f.nonces <- nonce:
		default:
		}
	}
	if resp.StatusCode >= 400 {
		return nil, nil, fmt.Errorf("%s: %s: %s", req.URL, resp.Status, body)
	}
	return body, resp.Header, nil
}

// fixedNonce is a jose.NonceSource of one nonce.
type fixedNonce string

func (n fixedNonce) Nonce() (string, error) { return string(n), nil }
