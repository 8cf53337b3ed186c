package aws

import (
	"context"
	"iter"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/inkan-acme/inkan"
)

// List implements inkan.Store: pages of 1,000 keys, each asked for when the
// consumer gets there. Objects whose name is no key of Inkan's are passed over.
func (s *s3Store) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.list(ctx, prefix, after, yield); err != nil {
			yield("", err)
		}
	}
}

// list yields the keys. It returns nil after the consumer stopped.
func (s *s3Store) list(ctx context.Context, prefix, after string, yield func(string, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if prefix != "" {
		if err := inkan.CheckKey(strings.TrimSuffix(prefix, "/")); err != nil || !strings.HasSuffix(prefix, "/") {
			return inkan.Errorf(inkan.Bug, s.op, "list %q: a prefix is empty or a path with a slash behind it", inkan.Printable(prefix, 80))
		}
	}
	if after > prefix && !strings.HasPrefix(after, prefix) {
		return nil // behind everything with that prefix
	}
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	what := "list " + prefix
	in := &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: awssdk.String(s.cfg.Prefix + prefix)}
	if after > prefix {
		in.StartAfter = awssdk.String(s.cfg.Prefix + after)
	}
	last := s.cfg.Prefix + max(after, prefix) // every key comes behind it: none equals the prefix
	for {
		page, err := c.ListObjectsV2(ctx, in)
		if err != nil {
			return explain(ctx, s.op, what, err)
		}
		for _, object := range page.Contents {
			name := awssdk.ToString(object.Key)
			if name <= last {
				if name == s.cfg.Prefix+prefix {
					continue // the marker of a directory, as consoles make them
				}
				return s.disordered(what, name)
			}
			last = name
			key, ok := strings.CutPrefix(name, s.cfg.Prefix)
			if !ok || !strings.HasPrefix(key, prefix) {
				return s.disordered(what, name)
			}
			if key == MarkerKey || inkan.CheckKey(key) != nil {
				continue
			}
			if !yield(key, nil) {
				return nil
			}
		}
		if !awssdk.ToBool(page.IsTruncated) {
			return nil
		}
		// The token also leads past pages that hold nothing but delete markers.
		if page.NextContinuationToken != nil && *page.NextContinuationToken != awssdk.ToString(in.ContinuationToken) {
			in.ContinuationToken = page.NextContinuationToken
			continue
		}
		if len(page.Contents) == 0 {
			return inkan.Errorf(inkan.Temporary, s.op, "%s: the server says that there is more and not where", what)
		}
		in.ContinuationToken, in.StartAfter = nil, &last
	}
}

// disordered refuses a server whose listings cannot be relied upon: Inkan's
// queues live on the byte order of keys.
func (s *s3Store) disordered(what, name string) error {
	return inkan.Errorf(inkan.Operator, s.op, "%s: the server lists %q out of order or against the prefix", what, inkan.Printable(name, 120)).
		WithHint("Amazon S3's general purpose buckets list in byte order; directory buckets and some other servers do not and cannot be used")
}
