-- Whether CREATE EXTENSION timescaledb can work: the files are there and, as it demands, preloaded.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
   AND current_setting('shared_preload_libraries') LIKE '%timescaledb%';
