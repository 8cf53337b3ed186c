package state

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// oldBucket and oldOrder are what was written when the ids of the orders stood in
// the bucket, and no journal named its tokens.
const (
	oldBucket = `{"inkan":1,"counter":2,"write":"b6b2761d991d5a92","sum":"44c80cf758893a66c3093bf100c06ae09e00765bcf3000533c533760fb9ee793",` +
		`"body":{"tokens":3,"at":"2026-11-01T12:00:00Z","taken":{"0123456789abcdef-ecdsa-p256":"2026-11-01T12:00:00Z","fedcba9876543210-rsa2048":"2026-11-01T12:00:00Z"}}}`
	oldOrder = `{"inkan":1,"counter":1,"write":"74dcb0eb6a1217d7","sum":"d9921b669c6174b096d5e68b3c6b2124cc6796e520b993c192157406e664fc64",` +
		`"body":{"name":"a.example","attempt":"0123456789abcdef","key_type":"ecdsa-p256","base":3,"ask":"","ca":"le","account":"default",` +
		`"identifiers":[{"type":"dns","value":"a.example"}],"order_url":"https://ca.example/order/1","created":"2026-11-01T12:00:00Z"}}`
)

// body returns the body of what stands at key.
func body(t *testing.T, s *testkit.Store, key string) string {
	t.Helper()
	data, _, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	return string(e.Body)
}

// TestV5OldBucket: a bucket of before is read, its tokens count, and it is written
// back without the ids.
func TestV5OldBucket(t *testing.T) {
	s, ctx := testkit.New(), t.Context()
	b := inkan.Bucket{Key: inkan.LimitKey("ca", "account", "orders"), Capacity: 5, Refill: 36 * time.Second}
	if _, err := s.Put(ctx, b.Key, []byte(oldBucket), ""); err != nil {
		t.Fatal(err)
	}
	_, err := Update(ctx, s, b.Key, func(v *Bucket, exists bool) error {
		if !exists || v.Tokens != 3 || !v.At.Equal(chainNow) {
			t.Errorf("read: %+v", *v)
		}
		v.Fill(b, chainNow.Add(18*time.Second), exists)
		v.Tokens--
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, s, b.Key); got != `{"tokens":2.5,"at":"2026-11-01T12:00:18Z"}` {
		t.Errorf("written: %s", got)
	}
}

// TestV5OldJournal: a journal of before names no tokens; new ones do.
func TestV5OldJournal(t *testing.T) {
	s, ctx := testkit.New(), t.Context()
	key := OrderKey("a.example", "0123456789abcdef", inkan.ECDSAP256)
	if _, err := s.Put(ctx, key, []byte(oldOrder), ""); err != nil {
		t.Fatal(err)
	}
	js, err := Journals(ctx, s, "a.example")
	if err != nil || len(js) != 1 {
		t.Fatal(len(js), err)
	}
	if rec := js[0].Record(); rec.Tokens != nil || rec.OrderURL != "https://ca.example/order/1" {
		t.Errorf("read: %+v", rec)
	}
	if err := js[0].Update(ctx, func(*inkan.OrderRecord) {}); err != nil || strings.Contains(body(t, s, key), "tokens") {
		t.Errorf("%v, written: %s", err, body(t, s, key))
	}
	tokens := []string{"limits/le/default/orders", "limits/le/set/00"}
	if err := js[0].Update(ctx, func(o *inkan.OrderRecord) { o.Tokens = tokens }); err != nil {
		t.Fatal(err)
	}
	js, err = Journals(ctx, s, "a.example")
	if err != nil || len(js) != 1 || strings.Join(js[0].Record().Tokens, " ") != strings.Join(tokens, " ") {
		t.Errorf("%v, %s", err, body(t, s, key))
	}
}
