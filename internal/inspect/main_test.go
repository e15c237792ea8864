package inspect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
	"processor/internal/store"
)

func TestMain(m *testing.M) { servertest.Main(m) }

func open(t testing.TB, url string, opts store.Options) *store.Store {
	s, err := store.Open(t.Context(), url, opts)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

const allRows = `SELECT concat_ws(' ', device_id, to_char(ts AT TIME ZONE 'UTC', 'HH24:MI:SS'), latitude, speed, attributes) FROM positions ORDER BY device_id, ts`

func at(device string, second int, speed float32, attributes string) position.Position {
	return position.Position{
		DeviceID:   device,
		Timestamp:  time.Date(2026, 11, 23, 12, 0, second, 0, time.UTC),
		Latitude:   1.5,
		Speed:      speed,
		Attributes: []byte(attributes),
	}
}
