package engine

import (
	"context"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// PutJournal leaves a journal behind as a killed process does.
func PutJournal(ctx context.Context, s inkan.Store, o inkan.OrderRecord) error {
	return state.NewJournal(s, o).Create(ctx)
}
