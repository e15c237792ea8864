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
)

// StreamName returns a name for a stream that no other test uses.
func StreamName(t testing.TB) string {
	return "test:" + t.Name() + ":" + rand.Text()
}

// Database creates an empty database on the package's PostgreSQL server and returns its URL. The
// database is dropped when the test ends, which fails the test where a connection is still open then.
//
// Where the server lacks TimescaleDB the URL allows the migrations a plain table
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

// databaseName makes a unique name of what PostgreSQL takes unquoted, within its 63 bytes.
func databaseName(test string) string {
	letters := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	return fmt.Sprintf("%.36s_%s", letters, strings.ToLower(rand.Text()))
}
