package dns

import (
	"bytes"
	"strconv"
)

// anyNumber is a whole number that hosts write with or without quotes.
type anyNumber int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *anyNumber) UnmarshalJSON(b []byte) error {
	b = bytes.Trim(b, `"`)
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	*n = anyNumber(v)
	return err
}

func (n anyNumber) String() string { return strconv.FormatInt(int64(n), 10) }
