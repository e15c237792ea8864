package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// StandbyOptions are the settings of a standby.
type StandbyOptions struct {
	// Name is the standby's application_name, by which the primary's synchronous_standby_names selects it.
	Name string
	// Upstream is the host:port from which the standby streams, such as a proxy before the primary. Empty means the
	// primary itself.
	Upstream string
	// ExtraConf are additional lines of postgresql.conf, which begins as the primary's.
	ExtraConf []string
}

// StartStandby copies the server with pg_basebackup, starts the copy as a streaming standby and returns when it accepts
// connections, which are read-only. It waits for no standby when it commits, whatever the primary does, so that it can
// be promoted. The primary keeps what the standby has not received only within its wal_keep_size. ctx bounds only
// the start. The caller calls Stop.
func (p *Postgres) StartStandby(ctx context.Context, options StandbyOptions) (*Postgres, error) {
	s := newPostgres(p.binDir, p.password, p.timescaleDB)
	err := s.copyOf(ctx, p, options)
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop(ctx))
	}
	return s, nil
}

func (p *Postgres) copyOf(ctx context.Context, primary *Postgres, options StandbyOptions) error {
	if err := p.makeDir(""); err != nil {
		return p.wrap("start", err)
	}
	if err := p.runProgram(ctx, "pg_basebackup", "--pgdata", p.data(), "--checkpoint", "fast", "--no-sync",
		"--host", "127.0.0.1", "--port", fmt.Sprint(primary.port), "--username", superuser, "--no-password"); err != nil {
		return p.wrap("pg_basebackup for", err)
	}
	lines := append(p.conf(), "synchronous_standby_names = ''")
	if err := p.appendConf(append(lines, options.ExtraConf...)); err != nil {
		return p.wrap("configure", err)
	}
	return p.Follow(primary, options)
}

// Follow makes a server that does not run a standby of another one, from its next Restart on. Both must have one history:
// the other one was promoted after this one had stopped in order, or this one is its copy.
func (p *Postgres) Follow(primary *Postgres, options StandbyOptions) error {
	host, port, err := net.SplitHostPort(options.Upstream)
	if options.Upstream == "" {
		host, port, err = net.SplitHostPort(address(primary.port))
	}
	if err != nil {
		return p.wrap("configure", err)
	}
	if _, err := p.writeFile("data/standby.signal", ""); err != nil {
		return p.wrap("configure", err)
	}
	return p.wrap("configure", p.appendConf([]string{
		fmt.Sprintf("primary_conninfo = 'host=%s port=%s user=%s password=%s application_name=%s sslmode=disable'",
			host, port, superuser, primary.password, options.Name),
		"recovery_target_timeline = latest",
		"wal_retrieve_retry_interval = 100ms",
	}))
}

// Promote ends the recovery of a standby and returns when it accepts writes.
func (p *Postgres) Promote(ctx context.Context) error {
	return p.wrap("promote", p.runProgram(ctx, "pg_ctl", "promote", "--pgdata", p.data(), "--wait"))
}
