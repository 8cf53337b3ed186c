package acme

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
)

// world is a real Pebble with everything that one of its clients needs.
type world struct {
	t        *testing.T
	ca       *testca.CA
	config   Config
	env      plug.Env
	client   *Client
	accounts *memAccounts
	limiter  *memLimiter
	solver   *httpSolver
}

// newWorld starts Pebble; rule, if not nil, may answer or change what passes.
func newWorld(t *testing.T, o testca.Options, rule func(w http.ResponseWriter, r *http.Request, next http.Handler), edit ...func(*Config)) *world {
	t.Helper()
	if rule != nil {
		o.Middleware = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rule(w, r, next) })
		}
	}
	ca := testca.Start(t, o)
	w := &world{t: t, ca: ca, accounts: &memAccounts{}, limiter: newMemLimiter()}
	w.config = Config{Name: "test", Directory: ca.DirectoryURL, Roots: ca.Roots, AgreeTerms: true, Contacts: []string{"ops@example.com"}}
	for _, e := range edit {
		e(&w.config)
	}
	w.solver = newHTTPSolver(t, ca.HTTPPort)
	w.client = w.newClient()
	return w
}

// newClient is a process of its own on the same stores.
func (w *world) newClient() *Client {
	w.t.Helper()
	c, err := New(w.env, w.config, w.accounts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// request returns a request for names with a fresh journal.
func (w *world) request(names ...string) (inkan.IssueRequest, *memJournal) {
	w.t.Helper()
	ids, err := inkan.ParseIdentifiers(names)
	if err != nil {
		w.t.Fatal(err)
	}
	j := &memJournal{rec: inkan.OrderRecord{Name: "cert", Attempt: rand.Text()[:8], KeyType: inkan.ECDSAP256, Identifiers: ids}}
	return inkan.IssueRequest{
		Request: inkan.CertificateRequest{
			Name: "cert", Identifiers: ids, CAs: []string{"test"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256},
			Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}},
		},
		KeyType: inkan.ECDSAP256,
		CSR:     j.csr,
		Solvers: map[string]inkan.Solver{"web": w.solver},
		Limiter: w.limiter,
		Journal: j,
	}, j
}

// issue gets a certificate or fails the test.
func (w *world) issue(names ...string) *x509.Certificate {
	w.t.Helper()
	r, j := w.request(names...)
	return w.mustIssue(r, j)
}

func (w *world) mustIssue(r inkan.IssueRequest, j *memJournal) *x509.Certificate {
	w.t.Helper()
	issued, err := w.client.Issue(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("issue: %v\nhints: %v", err, inkan.HintsOf(err))
	}
	return checkIssued(w.t, issued, j)
}

// checkIssued checks that the leaf is for the journalled key and names.
func checkIssued(t *testing.T, issued *inkan.Issued, j *memJournal) *x509.Certificate {
	t.Helper()
	leaf := leafOf(t, issued.Chains[0])
	rec := j.record()
	if !sameKey(issued.Chains[0], rec.CSR) {
		t.Error("the leaf is not for the journalled key")
	}
	if !sameSet(leafIdentifiers(leaf), rec.Identifiers) {
		t.Errorf("the leaf is for %v, want %v", leafIdentifiers(leaf), rec.Identifiers)
	}
	if rec.OrderURL == "" || !rec.Finalizing {
		t.Errorf("the journal lacks the order URL or finalizing: %+v", rec)
	}
	return leaf
}

func leafOf(t *testing.T, chain []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatalf("no PEM in %q", chain)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// wantError checks the kind of an error and words that its text or hints hold.
func wantError(t *testing.T, err error, kind inkan.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if inkan.KindOf(err) != kind {
		t.Errorf("kind %v, want %v: %v", inkan.KindOf(err), kind, err)
	}
	text := err.Error() + "\n" + strings.Join(inkan.HintsOf(err), "\n")
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("the error lacks %q:\n%s", word, text)
		}
	}
}

// memJournal is a Journal in memory. stop, if not nil, is asked before each
// update; an error of it is a crash before the write.
type memJournal struct {
	mu      sync.Mutex
	rec     inkan.OrderRecord
	updates int
	stop    func(update int) error
	after   func(inkan.OrderRecord)
	keyOnce sync.Mutex
}

func (j *memJournal) Load(context.Context) (inkan.OrderRecord, error) { return j.record(), nil }

func (j *memJournal) Update(ctx context.Context, change func(*inkan.OrderRecord)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.updates++
	if j.stop != nil {
		if err := j.stop(j.updates); err != nil {
			return err
		}
	}
	change(&j.rec)
	if j.after != nil {
		j.after(j.rec)
	}
	return nil
}

// record returns a deep copy.
func (j *memJournal) record() inkan.OrderRecord {
	j.mu.Lock()
	defer j.mu.Unlock()
	rec := j.rec
	rec.Identifiers, rec.Challenges, rec.CSR = slices.Clone(rec.Identifiers), slices.Clone(rec.Challenges), slices.Clone(rec.CSR)
	rec.Tokens = slices.Clone(rec.Tokens)
	if rec.Key != nil {
		rec.Key = &inkan.StoredKey{Form: rec.Key.Form, Data: slices.Clone(rec.Key.Data)}
	}
	return rec
}

// csr is the IssueRequest.CSR of a caller that journals key and CSR.
func (j *memJournal) csr(ctx context.Context) ([]byte, error) {
	j.keyOnce.Lock()
	defer j.keyOnce.Unlock()
	rec := j.record()
	if rec.CSR != nil {
		return rec.CSR, nil
	}
	key, err := inkan.GenerateKey(rec.KeyType)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{}
	for _, id := range rec.Identifiers {
		if id.Type == inkan.IP {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(id.Value))
		} else {
			template.DNSNames = append(template.DNSNames, id.Value)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key.Signer())
	if err != nil {
		return nil, err
	}
	data, err := key.PEM()
	if err != nil {
		return nil, err
	}
	err = j.Update(ctx, func(r *inkan.OrderRecord) {
		r.CSR, r.Key = der, &inkan.StoredKey{Form: inkan.PlainKey, Data: data}
	})
	return der, err
}

// memAccounts is an AccountStore in memory.
type memAccounts struct {
	mu     sync.Mutex
	rec    *inkan.AccountRecord
	writes int
	before func(update int)       // called without the lock
	stop   func(update int) error // an error of it is a crash before the write
}

func (m *memAccounts) Load(context.Context) (inkan.AccountRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rec == nil {
		return inkan.AccountRecord{}, fs.ErrNotExist
	}
	return *m.rec, nil
}

func (m *memAccounts) Update(_ context.Context, change func(*inkan.AccountRecord)) error {
	m.mu.Lock()
	m.writes++
	before, stop, n := m.before, m.stop, m.writes
	m.mu.Unlock()
	if before != nil {
		before(n)
	}
	if stop != nil {
		if err := stop(n); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := inkan.AccountRecord{}
	if m.rec != nil {
		rec = *m.rec
	}
	change(&rec)
	m.rec = &rec
	return nil
}

// memLimiter is a Limiter in memory whose tokens do not come back. It believes
// whoever refunds: one token too many shows as a number that is too small.
type memLimiter struct {
	mu      sync.Mutex
	taken   map[string]int // key -> tokens
	until   map[string]time.Time
	refunds int
	blocked []string                // keys
	before  func(what string) error // "take" or "refund"; an error of it is a crash before it
}

func newMemLimiter() *memLimiter {
	return &memLimiter{taken: map[string]int{}, until: map[string]time.Time{}}
}

func (l *memLimiter) crash(what string) error {
	if l.before == nil {
		return nil
	}
	return l.before(what)
}

func (l *memLimiter) Take(_ context.Context, buckets []inkan.Bucket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.crash("take"); err != nil {
		return err
	}
	for _, b := range buckets {
		if until := l.until[b.Key]; time.Now().Before(until) {
			return inkan.Errorf(inkan.RateLimited, b.What, "wait").After(until)
		}
		if b.Capacity > 0 && l.taken[b.Key] >= b.Capacity {
			return inkan.Errorf(inkan.RateLimited, b.What, "used up").After(time.Now().Add(b.Refill))
		}
	}
	for _, b := range buckets {
		if b.Capacity > 0 {
			l.taken[b.Key]++
		}
	}
	return nil
}

func (l *memLimiter) Refund(_ context.Context, buckets []inkan.Bucket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.crash("refund"); err != nil {
		return err
	}
	for _, b := range buckets {
		if b.Capacity > 0 {
			l.taken[b.Key]--
			l.refunds++
		}
	}
	return nil
}

func (l *memLimiter) Block(_ context.Context, b inkan.Bucket, until time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until[b.Key] = until
	l.blocked = append(l.blocked, b.Key)
	return nil
}

// held returns the number of tokens taken from buckets whose key has the part.
func (l *memLimiter) held(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for key, tokens := range l.taken {
		if strings.Contains(key, part) {
			n += tokens
		}
	}
	return n
}

// httpSolver answers http-01 and witnesses the CA's questions. It notes every
// token and whether the journal had it before.
type httpSolver struct {
	mu        sync.Mutex
	answers   map[string]string
	seen      map[string]chan struct{}
	presented int
	wrong     bool   // answer with nonsense
	undo      []byte // returned for every challenge
}

func newHTTPSolver(t *testing.T, port int) *httpSolver {
	t.Helper()
	s := &httpSolver{answers: map[string]string{}, seen: map[string]chan struct{}{}}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return s
}

func (s *httpSolver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.URL.Path, "/.well-known/acme-challenge/")
	s.mu.Lock()
	answer, ok := s.answers[token]
	if s.wrong {
		answer = "nonsense"
	}
	if s.seen[token] == nil {
		s.seen[token] = make(chan struct{})
	}
	select {
	case <-s.seen[token]:
	default:
		close(s.seen[token])
	}
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Write([]byte(answer))
}

func (s *httpSolver) Present(_ context.Context, list []inkan.Challenge) ([]inkan.Undo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var undo []inkan.Undo
	for _, c := range list {
		s.presented++
		s.answers[c.Token] = c.KeyAuthorization
		if s.undo != nil {
			undo = append(undo, bytes.Clone(s.undo))
		}
	}
	return undo, nil
}

func (s *httpSolver) CleanUp(_ context.Context, list []inkan.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		delete(s.answers, c.Token)
	}
	return nil
}

func (s *httpSolver) Seen(c inkan.Challenge) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[c.Token] == nil {
		s.seen[c.Token] = make(chan struct{})
	}
	return s.seen[c.Token]
}

// plainSolver hides the optional abilities of a solver.
type plainSolver struct{ inkan.Solver }

// problem answers with a problem document of RFC 8555.
func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"type": errorNamespace + kind, "detail": detail, "status": status})
}

var errCrash = errors.New("crash")

// payloadOf returns the payload of the JWS in r and leaves the body readable.
func payloadOf(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var jws struct{ Payload string }
	if json.Unmarshal(body, &jws) != nil {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		return ""
	}
	return string(payload)
}

// fuzzOrder is an order that is never sent, with one solver for http-01.
func fuzzOrder(h hosts) *order {
	c := &Client{hosts: h, host: "ca.example", name: "test", now: time.Now}
	return &order{c: c, acct: &account{thumbprint: "thumb"}, r: inkan.IssueRequest{
		Request: inkan.CertificateRequest{Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}}},
		Solvers: map[string]inkan.Solver{"web": plainSolver{}},
	}}
}
