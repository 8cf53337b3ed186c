package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/plugtest/storetest"
)

// TestE07S3ManyKeys: 10,001 keys come in eleven pages and none is missing, also
// from behind a key in the middle.
func TestE07S3ManyKeys(t *testing.T) {
	isolate(t)
	const n = 10_001
	f := testaws.StartS3(t, "bucket")
	key := func(i int) string { return fmt.Sprintf("current/n%05d.example.com", i) }
	for i := range n {
		f.Write("p/"+key(i), nil)
	}
	s := openS3(t, fakeConfig(f))
	for _, from := range []int{0, 1, 999, 1000, 5000, n - 1} {
		after := ""
		if from > 0 {
			after = key(from - 1)
		}
		i := from
		for got, err := range s.List(t.Context(), "current/", after) {
			if err != nil {
				t.Fatal(err)
			}
			if got != key(i) {
				t.Fatalf("after %q: %q where %q belongs", after, got, key(i))
			}
			i++
		}
		if i != n {
			t.Errorf("after %q: the list ends with %d", after, i-1)
		}
	}
	t.Logf("proof: %d keys listed whole and from five places", n)
}

// TestE09S3CredentialsExpire: temporary credentials that have run out between
// two writes are renewed before the second; nothing of it reaches the caller.
func TestE09S3CredentialsExpire(t *testing.T) {
	isolate(t)
	f := testaws.StartS3(t, "bucket")
	var given atomic.Int64
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		key := fmt.Sprintf("role-key-%d", given.Add(1))
		f.Set(func(s *testaws.S3Settings) { s.Key = key }) // the one before is taken no more
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
			`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleResult></AssumeRoleResponse>`, key, time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(sts.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	cfg := fakeConfig(f)
	cfg.RoleARN = "arn:aws:iam::210987654321:role/store"
	s := openS3(t, cfg)
	var rev inkan.Rev
	for i := range 5 {
		var err error
		if rev, err = s.Put(t.Context(), "state/a", fmt.Appendf(nil, "%d", i), rev); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	if n := given.Load(); n < 5 {
		t.Errorf("credentials that had run out were used again: %d were given", n)
	}
}

// allows returns what the policy that Inkan prints lets a request do, as IAM
// reads it: everything else is denied. left out is an action to take away.
func allows(t *testing.T, access aws.S3Access, without string) (denied func(method, key string) bool) {
	t.Helper()
	d := parsePolicy(t, aws.PolicyS3("bucket", "p/", access))
	return func(method, key string) bool {
		action := map[string]string{http.MethodGet: "s3:GetObject", http.MethodPut: "s3:PutObject", http.MethodDelete: "s3:DeleteObject"}[method]
		resource := "arn:aws:s3:::bucket/" + key
		if key == "" {
			action, resource = "s3:ListBucket", "arn:aws:s3:::bucket"
		}
		if action == without {
			return true
		}
		for _, s := range d.Statement {
			if slices.Contains(s.Action, action) && slices.ContainsFunc(s.Resource, func(r string) bool {
				prefix, open := strings.CutSuffix(r, "*")
				return r == resource || open && strings.HasPrefix(resource, prefix)
			}) {
				return false
			}
		}
		return true
	}
}

// TestE10S3Policies: with the rights that the printed policies give, each role
// can do its work and nothing else, and each right that is taken away is named
// when it is missed.
func TestE10S3Policies(t *testing.T) {
	isolate(t)
	t.Run("an issuing machine passes the conformance suite", func(t *testing.T) {
		denied := allows(t, full, "")
		storetest.Run(t, func(t *testing.T) inkan.Store {
			f := testaws.StartS3(t, "bucket")
			f.Set(func(s *testaws.S3Settings) { s.Denied = denied })
			return openS3(t, fakeConfig(f))
		})
	})
	put := func(ctx context.Context, s inkan.Store, key string) error {
		_, err := s.Put(ctx, key, []byte("x"), "")
		return err
	}
	get := func(ctx context.Context, s inkan.Store, key string) error {
		_, _, err := s.Get(ctx, key)
		return err
	}
	list := func(ctx context.Context, s inkan.Store, key string) error {
		for _, err := range s.List(ctx, key[:strings.IndexByte(key, '/')+1], "") {
			return err
		}
		return nil
	}
	remove := func(ctx context.Context, s inkan.Store, key string) error { return s.Delete(ctx, key) }
	calls := map[string]func(context.Context, inkan.Store, string) error{
		"s3:PutObject": put, "s3:GetObject": get, "s3:ListBucket": list, "s3:DeleteObject": remove,
	}
	rows := 0
	for name, c := range map[string]struct {
		access aws.S3Access
		may    func(action, key string) bool
	}{
		"issuing": {full, func(string, string) bool { return true }},
		"reading": {reading(), func(action, key string) bool {
			readable := slices.ContainsFunc(state.ReadKeys(), func(prefix string) bool { return strings.HasPrefix(key, prefix) })
			return action == "s3:ListBucket" || action == "s3:GetObject" && readable
		}},
		"answering": {aws.S3Access{Keys: []string{state.ChallengeKeys}, Write: true}, func(action, key string) bool {
			return action == "s3:ListBucket" || strings.HasPrefix(key, ".well-known/acme-challenge/")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			denied := allows(t, c.access, "")
			for _, key := range []string{"current/a", "v/a/1-x/ecdsa-p256/key", "names/a.example/a", "orders/a/x", "accounts/test/default", "state/a", "request/a", "events/20261101/120000.000-x_issued_a", ".well-known/acme-challenge/token"} {
				for action, call := range calls {
					rows++
					f := testaws.StartS3(t, "bucket")
					f.Set(func(s *testaws.S3Settings) { s.Denied = denied })
					if action != "s3:PutObject" {
						f.Write("p/"+key, []byte("x"))
					}
					err := call(t.Context(), openS3(t, fakeConfig(f)), key)
					if c.may(action, key) {
						if err != nil {
							t.Errorf("%s of %s: %v", action, key, err)
						}
						continue
					}
					wantError(t, err, inkan.Operator, "AccessDenied", action)
				}
			}
		})
	}
	t.Run("one right less", func(t *testing.T) {
		for action := range calls {
			denied := allows(t, full, action)
			for other, call := range calls {
				rows++
				f := testaws.StartS3(t, "bucket")
				f.Set(func(s *testaws.S3Settings) { s.Denied = denied })
				if other != "s3:PutObject" {
					f.Write("p/current/a", []byte("x"))
				}
				err := call(t.Context(), openS3(t, fakeConfig(f)), "current/a")
				if other == action {
					wantError(t, err, inkan.Operator, "AccessDenied", action)
				} else if err != nil && !errors.Is(err, inkan.ErrConflict) {
					t.Errorf("without %s, %s: %v", action, other, err)
				}
			}
		}
	})
	t.Logf("proof: %d rows of role, action and key: what the printed policy allows works, what it does not is refused by name", rows)
}
