package testca

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStress keeps many orders in flight. Without the gate, Pebble hangs about
// once in a thousand such orders.
func TestStress(t *testing.T) {
	c := Start(t, Options{AuthzReuse: 50})
	took := issue(t, floor(t, c), responder(t, c).Show, 200, 32)
	if c.Orders() != 200 || len(c.Certificates()) != 200 {
		t.Errorf("%d orders, %d certificates, want 200", c.Orders(), len(c.Certificates()))
	}
	t.Logf("200 orders, 32 in flight: %v", took)
}

// TestStressFailures mixes orders that fail, orders that replace others and
// several readers of each order and authorization: Pebble's validation and
// issuing goroutines then write what its handlers read.
func TestStressFailures(t *testing.T) {
	c := Start(t, Options{AuthzReuse: 50})
	show := responder(t, c).Show
	f := floor(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	chain, _, err := f.Issue(ctx, []string{"old.example.test"}, show)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	old, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	replaces := b64(old.AuthorityKeyId) + "." + b64(old.SerialNumber.Bytes())

	var orders sync.WaitGroup
	for i := range 64 {
		orders.Go(func() {
			request := map[string]any{"identifiers": []map[string]string{
				{"type": "dns", "value": fmt.Sprintf("n%d.example.test", i)},
				{"type": "dns", "value": "old.example.test"},
			}}
			want, proof := "ready", show
			if i%2 == 1 {
				// Shows nothing and fails, which writes the order that it
				// wanted to replace.
				want, proof = "invalid", func(string, string) error { return nil }
				request["replaces"] = replaces
			}
			if got, err := contend(ctx, f, request, proof); got != want {
				t.Errorf("order %d is %q, want %q: %v", i, got, want, err)
			}
		})
	}
	orders.Wait()
}

// contend makes an order and validates it while others read it and its
// authorizations. It returns the status in which the order settles.
func contend(ctx context.Context, f *Floor, request any, show func(token, keyAuth string) error) (string, error) {
	payload, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	var order floorOrder
	header, err := f.postJSON(ctx, f.dir.NewOrder, payload, &order)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for _, url := range append(order.Authorizations, header.Get("Location")) {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := f.post(ctx, url, nil); err != nil {
					return
				}
			}
		})
	}
	for _, url := range order.Authorizations {
		if err := f.authorize(ctx, url, show); err != nil {
			return "", err
		}
	}
	err = f.await(ctx, header.Get("Location"), &order, "ready")
	return order.Status, err
}

// lineWriter hands every line of Pebble's log to a function.
type lineWriter func(line string)

func (w lineWriter) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// TestValidatorIsHeld shows that this version of Pebble still writes the two
// log lines between which the gate keeps order reads out.
func TestValidatorIsHeld(t *testing.T) {
	var c *CA
	shared := make(chan int, 2)
	c = Start(t, Options{Log: lineWriter(func(line string) {
		if strings.Contains(line, "set INVALID by") {
			c.gate.mu.Lock()
			shared <- c.gate.shared
			c.gate.mu.Unlock()
		}
	})})
	_, _, err := floor(t, c).Issue(t.Context(), []string{"a.example.test"}, func(string, string) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "invalid") {
		t.Fatalf("issued without proof: %v", err)
	}
	if before, after := <-shared, <-shared; before != 1 || after != 0 {
		t.Errorf("validator inside the gate %d times before and %d times after setOrderError, want 1 and 0", before, after)
	}
}
