// Package serve answers TLS handshakes with the certificates of a Store. It
// needs no CA, no account and no engine: a process that may read current/, v/,
// names/ and events/ serves what others obtain.
package serve
