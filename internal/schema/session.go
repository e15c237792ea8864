package schema

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/db"
)

// Config reads a database URL, for every connection of this program. The pool's parser takes its own
// pool_ settings out of what is sent to the server, which would refuse them.
func Config(databaseURL string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	params := config.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "processor"
	}
	// From the first byte on, and through a pooler too, which keeps this one for each client.
	params["client_encoding"] = "UTF8"
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	return config, nil
}

// Connect opens one connection. Its error is an *Error where the server refuses a parameter of the URL, else one line.
func Connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	return conn, brief(Refused(err))
}

// brief shortens an error of opening a connection, of which pgx lists each address with each kind of TLS on separate lines: the
// different causes once.
func brief(err error) error {
	var connecting *pgconn.ConnectError
	if !errors.As(err, &connecting) {
		return err
	}
	var causes []string
	for _, c := range leaves(connecting.Unwrap()) {
		if !slices.Contains(causes, c) {
			causes = append(causes, c)
		}
	}
	c := connecting.Config
	hosts := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks {
		if host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return &connectError{fmt.Sprintf("%s as %s: %s", strings.Join(hosts, ", "), c.User, strings.Join(causes, "; ")), err}
}

type connectError struct {
	text string
	err  error
}

// Error implements error.
func (e *connectError) Error() string { return e.text }

// Unwrap returns pgx's error.
func (e *connectError) Unwrap() error { return e.err }

// leaves are the innermost errors, or what the server answered.
func leaves(err error) (texts []string) {
	switch e := err.(type) {
	case nil:
		return nil
	case *pgconn.PgError:
		return []string{e.Error()}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			texts = append(texts, leaves(inner)...)
		}
		return texts
	}
	if inner := errors.Unwrap(err); inner != nil {
		return leaves(inner)
	}
	return []string{err.Error()}
}

// Refused returns an *Error for an error of opening a connection where the server refuses a parameter of the URL: its
// message quotes the value, which may be a password in the wrong place. Every other error stays.
func Refused(err error) error {
	var connecting *pgconn.ConnectError
	state := sqlState(err)
	if !errors.As(err, &connecting) || !refusesParameter(state) {
		return err
	}
	return &Error{
		Problem: "PostgreSQL refuses a parameter of the database URL (SQLSTATE " + state + ")",
		Fix:     "correct or remove the parameter of DATABASE_URL that PostgreSQL's log names",
	}
}

func refusesParameter(state string) bool {
	switch state {
	case "42601", "42602", "42704", "55P02": // syntax_error, invalid_name, undefined_object, cant_change_runtime_param
		return true
	}
	return strings.HasPrefix(state, "22") // data exceptions
}

// Prepare establishes and verifies a session when its connection opens: it does what Pin does and checks
// what Check checks. The error is an *Error where a person must act; the connection is of no use
// then, and a later one may be.
func Prepare(ctx context.Context, conn *pgx.Conn) error {
	if err := Pin(ctx, conn); err != nil {
		return err
	}
	_, err := Check(ctx, conn)
	return err
}

// Pin sets what rows depend on in the session itself, so that no later change of server, database or role
// reaches it: see sql/queries/session.sql.
func Pin(ctx context.Context, conn *pgx.Conn) error {
	if err := db.New(unprepared{conn}).PinSession(ctx); err != nil {
		return failed("pin the session's settings", err)
	}
	return nil
}

// unprepared sends each statement in one round trip: of two, a pooler in transaction mode may give the second to
// another server connection, which does not know the statement.
type unprepared struct{ *pgx.Conn }

func (u unprepared) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return u.Conn.Query(ctx, query, append([]any{pgx.QueryExecModeExec}, args...)...)
}

func (u unprepared) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return u.Conn.QueryRow(ctx, query, append([]any{pgx.QueryExecModeExec}, args...)...)
}
