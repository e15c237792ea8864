package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrUnknown is what a check returns that could not find out. The state before stands.
var ErrUnknown = errors.New("unknown")

// Probe asks one dependency whether it works.
type Probe struct {
	// Name is the key in /readyz, unlike that of any other probe or condition.
	Name string
	// Check returns nil if the dependency works, or the reason, or ErrUnknown, which changes nothing. It should return when its context ends;
	// while it does not, the dependency counts as failing and the next check waits.
	Check func(ctx context.Context) error
	// NeedsAnswer: no answer in time is ErrUnknown. For a check of what a server contains, beside one of the server.
	NeedsAnswer bool
}

// HealthOptions are the settings of NewHealth. The zero value of each field is usable.
type HealthOptions struct {
	Interval time.Duration // between the starts of two checks of one probe; 2 s if 0
	Timeout  time.Duration // of one check; 2 s if 0
	Logger   *slog.Logger  // gets each change of a probe or a loop once; none if nil
}

// Health knows whether the service is ready (its dependencies answer, its pipeline makes progress) and
// whether it is alive (its loops turn). The two are apart: an outage of a dependency is no reason to
// restart the process. It is safe for concurrent use.
type Health struct {
	probes   []Probe
	interval time.Duration
	timeout  time.Duration
	logger   *slog.Logger
	started  time.Time

	mu     sync.Mutex
	checks map[string]*check
	loops  map[string]*Loop
}

type check struct {
	state checkState
	since time.Time
	err   string
}

type checkState int

const (
	unchecked checkState = iota
	passing
	failing
)

// NewHealth returns a Health that is not ready until Run has had an answer from each probe.
func NewHealth(probes []Probe, opts HealthOptions) *Health {
	if opts.Interval == 0 {
		opts.Interval = 2 * time.Second
	}
	if opts.Timeout == 0 {
		opts.Timeout = 2 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Health{
		probes:   probes,
		interval: opts.Interval,
		timeout:  opts.Timeout,
		logger:   opts.Logger,
		started:  time.Now(),
		checks:   make(map[string]*check),
		loops:    make(map[string]*Loop),
	}
	for _, p := range probes {
		h.checks[p.Name] = &check{since: h.started, err: "not checked yet"}
	}
	return h
}

// Run checks every probe at once and then every interval, each in a goroutine of its own, so that one
// without an answer holds up no other. It returns when ctx has ended and the last check has returned.
func (h *Health) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, p := range h.probes {
		wg.Go(func() {
			ticker := time.NewTicker(h.interval)
			defer ticker.Stop()
			for {
				h.probe(ctx, p)
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	<-ctx.Done()
}

func (h *Health) probe(ctx context.Context, p Probe) {
	checkCtx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- p.Check(checkCtx) }()

	noAnswer := fmt.Errorf("no answer within %s", h.timeout)
	if p.NeedsAnswer {
		noAnswer = ErrUnknown
	}
	select {
	case err := <-answer:
		if errors.Is(err, context.DeadlineExceeded) && checkCtx.Err() != nil {
			err = noAnswer
		}
		h.setUnlessEnded(ctx, p.Name, err)
	case <-checkCtx.Done():
		h.setUnlessEnded(ctx, p.Name, noAnswer)
		<-answer
	}
}

// setUnlessEnded drops what a check says once ctx has ended: it is about our own stop.
func (h *Health) setUnlessEnded(ctx context.Context, name string, err error) {
	if ctx.Err() != nil || errors.Is(err, ErrUnknown) {
		return
	}
	was, lasted := h.set(name, err)
	switch {
	case err != nil && was != failing:
		h.logger.Warn("check is failing", "check", name, "error", err)
	case err == nil && was == failing:
		h.logger.Info("check is ok again", "check", name, "failing_seconds", lasted.Seconds())
	}
}

// Fail marks the condition name as failing because of err, until Recover. Repeated calls keep the time
// of the first and the error of the last. A nil err is a Recover. Neither is logged: the caller knows
// more about it, and says it once.
func (h *Health) Fail(name ConditionName, err error) { h.set(string(name), err) }

// Recover marks the condition name as met. A first call makes it show in /readyz.
func (h *Health) Recover(name ConditionName) { h.set(string(name), nil) }

// Failing reports whether the probe or condition name is known to fail.
func (h *Health) Failing(name ConditionName) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.checks[string(name)]
	return c != nil && c.state == failing
}

// set returns the state before, and how long it has lasted.
func (h *Health) set(name string, err error) (was checkState, lasted time.Duration) {
	now := time.Now()
	state, text := passing, ""
	if err != nil {
		state, text = failing, Public(err)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.checks[name]
	if c == nil {
		c = &check{since: now}
		h.checks[name] = c
	}
	was, lasted = c.state, now.Sub(c.since)
	c.err = text
	if state != was {
		c.state, c.since = state, now
	}
	return was, lasted
}

// Readiness is the body of /readyz.
type Readiness struct {
	Ready  bool                 `json:"ready"`
	Checks map[string]Condition `json:"checks"`
}

// Condition is the state of one probe or condition.
type Condition struct {
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"` // of the last change of OK; UTC
	Error string    `json:"error"` // the last one, as Public writes it; empty if OK
}

// Readiness returns every probe and condition as it stands. Ready needs all of them.
func (h *Health) Readiness() Readiness {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := Readiness{Ready: true, Checks: make(map[string]Condition, len(h.checks))}
	for name, c := range h.checks {
		ok := c.state == passing
		r.Ready = r.Ready && ok
		r.Checks[name] = Condition{OK: ok, Since: c.since.UTC().Truncate(time.Millisecond), Error: c.err}
	}
	return r
}

// Describe implements prometheus.Collector: processor_check_ok is what /readyz says, for alerts. A check without a
// result yet has no series.
func (h *Health) Describe(ch chan<- *prometheus.Desc) { ch <- checkDesc() }

// Collect implements prometheus.Collector.
func (h *Health) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	states := make(map[string]checkState, len(h.checks))
	for name, c := range h.checks {
		states[name] = c.state
	}
	h.mu.Unlock()
	for name, state := range states {
		if state == unchecked {
			continue
		}
		value := 0.0
		if state == passing {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(checkDesc(), prometheus.GaugeValue, value, name)
	}
}

func checkDesc() *prometheus.Desc {
	return prometheus.NewDesc("processor_check_ok",
		"1 while the check of /readyz passes, 0 while it fails; absent until it has a result. Worry when one stays 0: /readyz says why.",
		[]string{"check"}, nil)
}

// Loop is the heartbeat of one of the service's loops.
type Loop struct {
	health     *Health
	name       string
	maxSilence time.Duration
	// beat counts from Health.started, on the monotonic clock: a step of the wall clock is no silence.
	beat   atomic.Int64
	silent bool // held by health.mu
}

// Loop starts to watch a loop: it must Beat at least every maxSilence, also while it waits for a
// dependency, or /healthz fails and an orchestrator restarts the process. A name in use is replaced.
func (h *Health) Loop(name string, maxSilence time.Duration) *Loop {
	l := &Loop{health: h, name: name, maxSilence: maxSilence}
	l.Beat()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loops[name] = l
	return l
}

// Beat says that the loop turns. It costs one reading of the clock.
func (l *Loop) Beat() { l.beat.Store(int64(time.Since(l.health.started))) }

// Done says that the loop has ended as it should; it is watched no more.
func (l *Loop) Done() {
	l.health.mu.Lock()
	defer l.health.mu.Unlock()
	if l.health.loops[l.name] == l {
		delete(l.health.loops, l.name)
	}
}

// Liveness is the body of /healthz.
type Liveness struct {
	Alive bool                 `json:"alive"`
	Loops map[string]Heartbeat `json:"loops"`
}

// Heartbeat is the state of one loop.
type Heartbeat struct {
	OK               bool    `json:"ok"`
	SilentSeconds    float64 `json:"silent_seconds"`
	MaxSilentSeconds float64 `json:"max_silent_seconds"`
}

// Liveness returns every loop as it stands. Alive needs all of them. A loop found silent, or turning
// again, is logged once.
func (h *Health) Liveness() Liveness {
	now := time.Since(h.started)
	h.mu.Lock()
	defer h.mu.Unlock()
	r := Liveness{Alive: true, Loops: make(map[string]Heartbeat, len(h.loops))}
	for name, l := range h.loops {
		// A beat may have come since now was taken.
		silence := max(now-time.Duration(l.beat.Load()), 0)
		silent := silence > l.maxSilence
		if silent != l.silent {
			l.silent = silent
			h.logLoop(l, silence)
		}
		r.Alive = r.Alive && !silent
		r.Loops[name] = Heartbeat{
			OK:               !silent,
			SilentSeconds:    silence.Round(time.Millisecond).Seconds(),
			MaxSilentSeconds: l.maxSilence.Seconds(),
		}
	}
	return r
}

func (h *Health) logLoop(l *Loop, silence time.Duration) {
	if l.silent {
		h.logger.Warn("loop is silent", "loop", l.name, "silent_seconds", silence.Seconds())
		return
	}
	h.logger.Info("loop turns again", "loop", l.name)
}
