package testca

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/letsencrypt/pebble/v2/core"
)

// boulder makes new orders as Let's Encrypt's software does where Pebble
// differs: a pending or ready order for the same names and profile is handed
// out again; pending authorizations of the account are used in new orders; and
// any order that may still give a certificate, not only a finalized one,
// answers for the certificate that it replaces (409 alreadyReplaced). Pebble
// makes its order in each case; one that the client does not get is left behind
// unseen. All of it happens while the gate is held.
type boulder struct {
	orders    map[string]*boulderOrder // by id: those that a client got
	sequence  []string                 // their ids, oldest first
	replacing map[string][]string      // ids by the ARI id of the certificate they replace
}

type boulderOrder struct {
	location string
	body     map[string]any
	set      string
	profile  string // as asked for
}

func newBoulder() *boulder {
	return &boulder{orders: map[string]*boulderOrder{}, replacing: map[string][]string{}}
}

// ordered sees every order that Pebble made and may change the answer.
func (c *CA) ordered(r *http.Request, signed signedRequest, answer *heldResponse) {
	p := signed.order()
	fresh := true
	if c.boulder != nil {
		fresh = c.boulder.ordered(c, p, answer)
	}
	if fresh {
		c.record.order()
	}
	if answer.status != http.StatusCreated {
		return
	}
	id := orderID(answer.header)
	if order := c.store.GetOrderByID(id); order != nil {
		c.checker.order(r, id, order.AccountID, p, c.live)
	}
}

// live reports whether the order gave a certificate or still can.
func (c *CA) live(id string) bool {
	order := c.store.GetOrderByID(id)
	return order != nil && order.Status != "invalid"
}

// judged tells the checker what the validator found.
func (c *CA) judged(id string, valid bool) {
	if authz := c.store.GetAuthorizationByID(id); authz != nil {
		c.checker.judged(authz.Order.AccountID, Identifier(authz.Identifier), valid)
	}
}

// ordered reports whether the answer is about a new order.
func (b *boulder) ordered(c *CA, p orderPayload, answer *heldResponse) (fresh bool) {
	id := orderID(answer.header)
	order := c.store.GetOrderByID(id)
	body := map[string]any{}
	if order == nil || json.Unmarshal(answer.body.Bytes(), &body) != nil {
		return true
	}
	if p.Replaces != "" {
		for _, other := range b.replacing[p.Replaces] {
			if c.live(other) {
				answer.header.Del("Location")
				answer.header.Set("Content-Type", "application/problem+json")
				answer.status = http.StatusConflict
				answer.set(problemBody(http.StatusConflict, "alreadyReplaced", "cannot indicate an order replaces a certificate which already has a replacement order"))
				return false
			}
		}
	}
	set := setKey(p.Identifiers)
	for _, oldID := range b.sequence {
		old := b.orders[oldID]
		if old.set != set || old.profile != p.Profile {
			continue
		}
		had := c.store.GetOrderByID(oldID)
		if had == nil || had.AccountID != order.AccountID || had.Status != "pending" && had.Status != "ready" {
			continue
		}
		old.body["status"] = had.Status
		answer.header.Set("Location", old.location)
		answer.set(mustJSON(old.body))
		return false
	}
	b.reusePending(c, order)
	body["authorizations"] = order.Authorizations
	answer.set(mustJSON(body))
	b.orders[id] = &boulderOrder{location: answer.header.Get("Location"), body: body, set: set, profile: p.Profile}
	b.sequence = append(b.sequence, id)
	if p.Replaces != "" {
		b.replacing[p.Replaces] = append(b.replacing[p.Replaces], id)
	}
	return true
}

// reusePending puts pending authorizations that the account has already in the
// place of the new ones.
func (b *boulder) reusePending(c *CA, order *core.Order) {
	pending := map[Identifier]*core.Authorization{}
	for _, id := range b.sequence {
		old := c.store.GetOrderByID(id)
		if old == nil || old.AccountID != order.AccountID {
			continue
		}
		for _, a := range old.AuthorizationObjects {
			a.RLock()
			if a.Status == "pending" {
				pending[Identifier(a.Identifier)] = a
			}
			a.RUnlock()
		}
	}
	order.Lock()
	defer order.Unlock()
	for i, a := range order.AuthorizationObjects {
		a.RLock()
		old := pending[Identifier(a.Identifier)]
		reuse := old != nil && a.Status == "pending"
		a.RUnlock()
		if reuse {
			order.AuthorizationObjects[i] = old
			order.Authorizations[i] = old.URL
		}
	}
}

// orderID returns the id in the Location of an answer.
func orderID(h http.Header) string {
	_, id, _ := strings.Cut(h.Get("Location"), PathOrder)
	return id
}

// set replaces the body of an answer that is held back.
func (h *heldResponse) set(body []byte) {
	h.header.Del("Content-Length")
	h.body.Reset()
	h.body.Write(body)
}

// problemBody is a problem document of RFC 8555 section 6.7.
func problemBody(status int, kind, detail string) []byte {
	return mustJSON(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": status})
}

// mustJSON encodes plain data.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("testca: encoding plain data: " + err.Error())
	}
	return b
}
