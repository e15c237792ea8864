package demo

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
)

func TestResult_Check(t *testing.T) {
	balanced := observe.LedgerSnapshot{Read: 100, Inserted: 100}
	tests := map[string]struct {
		result result
		err    string // empty: the check holds
		text   string
	}{
		"equal": {
			result: result{published: 100, stored: 100, ledger: balanced},
			text:   "published 100 positions, stored 100 rows: equal",
		},
		"nothing": {
			text: "published 0 positions, stored 0 rows: equal",
		},
		"missing": {
			result: result{published: 100, stored: 98, ledger: observe.LedgerSnapshot{Read: 99, Inserted: 98, DeadLettered: 1}},
			err:    "published 100 positions but stored 98 rows: 2 are missing (1 were dead-lettered)",
		},
		"too many": {
			result: result{published: 100, stored: 101, ledger: balanced},
			err:    "published 100 positions but stored 101 rows: 1 are too many",
		},
		"as many as Redis may have taken": {
			result: result{published: 90, unconfirmed: 10, stored: 100, ledger: balanced},
			text:   "published 90 positions, and up to 10 more that Redis did not confirm; stored 100 rows: nothing is missing",
		},
		"more than Redis may have taken": {
			result: result{published: 90, unconfirmed: 9, stored: 100, ledger: balanced},
			err:    "published 90 positions but stored 100 rows: 1 are too many",
		},
		"ledger out of balance": {
			result: result{published: 100, stored: 100, ledger: observe.LedgerSnapshot{Read: 101, Inserted: 100}},
			err: "published 100 positions and stored 100 rows, but the ledger does not balance: " +
				"read 101 != inserted 100 + merged 0 + unchanged 0 + dead_lettered 0 + in flight 0",
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
