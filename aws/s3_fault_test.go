package aws_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/storetest"
)

func fakeConfig(f *testaws.S3) aws.S3Config {
	return aws.S3Config{Bucket: f.Bucket, Prefix: "p/", Endpoint: f.Endpoint, PathStyle: true, Account: account()}
}

// wantError checks kind, words and hint of an error.
func wantError(t *testing.T, err error, kind inkan.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error() + "\nhint: " + strings.Join(inkan.HintsOf(err), "\nhint: ")
	if inkan.KindOf(err) != kind {
		t.Errorf("kind %v, want %v: %s", inkan.KindOf(err), kind, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in: %s", w, text)
		}
	}
	if strings.Contains(text, "secret-of-nobody") {
		t.Errorf("a secret in: %s", text)
	}
}

func TestS3FakeConformance(t *testing.T) {
	isolate(t)
	// With pages of three keys, every second of which holds nothing.
	storetest.Run(t, func(t *testing.T) inkan.Store {
		f := testaws.StartS3(t, "bucket")
		f.Set(func(s *testaws.S3Settings) { s.PageSize, s.EmptyPages = 3, true })
		return openS3(t, fakeConfig(f))
	})
}

// TestE03E04S3Busy: a server that refuses every fifth write for now costs nothing
// but a moment.
func TestE03E04S3Busy(t *testing.T) {
	isolate(t)
	f := testaws.StartS3(t, "bucket")
	var n atomic.Int64
	f.Set(func(s *testaws.S3Settings) {
		s.Fault = func(method, _ string) testaws.Fault {
			switch {
			case method != http.MethodPut:
				return testaws.None
			case n.Add(1)%5 == 0:
				return testaws.Busy
			case n.Load()%11 == 0:
				return testaws.Slow
			}
			return testaws.None
		}
	})
	stores := []inkan.Store{openS3(t, fakeConfig(f)), openS3(t, fakeConfig(f))}
	storetest.CreateRace(t, stores, 10, 8)
	storetest.SwapRace(t, stores, 10, 8)
}

// TestE02S3Race: 16 writers over 4 stores, as in 4 processes; each round has one
// winner. INKAN_LONG makes it 300 rounds.
func TestE02S3Race(t *testing.T) {
	isolate(t)
	g := testaws.StartGateway(t, "bucket")
	rounds := 20
	if os.Getenv("INKAN_LONG") != "" {
		rounds = 300
	}
	var stores []inkan.Store
	for range 4 {
		stores = append(stores, openS3(t, aws.S3Config{Bucket: "bucket", Endpoint: g.Endpoint, PathStyle: true, Account: account()}))
	}
	storetest.CreateRace(t, stores, rounds, 16)
	storetest.SwapRace(t, stores, rounds, 16)
}

// TestE01S3LostReply: a write that was done and not confirmed is an error, never
// a conflict and never sent twice; what stands tells whether it was done.
func TestE01S3LostReply(t *testing.T) {
	isolate(t)
	for _, c := range []struct {
		fault testaws.Fault
		done  bool
	}{{testaws.Lost, true}, {testaws.Done500, true}, {testaws.NotDone, false}, {testaws.Failed, false}} {
		for _, create := range []bool{true, false} {
			t.Run(fmt.Sprintf("fault %d, create %v", c.fault, create), func(t *testing.T) {
				f := testaws.StartS3(t, "bucket")
				s := openS3(t, fakeConfig(f))
				var old inkan.Rev
				before := "absent"
				if _, err := s.Put(t.Context(), "warm/up", []byte("x"), ""); err != nil {
					t.Fatal(err)
				}
				if !create {
					before = "first"
					var err error
					if old, err = s.Put(t.Context(), "k/v", []byte(before), ""); err != nil {
						t.Fatal(err)
					}
				}
				f.Requests()
				f.Set(func(s *testaws.S3Settings) {
					s.Fault = func(method, key string) testaws.Fault {
						if method == http.MethodPut {
							return c.fault
						}
						return testaws.None
					}
				})
				rev, err := s.Put(t.Context(), "k/v", []byte("mine"), old)
				if err == nil || errors.Is(err, inkan.ErrConflict) || rev != "" {
					t.Errorf("Put = %q, %v; want an error other than a conflict", rev, err)
				}
				wantError(t, err, inkan.Temporary, "put k/v", "127.0.0.1")
				if got := f.Requests(); !slices.Equal(got, []string{"PUT p/k/v"}) {
					t.Errorf("%q were sent; a conditional write is sent once", got)
				}
				want := before
				if c.done {
					want = "mine"
				}
				data, _, err := s.Get(t.Context(), "k/v")
				if errors.Is(err, fs.ErrNotExist) {
					data = []byte("absent")
				} else if err != nil {
					t.Fatal(err)
				}
				if string(data) != want {
					t.Errorf("%q stands, want %q", data, want)
				}
			})
		}
	}
}

// TestE03S3BusyForever: a server that only says 409 does not hold a caller for
// ever, nor one that gives up.
func TestE03S3BusyForever(t *testing.T) {
	isolate(t)
	f := testaws.StartS3(t, "bucket")
	s := openS3(t, fakeConfig(f))
	if _, err := s.Put(t.Context(), "warm/up", nil, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	f.Set(func(s *testaws.S3Settings) {
		s.Fault = func(string, string) testaws.Fault {
			if n.Add(1) == 3 {
				cancel()
			}
			return testaws.Busy
		}
	})
	if _, err := s.Put(ctx, "k/v", nil, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v; want the end of the context", err)
	}
	n.Store(100)
	_, err := s.Put(t.Context(), "k/v", nil, "")
	wantError(t, err, inkan.Temporary, "ConditionalRequestConflict")
}

// TestE05S3Probe: a server without conditional writes gets nothing; a good one is
// tested once in a process, and the second process writes nothing for it.
func TestE05S3Probe(t *testing.T) {
	isolate(t)
	for name, change := range map[string]func(*testaws.S3Settings){
		"If-None-Match": func(s *testaws.S3Settings) { s.NoConditions = "If-None-Match" },
		"If-Match":      func(s *testaws.S3Settings) { s.NoConditions = "If-Match" },
		"ETag":          func(s *testaws.S3Settings) { s.AlwaysConflict = true },
	} {
		t.Run(name, func(t *testing.T) {
			f := testaws.StartS3(t, "bucket")
			f.Set(change)
			for range 2 { // the marker being there does not help
				s := openS3(t, fakeConfig(f))
				for range 2 {
					_, err := s.Put(t.Context(), "current/a", []byte("x"), "")
					wantError(t, err, inkan.Operator, name, "no conditional writes", "s3 store bucket/p/")
					if _, ok := f.Object("p/current/a"); ok {
						t.Error("it was written")
					}
				}
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		f := testaws.StartS3(t, "bucket")
		marker := "PUT p/" + aws.MarkerKey
		for _, want := range [][]string{
			{marker, marker, marker, marker, "PUT p/a/1", "PUT p/a/2"},
			{marker, marker, "PUT p/a/3", "PUT p/a/4"},
		} {
			s := openS3(t, fakeConfig(f))
			if _, _, err := s.Get(t.Context(), "a/0"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if got := f.Requests(); len(got) != 1 {
				t.Errorf("a reader sends %q", got)
			}
			for _, key := range want[len(want)-2:] {
				if _, err := s.Put(t.Context(), strings.TrimPrefix(key, "PUT p/"), nil, ""); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, f.Requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		}
		for key, err := range openS3(t, fakeConfig(f)).List(t.Context(), "", "") {
			if err != nil || key == aws.MarkerKey {
				t.Errorf("List yields %s, %v", key, err)
			}
		}
	})
}

// TestE06E12S3Errors: each failure names the step and the server, and says what to do.
func TestE06E12S3Errors(t *testing.T) {
	isolate(t)
	put := func(ctx context.Context, s inkan.Store) error {
		_, err := s.Put(ctx, "current/a", []byte("x"), "")
		return err
	}
	get := func(ctx context.Context, s inkan.Store) error { _, _, err := s.Get(ctx, "current/a"); return err }
	list := func(ctx context.Context, s inkan.Store) error {
		for _, err := range s.List(ctx, "current/", "") {
			return err
		}
		return nil
	}
	remove := func(ctx context.Context, s inkan.Store) error { return s.Delete(ctx, "current/a") }
	denied := func(s *testaws.S3Settings) { s.Denied = func(string, string) bool { return true } }
	for name, c := range map[string]struct {
		config func(*aws.S3Config)
		server func(*testaws.S3Settings)
		call   func(context.Context, inkan.Store) error
		words  []string
	}{
		"wrong key": {config: func(c *aws.S3Config) {
			c.AccessKeyID = "nobody"
			c.SecretAccessKey = plug.NewSecret("secret-of-nobody")
		}, call: put, words: []string{"InvalidAccessKeyId", "credentials are wrong", "127.0.0.1"}},
		"no credentials": {config: func(c *aws.S3Config) { c.Account = aws.Account{} }, call: get, words: []string{"no AWS credentials were found"}},
		"no profile":     {config: func(c *aws.S3Config) { c.Account = aws.Account{Profile: "nowhere"} }, call: get, words: []string{"nowhere", "~/.aws/config"}},
		"no bucket":      {config: func(c *aws.S3Config) { c.Bucket = "elsewhere" }, call: get, words: []string{"NoSuchBucket", "create the bucket"}},
		"no bucket, put": {config: func(c *aws.S3Config) { c.Bucket = "elsewhere" }, call: put, words: []string{"NoSuchBucket"}},
		"denied put":     {server: denied, call: put, words: []string{"AccessDenied", "s3:PutObject", "user/inkan is not authorized"}},
		"denied get":     {server: denied, call: get, words: []string{"s3:GetObject", "s3:ListBucket"}},
		"denied list":    {server: denied, call: list, words: []string{"list current/", "s3:ListBucket"}},
		"denied delete":  {server: denied, call: remove, words: []string{"s3:DeleteObject"}},
		"wrong region":   {server: func(s *testaws.S3Settings) { s.Region = "eu-south-2" }, call: get, words: []string{"PermanentRedirect", "set region: eu-south-2"}},
		"no KMS key": {server: func(s *testaws.S3Settings) {
			s.Message = "User: arn:aws:iam::123456789012:user/inkan is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-central-1:123456789012:key/1"
			s.Denied = func(string, string) bool { return true }
		}, call: put, words: []string{"kms:GenerateDataKey", "arn:aws:kms:eu-central-1:123456789012:key/1"}},
		"expired token": {server: func(s *testaws.S3Settings) { s.Key = "somebody's new one" }, call: put, words: []string{"ExpiredToken", "a role or a profile renews them"}},
		"clock":         {server: func(s *testaws.S3Settings) { s.Skewed = true }, call: put, words: []string{"RequestTimeTooSkewed", "clock"}},
		"no region":     {config: func(c *aws.S3Config) { c.Endpoint = "" }, call: get, words: []string{"region"}},
		"huge": {server: func(s *testaws.S3Settings) { s.Size = 17 << 20 }, call: func(ctx context.Context, s inkan.Store) error {
			return errors.Join(put(ctx, s), get(ctx, s))
		}, words: []string{"larger than 16777216 bytes"}},
		"out of order": {server: func(s *testaws.S3Settings) {
			s.List = func([]string) []string { return []string{"p/current/b", "p/current/a"} }
		}, call: func(ctx context.Context, s inkan.Store) error {
			var last error
			for _, err := range s.List(ctx, "current/", "") {
				last = err
			}
			return last
		}, words: []string{"out of order"}},
		"foreign prefix": {server: func(s *testaws.S3Settings) { s.List = func([]string) []string { return []string{"q/other"} } }, call: list, words: []string{"against the prefix"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := testaws.StartS3(t, "bucket")
			cfg := fakeConfig(f)
			if c.config != nil {
				c.config(&cfg)
			}
			if c.server != nil {
				f.Set(c.server)
			}
			wantError(t, c.call(t.Context(), openS3(t, cfg)), inkan.Operator, append(c.words, "s3 store "+cfg.Bucket+"/p/")...)
		})
	}
}

func TestS3BadOptions(t *testing.T) {
	for name, c := range map[string]aws.S3Config{
		"bucket":       {Bucket: "a/b"},
		"no bucket":    {},
		"prefix":       {Bucket: "b", Prefix: "no-slash"},
		"prefix path":  {Bucket: "b", Prefix: "../up/"},
		"acl":          {Bucket: "b", ACL: "public"},
		"endpoint":     {Bucket: "b", Endpoint: "s3.example.com"},
		"plain http":   {Bucket: "b", Endpoint: "http://s3.example.com"},
		"user in url":  {Bucket: "b", Endpoint: "https://user:pass@s3.example.com"},
		"content type": {Bucket: "b", ContentType: "text/plain\r\nX: y"},
		"half a key":   {Bucket: "b", Account: aws.Account{AccessKeyID: "x"}},
		"two ways":     {Bucket: "b", Account: aws.Account{AccessKeyID: "x", SecretAccessKey: plug.NewSecret("y"), Profile: "z"}},
		"role":         {Bucket: "b", Account: aws.Account{RoleARN: "role"}},
		"external id":  {Bucket: "b", Account: aws.Account{ExternalID: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := aws.S3(plug.Env{}, c)
			wantError(t, err, inkan.Operator, "s3 store")
		})
	}
}

// TestS3PassesOverForeignObjects: what is no key of Inkan's is not listed, and a
// directory marker at the prefix harms nobody.
func TestS3PassesOverForeignObjects(t *testing.T) {
	isolate(t)
	f := testaws.StartS3(t, "bucket")
	s := openS3(t, fakeConfig(f))
	for _, key := range []string{"p/", "p/current/", "p/current/A B", "p/current/x", "p/current/y/", "other"} {
		f.Write(key, nil)
	}
	for _, prefix := range []string{"", "current/"} {
		var got []string
		for key, err := range s.List(t.Context(), prefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, key)
		}
		if !slices.Equal(got, []string{"current/x"}) {
			t.Errorf("List(%q) = %q", prefix, got)
		}
	}
}

// TestS3Lazy: what is opened and not used reads no file and asks nobody.
func TestS3Lazy(t *testing.T) {
	isolate(t)
	broken := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(broken, []byte("[profile x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", broken)
	t.Setenv("AWS_PROFILE", "x")
	f := testaws.StartS3(t, "bucket")
	s := openS3(t, aws.S3Config{Bucket: "bucket", Endpoint: f.Endpoint, PathStyle: true})
	if got := f.Requests(); len(got) != 0 {
		t.Errorf("opening it sent %q", got)
	}
	_, _, err := s.Get(t.Context(), "a")
	wantError(t, err, inkan.Operator, "AWS configuration")
	if bytes.Contains([]byte(err.Error()), []byte("\n")) {
		t.Errorf("the message has several lines: %q", err)
	}
}
