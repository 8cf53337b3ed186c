package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/machine"
)

// askIssue asks for what issue needs and the flags did not say.
func (a *app) askIssue(ctx context.Context, r *requestFlags, f *pflag.FlagSet) ([]string, error) {
	// Stores that cannot be opened are an error before the first question.
	if _, _, err := a.Stores(); err != nil {
		return nil, err
	}
	q := a.Asker()
	q.Say("A few questions, then the certificate. Ctrl-C leaves at any time; an empty\nanswer takes what stands in [].\n\n")
	names, wildcard, err := askNames(q)
	if err != nil {
		return nil, err
	}
	if len(r.proofFlags) == 0 && !r.noValidation {
		if err := askValidation(q, r, wildcard); err != nil {
			return nil, err
		}
	}
	if !a.DryRun {
		if err := a.askPlacing(q, r, f); err != nil {
			return nil, err
		}
	}
	if err := a.askEmail(ctx, q, r); err != nil {
		return nil, err
	}
	q.Say("\nThe same without questions:\n%s\n\n", r.commandLine(names, term.Width(a.Stderr)-2))
	return names, nil
}

func askNames(q *term.Asker) (names []string, wildcard bool, err error) {
	_, err = q.Ask("Names in the certificate, separated by spaces:", "", func(s string) error {
		names = strings.FieldsFunc(s, func(c rune) bool { return c == ' ' || c == ',' })
		ids, err := inkan.ParseIdentifiers(names)
		wildcard = slices.ContainsFunc(ids, inkan.Identifier.Wildcard)
		return err
	})
	return names, wildcard, err
}

func askValidation(q *term.Asker, r *requestFlags, wildcard bool) error {
	if wildcard {
		q.Say("\nFor a wildcard the CA looks into the DNS for a TXT record. You are told which,\n" +
			"now and at each renewal. A solver in the configuration file does it alone.\n")
		r.proofFlags = []proofFlag{{flagManual, "dns"}}
		return nil
	}
	q.Say("\nThe CA wants to see that the names are yours.\n" +
		"  1  a web server answers on port 80: Inkan puts a file into its document root\n" +
		"  2  nothing listens on port 80: Inkan does, for the moment it takes\n" +
		"  3  nothing listens on port 443: Inkan does, for the moment it takes\n" +
		"  4  none of these: you put a TXT record into the DNS, now and at each renewal\n")
	answer, err := q.Ask("1, 2, 3 or 4?", "1", func(s string) error {
		if !slices.Contains([]string{"1", "2", "3", "4"}, s) {
			return errors.New("please answer 1, 2, 3 or 4")
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch answer {
	case "2":
		r.proofFlags = []proofFlag{{flagStandalone, ":80"}}
	case "3":
		r.proofFlags = []proofFlag{{flagTLSALPN, ":443"}}
	case "4":
		r.proofFlags = []proofFlag{{flagManual, "dns"}}
	default:
		dir, err := q.Ask("Its document root:", "/var/www/html", func(s string) error {
			if info, err := os.Stat(s); err != nil || !info.IsDir() {
				return fmt.Errorf("%s is not a directory", inkan.Printable(s, 200))
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.proofFlags = []proofFlag{{flagWebroot, dir}}
	}
	return nil
}

// askPlacing asks where the files go and what reads them.
func (a *app) askPlacing(q *term.Asker, r *requestFlags, f *pflag.FlagSet) error {
	if !f.Changed("deploy-dir") {
		data, err := a.Data()
		if err != nil {
			return err
		}
		if r.deployDir, err = q.Ask("Directory for the files:", filepath.Join(data, "live"), nil); err != nil {
			return err
		}
	}
	if f.Changed("run") || f.Changed("run-shell") {
		return nil
	}
	var err error
	r.run, err = q.Ask("Command that makes your server read them, as systemctl reload nginx, or empty:", "", func(s string) error {
		if s != "" && !plainCommand(s) {
			return errors.New("no quotes, pipes or variables here; give such a line with --run-shell")
		}
		return nil
	})
	return err
}

// askEmail asks for the address if an account will be made.
func (a *app) askEmail(ctx context.Context, q *term.Asker, r *requestFlags) error {
	if r.emails != nil {
		return nil
	}
	cas, err := a.chooseCAs(ctx, r, []string{defaultCA})
	if err != nil {
		return err
	}
	rec, err := a.LoadAccount(ctx, machine.Account{CA: cas[0], Name: orDefault(r.account)})
	if err != nil || rec.URL != "" {
		return err
	}
	mail, err := q.Ask("Your e-mail address, if the CA may write to you, or empty:", "", func(s string) error {
		local, domain, ok := strings.Cut(s, "@")
		if s != "" && (!ok || local == "" || domain == "" || strings.ContainsAny(s, " ,;")) {
			return errors.New("that is not an e-mail address")
		}
		return nil
	})
	if err == nil && mail != "" {
		r.emails = []string{mail}
	}
	return err
}

// commandLine is what would have asked for the same without questions, in lines
// of about n characters for a shell.
func (r *requestFlags) commandLine(names []string, n int) string {
	words := []string{"  inkan issue"}
	flag := func(name, value string) {
		if value != "" {
			words = append(words, "--"+name+" "+quote(value))
		}
	}
	for _, ca := range r.cas.list {
		flag("ca", ca.name)
		flag("ca-root", ca.root)
	}
	flag("ca-root", r.cas.root)
	flag("account", r.account)
	for _, e := range r.emails {
		flag("email", e)
	}
	words = append(words, "--agree-tos")
	for _, w := range r.proofFlags {
		flag(w.flag, w.value)
	}
	if r.noValidation {
		words = append(words, "--no-validation")
	}
	flag("deploy-dir", r.deployDir)
	flag("run", r.run)
	flag("run-shell", r.runShell)
	if r.staging {
		words = append(words, "--staging")
	}
	for _, n := range names {
		words = append(words, quote(n))
	}
	line, lines := words[0], ""
	for _, w := range words[1:] {
		if term.Length(line)+term.Length(w)+len("  \\") > n {
			lines += line + " \\\n"
			line = "     "
		}
		line += " " + w
	}
	return lines + line
}

// quote writes a word so that a shell reads it back.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// plainCommand reports whether a command means the same without a shell.
func plainCommand(s string) bool { return !strings.ContainsAny(s, "\"'`$;&|<>()\\*?#~") }
