package acme

import "context"

// Terms returns the URL of the CA's present terms of service, "" if it has
// none (RFC 8555 section 7.1.1). Only ever show it through inkan.Printable.
func (c *Client) Terms(ctx context.Context) (string, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	return dir.Meta.Terms, nil
}
