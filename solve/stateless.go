package solve

import (
	"context"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// StatelessConfig holds the options of [StatelessSolver].
type StatelessConfig struct {
	_          struct{} `help:"presents nothing: web servers answer every http-01 challenge from the thumbprint of the account key (inkan snippet stateless)"`
	Thumbprint string   `json:"thumbprint" help:"the thumbprint that the web servers have; an account with another one is then refused before the CA asks them"`
}

// StatelessSolver returns a Solver for http-01 that shows nothing, because the
// web servers answer by themselves: see [Stateless]. It cannot know whether
// they do, so it is no inkan.Witness.
func StatelessSolver(_ plug.Env, cfg StatelessConfig) (inkan.Solver, error) {
	if cfg.Thumbprint != "" && (len(cfg.Thumbprint) != 43 || !inkan.IsBase64URL(cfg.Thumbprint)) {
		return nil, inkan.Errorf(inkan.Operator, "stateless solver", "%q is no thumbprint, which has 43 characters of base64url", inkan.Printable(cfg.Thumbprint, 60)).
			WithHint("inkan account show tells it")
	}
	return stateless{cfg.Thumbprint}, nil
}

type stateless struct{ thumbprint string }

// Present implements inkan.Solver.
func (s stateless) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkAll(inkan.HTTP01, challenges); err != nil {
		return nil, err
	}
	for _, c := range challenges {
		if print := strings.TrimPrefix(c.KeyAuthorization, c.Token+"."); s.thumbprint != "" && print != s.thumbprint {
			return nil, inkan.Errorf(inkan.Operator, "http-01 for "+c.Identifier.Value, "the account's thumbprint is %s, but the web servers answer with %s", print, s.thumbprint).
				WithHint("put the new thumbprint into the web servers (inkan snippet stateless) and into the options of the solver")
		}
	}
	return nil, nil
}

// CleanUp implements inkan.Solver.
func (s stateless) CleanUp(context.Context, []inkan.Challenge) error { return nil }
