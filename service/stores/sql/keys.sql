-- name: keys
SELECT id, kind, sealed, created_at, active_from, retired_at FROM service_key ORDER BY created_at;

-- name: add_key!
INSERT INTO service_key (id, kind, sealed, created_at, active_from) VALUES (:id, :kind, :sealed, :now, :active_from);

-- name: try_lock_keys$
SELECT pg_try_advisory_xact_lock(hashtext('doorward.service_key'));

-- name: retire_key!
-- The key goes with it: a copy of the row, and of the encryption key, must sign nothing later.
UPDATE service_key SET retired_at = :now, sealed = '' WHERE id = :id AND retired_at IS NULL;

-- name: keys_sealed_otherwise
SELECT id, kind, sealed FROM service_key
WHERE retired_at IS NULL AND id > :after
  AND substring(sealed FROM 1 FOR octet_length(CAST(:prefix AS bytea))) <> CAST(:prefix AS bytea)
ORDER BY id LIMIT :most;

-- name: reseal_keys
-- Only where the record is the one that was opened: whatever was written meanwhile stands.
UPDATE service_key k SET sealed = t.new
FROM unnest(CAST(:ids AS text[]), CAST(:olds AS bytea[]), CAST(:news AS bytea[])) AS t (id, old, new)
WHERE k.id = t.id AND k.sealed = t.old
RETURNING k.id;
