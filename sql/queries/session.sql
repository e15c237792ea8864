-- What each session of the worker says before anything else.

-- name: KeepCommitsDurable :exec
-- XACK follows the commit, so a commit must be on disk when it is answered. Only off is raised:
-- local, remote_write and remote_apply are the DBA's choice, and on waits for standbys where
-- synchronous_standby_names has some.
SELECT set_config('synchronous_commit', 'on', FALSE)
WHERE current_setting('synchronous_commit') = 'off';
