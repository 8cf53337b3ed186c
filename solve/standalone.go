package solve

import (
	"log/slog"
	"net/http"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// StandaloneConfig holds the options of [Standalone].
type StandaloneConfig struct {
	_       struct{} `help:"answers http-01 challenges itself, on a port that it opens while challenges stand"`
	Addr    string   `json:"addr" help:"the address to listen on; without a host, all IPv4 and IPv6 addresses; the CA always connects to port 80" default:":80"`
	Path    string   `json:"path" help:"what stands before the token in the paths that are asked for here; / behind a load balancer that takes the CA's prefix off" default:"/.well-known/acme-challenge/"`
	AnyHost bool     `json:"any_host" help:"answer for every host name; for a load balancer that changes the host name"`
}

// Standalone returns a Solver for http-01 that listens itself, from the first
// Present until the last challenge is cleaned up. Use one for all orders that
// share the address. It implements inkan.Witness.
//
// An address without a host means all addresses of both families; a family
// that the machine lacks is left out. Errors about the port are of kind
// Operator. CleanUp in a process that never presented is success.
func Standalone(env plug.Env, cfg StandaloneConfig) (inkan.Solver, error) {
	plug.Defaults(&cfg)
	if err := checkPath(cfg.Path); err != nil {
		return nil, err
	}
	answers := &Responder{Path: cfg.Path, AnyHost: cfg.AnyHost}
	l := &listening{
		memory:    answers,
		challenge: inkan.HTTP01,
		flag:      "standalone",
		instead:   "if it is a web server, use its webroot (--webroot DIR) in place of --standalone, or let it pass the challenges on (inkan snippet proxy); else stop it while certificates are issued",
		usual:     "80",
		log:       env.Logger(),
	}
	l.newServer = func() server { return httpServer(answers, l.log) }
	return l, l.at(cfg.Addr)
}

// httpServer returns a server that limits the size and the time of a request.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	crowd := &crowd{max: maxConns}
	s := &http.Server{
		ConnState:                    crowd.state,
		Handler:                      h,
		ReadTimeout:                  headerTimeout,
		WriteTimeout:                 writeTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.SetKeepAlivesEnabled(false) // a CA asks once
	return s
}
