package servertest

import (
	"context"
	"testing"

	"processor/internal/sandbox"
)

// NewRedis starts a server that only this test uses, from this machine's binaries. It is stopped when the
// test ends.
func NewRedis(t testing.TB, options sandbox.RedisOptions) *sandbox.Redis {
	t.Helper()
	redis, err := sandbox.StartRedis(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, redis.Stop)
	return redis
}

// NewPostgres starts a server that only this test uses, from this machine's binaries. It is stopped when
// the test ends. extraConf are lines of postgresql.conf.
func NewPostgres(t testing.TB, extraConf ...string) *sandbox.Postgres {
	t.Helper()
	postgres, err := sandbox.StartPostgres(t.Context(), sandbox.PostgresOptions{ExtraConf: extraConf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, postgres.Stop)
	return postgres
}

func stopAtEnd(t testing.TB, stop func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// NewStandby starts a streaming standby of a server. It is stopped when the test ends. The server's wal_keep_size bounds
// what it keeps for the standby.
func NewStandby(t testing.TB, primary *sandbox.Postgres, options sandbox.StandbyOptions) *sandbox.Postgres {
	t.Helper()
	standby, err := primary.StartStandby(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, standby.Stop)
	return standby
}
