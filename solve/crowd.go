package solve

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// crowd keeps the connections of a server below a maximum by closing the
// oldest. An honest client is served within milliseconds, so the oldest of
// very many connections is one that stalls. Later clients are still served.
type crowd struct {
	max int

	mu    sync.Mutex
	order list.List // of net.Conn, oldest first
	conns map[net.Conn]*list.Element
}

// state is the ConnState hook of the server.
func (c *crowd) state(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if oldest := c.add(conn); oldest != nil {
			oldest.Close() // its goroutine reports StateClosed
		}
	case http.StateClosed, http.StateHijacked:
		c.drop(conn)
	}
}

// add notes a connection and returns the one that has to go, if any.
func (c *crowd) add(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		c.conns = map[net.Conn]*list.Element{}
	}
	c.conns[conn] = c.order.PushBack(conn)
	if c.order.Len() <= c.max {
		return nil
	}
	oldest := c.order.Remove(c.order.Front()).(net.Conn)
	delete(c.conns, oldest)
	return oldest
}

func (c *crowd) drop(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.conns[conn]; ok {
		c.order.Remove(e)
		delete(c.conns, conn)
	}
}

// closeAll closes every connection.
func (c *crowd) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
}
