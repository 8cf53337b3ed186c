package testca

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Chain joins faults: the first stands nearest to the client.
func Chain(faults ...Fault) Fault {
	return func(next http.Handler) http.Handler {
		for i := len(faults) - 1; i >= 0; i-- {
			next = faults[i](next)
		}
		return next
	}
}

// instead is a fault that never asks the CA.
func instead(answer http.HandlerFunc) Fault {
	return func(http.Handler) http.Handler { return answer }
}

// Answer answers in place of the CA, without a nonce.
func Answer(status int, contentType, body string) Fault {
	return instead(func(w http.ResponseWriter, _ *http.Request) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// Problem answers with a problem document whose type is in the namespace of
// RFC 8555 section 6.7.
func Problem(status int, kind, detail string) Fault {
	return Answer(status, "application/problem+json", string(problemBody(status, kind, detail)))
}

// RateLimited is the 429 of Boulder, with its Retry-After unless that is "".
func RateLimited(detail, retryAfter string) Fault {
	f := Problem(http.StatusTooManyRequests, "rateLimited", detail)
	if retryAfter == "" {
		return f
	}
	return Chain(SetHeader("Retry-After", retryAfter), f)
}

// UserActionRequired is the refusal of RFC 8555 section 7.3.3: new terms, to be
// read at instance.
func UserActionRequired(instance string) Fault {
	body := map[string]any{"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "Terms of service have changed",
		"status": http.StatusForbidden, "instance": instance}
	return Answer(http.StatusForbidden, "application/problem+json", string(mustJSON(body)))
}

// AccountGone is the refusal of a CA that has lost its accounts.
func AccountGone() Fault {
	return Problem(http.StatusBadRequest, "accountDoesNotExist", "Account does not exist")
}

// AlreadyReplaced is the refusal of RFC 9773 section 5. For a CA that gives it
// by Boulder's rule see [Options.Boulder].
func AlreadyReplaced() Fault {
	return Problem(http.StatusConflict, "alreadyReplaced", "already has a replacement order")
}

// Redirect answers with a redirect.
func Redirect(status int, url string) Fault {
	return Chain(SetHeader("Location", url), Answer(status, "", ""))
}

// Delay holds the request back before the CA sees it.
func Delay(d time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
				next.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		})
	}
}

// DropBefore cuts the connection (of HTTP/2: the stream); the CA sees nothing.
func DropBefore() Fault {
	return instead(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// DropAfter lets the CA do what it was asked and cuts its answer off.
func DropAfter() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			hold(next, r)
			panic(http.ErrAbortHandler)
		})
	}
}

// StallBefore never answers; the CA sees nothing.
func StallBefore() Fault {
	return instead(func(_ http.ResponseWriter, r *http.Request) { hang(r) })
}

// StallAfter lets the CA do what it was asked and never answers.
func StallAfter() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			hold(next, r)
			hang(r)
		})
	}
}

// StallBody passes the head of the CA's answer and n bytes of its body on, and
// never the rest.
func StallBody(n int) Fault {
	return partly(n, hang)
}

// Truncate passes the head of the CA's answer and n bytes of its body on and
// cuts the connection.
func Truncate(n int) Fault {
	return partly(n, func(*http.Request) { panic(http.ErrAbortHandler) })
}

func partly(n int, then func(*http.Request)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := hold(next, r)
			a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
			if n < a.body.Len() {
				a.body.Truncate(n)
			}
			a.send(w)
			_ = http.NewResponseController(w).Flush()
			then(r)
		})
	}
}

// Replay sends the request twice, as a broken middlebox does. The client gets
// the first answer, or the second if second is true; the status of the other
// goes to lost, which may be nil.
func Replay(second bool, lost func(status int)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := readBody(w, r)
			if err != nil {
				return
			}
			first := hold(next, r)
			r.Body = io.NopCloser(bytes.NewReader(body))
			again := hold(next, r)
			if second {
				first, again = again, first
			}
			if lost != nil {
				lost(again.status)
			}
			first.send(w)
		})
	}
}

// Oversize answers 200 with size bytes in the place of a body; a negative size
// never ends. Between pieces of 64 KiB, or single bytes if pause is not 0, it
// waits for pause.
func Oversize(size int, pause time.Duration) Fault {
	return instead(func(w http.ResponseWriter, r *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		if pause > 0 {
			chunk = chunk[:1]
		}
		for sent := 0; (size < 0 || sent < size) && r.Context().Err() == nil; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			if pause > 0 {
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
				}
			}
		}
	})
}

// SetHeader sets a header of the answer, whatever the CA set; "" removes it.
func SetHeader(name, value string) Fault {
	return EditHeader(func(h http.Header) {
		if value == "" {
			h.Del(name)
			return
		}
		h.Set(name, value)
	})
}

// NoNonce removes the Replay-Nonce of the answer.
func NoNonce() Fault { return SetHeader("Replay-Nonce", "") }

// EditHeader changes the header of the answer.
func EditHeader(edit func(http.Header)) Fault {
	return editAnswer(func(a *heldResponse) { edit(a.header) })
}

// EditBody changes the body of successful answers.
func EditBody(edit func([]byte) []byte) Fault {
	return editAnswer(func(a *heldResponse) {
		if a.status < 300 {
			a.set(edit(bytes.Clone(a.body.Bytes())))
		}
	})
}

// EditJSON changes successful answers that are JSON objects.
func EditJSON(edit func(doc map[string]any)) Fault {
	return EditBody(func(body []byte) []byte {
		doc := map[string]any{}
		if json.Unmarshal(body, &doc) != nil {
			return body
		}
		edit(doc)
		return mustJSON(doc)
	})
}

// PlainHTTP takes the "s" from every https URL in the answer.
func PlainHTTP() Fault {
	return editAnswer(func(a *heldResponse) {
		for name, values := range a.header {
			for i := range values {
				a.header[name][i] = strings.ReplaceAll(values[i], "https://", "http://")
			}
		}
		a.set(bytes.ReplaceAll(a.body.Bytes(), []byte("https://"), []byte("http://")))
	})
}

func editAnswer(edit func(*heldResponse)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := hold(next, r)
			edit(a)
			a.send(w)
		})
	}
}

// hold asks the CA and keeps its answer.
func hold(next http.Handler, r *http.Request) *heldResponse {
	a := &heldResponse{header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(a, r)
	return a
}

// send passes a kept answer on.
func (h *heldResponse) send(w http.ResponseWriter) {
	for name, values := range h.header {
		w.Header()[name] = values
	}
	w.WriteHeader(h.status)
	_, _ = w.Write(h.body.Bytes())
}

// hang waits until nobody waits for the answer any more.
func hang(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}
