package acme

import (
	"testing"
	"testing/synctest"
	"time"
)

// passed counts the requests that pass in d while as many as can want to.
func (e *easing) passed(t *testing.T, d time.Duration) int {
	t.Helper()
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		if err := e.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.note(true)
		time.Sleep(time.Millisecond)
	}
	return n
}

// A25: in the minute after an outage at most five requests a second go out,
// whether the process was there or is told of it, and then as many as ever. A
// hiccup is no outage.
func TestA25Easing(t *testing.T) {
	const most = 300
	for what, run := range map[string]func(t *testing.T, e *easing) (spared bool){
		"good service": func(*testing.T, *easing) bool { return false },
		"a hiccup": func(_ *testing.T, e *easing) bool {
			e.note(true)
			time.Sleep(easeTime)
			e.note(false)
			time.Sleep(outageTime / 2)
			e.note(false)
			e.note(true)
			e.told()
			return false
		},
		"an outage": func(_ *testing.T, e *easing) bool {
			e.note(true)
			time.Sleep(time.Hour)
			e.note(false)
			time.Sleep(outageTime)
			e.note(false)
			e.told()
			e.note(true)
			return true
		},
		"an outage, told afterwards": func(_ *testing.T, e *easing) bool {
			e.note(true)
			time.Sleep(time.Hour)
			e.note(false)
			time.Sleep(outageTime)
			e.note(true) // by whoever looked first
			e.told()
			return true
		},
		"an outage that nothing waited for": func(_ *testing.T, e *easing) bool {
			e.note(false)
			time.Sleep(outageTime)
			e.note(true)
			return false
		},
		"the second outage": func(_ *testing.T, e *easing) bool {
			e.told()
			e.note(true)
			time.Sleep(2 * easeTime)
			e.note(false)
			time.Sleep(outageTime)
			e.told()
			e.note(true)
			return true
		},
		"told before anything is asked": func(t *testing.T, e *easing) bool {
			e.told()
			for range 20 {
				if err := e.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				e.note(false) // it is not back yet
			}
			return true
		},
		"told after a look at the CA's clock": func(_ *testing.T, e *easing) bool {
			e.note(true)
			e.told()
			return true
		},
		"told what it knows better": func(_ *testing.T, e *easing) bool {
			e.note(true)
			time.Sleep(easeTime)
			e.told()
			return false
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &easing{perSecond: easeRate}
				spared := run(t, e)
				n := e.passed(t, easeTime)
				if spared && (n < most-20 || n > most) || !spared && n < 1000*int(easeTime.Seconds())*9/10 {
					t.Errorf("%d requests in the first minute", n)
				}
				time.Sleep(time.Second)
				if n := e.passed(t, time.Second); n < 900 {
					t.Errorf("%d requests in a second after that minute", n)
				}
			})
		})
	}
}
