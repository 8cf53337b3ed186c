package acme

import "time"

// actionProbe is how long an account that waits for a person is left alone by
// this process.
const actionProbe = 24 * time.Hour

// stopped is an account that the CA will not serve before somebody has acted
// (RFC 8555 section 7.3.3). That holds for all its certificates, so one request
// a day finds out whether it still does, and not one for each of them
// (reliability A18). It is kept in memory only: the person who has acted runs a
// command of their own, or restarts the daemon, and is served at once.
type stopped struct {
	until time.Time
	why   error
}

// noteRefusal keeps that the account is stopped if that is what err says.
func (c *Client) noteRefusal(err error) {
	if isProblem(err, userActionRequired) {
		c.stopped.Store(&stopped{c.now().Add(actionProbe), err})
	}
}

// mayIssue returns the CA's refusal while the account is stopped.
func (c *Client) mayIssue() error {
	s := c.stopped.Load()
	if s == nil {
		return nil
	}
	if left := s.until.Sub(c.now()); left <= 0 || left > actionProbe {
		c.stopped.CompareAndSwap(s, nil) // this order asks
		return nil
	}
	return s.why
}
