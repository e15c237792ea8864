package demo

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResult_Check(t *testing.T) {
	full := result{kills: 2, outages: 1, duplicates: 1000, positions: 29_329, bad: 12, rows: 29_329, badLetters: 12}
	with := func(change func(r *result)) result {
		r := full
		change(&r)
		return r
	}
	tests := map[string]struct {
		result result
		err    string // empty: the check holds
		text   string
	}{
		"equal": {
			result: full,
			text:   "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published = 29,329 rows + 12 dead letters",
		},
		"nothing": {
			text: "0 kills, 0 outages, 0 duplicates, 0 bad: 0 published = 0 rows + 0 dead letters",
		},
		"one of each": {
			result: result{kills: 1, outages: 1, duplicates: 1, positions: 1, bad: 1, rows: 1, badLetters: 1},
			text:   "1 kill, 1 outage, 1 duplicate, 1 bad: 2 published = 1 row + 1 dead letter",
		},
		"row missing": {
			result: with(func(r *result) { r.rows-- }),
			err:    "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published, but 29,328 rows + 12 dead letters (1 row missing)",
		},
		"row too many": {
			result: with(func(r *result) { r.rows++ }),
			err:    "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published, but 29,330 rows + 12 dead letters (1 row too many)",
		},
		"as many rows missing as letters too many": {
			result: with(func(r *result) { r.rows--; r.otherLetters++ }),
			err: "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published, but 29,328 rows + 13 dead letters" +
				" (1 row missing, 1 other dead letter too many)",
		},
		"a bad entry as a row": {
			result: with(func(r *result) { r.rows++; r.badLetters-- }),
			err: "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published, but 29,330 rows + 11 dead letters" +
				" (1 row too many, 1 dead letter missing)",
		},
		"pending": {
			result: with(func(r *result) { r.unread = true }),
			err: "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published, but 29,329 rows + 12 dead letters" +
				" (entries are still unread or pending)",
		},
		"all that Redis may have taken": {
			result: with(func(r *result) { r.positions -= 10; r.positionsUnconfirmed = 10; r.bad -= 2; r.badUnconfirmed = 2 }),
			text: "2 kills, 1 outage, 1,000 duplicates, 10 bad: 29,341 published = 29,329 rows + 12 dead letters" +
				" (Redis did not confirm 12 of them)",
		},
		"none of what Redis may have taken": {
			result: with(func(r *result) { r.positionsUnconfirmed = 10; r.badUnconfirmed = 2 }),
			text:   "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,341 published = 29,329 rows + 12 dead letters",
		},
		"more than Redis may have taken": {
			result: with(func(r *result) { r.positions -= 10; r.positionsUnconfirmed = 9 }),
			err:    "2 kills, 1 outage, 1,000 duplicates, 12 bad: 29,331 published, but 29,329 rows + 12 dead letters (1 row too many)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.result.check()
			if test.err != "" {
				require.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.text, test.result.String())
		})
	}
}
