package solve

import (
	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// WebrootConfig holds the options of [Webroot].
type WebrootConfig struct {
	_   struct{} `help:"puts the answers to http-01 challenges into the directory of a web server that runs already"`
	Dir string   `json:"dir" help:"the web server's document root; the answers go to .well-known/acme-challenge below it" required:"true"`
}

// Webroot returns the constructor of a Solver that is [HTTP01] over the files of a
// directory. Plug-in packages do not know each other, so the caller says what opens
// the directory as a Store: a public file store.
func Webroot(open func(env plug.Env, dir string) (inkan.Store, error)) func(plug.Env, WebrootConfig) (inkan.Solver, error) {
	return func(env plug.Env, c WebrootConfig) (inkan.Solver, error) {
		s, err := open(env, c.Dir)
		if err != nil {
			return nil, err
		}
		return HTTP01(env, HTTP01Config{Store: plug.Ref[inkan.Store]{Value: s}})
	}
}
