package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is what a visitor of the web site meets.
type answer struct {
	leaf *x509.Certificate
	body string
}

// visit asks for the front page as a browser does: it trusts the roots and
// nothing else, and insists on the name.
func visit(ctx context.Context, addr, name string, roots *x509.CertPool) (*answer, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // each visitor is a new one
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+name+"/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return nil, err
	}
	return &answer{resp.TLS.PeerCertificates[0], strings.TrimSpace(string(body))}, nil
}

// visitUntil visits until ok, for at most five seconds: the site reads its
// files a moment after it was told to.
func visitUntil(ctx context.Context, addr, name string, roots *x509.CertPool, ok func(*answer) bool) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		a, err := visit(ctx, addr, name, roots)
		if err == nil && ok(a) {
			return a, nil
		}
		if err == nil {
			err = fmt.Errorf("it serves the certificate %s", serial(a.leaf))
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the web site does not answer as it should: %w", err), context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// serial writes the serial number, by which certificates are told apart.
func serial(c *x509.Certificate) string { return fmt.Sprintf("%x", c.SerialNumber) }

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
