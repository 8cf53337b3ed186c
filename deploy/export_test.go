package deploy

import (
	"time"

	"github.com/inkan-acme/inkan"
)

// SetGrace sets the time between SIGTERM and SIGKILL of an exec deployer.
func SetGrace(d inkan.Deployer, grace time.Duration) { d.(*execDeployer).grace = grace }
