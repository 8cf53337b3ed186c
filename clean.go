package inkan

// clean makes what people are shown printable in a record that was just read.
// It was made so before it was written, but somebody else may have written it
// (reliability H13).
func clean(record any) {
	switch r := record.(type) {
	case *State:
		cleanError(r.LastError)
		r.ARI.Error, r.ARI.ExplanationURL = Printable(r.ARI.Error, shownText), Printable(r.ARI.ExplanationURL, shownText)
	case *Deployed:
		cleanError(r.LastError)
		r.Status = Printable(r.Status, shownName)
	case *Event:
		r.Kind, r.Name, r.Target = EventKind(Printable(string(r.Kind), shownName)), Printable(r.Name, shownName), Printable(r.Target, shownName)
		r.Message, r.Hint = Printable(r.Message, shownText), Printable(r.Hint, shownText)
	case *AccountRecord:
		r.URL, r.TermsAgreed, r.EABKeyID = Printable(r.URL, shownText), Printable(r.TermsAgreed, shownText), Printable(r.EABKeyID, shownText)
		for i, c := range r.Contacts {
			r.Contacts[i] = Printable(c, shownText)
		}
	case *OrderRecord:
		r.CA, r.Account, r.OrderURL = Printable(r.CA, shownName), Printable(r.Account, shownName), Printable(r.OrderURL, shownText)
	case *certValue:
		r.CA, r.Account, r.Source = Printable(r.CA, shownName), Printable(r.Account, shownName), Printable(r.Source, shownName)
	}
}

func cleanError(e *LastError) {
	if e == nil {
		return
	}
	e.Message = Printable(e.Message, shownText)
	for i, h := range e.Hints {
		e.Hints[i] = Printable(h, shownText)
	}
}

// The bounds of what is shown, in bytes: no less than what Inkan writes.
const (
	shownName = 300
	shownText = 4096
)
