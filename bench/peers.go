package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// The other ACME libraries for Go that rows measure beside Inkan. Each is a
// program of the module in bench/peers.
const (
	acmez     = "acmez"
	certMagic = "certmagic"
	autocert  = "autocert"
)

// peerPrograms returns the directory of the peers' programs, which are built
// on first use. Without them, for instance because there is no module proxy,
// the rows are measured without peers.
func (b *bench) peerPrograms(ctx context.Context) (dir string, ok bool) {
	if b.peerDir == "" && b.peerErr == nil {
		b.peerDir, b.peerErr = buildPeers(ctx, filepath.Join(b.dir, "peers"))
		if b.peerErr != nil {
			fmt.Fprintf(os.Stderr, "\nbench: acmez, CertMagic and autocert are left out, because bench/peers could not be built: %v\n", b.peerErr)
		}
	}
	return b.peerDir, b.peerErr == nil
}

func buildPeers(ctx context.Context, dir string) (string, error) {
	module, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Module.Dir}}", "github.com/inkan-acme/inkan/bench").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(module)), "bench", "peers")
	out, err := exec.CommandContext(ctx, "go", "build", "-C", src, "-o", dir+string(filepath.Separator), "./"+acmez, "./"+certMagic, "./"+autocert).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return dir, nil
}

// peer is another library with a CA of its own, and with an account there.
// Each run is a process that starts anew.
type peer struct {
	*testca.CA
	program string
	dir     string
	roots   string
	next    int // numbers the names
}

// newPeer returns the peer, or nil if the peers could not be built.
func (b *bench) newPeer(ctx context.Context, name string, o testca.Options) (_ *peer, err error) {
	programs, ok := b.peerPrograms(ctx)
	if !ok {
		return nil, nil
	}
	dir, err := b.newDir()
	if err != nil {
		return nil, err
	}
	p := &peer{program: filepath.Join(programs, name), dir: dir, roots: filepath.Join(dir, "roots.pem")}
	if p.CA, err = testca.New(o); err != nil {
		return nil, err
	}
	if err = os.WriteFile(p.roots, p.RootsPEM, 0o644); err == nil {
		_, _, err = p.issue(ctx, false, 1) // makes the account
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// issue gets one certificate for so many names, or one for each. The time is
// that from the first request to the last file, without the start of the
// process.
func (p *peer) issue(ctx context.Context, together bool, names int, flags ...string) (time.Duration, usage, error) {
	args := append([]string{"issue", "-ca", p.DirectoryURL, "-roots", p.roots, "-dir", p.dir,
		"-http-port", strconv.Itoa(p.HTTPPort), "-tls-port", strconv.Itoa(p.TLSPort)}, flags...)
	if together {
		args = append(args, "-together")
	}
	for range names {
		p.next++
		args = append(args, fmt.Sprintf("n%d.peer.example.test", p.next))
	}
	u, err := runProcess(ctx, []string{"HOME=" + p.dir}, p.program, args...)
	if err != nil {
		return 0, u, err
	}
	var answer struct{ Nanoseconds int64 }
	err = json.Unmarshal(u.out, &answer)
	return time.Duration(answer.Nanoseconds), u, err
}

// speed is what one call of a peer's GetCertificate takes.
type speed struct {
	Nanoseconds float64
	Allocations int64
}

// peerSpeeds are a peer's answers for the GetCertificate rows.
type peerSpeeds struct {
	Hot, Random speed
	Bytes       int64 // for each certificate
}

// peerServes measures the GetCertificate of a peer, once for all rows; nil if
// the peers could not be built.
func (b *bench) peerServes(ctx context.Context, name string, certificates int) (*peerSpeeds, error) {
	if s := b.peerServed[name]; s != nil {
		return s, nil
	}
	programs, ok := b.peerPrograms(ctx)
	if !ok {
		return nil, nil
	}
	dir, err := b.newDir()
	if err != nil {
		return nil, err
	}
	u, err := runProcess(ctx, []string{"HOME=" + dir}, filepath.Join(programs, name), "serve", "-dir", dir,
		"-certificates", strconv.Itoa(certificates), "-n", strconv.Itoa(min(b.repeats, 3)))
	if err != nil {
		return nil, err
	}
	s := &peerSpeeds{}
	if err := json.Unmarshal(u.out, s); err != nil {
		return nil, err
	}
	if b.peerServed == nil {
		b.peerServed = map[string]*peerSpeeds{}
	}
	b.peerServed[name] = s
	return s, nil
}

// against words a peer's number beside ours: "acmez 0.540 s (7.1 times)".
func against(name, theirs string, ratio float64) string {
	return fmt.Sprintf("%s %s (%.1f times)", name, theirs, ratio)
}
