-- For compose.yaml alone. Anybody can read them here, so they protect nothing.
ALTER ROLE processor_migrate PASSWORD 'demo-migrate';
ALTER ROLE processor PASSWORD 'demo-worker';
