// Package inkan holds what everybody who works with Inkan agrees on: the
// contracts that plug-ins implement ([Store], [Issuer], [Solver], [DNSProvider],
// [Deployer]), the plain data that passes between them, and every record whose
// JSON is kept in a Store and read for ever.
//
// An author of a plug-in needs nothing else. The package imports only the
// standard library and golang.org/x, reads no environment, no flags and no
// files, and keeps no package-level state.
//
// Package engine obtains and renews certificates by these contracts, package
// serve answers handshakes with them, and docs/architecture.md tells how they
// fit together.
package inkan
