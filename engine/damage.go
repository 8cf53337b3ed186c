package engine

import (
	"context"
	"errors"
	"io/fs"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// noteDamage copies what is damaged in the version in force and writes the
// event, once.
func (m *Manager) noteDamage(ctx context.Context, o *Observed) {
	d, ok := errors.AsType[*inkan.DamagedError](o.VersionErr)
	if !ok {
		return
	}
	if _, err := state.SetAside(ctx, m.Store, d.Key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log().Warn("a damaged value could not be copied", logName(o.Name), logError(err))
	}
	e := inkan.Event{ID: "damaged-" + state.Sum([]byte(d.Key))[:16], At: o.Current.At, Kind: inkan.EventDamaged, Name: o.Name, N: o.Current.N, Message: inkan.Printable(d.Error(), 500)}
	if err := state.WriteEvent(ctx, m.Store, e); err != nil {
		m.log().Warn("an event could not be written", logName(o.Name), logError(err))
	}
}
