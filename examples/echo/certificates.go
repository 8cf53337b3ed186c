package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/process"
	"github.com/inkan-acme/inkan/serve"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

type options struct {
	data, domains, email, ca, caRoot string
	agreeTerms                       bool
}

// site is a manager of one certificate and the handler that answers its CA.
type site struct {
	manager      *engine.Manager
	certificates *serve.Certificates // what handshakes get
	proofs       *solve.Handler      // goes onto port 80
	request      inkan.CertificateRequest
	watch        time.Duration // how often to look for new versions; 0: the default
}

// newSite puts a manager together: where things are kept, which CA issues, how
// control is proven. It asks nothing of the CA yet.
func newSite(o options) (*site, error) {
	ids, err := inkan.ParseIdentifiers(strings.Split(o.domains, ","))
	if err != nil {
		return nil, err
	}
	// The inkan command finds the same store with --data.
	files, err := store.File(plug.Env{}, store.FileConfig{Dir: filepath.Join(o.data, "store")})
	if err != nil {
		return nil, err
	}

	config := acme.Config{Name: o.ca, AgreeTerms: o.agreeTerms}
	if strings.Contains(o.ca, "://") {
		config.Name, config.Directory = acme.CAName(o.ca), o.ca
	}
	if o.email != "" {
		config.Contacts = []string{o.email}
	}
	if o.caRoot != "" {
		pem, err := os.ReadFile(o.caRoot)
		if err != nil {
			return nil, err
		}
		if config.Roots = x509.NewCertPool(); !config.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", o.caRoot)
		}
	}
	// The answers to the CA stand in the store too: any program that shares it
	// can give them. One that is alone needs no more than a solve.Responder.
	answers, err := solve.HTTP01(plug.Env{}, solve.HTTP01Config{Store: plug.Ref[inkan.Store]{Value: files}})
	if err != nil {
		return nil, err
	}
	const account = "default"
	client, err := acme.New(plug.Env{}, config, engine.Accounts(files, config.Name, account))
	if err != nil {
		return nil, err
	}

	s := &site{proofs: &solve.Handler{Store: files, Log: slog.Default()}, request: inkan.CertificateRequest{
		Name:        "site",
		Identifiers: ids,
		CAs:         []string{config.Name},
		Account:     account,
		KeyTypes:    []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "port-80"}},
	}}
	s.certificates = &serve.Certificates{Store: files, Log: slog.Default()}
	// Requests name CAs and solvers; what the names mean is said here.
	s.manager = &engine.Manager{
		Store: files,
		Owner: process.Self(), // a restart after a crash goes on at once
		Alive: process.Alive,
		Issuer: func(_ context.Context, ca, account string) (inkan.Issuer, error) {
			if ca != config.Name {
				return nil, fmt.Errorf("this program does not know the CA %s", ca)
			}
			return client, nil
		},
		Solver: func(context.Context, string) (inkan.Solver, error) { return answers, nil },
		// What was just issued is served at once.
		Published: s.certificates.Refresh,
	}
	return s, nil
}

// renewForEver records what is wanted, gets it, and from then on does whatever
// is due. A failure is logged and tried again when its time comes: the
// certificate in force is served meanwhile.
func (s *site) renewForEver(ctx context.Context) error {
	if _, err := s.manager.Record(ctx, s.request, inkan.OriginAPI); err != nil {
		return err
	}
	return s.manager.Maintain(ctx, func(r *engine.Report, err error) {
		if err := errors.Join(err, r.Err()); err != nil {
			slog.Error("renewal failed", "error", err, "hints", inkan.HintsOf(err))
		}
		for _, res := range r.Results {
			if res.Issued {
				slog.Info("issued", "certificate", res.Name, "until", res.Version.Pairs[0].Leaf.NotAfter)
			}
		}
	})
}
