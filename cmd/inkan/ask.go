package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
)

// interactive reports whether there is a person to ask.
func (a *app) interactive() bool {
	return isTerminal(a.stdin) && isTerminal(a.stderr) && !a.quiet && !a.json
}

// asker puts questions to a person, one line each.
type asker struct {
	in  *bufio.Reader
	out io.Writer
}

func (a *app) asker() *asker { return &asker{bufio.NewReader(a.stdin), a.stderr} }

// ask repeats the question until check accepts the answer. An empty answer is
// the default.
func (q *asker) ask(question, def string, check func(string) error) (string, error) {
	for {
		if def != "" {
			fmt.Fprintf(q.out, "%s [%s] ", question, def)
		} else {
			fmt.Fprintf(q.out, "%s ", question)
		}
		line, err := q.in.ReadString('\n')
		if err != nil {
			fmt.Fprintln(q.out)
			return "", inkan.Errorf(inkan.Operator, "inkan issue", "there was no answer")
		}
		answer := strings.TrimSpace(line)
		if answer == "" {
			answer = def
		}
		if err := check(answer); err != nil {
			fmt.Fprintf(q.out, "  %v\n", err)
			continue
		}
		return answer, nil
	}
}

// askIssue asks for what issue needs and the flags did not say.
func (a *app) askIssue(ctx context.Context, r *requestFlags, f *pflag.FlagSet) ([]string, error) {
	q := a.asker()
	var names []string
	_, err := q.ask("Which names shall be in the certificate? (separated by spaces)", "", func(s string) error {
		names = strings.FieldsFunc(s, func(c rune) bool { return c == ' ' || c == ',' })
		_, err := inkan.ParseIdentifiers(names)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.webroot == "" && r.standalone == "" {
		if err := q.askValidation(r); err != nil {
			return nil, err
		}
	}
	if !f.Changed("deploy-dir") {
		data, err := a.data()
		if err != nil {
			return nil, err
		}
		if r.deployDir, err = q.ask("In which directory shall the files be placed?", data+"/live", func(string) error { return nil }); err != nil {
			return nil, err
		}
	}
	if !f.Changed("run") && !f.Changed("run-shell") {
		if r.run, err = q.ask("Which command makes your server read them? (empty: none)", "", func(string) error { return nil }); err != nil {
			return nil, err
		}
	}
	return names, a.askAccount(ctx, q, r)
}

func (q *asker) askValidation(r *requestFlags) error {
	fmt.Fprint(q.out, "How shall control over the names be shown?\n  1  a web server runs already: files in its document root\n  2  nothing runs on port 80: inkan answers itself\n")
	way, err := q.ask("1 or 2?", "1", func(s string) error {
		if s != "1" && s != "2" {
			return errors.New("please answer 1 or 2")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if way == "2" {
		r.standalone = ":80"
		return nil
	}
	r.webroot, err = q.ask("Where is its document root?", "/var/www/html", func(s string) error {
		if info, err := os.Stat(s); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is not a directory", s)
		}
		return nil
	})
	return err
}

// askAccount asks for what a new account needs.
func (a *app) askAccount(ctx context.Context, q *asker, r *requestFlags) error {
	ca, err := a.chooseCA(ctx, r, "letsencrypt")
	if err != nil {
		return err
	}
	account := r.account
	if account == "" {
		account = "default"
	}
	s, _, err := a.stores()
	if err != nil {
		return err
	}
	if rec, err := inkan.Accounts(s, ca, account).Load(ctx); err == nil && rec.URL != "" {
		return nil
	}
	if len(r.emails) == 0 {
		mail, err := q.ask("Your e-mail address, in case the CA must reach you? (empty: none)", "", func(s string) error {
			if s != "" && !strings.Contains(s, "@") {
				return errors.New("an e-mail address has an @")
			}
			return nil
		})
		if err != nil {
			return err
		}
		if mail != "" {
			r.emails = []string{mail}
		}
	}
	if r.agreeTOS {
		return nil
	}
	flags, err := r.accountFlags()
	if err != nil {
		return err
	}
	client, err := a.client(ctx, ca, account, flags)
	if err != nil {
		return err
	}
	terms, err := client.Terms(ctx)
	if err != nil {
		return err
	}
	if terms == "" {
		r.agreeTOS = true
		return nil
	}
	fmt.Fprintf(q.out, "The CA's terms of service: %s\n", inkan.Printable(terms, 500))
	answer, err := q.ask("Do you agree to them? (yes or no)", "", func(s string) error {
		if s != "yes" && s != "no" {
			return errors.New("please answer yes or no")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if answer == "no" {
		return inkan.Errorf(inkan.Operator, "account at "+ca, "without agreement to its terms the CA makes no account")
	}
	r.agreeTOS = true
	return nil
}

// register makes the account; on a terminal it shows the terms first and asks.
func (a *app) register(ctx context.Context, client *acme.Client, r *requestFlags) error {
	info, err := client.Register(ctx, acme.RegisterOptions{AgreeTerms: r.agreeTOS, Contacts: r.emails})
	if err != nil {
		return err
	}
	a.logger().Info("account", "ca", info.CA, "url", info.URL)
	return nil
}
