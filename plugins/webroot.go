package plugins

import (
	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// webrootConfig holds the options of webroot.
type webrootConfig struct {
	_   struct{} `help:"puts the answers to http-01 challenges into the directory of a web server that runs already"`
	Dir string   `json:"dir" help:"the web server's document root; the answers go to .well-known/acme-challenge below it" required:"true"`
}

// webroot is http-01 over a public file store. Plug-in packages do not know
// each other, so the two meet here.
func webroot(env plug.Env, c webrootConfig) (inkan.Solver, error) {
	s, err := store.File(env, store.FileConfig{Dir: c.Dir, Public: true})
	if err != nil {
		return nil, err
	}
	return solve.HTTP01(env, solve.HTTP01Config{Store: plug.Ref[inkan.Store]{Value: s}})
}
