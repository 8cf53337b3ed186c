package inkan

import (
	"context"
	"encoding/json"
)

// Deployer puts a version in place at one target.
//
// Deploy returns when the target has accepted the version. It is idempotent:
// the same Deployment twice leaves the same result. It never harms the version
// that is in place: on an error, and after a crash at any moment, the target
// serves Deployment.Previous or Deployment.Version, whole. When ctx has ended
// before the call, it changes nothing and returns the error of ctx. A Deployment
// without Version is an error of kind Bug. The Receipt is JSON; the same
// Deployment gives the same one.
// The caller retries. Deploy may be called concurrently for different
// certificates.
type Deployer interface {
	Deploy(ctx context.Context, d Deployment) (Receipt, error)
}

// Activator is an optional ability of a Deployer. Activate is called once for
// a batch of deployments whose deployers have the same ActivationKey: one
// reload for a hundred certificates. An empty key means no activation.
type Activator interface {
	ActivationKey() string
	Activate(ctx context.Context) error
}

// Deployment is one version on its way to one target.
type Deployment struct {
	Version  *Version        // what to put in place
	Previous *Version        // what was accepted before, or nil
	Target   string          // the target's name
	Receipt  Receipt         // of the last accepted deployment at this target, or nil
	Earlier  []TargetReceipt // of the targets of the same certificate that come before this one
	Attempt  int             // 1 on the first try
	OpenKey  KeyOpener       // opens the keys of Version
}

// KeyPEM returns the private key of a pair of d.Version as PKCS #8 in PEM, or nil
// when the pair has none: its key is elsewhere.
func (d *Deployment) KeyPEM(ctx context.Context, p *Pair) ([]byte, error) {
	if p.Key == nil {
		return nil, nil
	}
	key, err := d.OpenKey.Open(ctx, p.Key, KeyUse{Name: d.Version.Name})
	if err != nil {
		return nil, err
	}
	return key.PEM()
}

// Receipt tells where a version was put: a path, an ARN, a backup's name. JSON of
// at most [MaxReceipt] bytes, without secrets.
type Receipt = json.RawMessage

// MaxReceipt is the size limit of a Receipt in bytes.
const MaxReceipt = 4 << 10

// TargetReceipt is a Receipt with the name of its target.
type TargetReceipt struct {
	Target  string  `json:"target"`
	Receipt Receipt `json:"receipt"`
}

// FilesReceipt is the Receipt of deployers that write a set of files to a
// directory; later targets of the same certificate read it.
type FilesReceipt struct {
	Dir string `json:"dir"` // absolute; holds fullchain.pem, cert.pem, chain.pem, privkey.pem
}

// Fingerprint is the SHA-256 of a certificate in DER.
type Fingerprint [32]byte
