package cli

// kong prints what Help returns below a command's summary.

func (runCmd) Help() string {
	return `Examples:
  REDIS_URL=redis://redis:6379/0 DATABASE_URL=postgres://processor@db/telemetry processor
  processor run --redis-url-file /run/secrets/redis --database-url-file /run/secrets/database
  processor run --redis-stream telemetry:t,telemetry:u --writers 8`
}

func (migrateUpCmd) Help() string {
	return `Example:
  processor migrate up --database-url postgres://processor_migrate@db/telemetry

The dbmate CLI does the same: dbmate --env-file dbmate.env migrate`
}

func (publishCmd) Help() string {
	return `Examples:
  processor publish --redis-url redis://localhost:6379/0 --rate 5000 --devices 10000
  processor publish --redis-url redis://localhost:6379/0 --rate 0 --count 200000`
}
