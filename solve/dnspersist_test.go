package solve_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
)

func TestA22DNSPersist01(t *testing.T) {
	const account, other = "https://ca.example/acct/1", "https://ca.example/acct/2"
	ca := testca.Start(t, testca.Options{})
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i, c := range []struct {
		name     string
		records  []string
		wildcard bool
		issuer   string
		want     string // in the error; "" for none
		hint     string
		warning  bool
	}{
		{name: "plain", records: []string{"ca.example; accounturi=" + account}},
		{name: "among others", records: []string{"v=spf1 -all", "other.example; accounturi=" + account, "ca.example; accounturi=" + other, "CA.example;accounturi=" + account + ";policy=wildcard"}, wildcard: true},
		{name: "one day left", records: []string{fmt.Sprintf("ca.example; accounturi=%s; persistUntil=%d", account, now.Add(24*time.Hour).Unix())}, warning: true},
		{name: "none", want: "there is no record", hint: `"ca.example; accounturi=` + account + `"`},
		{name: "another account", records: []string{"ca.example; accounturi=" + other}, want: "another account"},
		{name: "another CA", records: []string{"other.example; accounturi=" + account}, want: "there is no record"},
		{name: "no wildcard", records: []string{"ca.example; accounturi=" + account}, wildcard: true, want: "policy=wildcard", hint: "; policy=wildcard"},
		{name: "ran out", records: []string{fmt.Sprintf("ca.example; accounturi=%s; persistUntil=%d", account, now.Add(-time.Minute).Unix())}, want: "ran out"},
		{name: "malformed", records: []string{"ca.example; accounturi"}, want: "not sufficient"},
		{name: "64 KB", records: []string{"ca.example; accounturi=" + account + "; x=" + strings.Repeat("a", 60000)}, want: "dns-persist-01 for"},
		{name: "issuer", issuer: "second.example", records: []string{"second.example; accounturi=" + account}},
		{name: "not its issuer", issuer: "third.example", want: "go by", hint: "issuer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("n%d.example.com", i)
			for _, r := range c.records {
				ca.DNS.AddTXT("_validation-persist."+name, r)
			}
			var log bytes.Buffer
			env := plug.Env{Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil))}
			s, err := solve.DNSPersist01(env, solve.DNSPersist01Config{Resolvers: []string{ca.DNSAddr}, Issuer: c.issuer})
			if err != nil {
				t.Fatal(err)
			}
			challenge := inkan.Challenge{Type: inkan.DNSPersist01, Identifier: inkan.Identifier{Type: inkan.DNS, Value: name}, Wildcard: c.wildcard,
				Account: account, Issuers: []string{"ca.example", "second.example"}}
			_, err = s.Present(t.Context(), []inkan.Challenge{challenge})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%v; %v", err, inkan.HintsOf(err))
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			case !strings.Contains(strings.Join(inkan.HintsOf(err), " "), c.hint):
				t.Errorf("hints %q, want %q", inkan.HintsOf(err), c.hint)
			}
			if warned := strings.Contains(log.String(), "run out"); warned != c.warning {
				t.Errorf("log: %s", log.String())
			}
			if err := s.CleanUp(context.WithoutCancel(t.Context()), []inkan.Challenge{challenge}); err != nil {
				t.Error(err)
			}
		})
	}
}
