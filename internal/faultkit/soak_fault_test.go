package faultkit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"processor/internal/stream"
)

// fault is what an action does. It returns what undoes it, nil where nothing has to be.
type fault func(s *soak, a action) (undo func())

// The faults of a soak. Those of gentle end no process and break no connection.
const (
	faultKill         = "kill -9"
	faultStop         = "SIGSTOP"
	faultTerm         = "SIGTERM"
	faultClientKill   = "CLIENT KILL"
	faultClientPause  = "CLIENT PAUSE"
	faultDelLive      = "DELCONSUMER, worker lives"
	faultDelDead      = "DELCONSUMER, worker is dead"
	faultSetID        = "XGROUP SETID back"
	faultTerminate    = "pg_terminate_backend"
	faultPostgres     = "PostgreSQL stops immediately"
	faultLock         = "LOCK TABLE"
	faultCompress     = "compress or decompress"
	faultRedis        = "Redis is killed"
	faultCut          = "connections are cut"
	faultRefuse       = "connections are refused"
	faultSwallow      = "connections hang"
	faultTrapCommit   = "cut around COMMIT"
	faultTrapRead     = "cut around a read"
	faultTrapXACK     = "cut around XACK"
	faultTrapLetter   = "cut around a dead letter"
	longestClientHold = 1500 * time.Millisecond // below what a client of Redis waits for an answer
)

func faults() map[string]fault {
	return map[string]fault{
		faultKill: kills, faultStop: stops, faultTerm: terminates,
		faultClientKill: killsClients, faultClientPause: pausesClients,
		faultDelLive: deletesConsumer, faultDelDead: deletesDeadConsumer, faultSetID: setsBack,
		faultTerminate: terminatesSessions, faultPostgres: stopsPostgres, faultLock: locks, faultCompress: compresses,
		faultRedis: killsRedis, faultCut: cuts, faultRefuse: refuses, faultSwallow: swallows,
		faultTrapCommit: trapsPostgres(Commit), faultTrapRead: trapsRedis(Read),
		faultTrapXACK: trapsRedis(Command("XACK")), faultTrapLetter: trapsRedis(DeadLetter),
	}
}

// chaos is every fault.
func chaos() []choice {
	return []choice{
		{faultKill, 6}, {faultStop, 4}, {faultTerm, 4},
		{faultClientKill, 3}, {faultClientPause, 2},
		{faultDelLive, 3}, {faultDelDead, 2}, {faultSetID, 3},
		{faultTerminate, 3}, {faultPostgres, 2}, {faultLock, 2}, {faultCompress, 4},
		{faultRedis, 2}, {faultCut, 2}, {faultRefuse, 1}, {faultSwallow, 1},
		{faultTrapCommit, 3}, {faultTrapRead, 2}, {faultTrapXACK, 2}, {faultTrapLetter, 2},
	}
}

// gentle is the faults that leave every ledger known and every commit's outcome certain, so that
// the sums of all ledgers must be exact.
func gentle() []choice {
	return []choice{
		{faultStop, 3}, {faultTerm, 4}, {faultClientPause, 1}, {faultDelLive, 2}, {faultSetID, 3}, {faultLock, 1}, {faultCompress, 2},
	}
}

// catch waits, every other time, until the worker has entries in flight, and keeps them there by a
// lock until release. At this load it seldom has any for long.
func (s *soak) catch(a action) (release func()) {
	slot := s.slots[a.Worker]
	if !a.Odd || slot.worker == nil || slot.stopped {
		return func() {}
	}
	release = s.lock(`EXCLUSIVE`)
	met := false
	for end := time.Now().Add(500 * time.Millisecond); !met && time.Now().Before(end); {
		after(s.t, 5*time.Millisecond)
		met = slot.worker.metric("processor_entries_in_flight") > 0
	}
	s.note("entries are in flight: %t", met)
	return release
}

func kills(s *soak, a action) func() {
	release := s.catch(a)
	s.kill(a.Worker)
	release()
	return func() { s.restart(a) }
}

func stops(s *soak, a action) func() {
	slot := s.slots[a.Worker]
	if slot.worker == nil || slot.stopped {
		return nil
	}
	w := slot.worker
	release := s.catch(a)
	w.Pause()
	release()
	slot.stopped = true
	return func() {
		if slot.worker == w {
			s.resume(a.Worker)
		}
	}
}

// terminates stops a worker in order. Every other time it stays away for a while.
func terminates(s *soak, a action) func() {
	s.terminate(a.Worker)
	if a.Odd {
		s.restart(a)
		return nil
	}
	return func() { s.restart(a) }
}

func killsClients(s *soak, _ action) func() {
	s.do("CLIENT KILL", func() error {
		return s.redis.Do(s.t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err()
	})
	return nil
}

func pausesClients(s *soak, a action) func() {
	hold := min(a.Hold, longestClientHold)
	s.do("CLIENT PAUSE", func() error {
		return s.redis.Do(s.t.Context(), "CLIENT", "PAUSE", hold.Milliseconds()).Err()
	})
	return nil
}

// deletesConsumer removes a worker's consumer while it works. Redis then forgets that the
// consumer's entries are pending. What the worker holds it finishes; what Redis has delivered and
// the worker does not hold nobody would ever read, so everything from there on is delivered again.
func deletesConsumer(s *soak, a action) func() {
	slot := s.slots[a.Worker]
	if slot.worker == nil {
		return nil
	}
	defer s.catch(a)()
	return s.deleteConsumer(slot.consumer)
}

func deletesDeadConsumer(s *soak, a action) func() {
	release := s.catch(a)
	s.kill(a.Worker)
	release()
	undo := s.deleteConsumer(s.slots[a.Worker].consumer)
	return func() {
		undo()
		s.restart(a)
	}
}

// deleteConsumerScript returns the id of the consumer's oldest pending entry and removes it, in one step.
const deleteConsumerScript = `
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if pending.err then return '' end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
if #pending == 0 then return '' end
return pending[1][1]
`

func (s *soak) deleteConsumer(name string) (undo func()) {
	oldest := make([]string, len(s.config.Streams))
	for i, of := range s.config.Streams {
		var id string
		s.do("XGROUP DELCONSUMER", func() (err error) {
			id, err = s.redis.Eval(s.t.Context(), deleteConsumerScript, []string{of}, s.config.Group, name).Text()
			if id != "" {
				oldest[i] = id // of the first attempt whose answer came
			}
			return err
		})
		s.note("%s removed from %s, its oldest pending entry is %q", name, of, oldest[i])
	}
	return func() {
		for i, id := range oldest {
			if id == "" {
				continue
			}
			parsed, err := stream.ParseID(id)
			require.NoError(s.t, err)
			s.setID(s.config.Streams[i], back(parsed, 1))
		}
	}
}

func setsBack(s *soak, a action) func() {
	name := s.config.Streams[a.Stream]
	info := s.inspect(name)
	if info.Group == nil {
		return nil
	}
	s.setID(name, back(info.Group.LastDelivered, a.Back))
	return nil
}

// setID delivers again what comes after id. Workers only ever move the group forward, so that what
// it had before is no further than what it has now.
func (s *soak) setID(name string, id stream.ID) {
	info := s.inspect(name)
	if info.Group == nil || info.Group.LastDelivered.Compare(id) <= 0 {
		return
	}
	s.note("%s: last delivered %s, set to %s", name, info.Group.LastDelivered, id)
	s.do("XGROUP SETID", func() error {
		return s.redis.XGroupSetID(s.t.Context(), name, s.config.Group, id.String()).Err()
	})
}

func (s *soak) inspect(name string) (info stream.Info) {
	s.do("XINFO", func() (err error) {
		info, err = stream.Inspect(s.t.Context(), s.redis, name, s.config.Group)
		return err
	})
	return info
}

// terminatesSessions ends the sessions of all workers, or of those that are writing.
func terminatesSessions(s *soak, a action) func() {
	state := "%"
	if a.Odd {
		state = "active"
	}
	s.execute(fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'processor' AND datname = current_database() AND state LIKE '%s'`, state))
	return nil
}

func stopsPostgres(s *soak, a action) func() {
	require.NoError(s.t, s.postgres.StopImmediate(s.t.Context()))
	if a.Odd {
		after(s.t, a.Hold/4)
	}
	require.NoError(s.t, s.postgres.Restart(s.t.Context()))
	return nil
}

// locks takes the table from everyone.
func locks(s *soak, _ action) func() { return s.lock(`ACCESS EXCLUSIVE`) }

// lock locks the table until release, or until its session ends.
func (s *soak) lock(mode string) (release func()) {
	conn, err := pgx.Connect(s.t.Context(), s.database)
	require.NoError(s.t, err)
	_, err = conn.Exec(s.t.Context(), lockTimeout+`; BEGIN; LOCK TABLE positions IN `+mode+` MODE`)
	s.tolerate(err)
	return func() { _ = conn.Close(context.WithoutCancel(s.t.Context())) }
}

// lockTimeout bounds how long an action waits for a lock of an earlier one.
const lockTimeout = `SET lock_timeout = '500ms'`

// compresses does what a policy or a DBA does to a chunk; to a plain table, what rewrites it.
func compresses(s *soak, a action) func() {
	statement := `VACUUM FULL positions`
	if s.postgres.HasTimescaleDB() {
		statement = `SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('positions') AS c ORDER BY md5(c::text || clock_timestamp()::text) LIMIT 1`
		if a.Odd {
			statement = `SELECT decompress_chunk(c, if_compressed => true) FROM show_chunks('positions') AS c`
		}
	}
	conn, err := pgx.Connect(s.t.Context(), s.database)
	require.NoError(s.t, err)
	defer conn.Close(context.WithoutCancel(s.t.Context()))
	_, err = conn.Exec(s.t.Context(), lockTimeout)
	require.NoError(s.t, err)
	_, err = conn.Exec(s.t.Context(), statement)
	s.tolerate(err)
	return nil
}

// tolerate notes that a statement lost against those of the workers, by a lock or a deadlock.
func (s *soak) tolerate(err error) {
	s.t.Helper()
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		s.note("refused: %v", refused)
		return
	}
	require.NoError(s.t, err)
}

// killsRedis restarts it from its append-only file, every other time rewritten shortly before.
func killsRedis(s *soak, a action) func() {
	if a.Odd {
		s.do("BGREWRITEAOF", func() error {
			_ = s.redis.BgRewriteAOF(s.t.Context()).Err() // refused while one goes on
			return nil
		})
		s.until("the file is rewritten", func() bool {
			info, err := s.redis.InfoMap(s.t.Context(), "persistence").Result()
			return err == nil && info["Persistence"]["aof_rewrite_in_progress"] == "0" && info["Persistence"]["aof_rewrite_scheduled"] == "0"
		})
	}
	require.NoError(s.t, s.server.Kill())
	require.NoError(s.t, s.server.Restart(s.t.Context()))
	return nil
}

func (s *soak) proxy(a action) *Proxy {
	if a.Odd {
		return s.redisProxy
	}
	return s.postgresProxy
}

func cuts(s *soak, a action) func() {
	s.proxy(a).Cut()
	return nil
}

func refuses(s *soak, a action) func() {
	s.proxy(a).Refuse()
	return s.proxy(a).Pass
}

func swallows(s *soak, a action) func() {
	s.proxy(a).Swallow()
	return s.proxy(a).Pass
}

// A trap springs when its moment comes, or is replaced by the next one.
func trapsPostgres(at Moment) fault {
	return func(s *soak, a action) func() {
		s.postgresProxy.Set(Trap{At: at, Answered: a.Odd})
		return nil
	}
}

func trapsRedis(at Moment) fault {
	return func(s *soak, a action) func() {
		s.redisProxy.Set(Trap{At: at, Answered: a.Odd})
		return nil
	}
}
