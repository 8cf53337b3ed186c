package simulate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
)

var errDown = inkan.Errorf(inkan.Temporary, "newOrder", "the CA does not answer")

// TestG06ShortLives: certificates of 160 hours through outages of 12 hours for
// two simulated years. Three outages meet every renewal, each of them beginning
// at the worst moment: when somebody tries. There are never less than 24 hours
// left.
func TestG06ShortLives(t *testing.T) {
	t.Parallel()
	const outage, perRenewal = 12 * time.Hour, 3
	lasts := 60 * day
	if long() {
		lasts = 2 * 365 * day
	}
	for _, ari := range []bool{false, true} {
		for _, timer := range timers() {
			t.Run(fmt.Sprintf("ari=%v, %s", ari, timer.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.ca.life = 160 * time.Hour
					if ari {
						w.ca.advice = func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error) {
							half := leaf.NotBefore.Add(80 * time.Hour)
							return inkan.RenewalInfo{Start: half.Add(-6 * time.Hour), End: half, RetryAfter: now.Add(6 * time.Hour)}, nil
						}
					}
					names := []string{"a.example", "b.example", "c.example"}
					w.record(w.process(), names...)
					w.renew(w.process())
					var until time.Time
					left := map[string]int{}
					renewed := map[string]int{}
					outages := 0
					w.ca.fail = func(name string, now time.Time) error {
						n := w.ca.counts[name]
						if renewed[name] != n { // a new round
							renewed[name], left[name] = n, perRenewal
						}
						o := now.Before(until)
						if !o && left[name] > 0 && now.Sub(w.ca.last[name].at) > 70*time.Hour && name == names[0] {
							left[name]--
							until = now.Add(outage)
							outages++
							o = true
						}
						if o {
							return errDown
						}
						return nil
					}
					least := w.ca.life
					begin := time.Now()
					for time.Since(begin) < lasts {
						w.renew(w.process())
						for _, n := range names {
							least = min(least, lastEnd(w.ca, n).Sub(w.truth()))
						}
						time.Sleep(min(timer.next(w), time.Hour))
					}
					t.Logf("proof: %d certificates, %d outages, never less than %s left", w.ca.count(""), outages, least.Round(time.Minute))
					if outages < int(lasts/day/4) {
						t.Errorf("only %d outages", outages)
					}
					if least < day {
						t.Errorf("only %s were left once, want 24h", least)
					}
				})
			})
		}
	}
}

func lastEnd(ca *modelCA, name string) time.Time {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.last[name].notAfter
}

// TestA25LongOutage: seven days without the CA and nothing of 45 days expires;
// when it is back, everything is renewed within a day and an hour.
func TestA25LongOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ca.life = 45 * day
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("n%d.example", i))
		}
		w.record(w.process(), names...)
		w.renew(w.process())
		begin := w.truth()
		from := begin.Add(30 * day)
		to := from.Add(7 * day)
		w.ca.fail = func(_ string, now time.Time) error {
			if now.After(from) && now.Before(to) {
				return errDown
			}
			return nil
		}
		for w.truth().Before(to.Add(25 * time.Hour)) {
			w.renew(w.process())
			for _, n := range names {
				if !lastEnd(w.ca, n).After(w.truth()) {
					t.Fatalf("%s expired", n)
				}
			}
			time.Sleep(time.Hour)
		}
		if n := w.ca.count(""); n != 2*len(names) {
			t.Errorf("%d certificates, want %d", n, 2*len(names))
		}
	})
}

// TestM03EqualExpiry: certificates that all expire at the same moment are not
// renewed at the same moment: no hour has more than twice the mean, by the hash
// of the names alone and by windows of the CA. And M02: the requests stay few.
func TestM03EqualExpiry(t *testing.T) {
	t.Parallel()
	count, every := 300, day // fewer would make an hour of twice the mean a matter of chance
	if long() {
		count, every = 10_000, 6*time.Hour
	}
	const life, lasts = 12 * day, 9 * day
	for _, c := range []struct {
		name   string
		window time.Duration // over which renewals are to be spread
		advice func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error)
	}{
		{"by hash", life / 50, nil},
		{"by the CA's windows", 12 * time.Hour, func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error) {
			start := leaf.NotBefore.Add(6 * day)
			return inkan.RenewalInfo{Start: start, End: start.Add(12 * time.Hour), RetryAfter: now.Add(every)}, nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.ca.life, w.ca.advice = life, c.advice
				var names []string
				for i := range count {
					names = append(names, fmt.Sprintf("n%d.example", i))
				}
				m := w.process()
				w.record(m, names...)
				if err := w.renew(m).Err(); err != nil {
					t.Fatal(err)
				}
				if n := w.ca.count(""); n != count {
					t.Fatalf("%d certificates, want %d", n, count)
				}
				first := w.truth()
				for w.truth().Sub(first) < lasts {
					if err := w.renew(m).Err(); err != nil && !errors.Is(err, inkan.Rejected) {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
				}
				hours := map[int]int{}
				most := 0
				for _, i := range w.ca.issued[count:] {
					h := int(i.at.Sub(first) / time.Hour)
					hours[h]++
					most = max(most, hours[h])
				}
				mean := float64(count) / c.window.Hours()
				t.Logf("proof: %d renewed in %d hours of %.0f, mean %.1f, most in an hour %d; %.2f looks a day and certificate",
					len(w.ca.issued)-count, len(hours), c.window.Hours(), mean, most, float64(len(w.ca.looks))/lasts.Hours()*24/float64(count))
				if len(w.ca.issued) != 2*count {
					t.Errorf("%d certificates after the renewal, want %d", len(w.ca.issued), 2*count)
				}
				if float64(most) > 2*mean {
					t.Errorf("%d renewals in one hour, over twice the mean %.1f", most, mean)
				}
				looks := map[int]int{}
				for _, at := range w.ca.looks {
					looks[int(at.Sub(first)/time.Hour)]++
				}
				busiest := 0
				for h, n := range looks {
					if h >= 24 {
						busiest = max(busiest, n)
					}
				}
				t.Logf("looks: mean %.1f an hour, most %d", float64(len(w.ca.looks))/lasts.Hours(), busiest)
				if mean := float64(len(w.ca.looks)) / 14 / 24; c.advice != nil && every < day && float64(busiest) > 2*mean {
					t.Errorf("%d looks in one hour, over twice the mean %.1f", busiest, mean)
				}
			})
		})
	}
}

// TestL02SevenPercent: the CA's advice flags a random 7 %: those and only those
// are renewed, each within the six hours that a look may take, and an hour of
// the timer.
func TestL02SevenPercent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		count := few(100, 300)
		w := newWorld(t)
		flagged := map[string]bool{}
		var since time.Time
		w.ca.advice = func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error) {
			if flagged[leaf.DNSNames[0]] && leaf.NotBefore.Before(since.Add(-2*time.Hour)) {
				return inkan.RenewalInfo{Start: now.Add(-2 * day), End: now.Add(-day), RetryAfter: now.Add(6 * time.Hour)}, nil
			}
			start := leaf.NotBefore.Add(60 * day)
			return inkan.RenewalInfo{Start: start, End: start.Add(2 * day), RetryAfter: now.Add(6 * time.Hour)}, nil
		}
		var names []string
		for i := range count {
			names = append(names, fmt.Sprintf("n%d.example", i))
		}
		m := w.process()
		w.record(m, names...)
		for range 3 * 24 {
			w.renew(m)
			time.Sleep(time.Hour)
		}
		w.ca.mu.Lock()
		since = w.truth()
		rng := rand.New(rand.NewPCG(7, 7))
		for _, n := range names {
			if rng.Float64() < 0.07 {
				flagged[n] = true
			}
		}
		w.ca.mu.Unlock()
		for range 24 {
			w.renew(m)
			time.Sleep(time.Hour)
		}
		var latest time.Duration
		for _, i := range w.ca.issued[count:] {
			if !flagged[i.name] {
				t.Errorf("%s was renewed, and nobody flagged it", i.name)
			}
			if !i.replaces {
				t.Errorf("the order for %s does not say what it replaces", i.name)
			}
			latest = max(latest, i.at.Sub(since))
		}
		t.Logf("proof: %d of %d flagged, all renewed after %s", len(flagged), count, latest)
		if n := len(w.ca.issued) - count; n != len(flagged) || latest > 7*time.Hour {
			t.Errorf("%d renewed of %d, the last after %s", n, len(flagged), latest)
		}
	})
}
