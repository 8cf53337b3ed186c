package state

import (
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// TestJournalTakenOver: whoever lost its journal to another process stops.
func TestJournalTakenOver(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	a := NewJournal(s, inkan.OrderRecord{Name: "a", Attempt: NewID(), KeyType: inkan.ECDSAP256})
	if err := a.Create(ctx); err != nil {
		t.Fatal(err)
	}
	js, err := Journals(ctx, s, "a")
	if err != nil || len(js) != 1 {
		t.Fatal(len(js), err)
	}
	if err := js[0].Update(ctx, func(o *inkan.OrderRecord) { o.OrderURL = "https://ca.example/o/1" }); err != nil {
		t.Fatal(err)
	}
	if err := a.Update(ctx, func(o *inkan.OrderRecord) { o.OrderURL = "https://ca.example/o/2" }); inkan.KindOf(err) != inkan.Pending {
		t.Errorf("got %v, want pending", err)
	}
	if got, err := a.Load(ctx); err != nil || got.OrderURL != "" {
		t.Errorf("the loser believes in %q, %v", got.OrderURL, err)
	}
	if err := s.Delete(ctx, js[0].Key()); err != nil {
		t.Fatal(err)
	}
	if err := js[0].Update(ctx, func(o *inkan.OrderRecord) { o.Finalizing = true }); inkan.KindOf(err) != inkan.Pending {
		t.Errorf("after the journal was deleted: %v", err)
	}
	names, err := NamesWithOrders(ctx, s)
	if err != nil || names != nil {
		t.Errorf("%v, %v", names, err)
	}
}
