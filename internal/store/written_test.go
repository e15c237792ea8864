package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// The payloads that grow most where PostgreSQL writes them out can be read back, by SELECT and by COPY TO.
func TestWriter_RowsCanBeReadBack(t *testing.T) {
	const entry = 1 << 20 // the size of the payload
	array := func(of string, n int) string { return "[" + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + "]" }
	bags := map[string]string{
		"numbers with exponents": array("5e-324", 52_000) + `,"2":"` + strings.Repeat("x", entry/2) + `"`,
		"long numbers":           array(strings.Repeat("9", 131_072), 7),
		"long fractions":         array("0."+strings.Repeat("3", 16_383), 60),
		"bigints":                array(`{"__bigint":"`+strings.Repeat("9", 131_072)+`"}`, 7),
		"buffers":                array(`{"__buffer_b64":"`+strings.Repeat("AAAA", 1000)+`"}`, 240),
		"short numbers":          array("1", entry/2-1000),
	}
	url := servertest.Migrated(t)
	w := open(t, url, Options{}).NewWriter()
	var d position.Decoder
	for name, bag := range bags {
		payload := fmt.Sprintf(`{"device_id":%q,"timestamp":"2026-11-23T12:00:00Z","latitude":1,"longitude":2,"altitude":3,`+
			`"angle":4,"speed":5,"satellites":6,"priority":7,"attributes":{"1":%s}}`, name, bag)
		require.LessOrEqual(t, len(payload), entry, name)
		p, err := d.Decode([]byte(payload))
		require.NoError(t, err, name)
		r, err := w.Write(t.Context(), Batch{Positions: []position.Position{p}})
		require.NoError(t, err, name)
		require.Empty(t, r.Rejected, name)
	}

	conn := servertest.Connect(t, url)
	_, err := conn.Exec(t.Context(), "SET work_mem = '4MB'")
	require.NoError(t, err)
	rows, err := conn.Query(t.Context(), "SELECT * FROM positions", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	read := 0
	for rows.Next() {
		for _, value := range rows.RawValues() {
			require.LessOrEqual(t, len(value), 3*entry+16<<20)
		}
		read++
	}
	require.NoError(t, rows.Err())
	require.Equal(t, len(bags), read)

	var copied counter
	_, err = conn.PgConn().CopyTo(t.Context(), &copied, "COPY (SELECT * FROM positions) TO STDOUT")
	require.NoError(t, err)
	require.Greater(t, int(copied), 16<<20)
}
