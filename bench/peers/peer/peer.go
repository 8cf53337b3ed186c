// Package peer is what the programs of this module share: each is one other
// ACME library for Go, used as its own documentation shows, with its files on
// disk. The bench builds and runs them; the CA is the bench's.
//
//	acmez issue -ca URL -roots FILE -dir DIR -http-port N -tls-port N NAMES...
//	certmagic serve -certificates 10000
//
// The answer is one line of JSON on standard output.
//
// They are a module of their own, so that nobody who builds Inkan needs these
// libraries.
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"
)

// Options is what a client is told.
type Options struct {
	CA       string         // directory URL
	Roots    *x509.CertPool // trust for the CA's endpoint
	Dir      string         // for its files; the same in every run
	HTTPPort int            // where the CA validates http-01, at 127.0.0.1
	TLSPort  int            // and tls-alpn-01
	Limiter  bool           // keep a limiter of its own, if it has one
}

// HTTPClient returns a client that trusts the CA.
func (o *Options) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: o.Roots},
		ForceAttemptHTTP2: true,
	}}
}

// Program is one peer.
type Program struct {
	// Open does what a program that uses the library does at its start. What it
	// returns gets one certificate for each set of names, all in one run, and
	// returns when they are on disk. The account is made on the first use.
	Open func(context.Context, Options) (issue func(context.Context, [][]string) error, err error)
	// Serve makes the library hold these certificates, with files in dir if it
	// needs some, and returns its GetCertificate; nil if it has none.
	Serve func(ctx context.Context, dir string, certs []Certificate) (GetCertificate, error)
}

// GetCertificate is the hook of a tls.Config.
type GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// Issued is the answer to "issue".
type Issued struct {
	Nanoseconds int64 `json:"nanoseconds"` // from the first request to the last file
}

// Main runs the program and ends the process.
func (p Program) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	answer, err := p.run(ctx, os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: error: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}

func (p Program) run(ctx context.Context, args []string) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("what to do: issue or serve")
	}
	switch verb := args[0]; {
	case verb == "issue":
		return p.issue(ctx, args[1:])
	case verb == "serve" && p.Serve != nil:
		return p.serve(ctx, args[1:])
	default:
		return nil, fmt.Errorf("it cannot %s", verb)
	}
}

func (p Program) issue(ctx context.Context, args []string) (any, error) {
	var o Options
	flags := flag.NewFlagSet("issue", flag.ExitOnError)
	flags.StringVar(&o.CA, "ca", "", "the CA's directory `URL`")
	roots := flags.String("roots", "", "`file` with the roots of the CA's endpoint")
	flags.StringVar(&o.Dir, "dir", "", "`directory` for account, keys and certificates")
	flags.IntVar(&o.HTTPPort, "http-port", 0, "where http-01 is validated")
	flags.IntVar(&o.TLSPort, "tls-port", 0, "where tls-alpn-01 is validated")
	flags.BoolVar(&o.Limiter, "limiter", false, "keep the library's own limiter")
	together := flags.Bool("together", false, "one certificate for all names, in place of one for each")
	flags.Parse(args)

	pem, err := os.ReadFile(*roots)
	if err != nil {
		return nil, err
	}
	o.Roots = x509.NewCertPool()
	if !o.Roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", *roots)
	}
	var sets [][]string
	if *together {
		sets = append(sets, flags.Args())
	} else {
		for _, name := range flags.Args() {
			sets = append(sets, []string{name})
		}
	}
	issue, err := p.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := issue(ctx, sets); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(flags.Args(), " "), err)
	}
	return Issued{time.Since(start).Nanoseconds()}, nil
}
