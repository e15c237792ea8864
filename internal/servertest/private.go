package servertest

import (
	"context"
	"strconv"
	"testing"

	"processor/internal/sandbox"
)

// NewRedis starts a server that only this test uses, from this machine's binaries. It is stopped when the
// test ends.
func NewRedis(t testing.TB, options sandbox.RedisOptions) *sandbox.Redis {
	t.Helper()
	redis, err := sandbox.StartRedis(t.Context(), options)
	return untilEnd(t, redis, err)
}

// NewPostgres starts a server that only this test uses, from this machine's binaries. It is stopped when
// the test ends. extraConf are lines of postgresql.conf.
func NewPostgres(t testing.TB, extraConf ...string) *sandbox.Postgres {
	t.Helper()
	postgres, err := sandbox.StartPostgres(t.Context(), sandbox.PostgresOptions{ExtraConf: extraConf})
	return untilEnd(t, postgres, err)
}

// NewStandby starts a streaming standby of a server. It is stopped when the test ends. The server's wal_keep_size bounds
// what it keeps for the standby.
func NewStandby(t testing.TB, primary *sandbox.Postgres, options sandbox.StandbyOptions) *sandbox.Postgres {
	t.Helper()
	standby, err := primary.StartStandby(t.Context(), options)
	return untilEnd(t, standby, err)
}

// untilEnd returns a server that has started, and stops it when the test ends.
func untilEnd[S interface{ Stop(context.Context) error }](t testing.TB, server S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return server
}

// FreePort returns a free port of 127.0.0.1.
func FreePort(t testing.TB) string {
	t.Helper()
	port, err := sandbox.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
