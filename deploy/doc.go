// Package deploy holds the deployers: one file for each kind of target. What a
// deployer has to keep to is said at [inkan.Deployer] and tested by package
// plugtest/deploytest.
package deploy
