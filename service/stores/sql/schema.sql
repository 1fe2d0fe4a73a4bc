-- name: create_ledger#
CREATE TABLE IF NOT EXISTS schema_migration (
  version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: ledger_exists$
SELECT to_regclass('schema_migration') IS NOT NULL;

-- name: applied
SELECT version, name, checksum, applied_at FROM schema_migration ORDER BY version;

-- name: note!
INSERT INTO schema_migration (version, name, checksum) VALUES (:version, :name, :checksum);
