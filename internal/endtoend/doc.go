// Package endtoend holds tests of the real program against real peers: the
// built binary killed at any moment, many processes at once, a full disk, nginx
// reading the files. It has no code of its own.
package endtoend
