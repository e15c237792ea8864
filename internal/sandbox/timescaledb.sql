-- The server has loaded the library; the extension is created per database.
CREATE EXTENSION IF NOT EXISTS timescaledb;
