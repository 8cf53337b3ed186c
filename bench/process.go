package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what one process cost from start to end.
type usage struct {
	wall time.Duration
	cpu  time.Duration // user and system
	peak int64         // resident memory, bytes
	out  []byte        // its standard output
}

// runProcess runs a program with exactly that environment and measures it. It
// is an error if the program fails; the message holds the end of what it said.
func runProcess(ctx context.Context, env []string, program string, args ...string) (usage, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	sampled := make(chan int64)
	ended := make(chan struct{})
	go func() { sampled <- sampleMemory(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	u := usage{wall: time.Since(start), out: stdout.Bytes()}
	close(ended)
	u.peak = <-sampled
	if err != nil {
		said := stderr.String()
		if len(said) > 500 {
			said = "..." + said[len(said)-500:]
		}
		return u, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(said))
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u.peak == 0 {
		if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			u.peak = int64(r.Maxrss)
			if runtime.GOOS != "darwin" {
				u.peak *= 1024
			}
		}
	}
	return u, nil
}

// sampleMemory returns the last high-water mark of resident memory that
// Linux showed of a process, 0 elsewhere. Linux's ru_maxrss is of no use: a
// program started by fork and exec inherits that of its parent, and this
// parent runs a CA. The kernel keeps the mark itself, so that only growth in
// the last millisecond of the process can be missed.
func sampleMemory(pid int, ended <-chan struct{}) (peak int64) {
	if runtime.GOOS != "linux" {
		<-ended
		return 0
	}
	path := fmt.Sprintf("/proc/%d/status", pid)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
		status, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(status), "VmHWM:")
		if !ok {
			continue // a zombie has none
		}
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if kib, err := strconv.ParseInt(number, 10, 64); err == nil {
			peak = max(peak, kib*1024)
		}
	}
}
