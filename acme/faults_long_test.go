package acme

import "os"

// longForm reports whether the long forms of the tests were asked for
// (scripts/prove).
func longForm() bool { return os.Getenv("INKAN_LONG") == "1" }
