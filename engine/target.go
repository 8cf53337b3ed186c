package engine

import (
	"github.com/inkan-acme/inkan"
)

// Target is a Deployer of this machine together with a digest of its options:
// when they change, the version in force is deployed again.
type Target struct {
	Deployer inkan.Deployer
	Options  string
}
