package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

const (
	maxCPU   = 40 * time.Millisecond
	maxPeak  = 25 << 20
	maxRenew = 50 * time.Millisecond
)

// commandRows measure the inkan command as a whole process: the same binary
// that users run, from its start to its end.
func commandRows() []row {
	return []row{
		{"inkan issue, one name, whole process: CPU and peak memory", "40 ms, 25 MiB", issueProcess},
		{"inkan renew, none due of 1,000", "50 ms, 25 MiB, 0 CA requests", renewProcess(1_000)},
		{"inkan renew, none due of 10,000", "50 ms, 25 MiB, 0 CA requests", renewProcess(10_000)},
		{"inkan renew, none due of 100,000", "50 ms, 25 MiB, 0 CA requests", renewProcess(100_000)},
	}
}

// command returns the path of the inkan command, built on first use.
func (b *bench) command(ctx context.Context) (string, error) {
	if b.binary != "" {
		return b.binary, nil
	}
	path := filepath.Join(b.dir, "inkan")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/inkan-acme/inkan/cmd/inkan").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	b.binary = path
	return path, nil
}

func issueProcess(ctx context.Context, b *bench) (_ result, err error) {
	inkan, err := b.command(ctx)
	if err != nil {
		return result{}, err
	}
	dir, err := b.newDir()
	if err != nil {
		return result{}, err
	}
	s, err := newSite(ctx, dir, caName, testca.Options{})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	issue := func(more ...string) (usage, error) {
		args := []string{"issue", "--data", s.data, "--config", "/dev/null", "--ca", s.DirectoryURL, "--ca-root", s.roots, "--webroot", s.docroot}
		return runProcess(ctx, []string{"HOME=" + dir}, inkan, slices.Concat(args, more, s.names(1))...)
	}
	if _, err := issue("--agree-tos"); err != nil { // makes the account
		return result{}, err
	}
	all := make([]usage, b.repeats)
	before := s.spent()
	for i := range all {
		if all[i], err = issue(); err != nil {
			return result{}, err
		}
	}
	requests := s.spent().since(before).requests / len(all)
	u := middleUsage(all)
	r := result{
		measured: fmt.Sprintf("%s, %s", milliseconds(u.cpu), mebibytes(u.peak)),
		remark:   fmt.Sprintf("%s from start to end with the files placed, %d CA requests%s", seconds(u.wall), requests, u.missed(maxCPU, 0)),
		values:   map[string]float64{"inkan_cpu_s": u.cpu.Seconds(), "inkan_peak_bytes": float64(u.peak), "inkan_wall_s": u.wall.Seconds(), "requests": float64(requests)},
	}
	var words []string
	for _, name := range []string{acmez, certMagic, autocert} {
		theirs, err := b.peerProcess(ctx, name)
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", name, err)
		}
		if theirs == nil {
			continue
		}
		words = append(words, against(name, fmt.Sprintf("%s, %s", milliseconds(theirs.cpu), mebibytes(theirs.peak)), theirs.cpu.Seconds()/u.cpu.Seconds()))
		r.values[name+"_cpu_s"], r.values[name+"_peak_bytes"] = theirs.cpu.Seconds(), float64(theirs.peak)
	}
	if len(words) > 0 {
		r.peers = strings.Join(words, ", ")
		r.remark += "; the others are the least program around the library"
	}
	return r, nil
}

// peerProcess measures the whole process of one issuance by a peer; nil if the
// peers could not be built.
func (b *bench) peerProcess(ctx context.Context, name string) (_ *usage, err error) {
	p, err := b.newPeer(ctx, name, testca.Options{})
	if err != nil || p == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	all := make([]usage, b.repeats)
	for i := range all {
		if _, all[i], err = p.issue(ctx, true, 1); err != nil {
			return nil, err
		}
	}
	u := middleUsage(all)
	return &u, nil
}

// renewProcess measures the run of a timer that finds nothing to do.
func renewProcess(certificates int) func(context.Context, *bench) (result, error) {
	return func(ctx context.Context, b *bench) (_ result, err error) {
		inkan, err := b.command(ctx)
		if err != nil {
			return result{}, err
		}
		data, took, err := b.seeded(ctx, certificates)
		if err != nil {
			return result{}, err
		}
		all := make([]usage, b.repeats)
		before := b.seeds.ca.Count("")
		for i := range all {
			all[i], err = runProcess(ctx, []string{"HOME=" + b.dir}, inkan, "renew", "--data", data, "--config", "/dev/null")
			if err != nil {
				return result{}, err
			}
			if string(all[i].out) != "nothing is due\n" {
				return result{}, fmt.Errorf("inkan renew said: %s", all[i].out)
			}
		}
		u := middleUsage(all)
		remark := fmt.Sprintf("CPU %s; recorded in %.0f s%s", milliseconds(u.cpu), took.Seconds(), u.missed(0, maxRenew))
		requests := b.seeds.ca.Count("") - before
		return result{measured: fmt.Sprintf("%s, %s, %d CA requests", milliseconds(u.wall), mebibytes(u.peak), requests), remark: remark,
			values: map[string]float64{"inkan_s": u.wall.Seconds(), "inkan_cpu_s": u.cpu.Seconds(), "inkan_peak_bytes": float64(u.peak), "requests": float64(requests)}}, nil
	}
}

// middleUsage returns the median of each number.
func middleUsage(all []usage) usage {
	var wall, cpu []time.Duration
	var peak []int64
	for _, u := range all {
		wall, cpu, peak = append(wall, u.wall), append(cpu, u.cpu), append(peak, u.peak)
	}
	slices.Sort(peak)
	return usage{wall: middle(wall), cpu: middle(cpu), peak: peak[len(peak)/2]}
}

// missed says in words which targets were not met; 0 is none.
func (u usage) missed(cpu, wall time.Duration) string {
	words := ""
	if cpu > 0 && u.cpu > cpu {
		words += fmt.Sprintf("; MISSED: CPU %s over", milliseconds(u.cpu-cpu))
	}
	if wall > 0 && u.wall > wall {
		words += fmt.Sprintf("; MISSED: %s over", milliseconds(u.wall-wall))
	}
	if u.peak > maxPeak {
		words += fmt.Sprintf("; MISSED: %s over", mebibytes(u.peak-maxPeak))
	}
	return words
}
