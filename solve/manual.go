package solve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// Manual is a Solver whose proofs a person puts in place. Present shows
// nothing; Wait asks the Person, checks that the proofs are there before the CA
// is asked, and reports what it sees instead until they are. Fill in the fields
// before use; all methods may be called concurrently, and the person is asked
// one thing at a time.
type Manual struct {
	Type   string // inkan.HTTP01 or inkan.DNS01
	Person Person // nil: nobody is there, so nothing can be presented
	// Resolvers are the DNS servers to find zones with; see [Propagation].
	Resolvers []string
	// Servers are those to ask about zones (by apex, absolute), as host:port,
	// where the NS records tell others.
	Servers map[string][]string
	// Dial connects to web servers; nil: as the names resolve. For tests.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	asking sync.Mutex // held while the person is asked
	mu     sync.Mutex
	placed map[Proof]bool // what the person was told to put in place
}

// Person puts proofs in place and takes them away.
type Person interface {
	// Place tells what to put where and returns when the person says that it
	// is done. wrong says what was seen instead, nil the first time. If sure is
	// true, the CA is asked although the proofs were not seen.
	Place(ctx context.Context, proofs []Proof, wrong error) (sure bool, err error)
	// Remove tells what may be taken away.
	Remove(ctx context.Context, proofs []Proof)
}

// Proof is what a person puts in place.
type Proof struct {
	Identifier inkan.Identifier
	Type       string // the challenge type
	Where      string // http-01: the URL; dns-01: the absolute name of the TXT record
	Value      string // the content of the file or the value of the record
}

const (
	// lookTime is how long one look of our own may take.
	lookTime = 20 * time.Second
	// maxRedirects is how many a CA follows (Boulder).
	maxRedirects = 10
)

// Present implements inkan.Solver.
func (m *Manual) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, c := range challenges {
		if _, err := m.proof(c); err != nil {
			return nil, err
		}
	}
	if m.Person == nil {
		return nil, inkan.Errorf(inkan.Operator, "manual validation", "nobody is there who could put the proof in place").
			WithHint("renew it yourself at a terminal (inkan renew --name NAME), or let it be validated without you: inkan reconfigure NAME --webroot DIR, --standalone, --tls-alpn or --solver")
	}
	return nil, nil
}

func (m *Manual) proof(c inkan.Challenge) (Proof, error) {
	p := Proof{Identifier: c.Identifier, Type: c.Type}
	if m.Type == inkan.DNS01 {
		p.Where, p.Value = challengeName(c), DNS01Value(c)
		return p, checkDNS01(c)
	}
	host := c.Identifier.Value
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	p.Where, p.Value = "http://"+host+challengePath+c.Token, c.KeyAuthorization
	return p, check(inkan.HTTP01, c)
}

// Wait implements inkan.Waiter.
func (m *Manual) Wait(ctx context.Context, challenges []inkan.Challenge) error {
	if len(challenges) == 0 {
		return nil
	}
	if _, err := m.Present(ctx, challenges); err != nil {
		return err
	}
	var proofs []Proof
	for _, c := range challenges {
		p, _ := m.proof(c) // checked by Present
		proofs = append(proofs, p)
	}
	m.asking.Lock()
	defer m.asking.Unlock()
	m.mu.Lock()
	for _, p := range proofs {
		if m.placed == nil {
			m.placed = map[Proof]bool{}
		}
		m.placed[p] = true
	}
	m.mu.Unlock()
	var wrong error
	for {
		sure, err := m.Person.Place(ctx, proofs, wrong)
		if err != nil || sure {
			return err
		}
		if wrong = m.look(ctx, proofs); wrong == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// CleanUp implements inkan.Solver. The person is told only of what this
// process asked for: a proof that is left does no harm.
func (m *Manual) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	var proofs []Proof
	m.mu.Lock()
	for _, c := range challenges {
		if p, _ := m.proof(c); m.placed[p] {
			delete(m.placed, p)
			proofs = append(proofs, p)
		}
	}
	m.mu.Unlock()
	if len(proofs) > 0 {
		m.Person.Remove(ctx, proofs)
	}
	return nil
}

// look returns what is seen in place of the proofs.
func (m *Manual) look(ctx context.Context, proofs []Proof) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if m.Type == inkan.DNS01 {
		return m.lookDNS(ctx, proofs)
	}
	var errs []error
	for _, p := range proofs {
		if err := m.lookHTTP(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// lookDNS asks the authoritative servers, where the CNAME records lead.
func (m *Manual) lookDNS(ctx context.Context, proofs []Proof) error {
	client := &dnslookup.Client{Resolvers: m.Resolvers}
	finder := &dnslookup.Finder{Client: client, Known: m.Servers}
	var errs []error
	wanted := map[string][]dnslookup.Wanted{} // by zone
	for _, p := range proofs {
		place, err := finder.Locate(ctx, p.Where)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		wanted[place.Zone] = append(wanted[place.Zone], dnslookup.Wanted{Name: place.Name, Values: []string{p.Value}})
	}
	for zone, records := range wanted {
		servers, err := finder.Servers(ctx, zone)
		if err == nil {
			err = client.Await(ctx, servers, records, false)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// lookHTTP asks as a CA does. What a server answers besides is not shown
// (reliability H08): a redirect may lead to a host that only this machine
// reaches.
func (m *Manual) lookHTTP(ctx context.Context, p Proof) error {
	client := &http.Client{
		Transport: &http.Transport{DialContext: m.Dial, DisableKeepAlives: true},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return nil
		},
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Where, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(q)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s: %w", inkan.Printable(e.URL, 300), e.Err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	from := ""
	if at := resp.Request.URL.String(); at != p.Where {
		from = ", redirected to " + inkan.Printable(at, 300) + ","
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("%s%s: %w", p.Where, from, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s%s answers %d %s", p.Where, from, resp.StatusCode, http.StatusText(resp.StatusCode))
	case strings.TrimRight(string(body), " \t\r\n") != p.Value:
		return fmt.Errorf("%s%s answers with another content of %d bytes or more", p.Where, from, len(body))
	}
	return nil
}
