// Package cli is the command line: flags, environment variables, help, exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"processor/internal/doctor"
	"processor/internal/observe"
	"processor/internal/service"
	"processor/internal/stream"
)

// Exit codes of every command.
const (
	ExitOK      = 0
	ExitFailure = 1 // the command could not do its work, or found what should not be
	ExitUsage   = 2 // a flag, an argument or a setting is wrong
)

// Streams are where a command reads and writes.
type Streams struct {
	Out, Err io.Writer
}

// commands is the whole command line.
type commands struct {
	ShowVersion versionFlag `name:"version" help:"Print the version."`

	Run     runCmd     `cmd:"" default:"withargs" help:"Store positions from Redis in PostgreSQL until SIGTERM (the default command)."`
	Migrate migrateCmd `cmd:"" help:"Apply, revert or list the migrations of the database."`
	Publish publishCmd `cmd:"" help:"Write a simulated fleet's positions to a stream, as tcp-ingestion would."`
	Demo    demoCmd    `cmd:"" help:"Run everything on temporary servers; needs no set-up."`
	Status  statusCmd  `cmd:"" help:"Show a verdict on each stream, lag, pending entries, consumers, dead letters and the newest row."`
	Trace   traceCmd   `cmd:"" help:"Find a position: row, on the stream, pending, dead letter or trimmed."`
	Dlq     dlqCmd     `cmd:"" help:"List, show, replay or drop dead letters."`
	Console consoleCmd `cmd:"" help:"Serve a page for browsers that shows the pipeline at work; read-only by default."`
	Doctor  doctorCmd  `cmd:"" help:"Check servers, versions, settings and rights, and name the fix for each problem."`
	Bench   benchCmd   `cmd:"" help:"Measure the pipeline against the database's own limit."`
	Version versionCmd `cmd:"" help:"Print the version."`
	Help    helpCmd    `cmd:"" help:"Show the flags of a command with examples, as --help does."`

	Completion completionCmd `cmd:"" help:"Print the shell code that completes this program's command lines."`
}

// Main runs one command line, without the program's name, and returns the exit code. It prints
// at most one error. The command ends early when ctx does.
func Main(ctx context.Context, args []string, build observe.BuildInfo, out Streams) int {
	exit := -1
	stream.LogTo(slog.New(slog.DiscardHandler)) // commands print their own errors
	parser, err := kong.New(&commands{}, append(mappers(),
		kong.Name("processor"),
		kong.Description("Stores every GPS position on a Redis Stream as exactly one row in TimescaleDB.\n\nEvery flag of a command has an environment variable, shown as $NAME."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Writers(out.Out, out.Err),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(out, build),
	)...)
	if err != nil {
		return fail(out, err)
	}
	if answerShell(parser, func(code int) { exit = code }); exit >= 0 {
		return exit
	}
	args = asHelp(args)
	unknown := misspelt(parser.Model, args)
	if unknown == nil {
		parsed, err := parser.Parse(args)
		switch {
		case exit >= 0: // --help or --version has been printed
			return exit
		case err == nil:
			return run(parsed, out)
		}
		unknown = err
	}
	if slices.ContainsFunc(args, cutURL) {
		unknown = errors.New("a URL on the command line is not readable; in quotes it stays one argument")
	}
	fail(out, unknown)
	return ExitUsage
}

func run(parsed *kong.Context, out Streams) int {
	if err := parsed.Run(); err != nil {
		return fail(out, err)
	}
	return ExitOK
}

// cutURL reports whether an argument is a URL that is not readable: the shell may have cut it at a space, and the
// error about the next argument would show the rest of its password.
func cutURL(arg string) bool {
	if name, value, assigned := strings.Cut(arg, "="); assigned && strings.HasPrefix(name, "--") {
		arg = value
	}
	return strings.Contains(arg, "://") && !observe.Readable(arg)
}

// fail prints the error on one line and returns the exit code. Passwords of URLs are hidden, but in the
// errors of settings, which hold an example of a URL and none of their own.
func fail(out Streams, err error) int {
	var setting *service.SettingError
	if errors.As(err, &setting) {
		fmt.Fprintf(out.Err, "processor: %s\n", printable(err.Error()))
		return ExitUsage
	}
	text := err.Error()
	if hint := doctor.Hint(err); hint != "" {
		text += ". Fix: " + hint
	}
	fmt.Fprintf(out.Err, "processor: %s\n", printable(observe.Scrub(text)))
	return ExitFailure
}
