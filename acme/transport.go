package acme

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"time"
)

// The deadlines of one request (reliability B01).
const (
	connectTimeout = 10 * time.Second
	tlsTimeout     = 10 * time.Second
	headerTimeout  = 30 * time.Second
	bodyTimeout    = 60 * time.Second
)

// NewTransport returns a transport tuned for one CA: HTTP/2 over one
// connection where the CA speaks it, a deadline for every phase, dead
// connections noticed by pings. roots nil means the system's; proxy nil means
// none, whatever the environment says.
func NewTransport(roots *x509.CertPool, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    16, // matters for CAs without HTTP/2 only
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // answers are small, and this rules out decompression bombs
		ForceAttemptHTTP2:      true, // the dialer and TLS settings above would switch it off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}
