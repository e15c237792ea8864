package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/doctor"
	"processor/internal/observe"
	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func TestDoctor_PrintsALineACheck(t *testing.T) {
	r := newRig(t)
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true})
	t.Setenv("REDIS_URL", server.URL())

	healthy := r.run("doctor")
	require.Equal(t, ExitOK, healthy.code, healthy.out)
	require.Empty(t, healthy.err)
	require.Contains(t, healthy.out, "ok       redis     maxmemory-policy: noeviction\n")
	require.Contains(t, healthy.out, "ok       postgres  primary key: (device_id, ts)\n")
	require.Contains(t, healthy.out, "warning  redis     stream "+r.stream+": does not exist. Fix: none where nothing was published yet; else correct REDIS_STREAM\n")

	r.sql("ALTER TABLE positions DROP COLUMN speed")
	r.sql("ALTER TABLE positions DROP CONSTRAINT positions_pkey")
	broken := r.run("doctor")
	require.Equal(t, ExitFailure, broken.code)
	require.Equal(t, "processor: 2 checks failed\n", broken.err)
	require.Contains(t, broken.out, "failed   postgres  columns: column speed is missing. Fix: add column speed of type real\n")
	require.Equal(t, strings.Count(healthy.out, "\n")-1, strings.Count(broken.out, "\n"), "no row is tried")

	var failed []string
	asJSON := r.run("doctor", "--json")
	require.Equal(t, ExitFailure, asJSON.code)
	for lines := bufio.NewScanner(strings.NewReader(asJSON.out)); lines.Scan(); {
		var f doctor.Finding
		require.NoError(t, json.Unmarshal(lines.Bytes(), &f))
		require.Contains(t, []string{"redis", "postgres"}, f.Server)
		if f.State == doctor.Failed {
			failed = append(failed, f.Check)
		}
	}
	require.Equal(t, []string{"columns", "primary key"}, failed)
}

func TestDoctor_HidesPasswords(t *testing.T) {
	newRig(t)
	for _, c := range [][2]string{
		{"redis://u:top%20secret@127.0.0.1:1", "postgres://u:top%20secret@127.0.0.1:1/x"},
		{"redis://:top%20secret@127.0.0.1:1", "postgres://127.0.0.1:1/x?user=u&password=top+secret&sslmode=disable"},
	} {
		t.Setenv("REDIS_URL", c[0])
		t.Setenv("DATABASE_URL", c[1])
		for _, format := range []string{"--json", "--json=false"} {
			got := (&rig{t: t}).run("doctor", format)
			require.Equal(t, ExitFailure, got.code)
			require.Equal(t, "processor: 2 checks failed\n", got.err)
			require.NotContains(t, got.out, "secret")
			require.Equal(t, 2, strings.Count(got.out, "\n"), got.out)
		}
	}
}

func TestDoctor_WarnsOfPlainTextToOtherMachines(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var out, stderr bytes.Buffer
	code := Main(ended, []string{"doctor", "--redis-url=redis://u:s3cret@cache.invalid", "--database-url=postgres://u:s3cret@db.invalid/gps?sslmode=require"},
		observe.BuildInfo{}, Streams{Out: &out, Err: &stderr})
	require.Equal(t, ExitFailure, code)
	require.Contains(t, out.String(), "warning  redis     encryption: passwords and positions go to cache.invalid as plain text. Fix: use rediss://")
	require.Contains(t, out.String(), "warning  postgres  encryption: the certificate of db.invalid is not verified. Fix: add sslmode=verify-full")
	require.NotContains(t, out.String()+stderr.String(), "s3cret")
}
