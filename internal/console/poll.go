package console

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/doctor"
	"processor/internal/observe"
	"processor/internal/retry"
	"processor/internal/status"
)

const (
	lookEvery  = 2 * time.Second
	firstRate  = time.Second // until the first look that has rates
	checkEvery = 30 * time.Second
	checkPause = 3 * time.Second // between two checks, however often something changes
	askTimeout = 10 * time.Second
	// lookTimeout is shorter: a database that does not answer must not stop the figures of Redis.
	lookTimeout = 3 * time.Second
)

// checks are the findings of doctor.
type checks struct {
	Time     time.Time        `json:"time"`
	Findings []doctor.Finding `json:"findings"`
}

// state is what the page shows, but for what is asked on request.
type state struct {
	View *status.View `json:"status"`
	// Rows estimates those of positions, nil where that is not known.
	Rows   *int64  `json:"rows"`
	Checks *checks `json:"checks"`
	Points []point `json:"points"`

	ShowPositions bool   `json:"show_positions"`
	AllowChanges  bool   `json:"allow_changes"`
	Change        string `json:"change,omitempty"` // what changeHeader must carry
}

// poll looks at the servers for all browsers together, however many there are.
type poll struct {
	config  Config
	client  redis.UniversalClient
	changed chan struct{} // a server went away or came back, or the verdict is another

	mu      sync.Mutex
	view    *status.View
	rows    *int64
	checks  *checks
	history history
}

func newPoll(c Config, client redis.UniversalClient) poll {
	return poll{config: c, client: client, changed: make(chan struct{}, 1)}
}

// look looks every 2 s until ctx ends.
func (p *poll) look(ctx context.Context) {
	asking := &status.Observer{
		Client: p.client, DatabaseURL: p.config.DatabaseURL, Streams: p.config.Streams, Group: p.config.Group,
		Timeout: lookTimeout, Explain: p.config.Explain,
	}
	defer asking.Close(ctx)
	before := asking.Look(ctx)
	p.keep(ctx, asking, before, before)
	for wait := firstRate; retry.Sleep(ctx, wait) == nil; wait = lookEvery {
		now := asking.Look(ctx)
		p.keep(ctx, asking, before, now)
		before = now
	}
}

func (p *poll) keep(ctx context.Context, asking *status.Observer, before, now status.Sample) {
	view := asking.View(ctx, before, now)
	rows := asking.Rows(ctx)
	if ctx.Err() != nil {
		return // it would blame the servers
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.view != nil && (p.view.Redis.OK != view.Redis.OK || p.view.Postgres.OK != view.Postgres.OK || p.view.Verdict != view.Verdict) {
		select {
		case p.changed <- struct{}{}:
		default: // a check is due already
		}
	}
	p.view, p.rows = &view, rows
	p.history.add(&view)
}

// check makes the checks of doctor every 30 s, and a little after each change, until ctx ends.
func (p *poll) check(ctx context.Context) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		found := p.findings(ctx)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		p.checks = &checks{time.Now().UTC(), found}
		p.mu.Unlock()
		if retry.Sleep(ctx, checkPause) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-p.changed:
		}
	}
}

func (p *poll) findings(ctx context.Context) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found := doctor.Transport(p.config.RedisURL, p.config.DatabaseURL)
	found = append(found, doctor.Redis(ctx, p.client, p.config.Streams, p.config.Group, "")...)
	found = append(found, doctor.Postgres(ctx, p.config.DatabaseURL, doctor.Scope{ReadOnly: true})...)
	for i := range found {
		found[i].Detail, found[i].Hint = observe.Scrub(found[i].Detail), observe.Scrub(found[i].Hint)
	}
	return found
}

// state returns what is known, with the looks behind seq.
func (p *poll) state(seq int64) state {
	p.mu.Lock()
	defer p.mu.Unlock()
	return state{
		View: p.view, Rows: p.rows, Checks: p.checks, Points: p.history.after(seq),
		ShowPositions: p.config.ShowPositions, AllowChanges: p.config.AllowChanges,
	}
}
