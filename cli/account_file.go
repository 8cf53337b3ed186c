package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
)

// accountFile is what account export writes.
type accountFile struct {
	Format      string    `json:"format"` // accountFormat
	Directory   string    `json:"directory"`
	URL         string    `json:"url"`
	Key         string    `json:"key"` // PKCS #8 in PEM
	Contacts    []string  `json:"contacts,omitempty"`
	TermsAgreed string    `json:"terms_agreed,omitempty"`
	EABKeyID    string    `json:"eab_kid,omitempty"`
	Created     time.Time `json:"created,omitzero"`
}

const accountFormat = "inkan-account-1"

// foreign is an account as it was found in a file or directory.
type foreign struct {
	key       *inkan.PrivateKey
	rec       inkan.AccountRecord // without its key
	directory string              // "" if the place does not tell
}

// maxAccountFile bounds a file with an account, in bytes.
const maxAccountFile = 1 << 20

// readForeign reads an account from what inkan account export wrote, from the
// account directories of certbot, lego and acme.sh, or from a bare key.
func readForeign(path string, stdin io.Reader) (*foreign, error) {
	if path == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, maxAccountFile))
		if err != nil {
			return nil, inkan.Errorf(inkan.Operator, "standard input", "%w", err)
		}
		return parseForeign(data)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "account", "%w", err)
	}
	if info.IsDir() {
		return readForeignDir(path)
	}
	switch filepath.Base(path) {
	case "private_key.json", "regr.json", "account.json", "account.key", "ca.conf": // the tool's other files stand beside
		if f, err := readForeignDir(filepath.Dir(path)); err == nil {
			return f, nil
		}
	}
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	return parseForeign(data)
}

// parseForeign reads one file: an export, or a bare key.
func parseForeign(data []byte) (*foreign, error) {
	var f accountFile
	if json.Unmarshal(data, &f) == nil && f.Format != "" {
		if f.Format != accountFormat {
			return nil, inkan.Errorf(inkan.Operator, "account", "it is in the format %s, which this program does not know", inkan.Printable(f.Format, 60))
		}
		key, err := inkan.ParseKey([]byte(f.Key))
		if err != nil {
			return nil, err
		}
		return &foreign{key: key, directory: f.Directory, rec: inkan.AccountRecord{
			URL: f.URL, Contacts: f.Contacts, TermsAgreed: f.TermsAgreed, EABKeyID: f.EABKeyID, Created: f.Created,
		}}, nil
	}
	key, err := acme.ParseAccountKey(data)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "account", "%w", err).
			WithHint("what can be imported: a file of inkan account export, an account directory of certbot, lego or acme.sh, or an account key in PEM or as a JSON Web Key")
	}
	return &foreign{key: key}, nil
}

// readForeignDir knows the tools by the names of their files.
func readForeignDir(dir string) (*foreign, error) {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	switch {
	case has("private_key.json"): // certbot: accounts/<host>/<path>/<id>/
		return keyBeside(dir, filepath.Join(dir, "private_key.json"), urlIn("regr.json"))
	case has("account.key"): // acme.sh: ca/<host>/<path>/
		return keyBeside(dir, filepath.Join(dir, "account.key"), urlInConf)
	case has("account.json"): // lego: accounts/<host>/<id>/, the key in keys/ or beside
		for _, pattern := range []string{"*.key", "keys/*.key"} {
			keys, err := filepath.Glob(filepath.Join(dir, pattern))
			if err == nil && len(keys) == 1 {
				return keyBeside(dir, keys[0], urlIn("account.json"))
			}
		}
		return nil, inkan.Errorf(inkan.Operator, "account", "there is an account.json in %s but not one key", dir).
			WithHint("name the key itself: inkan account import FILE --ca NAME|URL")
	}
	return nil, inkan.Errorf(inkan.Operator, "account", "%s is no account directory of certbot, lego or acme.sh", dir).
		WithHint("certbot's are below /etc/letsencrypt/accounts, lego's below .lego/accounts, those of acme.sh below .acme.sh/ca")
}

func keyBeside(dir, keyFile string, find func(dir string) (string, error)) (*foreign, error) {
	data, err := readSmall(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := acme.ParseAccountKey(data)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, keyFile, "%w", err)
	}
	f := &foreign{key: key}
	f.rec.URL, err = find(dir)
	return f, err
}

// urlIn finds the account's URL in a JSON file: certbot has it at the top, lego
// below registration. It may be missing: the CA tells it.
func urlIn(name string) func(string) (string, error) {
	return func(dir string) (string, error) {
		data, err := readSmall(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		var doc struct {
			URI          string `json:"uri"`
			Registration struct {
				URI string `json:"uri"`
			} `json:"registration"`
		}
		if json.Unmarshal(data, &doc) != nil {
			return "", inkan.Errorf(inkan.Operator, filepath.Join(dir, name), "it is not JSON")
		}
		if doc.URI == "" {
			doc.URI = doc.Registration.URI
		}
		return doc.URI, nil
	}
}

// urlInConf finds the account's URL in acme.sh's ca.conf without running it.
func urlInConf(dir string) (string, error) {
	data, err := readSmall(filepath.Join(dir, "ca.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	line := regexp.MustCompile(`(?m)^ACCOUNT_URL=['"]?([^'"\s]+)['"]?$`)
	if m := line.FindSubmatch(data); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

func readSmall(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "account", "%w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxAccountFile))
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "account", "%w", err)
	}
	return data, nil
}

// caOfForeign names the CA of an account when no flag does: by its directory,
// else by the host of its URL, else the default.
func (a *app) caOfForeign(ctx context.Context, f *foreign) (string, error) {
	if f.directory == "" && f.rec.URL == "" {
		return defaultCA, nil
	}
	list, err := a.listCAs(ctx)
	if err != nil {
		return "", err
	}
	if f.directory != "" {
		if i := slices.IndexFunc(list, func(ca caSummary) bool { return ca.Directory == f.directory }); i >= 0 {
			return list[i].Name, nil
		}
		return f.directory, nil
	}
	account, err := url.Parse(f.rec.URL)
	if err != nil {
		return "", inkan.Errorf(inkan.Operator, "account", "its URL cannot be read: %s", inkan.Printable(f.rec.URL, 200))
	}
	i := slices.IndexFunc(list, func(ca caSummary) bool {
		u, err := url.Parse(ca.Directory)
		return err == nil && strings.EqualFold(u.Host, account.Host)
	})
	if i < 0 {
		return "", usageError{fmt.Errorf("the account is at %s, where no known CA is; name the CA with --ca URL", inkan.Printable(account.Host, 100))}
	}
	return list[i].Name, nil
}

// writeSecret writes a secret to a new file that only its owner can read, or
// to w for "-". A file that is there already is never written.
func writeSecret(path string, data []byte, w io.Writer) (err error) {
	if path == "-" {
		_, err := w.Write(data)
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return inkan.Errorf(inkan.Operator, "export", "%s is there already", path).WithHint("name a new file; nothing is overwritten")
	}
	if err != nil {
		return inkan.Errorf(inkan.Operator, "export", "%w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(inkan.Errorf(inkan.Operator, "export", "%w", err), os.Remove(path))
		}
	}()
	if _, err := file.Write(data); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Sync(); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}
