-- For compose.yaml only. These passwords are public: do not use them elsewhere.
ALTER ROLE processor_migrate PASSWORD 'demo-migrate';
ALTER ROLE processor PASSWORD 'demo-worker';
