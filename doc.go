// Package inkan obtains TLS certificates from ACME certificate authorities,
// keeps them, renews them, brings them to the place where users meet them and
// checks that they arrived.
//
// The package holds the contracts that plug-ins implement ([Store], [Issuer],
// [Solver], [DNSProvider], [Deployer], [Notifier]), the plain data that passes
// between them, and the engine: a pure function that plans ([PlanCertificate])
// and a [Manager] that carries a plan out. It imports only the standard library
// and golang.org/x, reads no environment, no flags and no files, and keeps no
// package-level state.
//
// A certificate has one commit point: a compare-and-swap of its current
// pointer. Whatever is needed to finish or undo an order is durable before the
// request that needs it goes out, so that a killed process, started again,
// finishes the same order. docs/architecture.md tells the whole protocol.
package inkan
