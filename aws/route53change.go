package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/inkan-acme/inkan"
)

// The limits of one ChangeResourceRecordSets request.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests-changeresourcerecordsets
const (
	maxBatchRecords = 1000
	maxBatchChars   = 32000
)

// maxRounds bounds how often a change is prepared anew because the record sets
// were not what they were taken for.
const maxRounds = 12

// wish is what is to be true of one name.
type wish struct {
	name   string // lower case, with the dot
	verb   string // "add", "remove"; "rewrite": as it is, for a change to wait for
	values []string
	ttl    int64
}

// wishes gathers records by name.
func (p *route53Provider) wishes(verb string, records []inkan.TXT) []*wish {
	var list []*wish
	byName := map[string]*wish{}
	for _, r := range records {
		name := strings.ToLower(r.Name)
		w := byName[name]
		if w == nil {
			w = &wish{name: name, verb: verb, ttl: int64(cmp.Or(r.TTL, p.cfg.TTL))}
			byName[name] = w
			list = append(list, w)
		}
		if !slices.Contains(w.values, r.Value) {
			w.values = append(w.values, r.Value)
		}
	}
	return list
}

// set is the TXT record set of one name as Route 53 holds it; no records means
// that there is none.
type set struct {
	ttl     int64
	records []string // quoted
}

// step is what has to be sent for one wish: DELETE and CREATE of one set,
// either of them empty if not needed.
type step struct {
	wish    *wish
	old, to set
}

func (s step) records() int { return len(s.old.records) + len(s.to.records) }

func (s step) chars() int {
	n := 0
	for _, r := range append(slices.Clip(s.old.records), s.to.records...) {
		n += len(r)
	}
	return n
}

func (s step) changes() []types.Change {
	var list []types.Change
	for _, c := range []struct {
		action types.ChangeAction
		set    set
	}{{types.ChangeActionDelete, s.old}, {types.ChangeActionCreate, s.to}} {
		if len(c.set.records) == 0 {
			continue
		}
		records := make([]types.ResourceRecord, len(c.set.records))
		for i := range records {
			records[i].Value = &c.set.records[i]
		}
		list = append(list, types.Change{Action: c.action, ResourceRecordSet: &types.ResourceRecordSet{
			Name: &s.wish.name, Type: types.RRTypeTxt, TTL: awssdk.Int64(c.set.ttl), ResourceRecords: records,
		}})
	}
	return list
}

// guess is the step for a set that was not read: it assumes no other values.
func (w *wish) guess() step {
	ours := set{ttl: w.ttl}
	for _, v := range w.values {
		ours.records = append(ours.records, quoteTXT(v))
	}
	if w.verb == "remove" {
		return step{wish: w, old: ours}
	}
	return step{wish: w, to: ours}
}

// from is the step for a set that was read; false: nothing is to be done.
func (w *wish) from(old set) (step, bool) {
	to := set{ttl: old.ttl, records: slices.Clone(old.records)}
	if len(old.records) == 0 {
		to.ttl = w.ttl
	}
	holds := func(v string) bool {
		return slices.ContainsFunc(to.records, func(r string) bool { return unquoteTXT(r) == v })
	}
	changed := false
	switch w.verb {
	case "rewrite":
		changed = !slices.ContainsFunc(w.values, func(v string) bool { return !holds(v) })
	case "add":
		for _, v := range w.values {
			if !holds(v) {
				to.records = append(to.records, quoteTXT(v))
				changed = true
			}
		}
	case "remove":
		to.records = slices.DeleteFunc(to.records, func(r string) bool { return slices.Contains(w.values, unquoteTXT(r)) })
		changed = len(to.records) != len(old.records)
	}
	return step{w, old, to}, changed
}

// change makes the wishes true. One caller at a time works in a zone: Route 53
// refuses a change while it takes in another.
func (p *route53Provider) change(ctx context.Context, op, id string, wishes []*wish) error {
	p.mu.Lock()
	busy := p.busy[id]
	if busy == nil {
		busy = make(chan struct{}, 1)
		p.busy[id] = busy
	}
	p.mu.Unlock()
	select {
	case busy <- struct{}{}:
		defer func() { <-busy }()
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}

	known := map[string]set{} // what was read, or said not to be there
	doubtful := wishes
	if wishes[0].verb != "rewrite" {
		doubtful = nil // suppose that nobody else is there
	}
	for round := range maxRounds {
		if err := p.read(ctx, op, id, doubtful, known); err != nil {
			return err
		}
		var steps []step
		for _, w := range wishes {
			old, read := known[w.name]
			if !read {
				steps = append(steps, w.guess())
			} else if s, needed := w.from(old); needed {
				steps = append(steps, s)
			}
		}
		wishes, doubtful = nil, nil
		for _, batch := range batches(steps) {
			refused, doubts, err := p.send(ctx, op, id, batch, known)
			if err != nil {
				return err
			}
			wishes, doubtful = append(wishes, refused...), append(doubtful, doubts...)
		}
		if len(wishes) == 0 {
			return nil
		}
		if round > 0 {
			// It was refused again: the first refusal did not name every set, or
			// is out of date.
			doubtful = wishes
			for _, w := range wishes {
				delete(known, w.name)
			}
		}
		if round > 1 {
			// Somebody else changes the same names: a random pause separates us.
			if err := sleep(ctx, backOff(round)); err != nil {
				return fmt.Errorf("%s: %w", op, err)
			}
		}
	}
	return inkan.Errorf(inkan.Temporary, op, "the record set of %s was changed by somebody else %d times meanwhile", wishes[0].name, maxRounds)
}

// batches divides the steps as the limits of one request demand. A set that
// exceeds them by itself is left to Route 53 to refuse.
func batches(steps []step) [][]step {
	var list [][]step
	records, chars := 0, 0
	for _, s := range steps {
		if len(list) == 0 || records+s.records() > maxBatchRecords || chars+s.chars() > maxBatchChars {
			list = append(list, nil)
			records, chars = 0, 0
		}
		last := len(list) - 1
		list[last] = append(list[last], s)
		records, chars = records+s.records(), chars+s.chars()
	}
	return list
}

// send sends one batch. If sets are not what they were taken for, Route 53
// carries out nothing of it; send then returns all its wishes, and those of
// them whose set must be read before the next try.
func (p *route53Provider) send(ctx context.Context, op, id string, batch []step, known map[string]set) (refused, doubtful []*wish, err error) {
	in := &route53.ChangeResourceRecordSetsInput{HostedZoneId: &id, ChangeBatch: &types.ChangeBatch{}}
	for _, s := range batch {
		in.ChangeBatch.Changes = append(in.ChangeBatch.Changes, s.changes()...)
	}
	out, err := call(ctx, p, op, fmt.Sprintf("change the record set of %s and %d others", batch[0].wish.name, len(batch)-1),
		func(c *route53.Client) (*route53.ChangeResourceRecordSetsOutput, error) {
			return c.ChangeResourceRecordSets(ctx, in)
		})
	if err == nil {
		if out.ChangeInfo == nil || out.ChangeInfo.Id == nil {
			return nil, nil, inkan.Errorf(inkan.Temporary, op, "Route 53 took the change and gave no id to ask for it")
		}
		p.sent(id, batch, *out.ChangeInfo.Id)
		return nil, nil, nil
	}
	messages, invalid := refusal(err)
	if !invalid {
		if codeOf(err) == "NoSuchHostedZone" {
			p.forget(id)
		}
		return nil, nil, err
	}
	for _, s := range batch {
		refused = append(refused, s.wish)
	}
	for _, m := range messages {
		missing := strings.Contains(m, "not found")
		if !missing && !strings.Contains(m, "already exists") && !strings.Contains(m, "do not match") {
			return nil, nil, err // not about what stands there
		}
		about := slices.IndexFunc(refused, func(w *wish) bool { return strings.Contains(strings.ToLower(m), "name='"+w.name+"'") })
		switch {
		case about < 0:
			doubtful = slices.Clone(refused)
		case missing:
			known[refused[about].name] = set{}
		case !slices.Contains(doubtful, refused[about]):
			doubtful = append(doubtful, refused[about])
		}
	}
	for _, w := range doubtful {
		delete(known, w.name)
	}
	if len(messages) == 0 {
		return nil, nil, err
	}
	return refused, doubtful, nil
}

// sent remembers which change wrote which names.
func (p *route53Provider) sent(id string, batch []step, change string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range batch {
		key := recordName{id, s.wish.name}
		if s.wish.verb == "remove" {
			delete(p.changes, key)
		} else {
			p.changes[key] = change
		}
	}
}

// forget drops what is remembered of a hosted zone that is gone: another one
// may have taken its name.
func (p *route53Provider) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for zone, known := range p.zones {
		if known == id {
			delete(p.zones, zone)
		}
	}
}

// read reads the TXT record sets of the wishes' names into known. Sets of one
// zone come in pages, so names that stand near each other share a request.
func (p *route53Provider) read(ctx context.Context, op, id string, wishes []*wish, known map[string]set) error {
	wanted := map[string]bool{}
	for _, w := range wishes {
		wanted[w.name] = true
	}
	for _, w := range wishes {
		if _, ok := known[w.name]; ok {
			continue // on an earlier page
		}
		page, err := call(ctx, p, op, "read the record set of "+w.name, func(c *route53.Client) (*route53.ListResourceRecordSetsOutput, error) {
			return c.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{
				HostedZoneId: &id, StartRecordName: &w.name, StartRecordType: types.RRTypeTxt, MaxItems: awssdk.Int32(300),
			})
		})
		if err != nil {
			return err
		}
		known[w.name] = set{}
		for _, r := range page.ResourceRecordSets {
			name := strings.ToLower(awssdk.ToString(r.Name))
			if r.Type != types.RRTypeTxt || !wanted[name] {
				continue
			}
			if r.SetIdentifier != nil || r.AliasTarget != nil {
				return inkan.Errorf(inkan.Operator, op, "the TXT record at %s has a routing policy or is an alias", name).
					WithHint("make it a simple record, or point the name elsewhere with a CNAME")
			}
			s := set{ttl: awssdk.ToInt64(r.TTL)}
			for _, rr := range r.ResourceRecords {
				s.records = append(s.records, awssdk.ToString(rr.Value))
			}
			known[name] = s
		}
	}
	return nil
}
