package testca

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// order makes a new order and returns its URL, its body and the refusal.
func (f *Floor) order(t *testing.T, payload string) (string, floorOrder, error) {
	t.Helper()
	var o floorOrder
	h, err := f.postJSON(t.Context(), f.dir.NewOrder, []byte(payload), &o)
	return h.Get("Location"), o, err
}

func TestBoulderHandsOutOrdersAgain(t *testing.T) {
	c := Start(t, Options{Boulder: true})
	r := responder(t, c)
	f, other := floor(t, c), floor(t, c)
	const payload = `{"identifiers":[{"type":"dns","value":"a.example.com"},{"type":"dns","value":"b.example.com"}]}`
	const swapped = `{"identifiers":[{"type":"dns","value":"b.example.com"},{"type":"dns","value":"a.example.com"}]}`
	url, first, err := f.order(t, payload)
	if err != nil {
		t.Fatal(err)
	}
	again, second, err := f.order(t, swapped)
	if err != nil || again != url || second.Finalize != first.Finalize || second.Status != "pending" {
		t.Errorf("the same names: %s, want %s; %+v, %v", again, url, second, err)
	}
	if foreign, _, err := other.order(t, payload); err != nil || foreign == url {
		t.Errorf("another account got the order: %v", err)
	}
	// Pending authorizations serve other orders too.
	_, third, err := f.order(t, `{"identifiers":[{"type":"dns","value":"b.example.com"},{"type":"dns","value":"c.example.com"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	shared := 0
	for _, a := range third.Authorizations {
		if strings.Contains(strings.Join(first.Authorizations, " "), a) {
			shared++
		}
	}
	if shared != 1 {
		t.Errorf("%d authorizations are shared, want 1", shared)
	}
	if c.Orders() != 3 {
		t.Errorf("%d orders, want 3", c.Orders())
	}
	// The order is finished by whoever comes last, and then it is not handed out.
	if _, _, err := f.Issue(t.Context(), []string{"a.example.com", "b.example.com"}, r.Show); err != nil {
		t.Fatal(err)
	}
	if c.Orders() != 3 || len(c.Certificates()) != 1 {
		t.Errorf("%d orders, %d certificates", c.Orders(), len(c.Certificates()))
	}
	if last, _, err := f.order(t, payload); err != nil || last == url {
		t.Errorf("a finished order was handed out: %v", err)
	}
}

func TestBoulderReplacesOnce(t *testing.T) {
	c := Start(t, Options{Boulder: true, AlwaysValid: true})
	f := floor(t, c)
	show := func(_, _ string) error { return nil }
	if _, _, err := f.Issue(t.Context(), []string{"a.example.com"}, show); err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificates()[0])
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	id := b64(leaf.AuthorityKeyId) + "." + b64(leaf.SerialNumber.Bytes())
	payload := `{"identifiers":[{"type":"dns","value":"a.example.com"}],"replaces":"` + id + `"}`
	if _, _, err := f.order(t, payload); err != nil {
		t.Fatal(err)
	}
	// Pebble would take a second one: it marks the old order at finalize.
	_, _, err = f.order(t, payload)
	if err == nil || !strings.Contains(err.Error(), "409") || !strings.Contains(err.Error(), "alreadyReplaced") {
		t.Errorf("a second replacement: %v", err)
	}
	if n := c.Requests(); n[len(n)-1].Status != http.StatusConflict || n[len(n)-1].Replaces != id {
		t.Errorf("on record: %+v", n[len(n)-1])
	}
}
