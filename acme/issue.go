package acme

import (
	"context"
	"errors"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
)

// order is one call of Issue.
type order struct {
	c    *Client
	r    inkan.IssueRequest
	acct *account
	dir  *directory
	ids  []inkan.Identifier
	rec  inkan.OrderRecord // as the journal had it when the call began; Challenges and Tokens as it has them now

	url       string
	replaces  string // ARI certificate id that the order was made with
	finalized bool   // we sent finalize, now or before a crash
	second    bool   // a first order turned out to be somebody else's
	finalizes int

	tasks   []*task      // the challenges that are being met
	unshown map[way]bool // what a solver could not show

	failuresChecked bool // by this call, which need not look twice

	csrOnce sync.Once
	csrDone chan struct{}
	csr     []byte
	csrErr  error
}

// Issue implements [inkan.Issuer]. The order of its durable steps is that of
// rows 5 to 9 of the commit protocol in docs/architecture.md.
func (c *Client) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	o := &order{c: c, r: r, csrDone: make(chan struct{})}
	defer o.awaitCSR()
	if r.AfterOutage {
		c.throttle.easing.told()
	}
	obj, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	for {
		switch obj.Status {
		case statusPending:
			o.acct = c.latestAccount(o.acct) // its thumbprint goes into every proof
			obj, err = o.authorize(ctx, obj)
		case statusReady:
			obj, err = o.finalize(ctx, obj)
		case statusProcessing:
			o.progress("waiting for the certificate")
			obj, err = o.poll(ctx, c.op("order"), obj, nil)
		case statusValid:
			issued, err := o.collect(ctx, obj)
			if issued != nil || err != nil {
				return issued, err
			}
			// A new order that came back valid has a certificate for somebody
			// else's key (reliability A08).
			obj, err = o.createAgain(ctx)
			if err != nil {
				return nil, err
			}
		default:
			return nil, o.dead(ctx, obj)
		}
		if err != nil {
			return nil, err
		}
	}
}

// open signs in and returns the order that the journal names, or a new one.
func (o *order) open(ctx context.Context) (*orderObject, error) {
	var err error
	if o.rec, err = o.r.Journal.Load(ctx); err != nil {
		return nil, o.journalError(ctx, "reading", err)
	}
	o.ids = o.rec.Identifiers
	if len(o.ids) == 0 {
		o.ids = o.r.Request.Identifiers
	}
	o.url, o.replaces, o.finalized = o.rec.OrderURL, o.rec.Replaces, o.rec.Finalizing
	for _, csr := range [][]byte{o.r.Request.CSR, o.rec.CSR} {
		if csr != nil {
			if err := CheckCSR(csr); err != nil {
				return nil, err
			}
		}
	}
	if o.acct, err = o.c.signIn(ctx); err != nil {
		return nil, err
	}
	if o.dir, err = o.c.directory(ctx); err != nil {
		return nil, err
	}
	if err := o.c.mayIssue(); err != nil {
		return nil, err
	}
	if o.url == "" {
		return o.create(ctx)
	}
	o.progress("resuming the order")
	return o.resume(ctx)
}

// resume reads the order of the journal.
func (o *order) resume(ctx context.Context) (*orderObject, error) {
	op := o.c.op("order")
	obj, err := o.read(ctx, op)
	switch {
	case err == nil:
		return obj, nil
	case notFound(err), isProblem(err, unauthorized):
		return nil, inkan.Errorf(inkan.Rejected, op, "%w: %w", err, inkan.ErrOrderDead)
	}
	return nil, err
}

// read gets the order (POST-as-GET).
func (o *order) read(ctx context.Context, op string) (*orderObject, error) {
	resp, err := o.c.post(ctx, epOther, op, o.url, o.acct.identity, nil)
	if err != nil {
		return nil, err
	}
	return o.parse(op, resp)
}

func (o *order) parse(op string, resp *response) (*orderObject, error) {
	obj, err := parseOrder(resp.body, o.c.hosts)
	if err != nil {
		return nil, badAnswer(op, err)
	}
	obj.retryAfter = retryAfter(resp.header, o.c.now())
	return obj, nil
}

// badAnswer is the error of an answer that cannot be used: a person must look
// at a URL that may not be asked, everything else may be a hiccup.
func badAnswer(op string, err error) error {
	if errors.Is(err, errBadURL) {
		return inkan.Errorf(inkan.Operator, op, "%w", err).WithHint(hostHint)
	}
	return inkan.Errorf(inkan.Temporary, op, "%w", err)
}

// startCSR makes key and CSR in the background. The caller's function o.r.CSR
// journals both before it returns.
func (o *order) startCSR(ctx context.Context) {
	o.csrOnce.Do(func() {
		go func() {
			defer close(o.csrDone)
			if o.csr = o.rec.CSR; o.csr == nil {
				o.csrErr = guard.Call("certificate request", func() (err error) {
					o.csr, err = o.r.CSR(ctx)
					return err
				})
			}
		}()
	})
}

// getCSR returns the CSR, which is durable then.
func (o *order) getCSR(ctx context.Context) ([]byte, error) {
	o.startCSR(ctx)
	<-o.csrDone
	if o.csrErr != nil {
		if ctx.Err() != nil {
			return nil, interrupted(ctx, "certificate request", o.csrErr)
		}
		return nil, inkan.Errorf(inkan.KindOf(o.csrErr), "certificate request", "%w", o.csrErr)
	}
	if err := CheckCSR(o.csr); err != nil {
		return nil, err
	}
	return o.csr, nil
}

// awaitCSR leaves no goroutine behind.
func (o *order) awaitCSR() {
	o.csrOnce.Do(func() { close(o.csrDone) })
	<-o.csrDone
}

func (o *order) progress(step string) {
	if o.r.Progress != nil {
		o.r.Progress(step)
	}
}

// journal makes a change durable.
func (o *order) journal(ctx context.Context, change func(*inkan.OrderRecord)) error {
	if err := o.r.Journal.Update(ctx, change); err != nil {
		return o.journalError(ctx, "writing", err)
	}
	return nil
}

func (o *order) journalError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx, "journal", err)
	}
	return inkan.Errorf(inkan.KindOf(err), "journal", "%s it: %w", what, marked{err, inkan.ErrOurSide})
}
