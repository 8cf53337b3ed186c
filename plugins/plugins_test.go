package plugins_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugins"
)

// Every plug-in says in one line what it is and describes every option, so that
// help and docs, which are made from these, have no holes.
func TestEverythingIsDescribed(t *testing.T) {
	for _, kind := range plugins.All().Describe() {
		for _, p := range kind.Plugins {
			where := kind.Kind + " " + p.Name
			if p.Help == "" {
				t.Errorf("%s has no help: give its config struct a field _ with the tag help", where)
			}
			if kind.Kind == "solver" && p.Challenge == "" {
				t.Errorf("%s does not say which challenge it shows: use plug.AddSolver", where)
			}
			for _, o := range p.Options {
				if o.Help == "" || strings.HasSuffix(o.Help, ".") || strings.ToLower(o.Help[:1]) != o.Help[:1] {
					t.Errorf("%s, option %s: help %q must be there, in lower case and without a full stop", where, o.Name, o.Help)
				}
				if o.Required && o.Default != "" {
					t.Errorf("%s, option %s is required and has a default", where, o.Name)
				}
			}
		}
	}
}

func TestTable(t *testing.T) {
	s := plugins.All()
	for _, c := range []struct {
		have []string
		want string
	}{
		{s.Stores.Names(), "file mem"},
		{s.Solvers.Names(), "http-01 standalone webroot"},
		{s.Deployers.Names(), "exec files"},
	} {
		for name := range strings.FieldsSeq(c.want) {
			if !slices.Contains(c.have, name) {
				t.Errorf("no plug-in %s among %v", name, c.have)
			}
		}
	}
}

// The webroot solver and http-01 over a store written inline do the same.
func TestWebrootAndHTTP01(t *testing.T) {
	s := plugins.All()
	for _, c := range []struct{ name, options string }{
		{"webroot", `{"dir": "DIR"}`},
		{"http-01", `{"store": {"type": "file", "dir": "DIR", "public": true}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			solver, err := plug.Open(s, &s.Solvers, plug.Env{}, c.name,
				plug.DecodeJSON([]byte(strings.ReplaceAll(c.options, "DIR", dir)), plug.Resolver{}))
			if err != nil {
				t.Fatal(err)
			}
			const token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
			challenge := inkan.Challenge{
				Solver: "web", Type: inkan.HTTP01, Identifier: inkan.Identifier{Type: inkan.DNS, Value: "a.example"},
				Token: token, KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
			}
			if _, err := solver.Present(t.Context(), []inkan.Challenge{challenge}); err != nil {
				t.Fatal(err)
			}
			shown, err := plug.Open(s, &s.Stores, plug.Env{}, "file", plug.DecodeJSON([]byte(`{"dir": "`+dir+`", "public": true}`), plug.Resolver{}))
			if err != nil {
				t.Fatal(err)
			}
			data, _, err := shown.Get(t.Context(), ".well-known/acme-challenge/"+token)
			if err != nil || string(data) != challenge.KeyAuthorization {
				t.Fatalf("the webroot holds %q, %v", data, err)
			}
			if err := solver.CleanUp(t.Context(), []inkan.Challenge{challenge}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
