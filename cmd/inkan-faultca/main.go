// Inkan-faultca runs a test CA that misbehaves as told, for experiments by
// hand. It prints every request, and every request over a limit of Let's
// Encrypt.
//
//	go run ./cmd/inkan-faultca -root /tmp/root.pem -rule "new-order nth=2 drop-after" -rule "finalize p=0.3 status=503 retry-after=5"
//	inkan issue --ca https://127.0.0.1:14000/dir --ca-root /tmp/root.pem ...
//
// The state of the CA is in memory: it is gone when the program ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

func main() {
	var o options
	flag.StringVar(&o.ca.ListenAddr, "listen", "127.0.0.1:14000", "address of the ACME endpoint")
	flag.IntVar(&o.ca.HTTPPort, "http-port", 5002, "port on 127.0.0.1 where http-01 is validated")
	flag.IntVar(&o.ca.TLSPort, "tls-port", 5001, "port on 127.0.0.1 where tls-alpn-01 is validated")
	flag.DurationVar(&o.ca.Latency, "latency", 0, "round-trip time to the CA")
	flag.IntVar(&o.ca.NonceReject, "bad-nonces", 0, "percent of good nonces that are refused")
	flag.IntVar(&o.ca.AuthzReuse, "authz-reuse", 0, "percent of valid authorizations that are used again")
	flag.BoolVar(&o.ca.AlwaysValid, "always-valid", false, "accept every challenge without looking")
	flag.BoolVar(&o.ca.Boulder, "boulder", false, "hand out orders again and refuse replacements as Let's Encrypt does")
	flag.Uint64Var(&o.seed, "seed", 1, "decides what rules with a probability hit")
	flag.StringVar(&o.root, "root", "", "file to write the root certificate of the endpoint to, as PEM")
	flag.Func("rule", "what goes wrong; may be given several times\n"+testca.RuleSyntax, func(text string) error {
		rule, err := testca.ParseRule(text)
		o.rules = append(o.rules, rule)
		return err
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "inkan-faultca: error:", err)
		os.Exit(1)
	}
}

type options struct {
	ca    testca.Options
	seed  uint64
	root  string
	rules []testca.Rule
}

// run serves until ctx ends.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	o.ca.CheckLimits = testca.LetsEncrypt()
	o.ca.Middleware = testca.NewProxy(o.seed, o.rules...).Wrap
	ca, err := testca.New(o.ca)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := ca.Close(); err == nil {
			err = closeErr
		}
	}()
	if o.root != "" {
		if err := os.WriteFile(o.root, ca.RootsPEM, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "directory %s\n", ca.DirectoryURL)
	fmt.Fprintf(out, "resolver %s\n", ca.DNSAddr) // what it sees of the DNS: inkan doctor --resolver
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	requests, violations := 0, 0
	for {
		requests, violations = report(out, ca, requests, violations, false)
		select {
		case <-ctx.Done():
			requests, violations = report(out, ca, requests, violations, true)
			fmt.Fprintf(out, "%d requests, %d orders, %d certificates, %d over a limit\n", requests, ca.Orders(), len(ca.Certificates()), violations)
			return nil
		case <-ticker.C:
		}
	}
}

// report prints what is new; at the end also what was never answered.
func report(out io.Writer, ca *testca.CA, requests, violations int, end bool) (int, int) {
	all := ca.Requests()
	for i, r := range all[requests:] {
		if !end && r.Status == 0 && time.Since(r.Time) < time.Second {
			all = all[:requests+i] // not answered yet: next time
			break
		}
		status := fmt.Sprint(r.Status)
		if r.Status == 0 {
			status = "-" // no answer
		}
		names := ""
		for _, id := range r.Identifiers {
			names += " " + id.Value
		}
		fmt.Fprintf(out, "%s %-4s %-13s %3s%s\n", r.Time.Format("15:04:05.000"), r.Method, testca.Endpoint(r.Path), status, names)
	}
	over := ca.Violations()
	for _, v := range over[violations:] {
		fmt.Fprintf(out, "%s OVER A LIMIT: %s\n", v.Time.Format("15:04:05.000"), v)
	}
	return len(all), len(over)
}
