package store

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// After rows that had to go by upsert although they were fresh, this many batches go by upsert before
// COPY and the plain insert are tried again; each further time doubles it. So a replay pays for a failed COPY
// less and less often, and a single duplicate costs little.
const (
	minUpserts = 16
	maxUpserts = 1024
)

// carefulBatches is how many batches are sent in parts from the start after one that was refused: the next
// refusal then costs a part of a batch.
const carefulBatches = 16

// maxDays bounds the days that are remembered as stored.
const maxDays = 4096

// Rows that the table rejects while it takes no other are the schema's fault where there are several of
// several devices with one reason. Fewer are dead-lettered at once.
const (
	suspectRows    = 10
	suspectDevices = 3
)

// maxReasons bounds the reasons for rejections that are told apart.
const maxReasons = 16

// memory is what outlives a Write, shared by all Writers of a Store: when rows were last committed, and
// what was refused lately. It only saves work and tells faults of rows from faults of the server; every row is
// stored exactly once whatever it holds. Safe for concurrent use.
type memory struct {
	mu       sync.Mutex
	commit   time.Time // when the latest attempt began that committed a row
	upserts  countdown // batches to upsert although they are fresh
	rejected countdown // batches to send in parts in one transaction: rows were rejected
	refused  countdown // batches to send in parts: rows were refused for another reason than their values
	parked   int       // rows parked since the last commit: nothing proves that they are at fault
	reasons  map[reason]*refusals
	days     map[int64]bool // days since 1970 in which rows were stored lately
}

// countdown is how often something is still to be done; next is how often after the next start.
type countdown struct{ left, next int }

func (c *countdown) take() bool {
	if c.left == 0 {
		return false
	}
	c.left--
	return true
}

// reason is why the table rejects a row, without the row's values.
type reason struct{ state, constraint, column string }

// refusals are the rows rejected for one reason since the last commit.
type refusals struct {
	since   time.Time
	rows    int
	devices []string // the first suspectDevices
}

func (r *refusals) suspect() bool {
	return r.rows >= suspectRows && len(r.devices) >= suspectDevices
}

func (r *refusals) add(device string) {
	r.rows++
	if len(r.devices) < suspectDevices && !slices.Contains(r.devices, device) {
		r.devices = append(r.devices, device)
	}
}

// start is the advice for one batch.
type start struct {
	upsert bool // fresh rows too
	search bool // in parts in one transaction
	split  bool // in parts
	// careful: rows were refused lately for another reason than their values.
	careful bool
}

// begin is called once for each batch, which is large where sending it in parts may save work.
func (m *memory) begin(large bool) start {
	m.mu.Lock()
	defer m.mu.Unlock()
	careful := m.refused.left > 0
	return start{upsert: m.upserts.take(), search: large && m.rejected.take(), split: large && m.refused.take(), careful: careful}
}

// stored notes an attempt that committed rows of these days over the path. What was refused before the
// attempt began was not refused by a table that takes nothing.
func (m *memory) stored(began time.Time, path string, days []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if began.After(m.commit) {
		m.commit = began
	}
	m.parked = 0
	maps.DeleteFunc(m.reasons, func(_ reason, r *refusals) bool { return r.since.Before(began) })
	if path != PathUpsert {
		m.upserts.next = 0
	}
	for _, day := range days {
		if m.days == nil || len(m.days) >= maxDays {
			m.days = make(map[int64]bool)
		}
		m.days[day] = true
	}
}

// known reports whether rows of the day were stored lately.
func (m *memory) known(day int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.days[day]
}

// committedSince reports whether an attempt of any Writer that began after the moment committed a row.
func (m *memory) committedSince(t time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commit.After(t)
}

// wrongPath notes fresh rows that had to go by upsert.
func (m *memory) wrongPath() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.upserts.next = min(max(2*m.upserts.next, minUpserts), maxUpserts)
	m.upserts.left = m.upserts.next
}

// careful notes that a batch had rows that were rejected or refused.
func (m *memory) careful(class Class) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if class == BadRow {
		m.rejected.left = carefulBatches
		return
	}
	m.refused.left = carefulBatches
}

// park notes rows that are parked while nothing proves that they are at fault, unless that makes more
// than limit.
func (m *memory) park(rows, limit int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.parked+rows > limit {
		return false
	}
	m.parked += rows
	return true
}

// reject notes that a row was rejected now, while none was stored.
func (m *memory) reject(why reason, device string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reasons == nil {
		m.reasons = make(map[reason]*refusals)
	}
	r := m.reasons[why]
	if r == nil {
		if len(m.reasons) >= maxReasons {
			clear(m.reasons)
		}
		r = &refusals{since: now}
		m.reasons[why] = r
	}
	r.add(device)
}

// suspect reports whether the schema is at fault for rejections with this reason: no row was stored since
// they began.
func (m *memory) suspect(why reason) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.reasons[why]
	return r != nil && r.suspect()
}
