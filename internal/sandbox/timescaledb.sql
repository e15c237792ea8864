-- An extension belongs to one database. The server has loaded its library already.
CREATE EXTENSION IF NOT EXISTS timescaledb;
