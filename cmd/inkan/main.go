// Command inkan obtains TLS certificates from ACME certificate authorities,
// keeps them, renews them and brings them to where they are used.
package main

import (
	"os"

	"github.com/inkan-acme/inkan/cli"
	"github.com/inkan-acme/inkan/plugins"
)

func main() { os.Exit(cli.Main(plugins.All())) }
