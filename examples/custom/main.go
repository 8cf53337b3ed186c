// Custom is the inkan command with one plug-in more: a target that writes down
// which certificate is to be seen, for a monitor to compare.
//
//	go run ./custom plugins deployer fingerprint
//
// In the configuration file:
//
//	targets:
//	  monitor: {type: fingerprint, dir: /var/lib/monitor}
package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/cli"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugins"
)

func main() {
	set := plugins.All()
	plug.Add(&set.Deployers, "fingerprint", newFingerprint)
	os.Exit(cli.Main(set))
}

// fingerprintConfig holds the options; help, checks and documentation come from
// its tags.
type fingerprintConfig struct {
	_   struct{} `help:"writes the SHA-256 of each certificate into a file"`
	Dir string   `json:"dir" help:"the directory of the files, <name>.sha256" required:"true"`
}

type fingerprint struct{ config fingerprintConfig }

func newFingerprint(_ plug.Env, c fingerprintConfig) (inkan.Deployer, error) {
	return &fingerprint{c}, nil
}

// Deploy implements inkan.Deployer.
func (f *fingerprint) Deploy(_ context.Context, d inkan.Deployment) (inkan.Receipt, error) {
	if d.Version == nil || len(d.Version.Pairs) == 0 {
		return nil, inkan.Errorf(inkan.Bug, "target "+d.Target, "there is no version to write down")
	}
	file := filepath.Join(f.config.Dir, d.Version.Name+".sha256")
	temporary, err := os.CreateTemp(f.config.Dir, ".fingerprint-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temporary.Name()) // gone already if all went well
	_, err = temporary.WriteString(d.Version.Pairs[0].Fingerprint().String() + "\n")
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"file": file})
}
