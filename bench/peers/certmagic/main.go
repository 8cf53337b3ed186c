// Command certmagic issues and serves certificates with
// github.com/caddyserver/certmagic, as its README shows under "Advanced use":
// file storage, http-01 and tls-alpn-01 by its own listeners.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/certmagic"
	"github.com/inkan-acme/inkan/bench/peers/peer"
	"go.uber.org/zap"
)

func main() { peer.Program{Open: open, Serve: serve}.Main() }

// newConfig returns a Config with a Cache of its own. Nothing is logged, which
// costs the least.
func newConfig(template certmagic.Config) *certmagic.Config {
	template.Logger = zap.NewNop()
	var cache *certmagic.Cache
	cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return certmagic.New(cache, template), nil },
		Logger:           template.Logger,
	})
	return certmagic.New(cache, template)
}

func open(_ context.Context, o peer.Options) (func(context.Context, [][]string) error, error) {
	if !o.Limiter {
		certmagic.RateLimitEvents, certmagic.RateLimitEventsWindow = 0, 0
	}
	type outcome struct {
		name string
		err  error
	}
	obtained := make(chan outcome, 1000)
	magic := newConfig(certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(o.Dir, "storage")},
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_obtained":
				obtained <- outcome{name: fmt.Sprint(data["identifier"])}
			case "cert_failed":
				obtained <- outcome{fmt.Sprint(data["identifier"]), fmt.Errorf("%v", data["error"])}
			}
			return nil
		},
	})
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA: o.CA, TestCA: o.CA, TrustedRoots: o.Roots, Agreed: true, Email: "hostmaster@example.test",
		ListenHost: "127.0.0.1", AltHTTPPort: o.HTTPPort, AltTLSALPNPort: o.TLSPort, Logger: magic.Logger,
	})}
	return func(ctx context.Context, sets [][]string) error {
		var names []string
		for _, set := range sets {
			if len(set) != 1 {
				return errors.New("it makes one certificate for each name")
			}
			names = append(names, set[0])
		}
		if len(names) == 1 {
			return magic.ManageSync(ctx, names)
		}
		// ManageSync takes one after the other.
		if err := magic.ManageAsync(ctx, names); err != nil {
			return err
		}
		for range names {
			select {
			case o := <-obtained:
				if o.err != nil {
					return fmt.Errorf("%s: %w", o.name, o.err)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}, nil
}

func serve(ctx context.Context, _ string, certs []peer.Certificate) (peer.GetCertificate, error) {
	magic := newConfig(certmagic.Config{OCSP: certmagic.OCSPConfig{DisableStapling: true}})
	for _, c := range certs {
		if _, err := magic.CacheUnmanagedTLSCertificate(ctx, tls.Certificate{Certificate: c.Chain, PrivateKey: c.Key}, nil); err != nil {
			return nil, err
		}
	}
	return magic.GetCertificate, nil
}
