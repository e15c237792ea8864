package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// rule is a row of the table in docs/architecture.md: every answer in every state.
type rule struct {
	answer  answer
	rows    string
	state   string
	action  action
	segment segment // the first that fits the row
	facts   facts
}

func many(s segment) segment {
	s.rows = []int32{0, 1}
	return s
}

func one(s segment) segment {
	s.rows = []int32{0}
	return s
}

func rules() []rule {
	tried := func(n int) segment { return segment{path: PathUpsert, failures: n, slow: n} }
	enough := tried(maxPatience)
	var all []rule
	add := func(a answer, rows, state string, act action, s segment, f facts) {
		all = append(all, rule{a, rows, state, act, s, f})
	}
	add(stored, "any", "", done, many(enough), facts{})
	add(wrongPath, "any", "", upsert, many(enough), facts{})
	add(crowded, "many", "", split, many(enough), facts{})
	add(away, "any", "", wait, many(enough), facts{})
	add(badRow, "many", "none of several rows is stored", defers, many(tried(0)), facts{doubt: true})
	add(badRow, "many", "not searched yet", search, many(tried(0)), facts{})
	add(badRow, "many", "searched", split, many(segment{path: PathUpsert, search: true}), facts{})
	add(badRow, "one", "by COPY or plain insert", upsert, one(segment{path: PathCopy}), facts{})
	add(badRow, "one", "by upsert", reject, one(tried(0)), facts{})
	for _, a := range []answer{limit, unexpected, badSchema, busy, slow} {
		first, patient := wait, patience(a, facts{})
		if a == unexpected {
			first = again
		}
		if patient > 1 {
			add(a, "any", fmt.Sprintf("fewer than %d times", patient), first, many(tried(patient-1)), facts{})
		}
		add(a, "one", times(patient), defers, one(tried(patient)), facts{})
		add(a, "many", times(patient), split, many(tried(patient)), facts{})
		add(a, "many", times(patient)+", none of several rows is stored", defers, many(tried(patient)), facts{doubt: true})
		add(a, "many", times(patient)+", enough was spent", defers, many(tried(patient)), facts{spent: true})
	}
	for _, a := range []answer{unexpected, badSchema, busy} {
		add(a, "many", "once, rows refused lately", split, many(tried(1)), facts{careful: true})
		add(a, "one", "once, rows refused lately", defers, one(tried(1)), facts{careful: true})
	}
	for _, a := range []answer{unexpected, badSchema, busy, slow} {
		add(a, "many", "once, parked before", split, many(tried(1)), facts{parked: true})
		add(a, "one", "once, parked before", defers, one(tried(1)), facts{parked: true})
	}
	return all
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// decide over every answer and state, and the documentation has the same rows in the same order.
func TestDecide_FollowsTheTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("| Answer | Rows | State | What follows |\n|---|---|---|---|\n")
	for _, r := range rules() {
		require.Equal(t, r.action, decide(r.segment, r.answer, r.facts), "%s, %s, %s", r.answer, r.rows, r.state)
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", r.answer, r.rows, r.state, r.action)
	}
	doc, err := os.ReadFile("../../docs/architecture.md")
	require.NoError(t, err)
	require.Contains(t, string(doc), table.String())
}

// Whatever the state, no answer makes a segment of one row smaller, only its values reject a row, and an answer
// that says nothing of the rows changes nothing about them.
func TestDecide_InEveryState(t *testing.T) {
	answers := []answer{stored, wrongPath, crowded, badRow, limit, unexpected, badSchema, busy, slow, away}
	for _, a := range answers {
		for n := range 1 << 8 {
			bit := func(i int) bool { return n>>i&1 == 1 }
			s := segment{path: PathUpsert, search: bit(0), failures: 1 + n>>5&3, slow: 1 + n>>5&3, rows: []int32{0}}
			if bit(1) {
				s.path = PathInsert
			}
			if bit(7) {
				s.rows = append(s.rows, 1)
			}
			f := facts{careful: bit(2), doubt: bit(3), spent: bit(4)}
			got := decide(s, a, f)
			require.NotEmpty(t, got)
			require.Equal(t, a == stored, got == done)
			if len(s.rows) == 1 && a != crowded {
				require.NotContains(t, []action{split, search}, got)
			}
			require.False(t, got == reject && (a != badRow || len(s.rows) > 1 || s.path != PathUpsert))
			require.False(t, a == away && got != wait)
		}
	}
}

// What an error means for a segment depends on where it came from.
func TestAnswerTo_EveryKindOfError(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("send: %w", &pgconn.PgError{Code: code}) }
	cases := []struct {
		err  error
		path string
		want answer
	}{
		{nil, PathCopy, stored},
		{errWrongPath, PathInsert, wrongPath},
		{errCrowded, PathUpsert, crowded},
		{state("0A000"), PathCopy, wrongPath}, // row-level security
		{state("0A000"), PathUpsert, unexpected},
		{state("42501"), PathCopy, wrongPath},
		{state("42501"), PathUpsert, badSchema},
		{state("42P01"), PathCopy, wrongPath},
		{state("23505"), PathInsert, wrongPath},
		{state("23505"), PathUpsert, unexpected},
		{state("08P01"), PathCopy, wrongPath},
		{state("22P03"), PathCopy, wrongPath},
		{state("22003"), PathCopy, badRow},
		{state("57014"), PathCopy, limit},
		{state("P0001"), PathUpsert, unexpected},
		{state("55P03"), PathCopy, busy},
		{state("40P01"), PathUpsert, busy},
		{state("53100"), PathUpsert, busy},
		{state("57P01"), PathUpsert, busy}, // somebody's trigger may end its session, or ask another server
		{state("53300"), PathUpsert, busy},
		{state("08006"), PathUpsert, busy},
		{state("25006"), PathCopy, busy},
		{notSent{state("42501")}, PathUpsert, away},
		{notSent{&SchemaError{Problem: "paused"}}, PathCopy, away},
		{notSent{state("57P03")}, PathUpsert, away},
		{notSent{errors.New("connection refused")}, PathUpsert, away},
		{errors.New("connection reset"), PathUpsert, busy},
		{fmt.Errorf("%w: %w", errTimeout, context.DeadlineExceeded), PathCopy, slow},
		{errNotStored, PathUpsert, unexpected},
		{errNotReplicated, PathCopy, busy},
	}
	for _, c := range cases {
		require.Equal(t, c.want, answerTo(c.err, c.path), "%v by %s", c.err, c.path)
	}
}

// One device's rows, or few, are never taken for a fault of the schema, and a commit ends the suspicion.
func TestMemory_SuspectsTheSchema(t *testing.T) {
	var m memory
	why, other := reason{state: "23514", constraint: "c"}, reason{state: "23514", constraint: "d"}
	for range 1000 {
		m.reject(why, "one", time.Now())
	}
	require.False(t, m.suspect(why))
	m.reject(why, "two", time.Now())
	require.False(t, m.suspect(why))
	m.reject(why, "three", time.Now())
	require.True(t, m.suspect(why))
	for i := range suspectRows - 1 {
		m.reject(other, fmt.Sprint(i), time.Now())
	}
	require.False(t, m.suspect(other), "few")
	before := m.reasons[why].since
	m.stored(before, PathUpsert, nil)
	require.True(t, m.suspect(why), "that attempt began before")
	m.stored(before.Add(1), PathUpsert, nil)
	require.False(t, m.suspect(why))
}
