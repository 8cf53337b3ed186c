// Command autocert issues and serves certificates with
// golang.org/x/crypto/acme/autocert, as its documentation shows: a TLS server
// with the Manager's TLSConfig, which answers tls-alpn-01, and a DirCache.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/inkan-acme/inkan/bench/peers/peer"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

func main() { peer.Program{Open: open, Serve: serve}.Main() }

func open(_ context.Context, o peer.Options) (func(context.Context, [][]string) error, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.TLSPort)))
	if err != nil {
		return nil, err
	}
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(filepath.Join(o.Dir, "cache")),
		HostPolicy: func(context.Context, string) error { return nil },
		Client:     &acme.Client{DirectoryURL: o.CA, HTTPClient: o.HTTPClient()},
	}
	server := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: m.TLSConfig()}
	go server.ServeTLS(l, "", "") // until the process ends
	return func(_ context.Context, sets [][]string) error {
		if len(sets) != 1 || len(sets[0]) != 1 {
			return errors.New("it makes one certificate of one name, when a client asks for it")
		}
		_, err := m.GetCertificate(peer.Hello(sets[0][0]))
		return err
	}, nil
}

func serve(ctx context.Context, dir string, certs []peer.Certificate) (peer.GetCertificate, error) {
	m := &autocert.Manager{Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(dir), HostPolicy: func(context.Context, string) error { return nil }}
	for _, c := range certs {
		der, err := x509.MarshalECPrivateKey(c.Key)
		if err != nil {
			return nil, err
		}
		data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
		for _, cert := range c.Chain {
			data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
		}
		if err := m.Cache.Put(ctx, c.Name, data); err != nil {
			return nil, err
		}
	}
	return m.GetCertificate, nil
}
