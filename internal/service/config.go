package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"processor/internal/store"
	"processor/internal/stream"
)

// Redis is the address of the streams.
type Redis struct {
	URL     string `name:"redis-url" env:"REDIS_URL" placeholder:"URL" help:"Redis: redis://user:password@host:6379/0, rediss:// with TLS; ?master_name= for Sentinel, ?addr= for Cluster. Required."`
	URLFile string `name:"redis-url-file" env:"REDIS_URL_FILE" placeholder:"FILE" help:"File that holds the Redis URL, instead of --redis-url."`
}

// Database is the address of the table positions.
type Database struct {
	URL     string `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"PostgreSQL: postgres://user:password@host:5432/database. Required."`
	URLFile string `name:"database-url-file" env:"DATABASE_URL_FILE" placeholder:"FILE" help:"File that holds the database URL, instead of --database-url."`
}

// Config holds the settings of the worker.
type Config struct {
	Redis    Redis    `embed:"" group:"Redis:"`
	Database Database `embed:"" group:"Database:"`

	Streams  []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to read, separated by commas (default: ${default})."`
	Group    string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`
	Consumer string   `name:"redis-consumer" env:"REDIS_CONSUMER" placeholder:"NAME" group:"Redis:" help:"Name of this consumer: unique in the group, unchanged by a restart (default: the host's name)."`

	BatchSize       int           `env:"BATCH_SIZE" default:"2500" range:"1..100000" placeholder:"ENTRIES" group:"Batches:" help:"Maximum entries per batch (default: ${default})."`
	BatchBytes      int           `env:"BATCH_BYTES" default:"16777216" range:"65536..1073741824" placeholder:"BYTES" group:"Batches:" help:"Target size of a batch in bytes. A Redis reply larger than twice this is abandoned and re-read one entry at a time (default: ${default})."`
	MaxEntryBytes   int           `env:"MAX_ENTRY_BYTES" default:"1048576" range:"16384..16777216" placeholder:"BYTES" group:"Batches:" help:"Maximum size of an entry in bytes, as Redis sends its fields; a larger one is dead-lettered as too_large without being held in memory (default: ${default})."`
	Linger          time.Duration `env:"LINGER" default:"8ms" range:"0s..10s" placeholder:"DURATION" group:"Batches:" help:"Time between two reads and commits without a backlog, for each consumer of the group: bounds commits per second (default: ${default})."`
	Writers         int           `env:"WRITERS" default:"0" range:"0..64" placeholder:"N" group:"Batches:" help:"Batches written at once, each on its own database connection; 0 is one per CPU, 2 to 4 (default: ${default})."`
	WriteTimeout    time.Duration `env:"WRITE_TIMEOUT" default:"30s" range:"1s..1h" placeholder:"DURATION" group:"Batches:" help:"Timeout for one attempt to write a batch (default: ${default})."`
	DeviceCacheSize int           `env:"DEVICE_CACHE_SIZE" default:"100000" range:"1..100000000" placeholder:"DEVICES" group:"Batches:" help:"Maximum devices whose state is kept; the least recently seen are evicted first (default: ${default})."`

	ClaimIdle     time.Duration `env:"CLAIM_IDLE" default:"60s" range:"1s..24h" placeholder:"DURATION" group:"Recovery:" help:"Time after which an entry that is pending for another consumer is claimed (default: ${default})."`
	MaxDeliveries int           `env:"MAX_DELIVERIES" default:"10" range:"1..1000000" placeholder:"N" group:"Recovery:" help:"Deliveries after which an entry is retried by itself and dead-lettered if it still fails (default: ${default})."`
	MaxAge        time.Duration `env:"MAX_AGE" default:"87600h" range:"0s..2000000h" placeholder:"DURATION" group:"Recovery:" help:"Maximum age of a fix time; older positions are dead-lettered; 0 is no limit (default: ${default}, ten years)."`
	MaxFuture     time.Duration `env:"MAX_FUTURE" default:"24h" range:"0s..2000000h" placeholder:"DURATION" group:"Recovery:" help:"Maximum time that a fix may be ahead of now; positions beyond it are dead-lettered; 0 is no limit (default: ${default})."`

	HTTPAddr        string        `name:"http-addr" env:"HTTP_ADDR" default:":8080" placeholder:"HOST:PORT" group:"Service:" help:"Address of /metrics, /healthz and /readyz (default: ${default})."`
	PprofAddr       string        `name:"pprof-addr" env:"PPROF_ADDR" placeholder:"HOST:PORT" group:"Service:" help:"Address of /debug/pprof/, for profiles. Empty: off. Bind it to localhost."`
	LogLevel        slog.Level    `env:"LOG_LEVEL" predictor:"level" default:"info" placeholder:"LEVEL" group:"Service:" help:"Minimum level of log messages: debug, info, warn or error (default: ${default}). debug logs each position, with coordinates."`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" default:"20s" range:"0s..1h" placeholder:"DURATION" group:"Service:" help:"Timeout for batches in flight after SIGTERM; what is not committed stays pending (default: ${default})."`
}

// SettingError is a setting that cannot be used. Its text never holds the password of a URL.
type SettingError struct {
	Flag string // without dashes
	Env  string
	Err  error // what is wrong, and what is allowed
}

// Error implements error.
func (e *SettingError) Error() string {
	return fmt.Sprintf("--%s (%s): %v", e.Flag, e.Env, e.Err)
}

// Unwrap returns what is wrong.
func (e *SettingError) Unwrap() error { return e.Err }

// Resolve reads the file where one is named, and checks what can be checked without a server.
func (r *Redis) Resolve() error {
	if err := resolve(&r.URL, r.URLFile, "redis-url", "REDIS_URL"); err != nil {
		return err
	}
	if err := checkRedis(r.URL); err != nil {
		return &SettingError{"redis-url", "REDIS_URL", fmt.Errorf("%w; wanted: redis://user:password@host:6379/0", err)}
	}
	return nil
}

// Resolve reads the file where one is named, and checks what can be checked without a server.
func (d *Database) Resolve() error {
	if err := resolve(&d.URL, d.URLFile, "database-url", "DATABASE_URL"); err != nil {
		return err
	}
	if err := checkDatabase(d.URL); err != nil {
		return &SettingError{"database-url", "DATABASE_URL", fmt.Errorf("%w; wanted: postgres://user:password@host:5432/database", err)}
	}
	return nil
}

// resolve reads a URL that must be set.
func resolve(value *string, file, flag, env string) error {
	if err := fromFile(value, file, flag, env, "the URL"); err != nil {
		return err
	}
	if *value == "" {
		return &SettingError{flag, env, fmt.Errorf("is not set, and neither is --%s-file (%s_FILE)", flag, env)}
	}
	return nil
}

// fromFile reads the file where one is named; what names what it holds.
func fromFile(value *string, file, flag, env, what string) (err error) {
	*value = trimSecret(*value)
	switch {
	case *value != "" && file != "":
		return &SettingError{flag, env, fmt.Errorf("set together with --%s-file (%s_FILE); one of the two is allowed", flag, env)}
	case file != "":
		if *value, err = readSecret(file, what); err != nil {
			return &SettingError{flag + "-file", env + "_FILE", err}
		}
	}
	return nil
}

// Resolve fills in what depends on the machine and checks what can be checked without a server.
func (c *Config) Resolve() error {
	if err := c.Redis.Resolve(); err != nil {
		return err
	}
	if err := c.Database.Resolve(); err != nil {
		return err
	}
	// Not for every command: doctor reports it as one finding among others.
	if err := store.CheckURL(c.Database.URL); err != nil {
		return &SettingError{"database-url", "DATABASE_URL", err}
	}
	if err := CheckAddress("http-addr", "HTTP_ADDR", c.HTTPAddr); err != nil {
		return err
	}
	if c.PprofAddr != "" {
		if err := CheckAddress("pprof-addr", "PPROF_ADDR", c.PprofAddr); err != nil {
			return err
		}
	}
	if err := CheckStreams(c.Streams...); err != nil {
		return err
	}
	if err := CheckGroup(c.Group); err != nil {
		return err
	}
	if c.Consumer == "" {
		host, err := os.Hostname()
		if err != nil {
			return &SettingError{"redis-consumer", "REDIS_CONSUMER", fmt.Errorf("is not set, and the host's name is not known: %w", err)}
		}
		c.Consumer = host
	}
	return checkConsumer(c.Consumer)
}

// Token is what a browser must know to use the console.
type Token struct {
	Value string `name:"token" env:"CONSOLE_TOKEN" placeholder:"TOKEN" help:"Token that browsers are asked for, of 16 to 256 bytes. Required if --addr is not on loopback. Other users of the machine can see it on a command line: use the variable or the file."`
	File  string `name:"token-file" env:"CONSOLE_TOKEN_FILE" placeholder:"FILE" help:"File that holds the token, instead of --token."`
}

const minToken, maxToken = 16, 256

// Resolve reads the file where one is named. Without either there is no token.
func (t *Token) Resolve() error {
	flag, env := "token", "CONSOLE_TOKEN"
	if err := fromFile(&t.Value, t.File, flag, env, "the token"); err != nil {
		return err
	}
	if t.File != "" {
		flag, env = flag+"-file", env+"_FILE"
	}
	if n := len(t.Value); n > 0 && (n < minToken || n > maxToken) {
		return &SettingError{flag, env, fmt.Errorf("has %d bytes; wanted: %d to %d, such as openssl rand -hex 16 prints", n, minToken, maxToken)}
	}
	return nil
}

// CheckStreams returns a *SettingError unless these are names of streams, at least one and each once.
func CheckStreams(names ...string) error {
	fault := func(err error) error {
		return &SettingError{"redis-stream", "REDIS_STREAM", fmt.Errorf("%w; wanted: telemetry:t, or several separated by commas", err)}
	}
	if len(names) == 0 {
		return fault(errors.New(`"" names no stream`))
	}
	seen := map[string]bool{}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return fault(fmt.Errorf("%q is not the name of a stream: %w", name, err))
		}
		if strings.Contains(name, ",") {
			return fault(fmt.Errorf("%q is not the name of one stream: it holds a comma", name))
		}
		if seen[name] {
			return fault(fmt.Errorf("%q is listed twice", name))
		}
		if err := stream.CheckName(name); err != nil {
			return fault(err)
		}
		seen[name] = true
	}
	return nil
}

// CheckGroup returns a *SettingError unless this can be a consumer group's name.
func CheckGroup(name string) error {
	if err := checkName(name); err != nil {
		return &SettingError{"redis-group", "REDIS_GROUP", fmt.Errorf("%q is not the name of a group: %w; wanted: processor, for instance", name, err)}
	}
	return nil
}

func checkConsumer(name string) error {
	if err := checkName(name); err != nil {
		return &SettingError{"redis-consumer", "REDIS_CONSUMER", fmt.Errorf("%q is not the name of a consumer: %w; wanted: processor-1, for instance", name, err)}
	}
	return nil
}

// checkName refuses names that nobody gives on purpose, since Redis takes every one: a typing error would
// be a stream of its own that is never fed.
func checkName(name string) error {
	if name == "" {
		return errors.New("it is empty")
	}
	for _, r := range name {
		if r == utf8.RuneError { // from the command line, or made of it by its parser
			return errors.New("it is not UTF-8")
		}
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return fmt.Errorf("it holds %U, and white space and control characters are not allowed", r)
		}
	}
	return nil
}

// CheckAddress returns a *SettingError for an address that can never be bound, whether or not it is free now.
func CheckAddress(flag, env, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return &SettingError{flag, env, fmt.Errorf("%q is not host:port; wanted: :8080 or 127.0.0.1:8080", address)}
	}
	return nil
}
