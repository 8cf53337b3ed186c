package engine

import (
	"log/slog"

	"github.com/inkan-acme/inkan/internal/guard"
)

// panicked reports whether err comes from a panic of a plug-in.
func panicked(err error) bool {
	_, ok := guard.Stack(err)
	return ok
}

// logPanic logs where a panic was, if err comes from one.
func (m *Manager) logPanic(name string, err error) {
	if stack, ok := guard.Stack(err); ok {
		m.log().Error("a plug-in panicked", logName(name), logError(err), slog.String("stack", string(stack)))
	}
}
