// Package acme gets certificates from certificate authorities that speak ACME
// (RFC 8555), with renewal information (RFC 9773), profiles
// (draft-ietf-acme-profiles), IP identifiers (RFC 8738) and external account
// binding. [Client] is an [inkan.Issuer] that is also an
// [inkan.RenewalInformer] and an [inkan.Revoker].
//
// The wire layer sends exactly one HTTP request per call: no hidden retry and
// no sleep. The only retry is the one RFC 8555 section 6.5 demands, for a
// refused nonce, and it stands in one place (post). Above it the order flow
// keeps the journal ahead of every request that needs it, so that a killed
// process finishes the same order.
//
// The CA is treated as hostile: HTTPS only, every URL it names is checked
// against the host of its directory, answers are capped at 1 MiB, redirects are
// refused, tokens are checked before anything is written, and whatever it says
// passes [inkan.Printable] before a person reads it.
//
// The package reads no environment and keeps no package-level state. It does
// not check the chains it downloads; the caller does.
package acme
