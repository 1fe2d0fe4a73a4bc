-- name: open_session!
-- Session and family in one statement: neither is ever seen without the other.
WITH opened AS (
  INSERT INTO session (id, person_id, epoch, amr, auth_time, address, browser, created_at)
  VALUES (:session, :person, :epoch, :amr, :auth_time, :address, :browser, :now)
)
INSERT INTO refresh_family (id, session_id, person_id, client_id, scope, salt, key_id, last_address, last_browser, created_at, idle_at, absolute_at)
VALUES (:family, :session, :person, :client, :scope, :salt, :key_id, :address, :browser, :now, :idle_at, :absolute_at);

-- name: family^
SELECT f.id, f.session_id, f.person_id, f.client_id, f.scope, f.generation, f.salt, f.key_id, f.rotated_at,
       f.last_address, f.last_browser, f.idle_at, f.absolute_at, f.ended_at, f.end_reason,
       s.epoch, s.amr, s.auth_time, s.ended_at AS session_ended_at, s.end_reason AS session_end_reason,
       p.sub, p.epoch AS person_epoch, p.disabled_at
FROM refresh_family f JOIN session s ON s.id = f.session_id JOIN person p ON p.id = f.person_id
WHERE f.id = :family;

-- name: rotate_family$
-- One statement, one lock: the presented generation is the row's (or a later one, after a lost write), and everything
-- above the family is still alive.
UPDATE refresh_family f SET
  generation = :presented + 1, rotated_at = (array_prepend(CAST(:now AS timestamptz), f.rotated_at))[1: 8],
  idle_at = least(CAST(:idle_at AS timestamptz), f.absolute_at), last_address = :address, last_browser = :browser
FROM session s, person p
WHERE f.id = :family AND f.generation <= :presented AND f.ended_at IS NULL AND f.idle_at > :now AND f.absolute_at > :now
  AND s.id = f.session_id AND s.ended_at IS NULL AND p.id = f.person_id AND p.disabled_at IS NULL AND s.epoch = p.epoch
RETURNING f.generation;

-- name: bearer^
SELECT s.id, s.person_id, s.epoch, s.amr, s.auth_time, s.ended_at, p.epoch AS person_epoch, p.disabled_at, p.roles,
       f.ended_at AS family_ended_at
FROM refresh_family f JOIN session s ON s.id = f.session_id JOIN person p ON p.id = s.person_id
WHERE f.id = :family AND s.id = :session;

-- name: end_session$
UPDATE session SET ended_at = :now, end_reason = :reason
WHERE id = :session AND person_id = :person AND ended_at IS NULL
RETURNING id;

-- name: end_families_of_session!
UPDATE refresh_family SET ended_at = :now, end_reason = :reason
WHERE session_id = :session AND ended_at IS NULL;

-- name: end_sessions
-- Every session of the person but `kept`, in the order of their ids.
UPDATE session SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM session WHERE person_id = :person AND ended_at IS NULL
             AND id IS DISTINCT FROM CAST(:kept AS uuid) ORDER BY id FOR UPDATE)
RETURNING id;

-- name: end_families!
UPDATE refresh_family SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM refresh_family WHERE person_id = :person AND ended_at IS NULL
             AND session_id IS DISTINCT FROM CAST(:kept AS uuid) ORDER BY id FOR UPDATE);

-- name: strengthen_session$
-- The acting session proved itself anew, or lives through a change that ended the others.
UPDATE session SET auth_time = :auth_time, amr = :amr, epoch = :epoch
WHERE id = :session AND ended_at IS NULL
RETURNING id;
