package observe

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Grace is how long a condition may fail before the service is not ready: a deadlock or a failover of
// seconds is no reason to take it out of service.
const Grace = 10 * time.Second

// ConditionName names a condition in /readyz and in processor_check_ok.
type ConditionName string

// Conditions. All but the first three stand before the name of a stream; see OfStream.
const (
	Writes      ConditionName = "writes"
	Progress    ConditionName = "progress"
	Listening   ConditionName = "listener"
	Reading     ConditionName = "stream"
	Claims      ConditionName = "claims"
	Replies     ConditionName = "replies"
	Monitor     ConditionName = "monitor"
	Acknowledge ConditionName = "acknowledge"
	DeadLetter  ConditionName = "dead letters"
	Parked      ConditionName = "parked"
	Poison      ConditionName = "poison"
)

// OfStream is this condition of one stream.
func (n ConditionName) OfStream(stream string) ConditionName {
	return n + ConditionName(" "+stream)
}

// IncidentOptions are the settings of an Incident.
type IncidentOptions struct {
	Name ConditionName
	// Grace is how long it may fail before the service is not ready; 0 is at once.
	Grace time.Duration
	// Harmless: it is only logged.
	Harmless bool
	// Began is logged as a warning when it begins to fail, Ended when it has recovered.
	Began, Ended string
	// Hint, where set, returns what a person can do about an error; empty where there is nothing to do. A failure is
	// logged with it, also while the condition fails for another reason already.
	Hint func(error) string
	// Errors, where set, counts every failure.
	Errors prometheus.Counter
}

// Incident is one condition that may fail for a while. It logs once when that begins and once when it
// is over, and fails the readiness check of its name after the grace period. It is safe for concurrent
// use.
type Incident struct {
	options IncidentOptions
	health  *Health
	logger  *slog.Logger

	mu    sync.Mutex
	since time.Time       // zero while it does not fail
	kinds map[string]bool // kinds and hints of failures that are logged
}

// NewIncident returns an Incident that does not fail.
func (h *Health) NewIncident(logger *slog.Logger, options IncidentOptions) *Incident {
	return &Incident{options: options, health: h, logger: logger, kinds: map[string]bool{}}
}

// Fail notes a failure: the first one, or that it still fails. The attributes are logged with the first.
func (i *Incident) Fail(err error, attrs ...any) { i.FailAs("", false, err, attrs...) }

// FailAs is Fail where there are several kinds of failure: each is logged once until it recovers, and
// stands before the error in /readyz. An urgent one has no grace period.
func (i *Incident) FailAs(kind string, urgent bool, err error, attrs ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.options.Errors != nil {
		i.options.Errors.Inc()
	}
	if i.since.IsZero() {
		i.since = time.Now()
	}
	hint := i.hint(err)
	if logged := kind + hint; !i.kinds[logged] {
		i.kinds[logged] = true
		attrs = append([]any{"error", err}, attrs...)
		if hint != "" {
			attrs = append(attrs, "hint", hint)
		}
		i.logger.Warn(i.options.Began, attrs...)
	}
	if i.options.Harmless || !urgent && time.Since(i.since) < i.options.Grace {
		return
	}
	if kind != "" {
		err = fmt.Errorf("%s: %w", kind, err)
	}
	if hint != "" {
		err = fmt.Errorf("%w. Fix: %s", err, hint)
	}
	i.health.Fail(i.options.Name, err)
}

func (i *Incident) hint(err error) string {
	if i.options.Hint == nil {
		return ""
	}
	return i.options.Hint(err)
}

// Recover notes that it works. It changes nothing while the condition does not fail.
func (i *Incident) Recover() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.since.IsZero() {
		return
	}
	i.logger.Info(i.options.Ended, "after", time.Since(i.since).Round(time.Millisecond).String())
	i.since = time.Time{}
	clear(i.kinds)
	if i.health.Failing(i.options.Name) {
		i.health.Recover(i.options.Name)
	}
}

// Failing reports whether it fails, also within the grace period.
func (i *Incident) Failing() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.since.IsZero()
}
