-- What each session of the worker says before anything else.

-- name: PinSession :exec
-- Each setting gets its value from the session itself: a reload of postgresql.conf (ALTER SYSTEM),
-- or a pooler that gives the session to another role, cannot change it afterwards.
--   synchronous_commit             XACK follows the commit, so a commit must be on disk when it is
--                                  confirmed: off becomes on. local, remote_write, remote_apply and
--                                  on are the DBA's choice and stay.
--   client_encoding                payloads are UTF-8; with another one PostgreSQL would convert them.
--   search_path                    positions stays the table that was checked.
--   default_transaction_isolation  the upsert must see rows that others committed after it began.
SELECT
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, FALSE),
    set_config('client_encoding', 'UTF8', FALSE),
    set_config('search_path', current_setting('search_path'), FALSE),
    set_config('default_transaction_isolation', 'read committed', FALSE);
