package engine

import (
	"log/slog"

	"github.com/inkan-acme/inkan"
)

// Decisions are logged once, with their reason.
const logDecision = slog.LevelDebug

func logName(name string) slog.Attr { return slog.String("certificate", name) }

func logAction(s Step) slog.Attr { return slog.String("action", string(s.Action)) }

func logReason(s Step) slog.Attr { return slog.String("reason", s.Reason) }

func logError(err error) slog.Attr { return slog.String("error", inkan.Printable(err.Error(), 2048)) }
