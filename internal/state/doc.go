// Package state keeps records in a Store: under which key each stands, how a
// value is wrapped so that damage is found, how it is changed by
// compare-and-swap, and how what was written is read again. It decides nothing
// about certificates; package engine does.
package state
