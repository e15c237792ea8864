package servertest

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	_ "github.com/amacneil/dbmate/v2/pkg/driver/postgres"

	"processor/internal/sandbox"
	"processor/internal/schema"
)

// StreamName returns a unique stream name for the test.
func StreamName(t testing.TB) string {
	return "test:" + t.Name() + ":" + rand.Text()
}

// Database creates an empty database on the package's PostgreSQL server and returns its URL. The database
// is dropped when the test ends; the test fails if a connection to it is still open.
//
// If the server lacks TimescaleDB, the URL allows the migrations to create a plain table
// ([sandbox.PlainTableURL]).
func Database(t testing.TB) string {
	t.Helper()
	postgres := servers.postgres.get(t, startPostgres)
	target, err := url.Parse(postgres.url)
	if err != nil {
		t.Fatal("TEST_DATABASE_URL is not a URL") // err would show its password
	}
	target.Path = databaseName(t.Name())
	db := dbmate.New(target)
	db.Log = io.Discard
	if err := db.Create(); err != nil {
		t.Fatalf("create database %s: %v", target.Path, err)
	}
	t.Cleanup(func() {
		if err := db.Drop(); err != nil {
			t.Errorf("drop database %s: %v", target.Path, err)
		}
	})
	if postgres.timescaleDB {
		return target.String()
	}
	plain, err := sandbox.PlainTableURL(target.String())
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// Migrated is [Database] with every migration, on TimescaleDB if the server has it.
func Migrated(t testing.TB) string {
	t.Helper()
	target := Database(t)
	if HasTimescaleDB(t) {
		if err := sandbox.EnableTimescaleDB(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if err := schema.MigrateUp(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	return target
}

// databaseName returns a unique database name that needs no quoting and has at most 63 bytes, PostgreSQL's
// maximum.
func databaseName(test string) string {
	prefix := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	return fmt.Sprintf("%.36s_%s", prefix, strings.ToLower(rand.Text()))
}
