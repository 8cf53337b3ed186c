//go:build !failpoint

package machine

import (
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/plug"
)

// faults is empty but in the program that tests kill: see failpoint.go.
type faults struct{}

func newFaults(map[string]string) faults { return faults{} }

func (faults) plugins(s *plug.Set) *plug.Set                                 { return s }
func (faults) store(_ string, s inkan.Store) inkan.Store                     { return s }
func (faults) now() func() time.Time                                         { return nil } // time.Now
func (faults) transport(env plug.Env, c acme.Config) (plug.Env, acme.Config) { return env, c }
