package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// Somebody changes the type of a column under a running writer. COPY's binary format has no
// types, so a real's bytes would pass for an integer: such rows go by upsert, which converts
// them, and none is rejected or mangled.
func TestWriter_CopiesNothingIntoAnotherType(t *testing.T) {
	for _, change := range []string{
		`ALTER speed TYPE integer`, `ALTER speed TYPE double precision`, `ALTER speed TYPE numeric`, `ALTER speed TYPE text`,
		`ALTER latitude TYPE real`, `ALTER latitude TYPE numeric`, `ALTER priority TYPE integer`, `ALTER satellites TYPE bigint`,
		`ALTER device_id TYPE varchar(20)`,
	} {
		t.Run(change, func(t *testing.T) {
			url := servertest.Migrated(t)
			w := open(t, url, Options{}).NewWriter()
			batch := func(second int) (positions []position.Position) {
				for i := range 200 {
					positions = append(positions, at(fmt.Sprintf("d%03d", i), second, float32(i), `{}`))
				}
				return positions
			}
			var rows []string
			for second, ddl := range []string{``, `ALTER TABLE positions ` + change} {
				servertest.Execute(t, url, ddl)
				got, err := w.Write(t.Context(), Batch{Positions: batch(second)})
				require.NoError(t, err)
				require.Equal(t, Result{Inserted: 200}, got)
			}
			for i := range 200 {
				for second := range 2 {
					rows = append(rows, fmt.Sprintf(`d%03d 12:00:%02d 1.5 %d {}`, i, second, i))
				}
			}
			require.Equal(t, rows, servertest.Ask(t, url, allRows))
		})
	}
}
