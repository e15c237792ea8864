package deploytest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
)

// sqlBlock is a block of SQL of a page.
type sqlBlock struct {
	name  string // heading and number within its section
	needs string // the extension that the page's comment before it names, or ""
	sql   string
}

var sqlBlockPattern = regexp.MustCompile("(?ms)^#{1,6} ([^\n]+)$|^(?:<!-- needs: (\\w+) -->\n)?```(\\w+)\n(.*?)^```$")

// statementPattern is a statement to the end of its last line.
var statementPattern = regexp.MustCompile(`(?s).*?;[^\n]*\n`)

// sqlBlocks lists a page's blocks of SQL in order.
func sqlBlocks(page string) (all []sqlBlock) {
	heading, n := "", 0
	for _, m := range sqlBlockPattern.FindAllStringSubmatch(page, -1) {
		if m[1] != "" {
			heading, n = m[1], 0
			continue
		}
		if m[3] == "sql" {
			n++
			all = append(all, sqlBlock{fmt.Sprint(heading, " ", n), m[2], m[4]})
		}
	}
	return all
}

func TestSQLBlocks_ReadsHeadingsAndNeeds(t *testing.T) {
	require.Equal(t, []sqlBlock{{"A 1", "", "1;\n"}, {"A 2", "postgis", "2;\n"}, {"B 1", "", "3;\n"}},
		sqlBlocks("# A\n\n```sql\n1;\n```\n\n<!-- needs: postgis -->\n```sql\n2;\n```\n## B\n```sh\n# no heading\n```\n```sql\n3;\n```\n"))
}

// fleetTimes are the fix times of the rows that the statements of the page read, by name.
func fleetTimes() map[string]time.Time {
	now := time.Now().UTC().Truncate(time.Second)
	hour := now.Truncate(time.Hour)
	return map[string]time.Time{
		"5 minutes ago":  now.Add(-5 * time.Minute),
		"10 minutes ago": now.Add(-10 * time.Minute),
		"15 minutes ago": now.Add(-15 * time.Minute),
		"3rd hour":       hour.Add(-3 * time.Hour),
		"3rd hour :10":   hour.Add(-3*time.Hour + 10*time.Minute),
		"3rd hour :20":   hour.Add(-3*time.Hour + 20*time.Minute),
		"40 days ago":    now.Add(-40 * 24 * time.Hour),
	}
}

// fill inserts them: two devices in Berlin and Munich, and one that has been silent.
func fill(t *testing.T, url string, at map[string]time.Time) {
	t.Helper()
	servertest.Execute(t, url, `CREATE TABLE devices (device_id text PRIMARY KEY)`,
		`INSERT INTO devices VALUES ('356307040038852'), ('356307040038860'), ('356307042441013'), ('356307042441021')`)
	conn := servertest.Connect(t, url)
	for _, row := range []struct {
		device, at          string
		latitude, longitude float64
		speed               int
		attributes          string
	}{
		{"356307040038852", "3rd hour :10", 52.51, 13.38, 30, `{}`},
		{"356307040038852", "3rd hour :20", 52.52, 13.39, 50, `{}`},
		{"356307040038852", "10 minutes ago", 52.53, 13.4, 40, `{"78": 3886048350820987205, "385": "\\x2a90e742"}`},
		{"356307040038860", "15 minutes ago", 52.5, 13.41, 60, `{"78": 0}`},
		{"356307040038860", "5 minutes ago", 48.1, 11.5, 80, `{}`},
		{"356307042441013", "40 days ago", 52.5, 13.4, 0, `{}`},
	} {
		_, err := conn.Exec(t.Context(), `INSERT INTO positions (device_id, ts, latitude, longitude, altitude, angle, speed, satellites, priority, attributes)
			VALUES ($1, $2, $3, $4, 0, 0, $5, 9, 0, $6)`, row.device, at[row.at], row.latitude, row.longitude, row.speed, row.attributes)
		require.NoError(t, err)
	}
}

// readings are the rows that the statements of docs/sql.md return for this fleet. Those of other blocks may differ
// between servers, and are not compared.
var readings = map[string][]string{
	"Latest position of a device 1": {`10 minutes ago|52.53|13.4|40|{"78": 3886048350820987205, "385": "\\x2a90e742"}`},
	"Latest position of each device 1": {
		"356307040038852|10 minutes ago|52.53|13.4|40", "356307040038860|5 minutes ago|48.1|11.5|80", "356307042441013||||", "356307042441021||||",
	},
	"Latest position of each device 2": {"356307040038860|5 minutes ago|48.1|11.5|80", "356307040038852|10 minutes ago|52.53|13.4|40"},
	"Track 1":                          {"3rd hour :10|52.51|13.38|30", "3rd hour :20|52.52|13.39|50", "10 minutes ago|52.53|13.4|40"},
	"Track 2":                          {"3rd hour :10|52.51|13.38|30", "3rd hour :20|52.52|13.39|50", "10 minutes ago|52.53|13.4|40"},
	"Bounding box 1":                   {"356307040038860|15 minutes ago|52.5|13.41", "356307040038852|10 minutes ago|52.53|13.4"},
	"The last hour on the map 1":       {"356307040038852|{{13.4,52.53}}", "356307040038860|{{13.41,52.5},{11.5,48.1}}"},
	"Hourly figures 1":                 {"3rd hour|2|40|50", "hour of 10 minutes ago|1|40|40"},
	"Hourly figures 3":                 {"3rd hour|2|40|50", "hour of 10 minutes ago|1|40|40"},
	"PostGIS 2":                        {"356307040038860|15 minutes ago|52.5|13.41", "356307040038852|10 minutes ago|52.53|13.4"},
	"PostGIS 3":                        {`{"type":"LineString","coordinates":[[13.38,52.51],[13.39,52.52],[13.4,52.53]]}`},
	"Reading attributes 1":             {"10 minutes ago|3886048350820987205|\\x2a90e742"},
}

// run runs a block as psql does, and returns the rows of its last statement, with names for times.
func (b sqlBlock) run(t *testing.T, conn *pgx.Conn, at map[string]time.Time) (rows []string) {
	t.Helper()
	var last *pgconn.Result
	for _, statement := range statementPattern.FindAllString(b.sql, -1) {
		results, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
		require.NoError(t, err, "%s: %s", b.name, statement)
		last = results[len(results)-1]
	}
	const text = "2006-01-02 15:04:05+00"
	names := map[string]string{at["10 minutes ago"].Truncate(time.Hour).Format(text): "hour of 10 minutes ago"}
	for name, moment := range at {
		names[moment.Format(text)] = name
	}
	for _, row := range last.Rows {
		var values []string
		for _, value := range row {
			shown := string(value)
			if name, is := names[shown]; is {
				shown = name
			}
			values = append(values, shown)
		}
		rows = append(rows, strings.Join(values, "|"))
	}
	return rows
}

// Every statement of the page runs as it stands there: on PostgreSQL, on TimescaleDB and with PostGIS. The cookbook's return the
// right rows, and the table is as the worker needs it afterwards.
func TestSQLPage_EveryStatementIsRun(t *testing.T) {
	page := sqlBlocks(read(t, "docs/sql.md"))
	for name, server := range map[string]struct {
		url func(t *testing.T) string
		has []string
	}{
		"this machine's": {func(t *testing.T) string { return ownDatabase(t, servertest.NewPostgres(t)) }, nil},
		"TimescaleDB":    {func(t *testing.T) string { return servertest.TimescaleDB(t) }, []string{"timescaledb"}},
		"PostGIS": {func(t *testing.T) string {
			t.Setenv("SANDBOX_POSTGRES_BIN", "") // Debian's, which has it
			return ownDatabase(t, servertest.NewPostgres(t))
		}, []string{"postgis"}},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.url(t)
			if slices.Contains(server.has, "timescaledb") {
				servertest.Execute(t, url, `CREATE EXTENSION IF NOT EXISTS timescaledb`)
			}
			has := slices.Concat(server.has, servertest.Ask(t, url, `SELECT extname::text FROM pg_extension`))
			servertest.Execute(t, url, `CREATE ROLE processor`, `CREATE ROLE processor_reader`, `CREATE ROLE directus`)
			require.NoError(t, schema.MigrateUp(t.Context(), url))
			at := fleetTimes()
			fill(t, url, at)

			conn := servertest.Connect(t, url)
			_, err := conn.Exec(t.Context(), `SET timezone = 'UTC'`)
			require.NoError(t, err)
			ran, compared := 0, 0
			for _, b := range page {
				if b.needs != "" && !slices.Contains(has, b.needs) {
					continue
				}
				got := b.run(t, conn, at)
				ran++
				if want, known := readings[b.name]; known {
					compared++
					require.Equal(t, want, got, b.name)
				}
			}
			t.Logf("%d of %d blocks run, the rows of %d compared", ran, len(page), compared)
			require.GreaterOrEqual(t, compared, 7)
			_, err = schema.Check(t.Context(), conn)
			require.NoError(t, err)
		})
	}
	for name := range readings {
		require.True(t, slices.ContainsFunc(page, func(b sqlBlock) bool { return b.name == name }), "docs/sql.md has no block %q", name)
	}
}

// ownDatabase makes a database on a server of the test's own.
func ownDatabase(t *testing.T, server *sandbox.Postgres) string {
	t.Helper()
	require.NoError(t, server.CreateDatabase(t.Context(), "telemetry"))
	if server.HasTimescaleDB() {
		require.NoError(t, server.EnableTimescaleDB(t.Context(), "telemetry"))
		return server.URL("telemetry")
	}
	url, err := sandbox.PlainTableURL(server.URL("telemetry"))
	require.NoError(t, err)
	return url
}
