-- How a batch that holds bad rows is tried part by part, in one transaction. There is one savepoint
-- at any time, however many parts fail: nested ones would cost the server memory for each.

-- name: SavePart :exec
-- Before the first part, and after each that was kept.
SAVEPOINT part;

-- name: KeepPart :exec
RELEASE SAVEPOINT part;

-- name: DropPart :exec
-- The savepoint stays, and serves the next part.
ROLLBACK TO SAVEPOINT part;
