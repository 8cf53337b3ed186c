package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// ensureAccount makes the account at the CA if there is none yet. It must
// exist before a request is recorded: a renewal by a timer agrees to nothing.
func (a *app) ensureAccount(ctx context.Context, ca, account string, r *requestFlags) error {
	s, _, err := a.stores()
	if err != nil {
		return err
	}
	rec, err := inkan.Accounts(s, ca, account).Load(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	flags, err := r.accountFlags()
	if err != nil {
		return err
	}
	client, err := a.client(ctx, ca, account, flags)
	if err != nil || rec.URL != "" {
		return err
	}
	return a.register(ctx, client, r)
}

// accountFlags reads the flags about the account, and the HMAC key's file.
func (r *requestFlags) accountFlags() (accountFlags, error) {
	f := accountFlags{emails: r.emails, agreeTerms: r.agreeTOS, eabKeyID: r.eabKeyID, eabAlg: r.eabAlg}
	if r.accountKey != "" {
		kt, err := inkan.ParseKeyType(r.accountKey)
		if err != nil {
			return f, err
		}
		f.keyType = kt
	}
	if r.eabKey != "" {
		data, err := os.ReadFile(r.eabKey)
		if err != nil {
			return f, inkan.Errorf(inkan.Operator, "external account binding", "%w", err)
		}
		f.eabKey = plug.NewSecret(strings.TrimSpace(string(data)))
	}
	return f, nil
}

// saveCA keeps what the command line said about a CA on this machine.
func (a *app) saveCA(ctx context.Context, name string, c hostCA) error {
	_, host, err := a.stores()
	if err != nil {
		return err
	}
	options, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return inkan.SaveHost(ctx, host, inkan.HostCAs, name, inkan.HostRecord{Kind: "acme", Options: options})
}
