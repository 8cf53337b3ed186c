package engine

import (
	"context"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Versions lists the versions of a certificate that the Store holds, oldest
// first, those never published included. A version that cannot be read is left
// out and its error joined.
func (m *Manager) Versions(ctx context.Context, name string) ([]*inkan.Version, error) {
	if err := inkan.CheckName(name); err != nil {
		return nil, err
	}
	return state.Versions(ctx, m.Store, name)
}
