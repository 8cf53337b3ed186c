package failpoint

import (
	"net/http"
	"strings"
)

// Transport returns rt with a point at every request, called by its method and
// the first element of its path: "POST /order-plz#1". After it, the peer has
// answered.
func (p *Points) Transport(rt http.RoundTripper) http.RoundTripper { return transport{rt, p} }

type transport struct {
	http.RoundTripper
	p *Points
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	first, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	err = t.p.Pass(req.Method+" /"+first, func() (err error) {
		resp, err = t.RoundTripper.RoundTrip(req)
		return err
	})
	return resp, err
}

// CloseIdleConnections is what http.Client looks for.
func (t transport) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
