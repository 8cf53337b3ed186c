package inkan

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"
)

// Version is what was issued for a request: immutable, one pair for each key
// type asked.
type Version struct {
	Name        string
	N           uint64 // the n of current that published it; what readers compare
	Seq         uint64 // its number among the versions of the name
	ID          string // the attempt that made it
	At          time.Time
	Identifiers []Identifier
	Pairs       []Pair
}

// Pair is one leaf with its chains and, unless the CSR was the user's own, its
// private key.
type Pair struct {
	KeyType   KeyType
	Chains    [][]byte // PEM bundles, leaf first, the preferred one first
	Leaf      *x509.Certificate
	Key       *StoredKey // nil when the key is elsewhere
	OrderHash string
	CA        string
	Account   string
	Source    string // SourceIssued, SourceImported or SourceForeign
}

// The sources of a pair.
const (
	SourceIssued   = "issued"   // by an order of ours
	SourceImported = "imported" // with its account, from another program
	SourceForeign  = "foreign"  // somebody else renews it: watched only
)

// Dir returns "<seq>-<id>", the unique name of the version below its
// certificate.
func (v *Version) Dir() string { return fmt.Sprintf("%010d-%s", v.Seq, v.ID) }

// ValidFrom and ValidUntil bound the time in which every leaf is valid.
func (v *Version) ValidFrom() time.Time {
	var from time.Time
	for i := range v.Pairs {
		if at := v.Pairs[i].Leaf.NotBefore; at.After(from) {
			from = at
		}
	}
	return from
}

func (v *Version) ValidUntil() time.Time {
	until := v.Pairs[0].Leaf.NotAfter
	for i := range v.Pairs {
		if at := v.Pairs[i].Leaf.NotAfter; at.Before(until) {
			until = at
		}
	}
	return until
}

// Fingerprint returns the SHA-256 of the leaf.
func (p *Pair) Fingerprint() Fingerprint { return sha256.Sum256(p.Leaf.Raw) }

func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// FullChain returns the leaf and its chain in PEM, as servers want it.
func (p *Pair) FullChain() []byte { return p.Chains[0] }

// Cert returns the leaf in PEM.
func (p *Pair) Cert() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Leaf.Raw})
}

// Chain returns the chain without the leaf in PEM; empty if there is none.
func (p *Pair) Chain() []byte {
	block, rest := pem.Decode(p.Chains[0])
	if block == nil {
		return nil
	}
	return bytes.TrimLeft(rest, "\r\n")
}

// TLS returns the pair in the form of crypto/tls. key is its private key, opened
// by a [KeyOpener].
func (p *Pair) TLS(key *PrivateKey) *tls.Certificate {
	c := &tls.Certificate{PrivateKey: key.Signer(), Leaf: p.Leaf}
	for rest := p.Chains[0]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return c
		}
		c.Certificate = append(c.Certificate, block.Bytes)
	}
}
