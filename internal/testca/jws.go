package testca

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// maxRequest bounds the body of a request in bytes.
const maxRequest = 1 << 20

// signedRequest is what a request body says without anybody having checked its
// signature: that is Pebble's task.
type signedRequest struct {
	account string // URL of the account; "" if the key itself stands there
	payload []byte
}

// parseSigned reads a JWS in JSON form. What is none yields zero fields.
func parseSigned(body []byte) signedRequest {
	var jws struct{ Protected, Payload string }
	if json.Unmarshal(body, &jws) != nil {
		return signedRequest{}
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if raw, err := base64.RawURLEncoding.DecodeString(jws.Protected); err == nil {
		_ = json.Unmarshal(raw, &header)
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		payload = nil
	}
	return signedRequest{account: header.KeyID, payload: payload}
}

// Identifier is one name of an order (RFC 8555 section 7.1.3).
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// orderPayload is what a newOrder request asks for.
type orderPayload struct {
	Identifiers []Identifier `json:"identifiers"`
	Replaces    string       `json:"replaces"`
	Profile     string       `json:"profile"`
}

func (s signedRequest) order() orderPayload {
	var p orderPayload
	_ = json.Unmarshal(s.payload, &p)
	for i := range p.Identifiers {
		p.Identifiers[i].Value = strings.ToLower(p.Identifiers[i].Value)
	}
	return p
}

// readBody returns the body of r and leaves it readable for the next handler.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}
