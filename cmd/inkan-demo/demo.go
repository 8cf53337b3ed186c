package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

const (
	name    = "shop.example" // RFC 2606: nobody's
	wwwName = "www.shop.example"
)

// demo is what the chapters share.
type demo struct {
	*screen
	ca     *testca.CA
	site   *site
	dir    string // everything is in here, also the working directory of commands
	binary string
	extra  []string // for every command
}

// show tells the whole story. It removes everything at its end.
func show(ctx context.Context, s *screen, binary string, keep bool) (err error) {
	d := &demo{screen: s}
	if d.dir, err = os.MkdirTemp("", "inkan-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	fmt.Fprintln(s.out, s.paint(bold, "What inkan does, shown on this machine alone."))
	s.say("Nothing leaves it and nothing on it is changed; all files are in " + d.dir + ".")
	if d.binary, err = d.build(ctx, binary); err != nil {
		return err
	}
	if _, err := os.Stat("/etc/inkan/inkan.yaml"); err == nil && os.Geteuid() == 0 {
		d.extra = []string{"--config", "/dev/null"} // that of this machine is none of our business
	}
	start := time.Now()
	if err := d.startCA(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.ca.Close()) }()
	if err := d.startSite(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.site.stop()) }()
	first, err := d.issue(ctx)
	if err != nil {
		return err
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	second, err := d.renew(ctx, first)
	if err != nil {
		return err
	}
	d.summary(first, second, time.Since(start))
	if !keep {
		fmt.Fprintln(s.out)
		s.say("Everything is removed now. With --keep it stays and runs on, for exploring. With a real domain: docs/quickstart.md.")
		return nil
	}
	d.explore()
	<-ctx.Done()
	fmt.Fprintln(s.out, "\nEverything is removed now.")
	return nil
}

// build returns the inkan command as a file in the directory of the demo.
func (d *demo) build(ctx context.Context, binary string) (string, error) {
	path := filepath.Join(d.dir, "inkan")
	if binary != "" {
		abs, err := filepath.Abs(binary)
		if err != nil {
			return "", err
		}
		return path, os.Symlink(abs, path)
	}
	d.say("Building the inkan command; the first time takes a minute.")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/inkan-acme/inkan/cmd/inkan")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("go build: %w (run the demo in a checkout of inkan, or name a binary with --inkan)", err)
	}
	return path, nil
}

func (d *demo) startCA() (err error) {
	if d.ca, err = testca.New(testca.Options{}); err != nil {
		return err
	}
	d.step("A certificate authority", `Certificates come from a CA such as Let's Encrypt. So that you need neither
		a domain nor the internet, Pebble stands in for it: the small test CA that Let's Encrypt publishes, with the same
		protocol (ACME, RFC 8555).`)
	d.fact("CA", d.ca.DirectoryURL)
	err = os.WriteFile(filepath.Join(d.dir, "ca.pem"), d.ca.RootsPEM, 0o644)
	return errors.Join(err, os.WriteFile(filepath.Join(d.dir, "root.pem"), d.ca.IssuerRootPEM(0), 0o644))
}

func (d *demo) startSite(ctx context.Context) (err error) {
	live := filepath.Join(d.dir, "live", name)
	if d.site, err = startSite(ctx, live); err != nil {
		return err
	}
	pid := strconv.Itoa(d.site.pid())
	if err := os.WriteFile(d.reload(), []byte("#!/bin/sh\nkill -HUP "+pid+"\n"), 0o755); err != nil {
		return err
	}
	d.step("A web site that has no certificate", `A small HTTPS server, as nginx might be one. It reads its certificate
		from files, and reads them again when it gets the signal HUP, which the script "reload" sends. Now there are no
		files, so it turns visitors away.`)
	d.fact("web site", "process "+pid+" at "+d.site.addr)
	_, err = visit(ctx, d.site.addr, name, d.ca.IssuerRoots())
	if err == nil {
		return errors.New("the web site answers although it has no certificate")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.fact("a visitor", "is turned away: the TLS handshake fails")
	return nil
}

// reload is the script that makes the web site read its files.
func (d *demo) reload() string { return filepath.Join(d.dir, "reload") }

// issue gets the first certificate.
func (d *demo) issue(ctx context.Context) (*answer, error) {
	d.step("One command gets the certificate and puts it in place", `inkan orders a certificate for two names and proves to
		the CA that they lead to this machine, by answering its questions on the HTTP port (--standalone; a real CA asks
		port 80, this one asks another, so that you need not be root). Then it writes the files below live/ and runs the
		script, so that the web site reads them.`)
	err := d.inkan(ctx, "issue", "--data", "data", "--ca", d.ca.DirectoryURL, "--ca-root", "ca.pem",
		"--email", "you@"+name, "--agree-tos", "--standalone", "127.0.0.1:"+strconv.Itoa(d.ca.HTTPPort),
		"--deploy-dir", "live", "--run", d.reload(), name, wwwName)
	if err != nil {
		return nil, err
	}
	a, err := visitUntil(ctx, d.site.addr, name, d.ca.IssuerRoots(), func(*answer) bool { return true })
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(d.out)
	d.meets(a)
	return a, nil
}

// look shows what inkan remembers.
func (d *demo) look(ctx context.Context) error {
	d.step("What inkan knows", `Everything that was asked is recorded, so nothing has to be said twice. list shows all
		certificates, show tells everything about one: also when it will be renewed, and why then.`)
	for _, args := range [][]string{{"list", "--data", "data"}, {"show", "--data", "data", name}} {
		if err := d.inkan(ctx, args...); err != nil {
			return err
		}
	}
	d.step("What happens every hour", `From now on a timer runs one command without options. On almost every day there is
		nothing to do, and it costs a few milliseconds.`)
	return d.inkan(ctx, "renew", "--data", "data")
}

// renew has the CA ask for an early renewal.
func (d *demo) renew(ctx context.Context, first *answer) (*answer, error) {
	now := time.Now()
	window, err := json.Marshal(map[string]any{"suggestedWindow": map[string]time.Time{
		"start": now.Add(-2 * time.Hour).UTC().Truncate(time.Second), "end": now.Add(-time.Hour).UTC().Truncate(time.Second)}})
	if err != nil {
		return nil, err
	}
	if err := d.ca.SetRenewalInfo(first.leaf, string(window)); err != nil {
		return nil, err
	}
	d.step("The CA wants the certificate replaced, now", `A CA can ask for early renewal, say because it must revoke what
		it issued by mistake (ACME renewal information, RFC 9773). Just now the test CA began to say so of our certificate.
		The timer would see it when it asks next, within hours; with --name inkan asks at once.`)
	stop := d.crowd(ctx)
	err = d.inkan(ctx, "renew", "--data", "data", "--name", name)
	came, turnedAway := stop()
	if err != nil {
		return nil, err
	}
	if turnedAway != nil {
		return nil, fmt.Errorf("a visitor was turned away during the renewal: %w", turnedAway)
	}
	a, err := visitUntil(ctx, d.site.addr, name, d.ca.IssuerRoots(), func(a *answer) bool {
		return a.leaf.SerialNumber.Cmp(first.leaf.SerialNumber) != 0
	})
	if err != nil {
		return nil, err
	}
	if a.body != first.body {
		return nil, fmt.Errorf("another process answers: %q, then %q", first.body, a.body)
	}
	fmt.Fprintln(d.out)
	d.meets(a)
	d.fact("meanwhile", fmt.Sprintf("%d visitors came, and none was turned away", came))
	d.say("It is the same process as before; nothing was restarted.")
	return a, nil
}

// crowd sends visitors to the web site, one after the other, until stop is
// called. turnedAway is the error of the first that was.
func (d *demo) crowd(ctx context.Context) (stop func() (came int, turnedAway error)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var came int
	var turnedAway error
	go func() {
		defer close(done)
		for ; turnedAway == nil; came++ {
			if _, err := visit(ctx, d.site.addr, name, d.ca.IssuerRoots()); ctx.Err() != nil {
				return
			} else if err != nil {
				turnedAway = err
			}
		}
	}()
	return func() (int, error) {
		cancel()
		<-done
		return came, turnedAway
	}
}

// meets says what a visitor meets.
func (d *demo) meets(a *answer) {
	d.fact("a visitor", fmt.Sprintf("of https://%s is greeted: %q", name, a.body))
	d.fact("certificate", serial(a.leaf)+", valid until "+day(a.leaf.NotAfter))
}

func (d *demo) summary(first, second *answer, took time.Duration) {
	d.step("In short", "")
	for _, f := range []struct {
		what string
		leaf *x509.Certificate
	}{{"issued", first.leaf}, {"renewed", second.leaf}} {
		d.fact(f.what, serial(f.leaf)+" for "+name+" and "+wwwName)
	}
	d.fact("served", fmt.Sprintf("both by process %d, one after the other", d.site.pid()))
	d.fact("files", filepath.Join(d.dir, "live", name, "fullchain.pem"))
	d.fact("", filepath.Join(d.dir, "live", name, "privkey.pem"))
	d.fact("state", filepath.Join(d.dir, "data"))
	d.fact("time", fmt.Sprintf("%.1f s", took.Seconds()))
}

// explore prints what can be tried while everything runs on.
func (d *demo) explore() {
	d.step("Explore", "Everything runs until you press Ctrl-C here. In another terminal:")
	_, port, err := net.SplitHostPort(d.site.addr)
	if err != nil {
		port = "443" // cannot be: it was made by net
	}
	fmt.Fprintln(d.out)
	for _, line := range []string{
		"cd " + shellWord(d.dir) + " && PATH=$PWD:$PATH",
		"inkan list --data data",
		"inkan show --data data " + name,
		"inkan renew --data data --name " + name + " --force",
		"inkan plan --data data",
		"inkan delete --data data " + name,
		"openssl x509 -noout -text -in live/" + name + "/cert.pem",
		"curl --cacert root.pem --resolve " + name + ":" + port + ":127.0.0.1 \\\n       https://" + name + ":" + port + "/",
	} {
		fmt.Fprintln(d.out, "   "+d.paint(cyan, line))
	}
}

// inkan shows a command and runs it; what it prints is its own.
func (d *demo) inkan(ctx context.Context, args ...string) error {
	args = append(args, d.extra...)
	d.command(append([]string{"inkan"}, args...))
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Dir = d.dir
	cmd.Stdout, cmd.Stderr = d.out, d.out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("inkan %s: %w", args[0], err)
	}
	return nil
}
