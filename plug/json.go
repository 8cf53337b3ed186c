package plug

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/inkan-acme/inkan"
)

// maxDepth bounds how deep maps and lists may nest.
const maxDepth = 32

// DecodeJSON returns the Decode for options written as one JSON object, as the
// Host store and flags give them.
func DecodeJSON(data []byte, r Resolver) Decode {
	return func(into any) error {
		n, err := ParseJSON(data)
		if err != nil {
			return err
		}
		return n.Decode(r)(into)
	}
}

// ParseJSON reads one JSON value. Keys keep their order and repeated keys
// their repeats, so that decoding can refuse them.
func ParseJSON(data []byte) (*Node, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	n, err := jsonNode(dec, 0)
	switch {
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case err == nil:
		if _, extra := dec.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("there is something after the value")
		}
	}
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "options in JSON", "%w", err)
	}
	return n, nil
}

func jsonNode(dec *json.Decoder, depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := t.(type) {
	case json.Number:
		return &Node{Value: Number(v)}, nil
	case json.Delim:
		if v == '[' {
			list := []*Node{}
			for dec.More() {
				one, err := jsonNode(dec, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, one)
			}
			_, err := dec.Token()
			return &Node{Value: list}, err
		}
		fields := []Field{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			one, err := jsonNode(dec, depth+1)
			if err != nil {
				return nil, err
			}
			fields = append(fields, Field{Key: key.(string), Value: one})
		}
		_, err := dec.Token()
		return &Node{Value: fields}, err
	}
	return &Node{Value: t}, nil
}
