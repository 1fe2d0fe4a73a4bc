-- name: record!
INSERT INTO audit_event (id, at, name, result, person_id, actor_id, client_id, session_id, factor_id, address, browser, place, request_id, detail)
SELECT :id, :at, :name, :result, :person, CAST(:actor AS uuid), :client, :session, :factor, :address, :browser, :place, :request_id, :detail
-- With `unless_since` at most one row of the name for each time: strangers must not fill the table.
WHERE CAST(:unless_since AS timestamptz) IS NULL
   OR NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.person_id = :person AND e.name = :name AND e.at > :unless_since);

-- name: sign_ins
SELECT id, at, result, session_id, address, browser, place, detail ->> 'method' AS method FROM audit_event
WHERE person_id = :person AND name = ANY(CAST(:names AS text[]))
  AND (CAST(:before AS uuid) IS NULL OR id < :before)
  AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR at < :until)
  AND (CAST(:address AS inet) IS NULL OR address = :address)
ORDER BY id DESC LIMIT :limit;
