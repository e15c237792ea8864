package store

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/db"
	"processor/internal/column"
	"processor/internal/position"
	"processor/internal/servertest"
	"processor/sql"
)

// One list of columns drives COPY, the arrays and the checks of the schema. It must be that of the generated
// code, by name, order and type, and that of the COPY statement and its check.
func TestColumns_AreThoseOfTheStatements(t *testing.T) {
	types := map[string]reflect.Type{
		"text":                     reflect.TypeFor[string](),
		"timestamp with time zone": reflect.TypeFor[time.Time](),
		"double precision":         reflect.TypeFor[float64](),
		"real":                     reflect.TypeFor[float32](),
		"smallint":                 reflect.TypeFor[int16](),
		"jsonb":                    reflect.TypeFor[[]byte](),
	}
	written := column.All()
	for _, params := range []reflect.Type{reflect.TypeFor[db.InsertPositionsParams](), reflect.TypeFor[db.UpsertPositionsParams]()} {
		require.Len(t, written, params.NumField())
		for n, c := range written {
			field := params.Field(n)
			require.True(t, strings.EqualFold(field.Name, strings.ReplaceAll(c.Name, "_", "")), "%s is not %s", field.Name, c.Name)
			require.Equal(t, reflect.SliceOf(types[c.Type]), field.Type, c.Name)
		}
	}

	var names, checked, want, wantChecked []string
	list := regexp.MustCompile(`(?s)COPY positions \((.*?)\)`).FindStringSubmatch(sql.Copy)[1]
	for name := range strings.SplitSeq(list, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	needed := regexp.MustCompile(`(?s)ARRAY\[(.*?)\]`).FindStringSubmatch(sql.Copy)[1]
	for _, m := range regexp.MustCompile(`'(.*?)'`).FindAllStringSubmatch(needed, -1) {
		checked = append(checked, m[1])
	}
	for _, c := range written {
		want = append(want, c.Name)
		wantChecked = append(wantChecked, c.Name+" "+c.Type)
	}
	require.Equal(t, want, names)
	require.Equal(t, wantChecked, checked)
}

// Each column's two ways of collecting hold the same field: a row that went by COPY is equal to one that went by
// arrays.
func TestColumns_CollectWhatTheyEncode(t *testing.T) {
	url := servertest.Migrated(t)
	s := open(t, url, Options{})
	p := position.Position{
		Timestamp: time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC), Latitude: -1.25, Longitude: 2.5, Altitude: 3, Angle: 4, Speed: 5,
		Satellites: 255, Priority: 7, Attributes: []byte(`{"a": [1, "x"]}`),
	}
	for _, path := range []string{PathCopy, PathInsert, PathUpsert} {
		p.DeviceID = path
		r := s.NewWriter().attempt(t.Context(), []position.Position{p}, segment{rows: []int32{0}, path: path})
		require.NoError(t, r.err)
		require.Equal(t, Result{Inserted: 1}, r.Result, path)
	}
	require.Equal(t, []string{`("2026-11-23 12:00:00.123456+00",-1.25,2.5,3,4,5,255,7,"{""a"": [1, ""x""]}") 3`},
		servertest.Ask(t, url, `SELECT ROW(ts AT TIME ZONE 'UTC' AT TIME ZONE 'UTC', latitude, longitude, altitude, angle, speed, satellites, priority, attributes)::text || ' ' || count(*) OVER () FROM positions ORDER BY device_id LIMIT 1`)[:1])
	require.Equal(t, []string{"1"}, servertest.Ask(t, url, `SELECT count(DISTINCT (ts, latitude, longitude, altitude, angle, speed, satellites, priority, attributes))::text FROM positions`))
}
