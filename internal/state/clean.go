package state

import (
	"github.com/inkan-acme/inkan"
)

// clean makes the texts for people printable in a record that was just read.
// Inkan does that before it writes a record, but another program may have written
// this one (reliability H13).
//
// A due entry that a state names is deleted when it is met. So what is not one of
// this certificate is not taken for one: anybody's key could stand there.
func clean(key string, record any) {
	switch r := record.(type) {
	case *inkan.State:
		if _, name, err := ParseDue(r.Due, CertQueue); err != nil || StateKey(name) != key {
			r.Due = ""
		}
		cleanError(r.LastError)
		r.ARI.Error, r.ARI.ExplanationURL = inkan.Printable(r.ARI.Error, shownText), inkan.Printable(r.ARI.ExplanationURL, shownText)
	case *inkan.Deployed:
		cleanError(r.LastError)
		r.Status = inkan.Printable(r.Status, shownName)
	case *inkan.Event:
		r.Kind, r.Name, r.Target = inkan.EventKind(inkan.Printable(string(r.Kind), shownName)), inkan.Printable(r.Name, shownName), inkan.Printable(r.Target, shownName)
		r.Message, r.Hint = inkan.Printable(r.Message, shownText), inkan.Printable(r.Hint, shownText)
	case *inkan.AccountRecord:
		r.URL, r.TermsAgreed, r.EABKeyID = inkan.Printable(r.URL, shownText), inkan.Printable(r.TermsAgreed, shownText), inkan.Printable(r.EABKeyID, shownText)
		for i, c := range r.Contacts {
			r.Contacts[i] = inkan.Printable(c, shownText)
		}
	case *inkan.OrderRecord:
		r.CA, r.Account, r.OrderURL = inkan.Printable(r.CA, shownName), inkan.Printable(r.Account, shownName), inkan.Printable(r.OrderURL, shownText)
	case *CertValue:
		r.CA, r.Account, r.Source = inkan.Printable(r.CA, shownName), inkan.Printable(r.Account, shownName), inkan.Printable(r.Source, shownName)
	}
}

func cleanError(e *inkan.LastError) {
	if e == nil {
		return
	}
	e.Message = inkan.Printable(e.Message, shownText)
	for i, h := range e.Hints {
		e.Hints[i] = inkan.Printable(h, shownText)
	}
}

// The bounds of what is shown, in bytes: no less than what Inkan writes.
const (
	shownName = 300
	shownText = 4096
)
