// Package doctor checks what the worker relies on: servers, versions, settings, schema, rights.
// It says what it found, and how to fix what is wrong. It changes nothing.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// State is how a check ended.
type State string

// States of a check.
const (
	OK State = "ok"
	// Warning: the worker works, and something may hurt it; or the check could not be made.
	Warning State = "warning"
	// Failed: the worker does not work, or may lose positions.
	Failed State = "failed"
	// Skipped: the user that asks has no right to this, and needs none.
	Skipped State = "skipped"
)

// User is the one whose rights the checks expect; empty for none in particular.
type User string

// Users of docs/redis-users.md.
const (
	Worker   User = "worker"
	Operator User = "operator"
)

// Scope is whose rights the checks expect, and what they may do.
type Scope struct {
	As User
	// ReadOnly leaves out the row that is written and rolled back, for those that check again and again.
	ReadOnly bool
}

// Finding is the outcome of one check.
type Finding struct {
	Server string `json:"server"` // redis or postgres
	Check  string `json:"check"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	// Hint is what to do about it; empty where State is OK.
	Hint string `json:"hint,omitempty"`
}

// report collects the findings on one server.
type report struct {
	server   string
	as       User
	readOnly bool
	user     string // of the connection, for ACL lines
	refuses  bool   // it is known already that no row can be written
	findings []Finding
}

func (r *report) skip(check, detail, hint string) {
	r.findings = append(r.findings, Finding{r.server, check, Skipped, detail, hint})
}

func (r *report) ok(check, format string, args ...any) {
	r.findings = append(r.findings, Finding{r.server, check, OK, fmt.Sprintf(format, args...), ""})
}

func (r *report) warn(check, detail, hint string) {
	r.findings = append(r.findings, Finding{r.server, check, Warning, detail, hint})
}

func (r *report) fail(check, detail, hint string) {
	r.findings = append(r.findings, Finding{r.server, check, Failed, detail, hint})
}

// maxClockDifference: more of it and the delays that the worker measures say nothing.
const maxClockDifference = time.Second

// clock compares a server's clock with this machine's. The answer was made somewhere between
// question and arrival, so it is compared with the middle.
func (r *report) clock(ctx context.Context, ask func(context.Context) (time.Time, error)) error {
	asked := time.Now()
	theirs, err := ask(ctx)
	if err != nil {
		return err
	}
	took := time.Since(asked)
	difference := theirs.Sub(asked.Add(took / 2)).Round(100 * time.Microsecond)
	if difference.Abs() <= maxClockDifference+took/2 {
		r.ok("clock", "differs by %s from this machine's, measured within %s", difference, took.Round(10*time.Microsecond))
		return nil
	}
	r.warn("clock", fmt.Sprintf("differs by %s from this machine's: delays in /metrics and ages of dead letters are wrong by as much", difference),
		"keep the clocks of both machines right (NTP)")
	return nil
}

// version is the leading numbers of a version, as in 2.18.1 or 7.0.15-rc1.
type version [3]int

func parseVersion(text string) version {
	var v version
	part := 0
	for _, c := range text {
		switch {
		case '0' <= c && c <= '9':
			v[part] = v[part]*10 + int(c-'0')
		case c == '.' && part < len(v)-1:
			part++
		default:
			return v
		}
	}
	return v
}

func (v version) before(other version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] < other[i]
		}
	}
	return false
}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }
