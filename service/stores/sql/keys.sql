-- name: keys
SELECT id, kind, sealed, created_at, active_from, retired_at FROM service_key ORDER BY created_at;

-- name: add_key!
INSERT INTO service_key (id, kind, sealed, created_at, active_from) VALUES (:id, :kind, :sealed, :now, :active_from);

-- name: try_lock_keys$
SELECT pg_try_advisory_xact_lock(hashtext('doorward.service_key'));

-- name: retire_key!
-- The key goes with it: a copy of the row, and of the encryption key, must sign nothing later.
UPDATE service_key SET retired_at = :now, sealed = '' WHERE id = :id AND retired_at IS NULL;
