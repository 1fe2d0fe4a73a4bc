-- name: keys
SELECT id, kind, sealed, created_at, active_from, retired_at FROM service_key ORDER BY created_at;

-- name: add_key!
INSERT INTO service_key (id, kind, sealed, created_at, active_from) VALUES (:id, :kind, :sealed, :now, :active_from);

-- name: try_lock_keys$
SELECT pg_try_advisory_xact_lock(hashtext('doorward.service_key'));
