package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// S3Config holds the options of [S3].
type S3Config struct {
	_           struct{} `help:"keeps everything in a bucket of Amazon S3 or of a server that speaks its protocol"`
	Bucket      string   `json:"bucket" help:"the bucket" required:"true"`
	Prefix      string   `json:"prefix" help:"what every key begins with within the bucket, such as inkan/; empty: the keys stand at its top"`
	Region      string   `json:"region" help:"the bucket's region; the SDK's own setting if empty, us-east-1 with an endpoint"`
	Endpoint    string   `json:"endpoint" help:"the URL of the server, if it is not Amazon's own"`
	PathStyle   bool     `json:"path_style" help:"name the bucket in the path of the URL instead of in the host name; most servers other than Amazon's want it"`
	ACL         string   `json:"acl" help:"the canned ACL of every object that is written, such as public-read or bucket-owner-full-control; the bucket's own default if empty"`
	ContentType string   `json:"content_type" help:"the content type of every object that is written; text/plain for answers to http-01"`
	Account
}

// Check implements plug.Checker.
func (c S3Config) Check() error {
	const op = "s3 store"
	fail := func(format string, args ...any) *inkan.Error {
		return inkan.Errorf(inkan.Operator, op, format, args...)
	}
	switch {
	case c.Bucket == "" || strings.ContainsAny(c.Bucket, "/\\?#% \t\r\n"):
		return fail("%q is no name of a bucket", inkan.Printable(c.Bucket, 80))
	case c.Prefix != "" && (!strings.HasSuffix(c.Prefix, "/") || inkan.CheckKey(strings.TrimSuffix(c.Prefix, "/")) != nil):
		return fail("prefix %q must consist of letters a-z, digits, dots, hyphens, underscores and slashes and end in a slash", inkan.Printable(c.Prefix, 80))
	case c.ACL != "" && !knownACL(c.ACL):
		return fail("there is no canned ACL %q", inkan.Printable(c.ACL, 60)).WithHint("there are %s", strings.Join(acls(), ", "))
	case strings.ContainsAny(c.ContentType, "\r\n"):
		return fail("the content type has a line break")
	}
	if err := checkEndpoint(op, c.Endpoint); err != nil {
		return err
	}
	return c.Account.check(op)
}

// checkEndpoint refuses what is no URL of a server. Plain HTTP is for this
// machine only: what a store holds is not for the wire.
func checkEndpoint(op, endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http") {
		return inkan.Errorf(inkan.Operator, op, "endpoint %q is no URL such as https://s3.example.com", inkan.Printable(endpoint, 120))
	}
	if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && host != "::1" && !strings.HasPrefix(host, "127.") {
		return inkan.Errorf(inkan.Operator, op, "endpoint %s is not encrypted", inkan.Printable(endpoint, 120)).
			WithHint("use https://; http:// is for a server on this machine")
	}
	return nil
}

func acls() []string {
	var list []string
	for _, a := range types.ObjectCannedACL("").Values() {
		list = append(list, string(a))
	}
	return list
}

func knownACL(acl string) bool {
	for _, a := range acls() {
		if a == acl {
			return true
		}
	}
	return false
}

const (
	// maxObject is the largest value that Get takes in. Inkan's own are
	// below 1 MiB.
	maxObject = 16 << 20
	// maxS3Key is what S3 allows a key, in bytes.
	maxS3Key = 1024
	// maxBusy bounds how often a Put that was refused unread is sent again.
	maxBusy = 10
)

// S3 returns a Store over a bucket of Amazon S3 or of a server that speaks its
// protocol and honours conditional writes: If-None-Match on the PUT that
// creates, If-Match on the PUT that replaces. A server that takes the headers
// and ignores them would lose data in silence; so the first Put of a Store
// tests it (see [MarkerKey]) and refuses to write to one that does.
//
// The revision of a value is its ETag. That may be a hash of the content, so a
// value that comes back has its old revision again: the core's envelope, with
// counter and write id in every value, never lets one come back.
//
// Put is sent once. A 412 is inkan.ErrConflict. A 409 or a throttling answer
// says that nothing was written, so Put waits and sends again, a few seconds at
// most. Everything else that is not a success is an error, after which the
// value may have been written or not: the caller reads it again.
// Get, List and Delete are repeated by the SDK.
//
// Nothing is sent, and no credentials are looked for, before the first call.
func S3(env plug.Env, cfg S3Config) (inkan.Store, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	return &s3Store{
		cfg:     cfg,
		op:      "s3 store " + cfg.Bucket + "/" + cfg.Prefix,
		session: &session{account: cfg.Account, region: cfg.Region, env: env},
		log:     env.Logger(),
		probing: make(chan struct{}, 1),
	}, nil
}

type s3Store struct {
	cfg     S3Config
	op      string // begins messages: "s3 store bucket/prefix/"
	session *session
	log     logger

	mu     sync.Mutex
	client *s3.Client

	probing chan struct{} // one place: who tests the server
	probed  bool          // guarded by probing
}

type logger interface {
	DebugContext(ctx context.Context, msg string, args ...any)
}

// Get implements inkan.Store.
func (s *s3Store) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	c, err := s.begin(ctx, key)
	if err != nil {
		return nil, "", err
	}
	what := "get " + key
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.full(key)})
	if err != nil {
		if absent(err) {
			return nil, "", fmt.Errorf("%s: %s: %w", s.op, what, fs.ErrNotExist)
		}
		return nil, "", s.explainGet(ctx, what, err)
	}
	defer out.Body.Close()
	tooLarge := inkan.Errorf(inkan.Operator, s.op, "%s: the object is larger than %d bytes", what, maxObject).
		WithHint("Inkan writes no such values; another program wrote it")
	if out.ContentLength != nil && *out.ContentLength > maxObject {
		return nil, "", tooLarge
	}
	data, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	switch {
	case err != nil:
		return nil, "", explain(ctx, s.op, what, err)
	case len(data) > maxObject:
		return nil, "", tooLarge
	case out.ContentLength != nil && int64(len(data)) != *out.ContentLength:
		return nil, "", inkan.Errorf(inkan.Temporary, s.op, "%s: %d bytes of %d arrived", what, len(data), *out.ContentLength)
	}
	rev := inkan.Rev(awssdk.ToString(out.ETag))
	if rev == "" {
		return nil, "", s.noETag(what)
	}
	return data, rev, nil
}

// Put implements inkan.Store.
func (s *s3Store) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	c, err := s.begin(ctx, key)
	if err != nil {
		return "", err
	}
	if len(data) > maxObject {
		return "", inkan.Errorf(inkan.Bug, s.op, "put %s: %d bytes are more than the %d that can be read back", key, len(data), maxObject)
	}
	if err := s.probe(ctx, c); err != nil {
		return "", err
	}
	return s.put(ctx, c, key, data, old)
}

func (s *s3Store) put(ctx context.Context, c *s3.Client, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	what := "put " + key
	in := &s3.PutObjectInput{Bucket: &s.cfg.Bucket, Key: s.full(key), ACL: types.ObjectCannedACL(s.cfg.ACL)}
	if s.cfg.ContentType != "" {
		in.ContentType = &s.cfg.ContentType
	}
	if old == "" {
		in.IfNoneMatch = awssdk.String("*")
	} else {
		in.IfMatch = awssdk.String(string(old))
	}
	for n := 0; ; n++ {
		in.Body = bytes.NewReader(data)
		out, err := c.PutObject(ctx, in, once)
		switch {
		case err == nil:
			if rev := inkan.Rev(awssdk.ToString(out.ETag)); rev != "" {
				return rev, nil
			}
			return "", s.noETag(what)
		case statusOf(err) == http.StatusPreconditionFailed, old != "" && absent(err):
			return "", fmt.Errorf("%s: %s: %w", s.op, what, inkan.ErrConflict)
		case n+1 < maxBusy && (busy(err) || throttled(err)):
			// Refused unread: it is safe to send it again.
			wait := backOff(n)
			s.log.DebugContext(ctx, "s3 refused a write for now", "key", key, "code", codeOf(err), "wait", wait)
			if sleep(ctx, wait) != nil {
				return "", explain(ctx, s.op, what, err)
			}
		default:
			return "", explain(ctx, s.op, what, err)
		}
	}
}

// Delete implements inkan.Store. In a bucket with versions the object stays
// behind a delete marker until a lifecycle rule removes it.
func (s *s3Store) Delete(ctx context.Context, key string) error {
	c, err := s.begin(ctx, key)
	if err != nil {
		return err
	}
	_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: s.full(key)})
	if err != nil && !absent(err) {
		return explain(ctx, s.op, "delete "+key, err)
	}
	return nil
}

// begin is what every operation on a key begins with.
func (s *s3Store) begin(ctx context.Context, key string) (*s3.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := inkan.CheckKey(key); err != nil {
		return nil, inkan.Errorf(inkan.Bug, s.op, "%w", err)
	}
	switch {
	case key == MarkerKey:
		return nil, inkan.Errorf(inkan.Bug, s.op, "the key %s is kept for the test of the server", key)
	case len(s.cfg.Prefix)+len(key) > maxS3Key:
		return nil, inkan.Errorf(inkan.Operator, s.op, "the key %s is longer than %d bytes with its prefix", key, maxS3Key).WithHint("use a shorter prefix")
	}
	return s.open(ctx)
}

// open returns the client, made on first use.
func (s *s3Store) open(ctx context.Context) (*s3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	c, err := s.session.load(ctx, s.op)
	if err != nil {
		return nil, err
	}
	s.client = s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = s.cfg.PathStyle
		// The payload is signed, and what Inkan stores has a checksum of its
		// own; the trailing checksums that the SDK would add are unknown to
		// many servers.
		o.RequestChecksumCalculation = awssdk.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = awssdk.ResponseChecksumValidationWhenRequired
		if s.cfg.Endpoint != "" {
			o.BaseEndpoint = &s.cfg.Endpoint
			if o.Region == "" {
				o.Region = "us-east-1"
			}
		}
	})
	return s.client, nil
}

// once switches off the SDK's retries: a conditional write that is repeated
// blindly meets its own value and reports a conflict.
func once(o *s3.Options) { o.Retryer = awssdk.NopRetryer{} }

func (s *s3Store) full(key string) *string { return awssdk.String(s.cfg.Prefix + key) }

func (s *s3Store) noETag(what string) error {
	return inkan.Errorf(inkan.Operator, s.op, "%s: the server gives no ETag", what).WithHint("this server cannot be used as a store")
}

// explainGet adds what makes S3 deny access to a key that is only missing.
func (s *s3Store) explainGet(ctx context.Context, what string, err error) error {
	e := explain(ctx, s.op, what, err)
	if known, ok := errors.AsType[*inkan.Error](e); ok && statusOf(err) == http.StatusForbidden && known.Hint != "" && codeOf(err) == "AccessDenied" {
		known.Hint += "\nallow s3:ListBucket on the bucket too: without it S3 denies access to a key that does not exist"
	}
	return e
}

// absent reports whether the answer says that there is no such key.
func absent(err error) bool {
	switch code := codeOf(err); code {
	case "NoSuchKey", "NotFound":
		return true
	case "NoSuchBucket":
		return false
	default:
		return statusOf(err) == http.StatusNotFound && (code == "" || code == "UnknownError")
	}
}

// busy reports whether the server refused a write because of another one at
// the same key: 409 ConditionalRequestConflict, OperationAborted.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func busy(err error) bool {
	switch codeOf(err) {
	case "ConditionalRequestConflict", "OperationAborted":
		return true
	}
	return false
}

// backOff returns how long to wait before try n + 2: 20 ms doubled each time
// up to a second, and a random half of it less.
func backOff(n int) time.Duration {
	d := min(20*time.Millisecond<<min(n, 10), time.Second)
	return d/2 + rand.N(d/2+1)
}
