// Package process identifies the running process and tells whether another one
// on the same machine still lives, so that the lease of a killed process is
// taken over at once.
package process

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/inkan-acme/inkan"
)

// Self returns the identity of this process. What the system does not tell
// stays empty: then others wait for the lease to stand still.
func Self() inkan.Owner {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	o := inkan.Owner{Host: host, PID: os.Getpid(), Boot: bootID(), PIDNS: pidNamespace()}
	o.Start = startOf(o.PID)
	return o
}

// Alive reports whether the process of o still runs. It is only asked about
// owners with our own boot id and pid namespace. In doubt it says yes.
func Alive(o inkan.Owner) bool {
	if o.PID <= 0 {
		return true
	}
	if err := syscall.Kill(o.PID, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	start := startOf(o.PID)
	if start == "zombie" {
		return false
	}
	return start == "" || o.Start == "" || start == o.Start
}

// bootID changes with every start of the machine (proc(5)). Systems without
// /proc have none.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func pidNamespace() string {
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return link
}

// startOf returns the start time of a process in clock ticks since boot, field
// 22 of /proc/<pid>/stat; "zombie" for one that has ended but was not yet
// waited for; "" where the system does not tell.
func startOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the name in parentheses and may hold anything.
	s := string(data)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "zombie"
	}
	return fields[19]
}
