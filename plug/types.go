package plug

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// Secret is a string that never prints: every way of formatting, logging or
// marshalling it yields a placeholder. In a configuration it is the value
// itself, or {file: PATH} or {env: NAME}. Its zero value is no secret.
//
// It holds a pointer, because fmt prints strings in unexported fields without
// asking their methods.
type Secret struct{ value *string }

const redacted = "[secret]"

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the secret itself; "" for the zero value.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// Format never shows the secret.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String never shows the secret.
func (s Secret) String() string { return redacted }

// LogValue never shows the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText never shows the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SecretSource says where a secret is kept. One of the two is set.
type SecretSource struct {
	File string `json:"file" help:"a file that holds the secret alone; a line end behind it is ignored"`
	Env  string `json:"env" help:"the environment variable that holds the secret"`
}

func (s SecretSource) String() string {
	if s.File != "" {
		return "file " + inkan.Printable(s.File, 200)
	}
	return "environment variable " + inkan.Printable(s.Env, 80)
}

// DecodeNode reads the value itself, {file: PATH} or {env: NAME}.
func (s *Secret) DecodeNode(n *Node, r Resolver) error {
	switch v := n.Value.(type) {
	case string:
		if v == "" {
			return fmt.Errorf("the secret is empty")
		}
		*s = NewSecret(v)
		return nil
	case []Field:
		var src SecretSource
		if err := n.Decode(r)(&src); err != nil {
			return err
		}
		if (src.File == "") == (src.Env == "") {
			return fmt.Errorf("give one of file and env")
		}
		if r.Secret == nil {
			return fmt.Errorf("the secret in %s cannot be read here", src)
		}
		value, err := r.Secret(src)
		if err != nil {
			return fmt.Errorf("reading the secret in %s: %w", src, err)
		}
		if value = strings.TrimRight(value, "\r\n"); value == "" {
			return fmt.Errorf("the secret in %s is empty", src)
		}
		*s = NewSecret(value)
		return nil
	case Number, bool:
		return fmt.Errorf("a secret is text; write it in quotes")
	}
	return fmt.Errorf("it must be text, {file: PATH} or {env: NAME}")
}

// OptionType is the word for the type in help and docs.
func (Secret) OptionType() string { return "secret" }

// Duration is a time.Duration that is written as in Go, with d for days of 24
// hours in front: 30s, 1h30m, 90d, 1d12h. It is never negative.
type Duration time.Duration

// String returns the text form.
func (d Duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	if t < day {
		return t.String()
	}
	s := fmt.Sprintf("%dd", t/day)
	if t %= day; t > 0 {
		s += t.String()
	}
	return s
}

// MarshalText writes the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form.
func (d *Duration) UnmarshalText(b []byte) error {
	text := string(b)
	fail := func() error {
		return fmt.Errorf("%q is not a duration such as 30s, 12h or 90d", inkan.Printable(text, 40))
	}
	var total time.Duration
	if days, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fail()
		}
		total, text = time.Duration(n)*24*time.Hour, rest
		if text == "" {
			*d = Duration(total)
			return nil
		}
	}
	t, err := time.ParseDuration(text)
	if err != nil || t < 0 || total+t < 0 {
		text = string(b)
		return fail()
	}
	*d = Duration(total + t)
	return nil
}

// OptionType is the word for the type in help and docs.
func (Duration) OptionType() string { return "duration" }

// Mode is the permission bits of a file, written in octal as chmod takes them:
// 0640. Only the nine bits of owner, group and others are allowed.
type Mode fs.FileMode

// Perm returns m as package os wants it.
func (m Mode) Perm() fs.FileMode { return fs.FileMode(m).Perm() }

// String returns the four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText writes the four octal digits.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads three or four octal digits.
func (m *Mode) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || v > 0o777 || len(b) < 3 || len(b) > 4 {
		return fmt.Errorf("%q is not a file mode such as 0640", inkan.Printable(string(b), 40))
	}
	*m = Mode(v)
	return nil
}

// OptionType is the word for the type in help and docs.
func (Mode) OptionType() string { return "file mode" }

var (
	_ fmt.Formatter  = Secret{}
	_ slog.LogValuer = Secret{}
)
