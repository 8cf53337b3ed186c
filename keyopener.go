package inkan

import "context"

// KeyUse says which key is opened and for what, so that a KeyOpener may allow one
// use and refuse another.
type KeyUse struct {
	Account bool   // the key of an account; else that of a certificate
	Name    string // of the certificate, or "<ca>/<account>"
}

// KeyOpener opens a key that is stored in a form other than [PlainKey]: a sealed
// key, or a reference to one. A nil KeyOpener knows no such form.
//
// The engine, package serve and package acme are given one. The engine passes it
// on to deployers (Deployment.OpenKey). The error for a form that it cannot open is
// of kind Operator and names the form. No error holds any part of the key. It may
// be called concurrently.
type KeyOpener func(ctx context.Context, k *StoredKey, use KeyUse) (*PrivateKey, error)

// Open returns the private key. Plain keys are opened here; what a KeyOpener
// returns must be the key that was stored.
func (open KeyOpener) Open(ctx context.Context, k *StoredKey, use KeyUse) (*PrivateKey, error) {
	if k.Form == PlainKey {
		return ParseKey(k.Data)
	}
	op := "private key of " + use.Name
	if open == nil {
		return nil, Errorf(Operator, op, "it is stored in the form %q, which this machine cannot open", Printable(k.Form, 40))
	}
	key, err := open(ctx, k, use)
	if err != nil {
		return nil, Errorf(KindOf(err), op, "it is stored in the form %q, and opening it failed: %w", Printable(k.Form, 40), err)
	}
	spki, err := SPKIHash(key.Public())
	if err != nil {
		return nil, err
	}
	if k.SPKI != "" && spki != k.SPKI {
		return nil, Errorf(Bug, op, "what was opened from the form %q is another key", Printable(k.Form, 40))
	}
	return key, nil
}

// StorePlain returns the form in which a key is stored as it is.
func StorePlain(k *PrivateKey) (*StoredKey, error) {
	data, err := k.PEM()
	if err != nil {
		return nil, err
	}
	spki, err := SPKIHash(k.Public())
	return &StoredKey{Form: PlainKey, Data: data, SPKI: spki}, err
}
