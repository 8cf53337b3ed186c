// Echo is a web application on labstack/echo that obtains its certificate,
// serves it and renews it itself.
//
//	go run ./echo -data /var/lib/site -domain www.example.com -email ops@example.com -agree-tos
//
// An Echo is an http.Handler, so everything but the handlers is as in
// examples/nethttp, and certificates.go is the same file.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
)

func main() {
	var o options
	flag.StringVar(&o.data, "data", "data", "directory to keep certificates and keys in")
	flag.StringVar(&o.domains, "domain", "", "names of the certificate, with commas between them")
	flag.StringVar(&o.email, "email", "", "address that the CA may write to")
	flag.StringVar(&o.ca, "ca", "letsencrypt", "built-in CA, or the URL of an ACME directory")
	flag.StringVar(&o.caRoot, "ca-root", "", "PEM file with the root that the CA's own HTTPS is trusted by")
	flag.BoolVar(&o.agreeTerms, "agree-tos", false, "agree to the CA's terms of service")
	httpAddr := flag.String("http", ":80", "address for HTTP; the CA connects to port 80")
	httpsAddr := flag.String("https", ":443", "address for HTTPS")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := listenAndRun(ctx, o, *httpAddr, *httpsAddr); err != nil {
		fmt.Fprintln(os.Stderr, "echo: error:", err)
		for _, hint := range inkan.HintsOf(err) {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

func listenAndRun(ctx context.Context, o options, httpAddr, httpsAddr string) error {
	s, err := newSite(o)
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", httpAddr)
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", httpsAddr)
	if err != nil {
		return err
	}
	return s.run(ctx, plain, secure)
}

// run serves HTTP and HTTPS and renews the certificate until ctx ends.
func (s *site) run(ctx context.Context, plain, secure net.Listener) error {
	// Port 80 answers the CA and sends everybody else to HTTPS.
	front := echo.New()
	front.GET("/.well-known/acme-challenge/*", echo.WrapHandler(s.proofs))
	front.Any("/*", func(c echo.Context) error {
		return c.Redirect(http.StatusMovedPermanently, "https://"+c.Request().Host+c.Request().URL.RequestURI())
	})
	app := echo.New()
	app.GET("/", func(c echo.Context) error {
		return c.String(http.StatusOK, "hello from "+c.Request().Host+"\n")
	})
	// The whole of TLS: ask for the certificate of each handshake.
	config := &tls.Config{GetCertificate: s.certificates.GetCertificate}

	g, ctx := errgroup.WithContext(ctx)
	listenAndServe(ctx, g, &http.Server{Handler: front}, func(h *http.Server) error { return h.Serve(plain) })
	listenAndServe(ctx, g, &http.Server{Handler: app, TLSConfig: config}, func(h *http.Server) error { return h.ServeTLS(secure, "", "") })
	g.Go(func() error { return unlessDone(ctx, s.certificates.Watch(ctx, s.watch)) })
	g.Go(func() error { return unlessDone(ctx, s.renewForEver(ctx)) })
	return g.Wait()
}

// listenAndServe runs h until ctx ends, then lets requests in flight finish.
func listenAndServe(ctx context.Context, g *errgroup.Group, h *http.Server, accept func(*http.Server) error) {
	h.ReadHeaderTimeout = 10 * time.Second
	h.ErrorLog = slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug) // handshakes that fail
	g.Go(func() error {
		if err := accept(h); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return h.Shutdown(grace)
	})
}

// unlessDone drops the error of work that ended because it was told to.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
