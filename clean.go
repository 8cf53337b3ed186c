package inkan

// What people are shown was made printable before it was written. Somebody else
// may have written it (reliability H13), so it is made printable once more when
// it is read: clean is called for every record that has it.
type cleaner interface{ clean() }

func (s *State) clean() {
	s.LastError.clean()
	s.ARI.Error, s.ARI.ExplanationURL = Printable(s.ARI.Error, shownText), Printable(s.ARI.ExplanationURL, shownText)
}

func (d *Deployed) clean() {
	d.LastError.clean()
	d.Status = Printable(d.Status, shownName)
}

func (e *Event) clean() {
	e.Kind, e.Name, e.Target = EventKind(Printable(string(e.Kind), shownName)), Printable(e.Name, shownName), Printable(e.Target, shownName)
	e.Message, e.Hint = Printable(e.Message, shownText), Printable(e.Hint, shownText)
}

func (a *AccountRecord) clean() {
	a.URL, a.TermsAgreed, a.EABKeyID = Printable(a.URL, shownText), Printable(a.TermsAgreed, shownText), Printable(a.EABKeyID, shownText)
	for i, c := range a.Contacts {
		a.Contacts[i] = Printable(c, shownText)
	}
}

func (o *OrderRecord) clean() {
	o.CA, o.Account, o.OrderURL = Printable(o.CA, shownName), Printable(o.Account, shownName), Printable(o.OrderURL, shownText)
}

func (c *certValue) clean() {
	c.CA, c.Account, c.Source = Printable(c.CA, shownName), Printable(c.Account, shownName), Printable(c.Source, shownName)
}

func (e *LastError) clean() {
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
