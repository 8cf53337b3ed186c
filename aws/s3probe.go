package aws

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/inkan-acme/inkan"
)

// MarkerKey is the object, behind the prefix, by which [S3] tests whether the
// server honours conditional writes. It is created once for a bucket and
// prefix and stays; List does not show it. Later processes need two requests
// before their first Put, and none of them writes anything.
const MarkerKey = ".inkan-conditional-writes"

const markerText = "Inkan tries to write this object twice, to learn whether the server refuses the second time. It may be deleted.\n"

// strangeETag is the revision of no value.
const strangeETag = `"ffffffffffffffffffffffffffffffff"`

// probe tests the server once in the life of s, before the first write:
//
//   - creating the marker must fail if it exists, so a second creation must
//     fail;
//   - replacing it must fail if it holds another value than is expected;
//   - whoever created it also tests that replacing it can succeed.
//
// Success is remembered; anything else is tried again by the next Put.
func (s *s3Store) probe(ctx context.Context, c *s3.Client) error {
	select {
	case s.probing <- struct{}{}:
		defer func() { <-s.probing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.probed {
		return nil
	}
	create := func() (bool, inkan.Rev, error) {
		rev, err := s.put(ctx, c, MarkerKey, []byte(markerText), "")
		return err == nil, rev, conflictIsNil(err)
	}
	created, rev, err := create()
	if err != nil {
		return err
	}
	if created {
		again, _, err := create()
		if err != nil {
			return err
		}
		if again {
			return s.unconditional("If-None-Match")
		}
		switch _, err := s.put(ctx, c, MarkerKey, []byte(markerText), rev); {
		case errors.Is(err, inkan.ErrConflict):
			// It is deleted, so that the next process runs this test too.
			_, _ = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: s.full(MarkerKey)})
			return s.unusable("it refuses to replace an object whose ETag it has just given")
		case err != nil:
			return err
		}
	}
	switch _, err := s.put(ctx, c, MarkerKey, []byte(markerText), strangeETag); {
	case err == nil:
		return s.unconditional("If-Match")
	case !errors.Is(err, inkan.ErrConflict):
		return err
	}
	s.probed = true
	return nil
}

func conflictIsNil(err error) error {
	if errors.Is(err, inkan.ErrConflict) {
		return nil
	}
	return err
}

func (s *s3Store) unconditional(header string) error {
	return s.unusable("it ignores " + header + " and overwrites")
}

func (s *s3Store) unusable(why string) error {
	return inkan.Errorf(inkan.Operator, s.op, "the server has no conditional writes: %s", why).
		WithHint("without them two writers lose each other's work; use a newer version of the server, or another one")
}
