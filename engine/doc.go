// Package engine obtains certificates, renews them and brings them to their
// targets: a pure function decides ([PlanCertificate]), and a [Manager] carries
// the decisions out over a Store, with the CAs, solvers and targets that it is
// given.
//
// A certificate has one commit point: a compare-and-swap of its current pointer.
// Whatever is needed to finish or undo an order is durable before the request
// that needs it goes out, so that a killed process, started again, finishes the
// same order. docs/architecture.md tells the whole protocol.
package engine
