package testca

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// judge is a checker of Let's Encrypt's limits with a clock of its own.
type judge struct {
	*checker
	now   time.Time
	order int
}

func newJudge() *judge {
	j := &judge{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	l := LetsEncrypt()
	l.Now = func() time.Time { return j.now }
	j.checker = newChecker(l)
	return j
}

// newOrder is an order of account 1; it returns its id.
func (j *judge) newOrder(replaces string, names ...string) string {
	p := orderPayload{Replaces: replaces}
	for _, n := range names {
		p.Identifiers = append(p.Identifiers, Identifier{Type: "dns", Value: n})
	}
	j.order++
	id := fmt.Sprint("order-", j.order)
	j.checker.order(httptest.NewRequest("POST", PathNewOrder, nil), id, "1", p, func(string) bool { return true })
	return id
}

func (j *judge) issue(replaces string, names ...string) {
	j.issued(j.newOrder(replaces, names...), "finalize")
}

// rows returns which rows of the table were broken so far, once each.
func (j *judge) rows() []string {
	var rows []string
	for _, v := range j.violations {
		row, _, _ := strings.Cut(v.Row, " (")
		if len(rows) == 0 || rows[len(rows)-1] != row {
			rows = append(rows, row)
		}
	}
	return rows
}

// Q6: each row of the table of reliability.md 0.1 is used up to its last token,
// which is no violation; the next request is; and a refilled token is one.
func TestQ06EveryRowOfTheTable(t *testing.T) {
	get := func(path string) *http.Request { return httptest.NewRequest("GET", path, nil) }
	post := httptest.NewRequest("POST", PathNewAccount, nil)
	for _, tt := range []struct {
		row    string
		n      int // requests allowed at once
		refill time.Duration
		do     func(j *judge, i int)
	}{
		{rowAccounts, 10, 18 * time.Minute, func(j *judge, _ int) { j.account(post) }},
		{rowOrders, 300, 36 * time.Second, func(j *judge, i int) { j.newOrder("", fmt.Sprintf("n%d.example", i)) }},
		{rowDomain, 50, 202 * time.Minute, func(j *judge, i int) { j.issue("", fmt.Sprintf("n%d.example.co.uk", i)) }},
		{rowSet, 5, 34 * time.Hour, func(j *judge, _ int) { j.issue("", "b.example.com", "a.example.org") }},
		{rowFailures, 5, 12 * time.Minute, func(j *judge, _ int) {
			j.newOrder("", "a.example.com")
			j.judged("1", Identifier{"dns", "a.example.com"}, false)
		}},
		{"requests to the directory", 41, 25 * time.Millisecond, func(j *judge, _ int) { j.arrived(get(PathDirectory)) }},
		{"requests to new-nonce", 11, 50 * time.Millisecond, func(j *judge, _ int) { j.arrived(get(PathNewNonce)) }},
		{"requests to new-account", 16, 200 * time.Millisecond, func(j *judge, _ int) { j.arrived(get(PathNewAccount)) }},
		{"requests to new-order", 201, time.Second / 300, func(j *judge, _ int) { j.arrived(get(PathNewOrder)) }},
		{"requests to revoke", 101, 100 * time.Millisecond, func(j *judge, _ int) { j.arrived(get(PathRevoke)) }},
		{"requests to renewal-info", 101, time.Millisecond, func(j *judge, _ int) { j.arrived(get(PathRenewalInfo + "x.y")) }},
		{"requests to /acme/*", 126, 4 * time.Millisecond, func(j *judge, _ int) { j.arrived(get(PathAuthz + "7")) }},
	} {
		t.Run(tt.row, func(t *testing.T) {
			j := newJudge()
			for i := range tt.n {
				tt.do(j, i)
			}
			j.now = j.now.Add(tt.refill)
			tt.do(j, tt.n)
			if len(j.violations) != 0 {
				t.Fatalf("within the limit: %v", j.violations)
			}
			j.now = j.now.Add(tt.refill * 9 / 10)
			tt.do(j, tt.n+1)
			if d := cmp.Diff([]string{tt.row}, j.rows()); d != "" {
				t.Errorf("over the limit: %s", d)
			}
		})
	}
}

func TestQ06Exemptions(t *testing.T) {
	j := newJudge()
	for i := range 60 { // ARI: nothing counts, not even the exact set
		j.issue(fmt.Sprint("aki.serial", i), "a.example.com")
	}
	if len(j.violations) != 0 {
		t.Fatalf("ARI replacements: %v", j.violations)
	}
	// The same certificate is replaced once; the second order counts, the sixth
	// of that kind is too many.
	for range 7 {
		j.issue("aki.again", "a.example.com")
	}
	if d := cmp.Diff([]string{rowSet}, j.rows()); d != "" {
		t.Errorf("replaced twice: %s", d)
	}
	// A renewal of the same names without ARI does not count for domain and account.
	j = newJudge()
	for i := range 50 {
		j.issue("", fmt.Sprintf("n%d.example.com", i))
	}
	j.issue("", "n0.example.com")
	if len(j.violations) != 0 {
		t.Errorf("same names: %v", j.violations)
	}
	j.newOrder("", "n51.example.com") // new names do
	if d := cmp.Diff([]string{rowDomain}, j.rows()); d != "" {
		t.Errorf("new names: %s", d)
	}
	// 1,152 failures in a row, a day's refill each; one success forgives all.
	j = newJudge()
	for i := range 2 * 1152 {
		if i == 1152 {
			j.judged("1", Identifier{"dns", "a.example.com"}, true)
		}
		j.now = j.now.Add(12 * time.Minute)
		j.judged("1", Identifier{"dns", "a.example.com"}, false)
	}
	j.now = j.now.Add(time.Hour)
	j.newOrder("", "a.example.com")
	if len(j.violations) != 0 {
		t.Errorf("failures with a success between them: %v", j.violations)
	}
	for range 30 { // what refilled meanwhile
		j.judged("1", Identifier{"dns", "a.example.com"}, false)
	}
	j.now = j.now.Add(6 * time.Hour) // the hourly limit has room again
	j.newOrder("", "a.example.com")
	if d := cmp.Diff([]string{rowConsecutive}, j.rows()); d != "" {
		t.Errorf("failures in a row: %s", d)
	}
	if got := registeredDomains([]Identifier{{"ip", "2001:db8::1"}, {"ip", "2001:db8::2"}, {"ip", "192.0.2.1"}, {"dns", "*.a.example.co.uk"}}); cmp.Diff(
		[]string{"192.0.2.1/32", "2001:db8::/64", "example.co.uk"}, got) != "" {
		t.Errorf("domains: %v", got)
	}
}

// The judge sees what passes: the sixth certificate for the same names, the
// order after five failures, the eleventh account.
func TestQ06JudgeSeesTheCA(t *testing.T) {
	limits := LetsEncrypt()
	limits.NewNonce, limits.NewAccount = Rate{}, Rate{} // Floor is in a hurry
	c, err := New(Options{CheckLimits: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	r := responder(t, c)
	f := floor(t, c)
	rows := func() string {
		var words []string
		for _, v := range c.Violations() {
			words = append(words, v.String())
		}
		return strings.Join(words, "\n")
	}
	for range 5 {
		if _, _, err := f.Issue(t.Context(), []string{"a.example.com", "b.example.com"}, r.Show); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		_, _, err := f.Issue(t.Context(), []string{"bad.example.com"}, func(token, _ string) error { return r.Show(token, "wrong") })
		if err == nil {
			t.Fatal("a wrong answer was taken")
		}
	}
	if rows() != "" {
		t.Fatalf("within the limits: %s", rows())
	}
	if _, _, err := f.Issue(t.Context(), []string{"b.example.com", "a.example.com"}, r.Show); err != nil {
		t.Fatal(err)
	}
	if got := rows(); !strings.Contains(got, "certificates per exact set of identifiers (5, one more every 34h0m0s): POST /order-plz for a.example.com,b.example.com") {
		t.Errorf("the sixth certificate: %s", got)
	}
	_, _, _ = f.Issue(t.Context(), []string{"bad.example.com"}, r.Show)
	if got := rows(); !strings.Contains(got, "failed authorizations per identifier and account (5, one more every 12m0s)") {
		t.Errorf("the order after five failures: %s", got)
	}
	for range 10 {
		floor(t, c)
	}
	if got := rows(); strings.Count(got, "new accounts per address (10, one more every 18m0s): POST /sign-me-up for 127.0.0.1") != 1 {
		t.Errorf("the eleventh account: %s", got)
	}
	last := c.Requests()[len(c.Requests())-1]
	if last.Path != PathNewAccount || last.Account != "" {
		t.Errorf("last request: %+v", last)
	}
	found := false
	for _, req := range c.Requests() {
		found = found || req.Path == PathNewOrder && strings.Contains(req.Account, PathAccount) && len(req.Identifiers) == 2
	}
	if !found {
		t.Error("no newOrder request is on record with its account and names")
	}
}

// failing is a test that fails without an end.
type failing struct {
	testing.TB
	errors []string
	after  []func()
}

func (f *failing) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}
func (f *failing) Cleanup(do func()) { f.after = append(f.after, do) }

func TestQ06StartFailsTheTest(t *testing.T) {
	ft := &failing{TB: t}
	limits := &Limits{Directory: Rate{1, 2}}
	c := Start(ft, Options{CheckLimits: limits})
	client := c.HTTPClient()
	for range 10 {
		get(t, client, c.DirectoryURL)
	}
	client.CloseIdleConnections()
	for _, do := range ft.after {
		do()
	}
	if len(ft.errors) != 1 || !strings.Contains(ft.errors[0], "requests to the directory (1 a second, burst 2): GET /dir for 127.0.0.1") {
		t.Errorf("errors: %q", ft.errors)
	}
}
