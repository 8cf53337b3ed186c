package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

const (
	// skewWarns is the difference that people are told of.
	skewWarns = 5 * time.Minute
)

// hostClock is what the CAs' answers say about the clock of this machine. A CA
// that lies about the time may harm its own certificates, but not those of another
// CA. So the local clock stands while one CA agrees with it, or while the CAs
// disagree with each other.
type hostClock struct {
	mu       sync.Mutex
	measures map[string]skewMeasure // by CA
}

type skewMeasure struct {
	skew   time.Duration // the CA's clock is ahead by
	local  time.Time     // on the wall, without a monotonic reading
	at     time.Time     // on the monotonic clock
	warned time.Duration // what was told last
}

// stillValid reports whether the local clock has run undisturbed since the
// measurement. If it was set or the machine slept, the measurement says nothing
// any more.
func (s skewMeasure) stillValid(local time.Time) bool {
	return (local.Round(0).Sub(s.local) - time.Since(s.at)).Abs() <= skewWarns
}

// skew returns by how much the local clock is to be corrected; known is false
// when no CA has answered since the clock was last moved.
func (h *hostClock) skew(local time.Time) (skew time.Duration, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lo, hi time.Duration
	for _, s := range h.measures {
		switch {
		case !s.stillValid(local):
			continue
		case !known:
			lo, hi, known = s.skew, s.skew, true
		default:
			lo, hi = min(lo, s.skew), max(hi, s.skew)
		}
	}
	if lo.Abs() <= inkan.MaxSkew || hi.Abs() <= inkan.MaxSkew || hi-lo > inkan.MaxSkew {
		return 0, known
	}
	return lo, known
}

// noteSkew records the clock skew that the CA's last answer showed.
func (m *Manager) noteSkew(ca string, i inkan.Issuer) {
	c, ok := i.(inkan.SkewMeter)
	if !ok {
		return
	}
	skew, ok := c.ClockSkew()
	if !ok {
		return
	}
	h := &m.clock
	h.mu.Lock()
	defer h.mu.Unlock()
	s := skewMeasure{skew: skew, local: m.wall().Round(0), at: time.Now(), warned: h.measures[ca].warned}
	if skew.Abs() > skewWarns && (skew-s.warned).Abs() > skewWarns {
		s.warned = skew
		m.log().Warn("the clock of this machine differs from the CA's; is it set by NTP?",
			slog.String("ca", ca), slog.Duration("ca_is_ahead_by", skew.Round(time.Second)))
	}
	if h.measures == nil {
		h.measures = map[string]skewMeasure{}
	}
	h.measures[ca] = s
}

// now is the time by which everything is decided and recorded: that of this
// machine, unless the CAs say that it is off by more than [inkan.MaxSkew].
func (m *Manager) now() time.Time {
	local := m.wall()
	skew, _ := m.clock.skew(local)
	return local.Add(skew)
}

func (m *Manager) wall() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// suspicious reports whether the due entry in force hints at a wrong clock: it is
// overdue by more than a day, or further ahead than anything is put off. After a
// long sleep of the machine it looks the same.
func suspicious(o *Observed, now time.Time) bool {
	return !o.Due.IsZero() && (farAhead(o.Due, now) || farAhead(now, o.Due))
}

// askCAsForTime asks the CAs for the time when a plan rests on a clock in
// doubt, one request each, and reports whether they correct it. A CA that does
// not answer changes nothing.
func (m *Manager) askCAsForTime(ctx context.Context, p *Plan) (corrected bool) {
	local := m.wall()
	if _, known := m.clock.skew(local); known || len(p.doubts) == 0 {
		return false
	}
	for _, pair := range p.doubts {
		issuer, err := m.issuer(ctx, pair.CA, pair.Account)
		if err != nil {
			continue
		}
		if _, ok := issuer.(inkan.SkewMeter); !ok {
			continue
		}
		if ri, ok := issuer.(inkan.RenewalInformer); ok {
			// Only the time of the answer counts here, whatever it says.
			if _, err := ri.RenewalInfo(ctx, pair.Leaf); err != nil {
				m.log().LogAttrs(ctx, logDecision, "the CA was asked for the time", slog.String("ca", pair.CA), logError(err))
			}
		}
		m.noteSkew(pair.CA, issuer)
	}
	skew, _ := m.clock.skew(m.wall())
	return skew != 0
}

// farAhead reports whether an instant lies so far ahead that nobody waits for it (see
// [state.Farthest]).
func farAhead(t, now time.Time) bool { return state.FarAhead(t, now) }
