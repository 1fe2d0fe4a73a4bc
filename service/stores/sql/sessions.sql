-- name: open_session!
-- Session and family in one statement: neither is ever seen without the other.
WITH opened AS (
  INSERT INTO session (id, person_id, epoch, amr, auth_time, client_id, address, browser, place, created_at)
  VALUES (:session, :person, :epoch, :amr, :auth_time, :client, :address, :browser, :place, :now)
)
INSERT INTO refresh_family (id, session_id, person_id, client_id, scope, salt, key_id, last_address, last_browser, created_at, idle_at, absolute_at)
VALUES (:family, :session, :person, :client, :scope, :salt, :key_id, :address, :browser, :now, :idle_at, :absolute_at);

-- name: add_family!
-- What a client got in a session that stands.
INSERT INTO refresh_family (id, session_id, person_id, client_id, scope, claims, offline, salt, key_id, last_address, last_browser, created_at, idle_at, absolute_at)
VALUES (:family, :session, :person, :client, :scope, :claims, :offline, :salt, :key_id, :address, :browser, :now, :idle_at, :absolute_at);

-- name: end_family$
UPDATE refresh_family SET ended_at = :now, end_reason = :reason WHERE id = :family AND ended_at IS NULL
RETURNING id;

-- name: open_browser_session!
INSERT INTO session (id, person_id, epoch, amr, auth_time, client_id, address, browser, place, created_at,
                     trusted_browser_id, cookie, seen_at, seen_address, idle_at, absolute_at)
VALUES (:session, :person, :epoch, :amr, :auth_time, :client, :address, :browser, :place, :now,
        :trusted, :cookie, :now, :address, :idle_at, :absolute_at);

-- name: browser^
SELECT s.id, s.person_id, s.client_id, s.epoch, s.amr, s.auth_time, s.seen_at, s.idle_at, s.absolute_at, s.ended_at, s.end_reason,
       p.epoch AS person_epoch, p.disabled_at, p.roles
FROM session s JOIN person p ON p.id = s.person_id
WHERE s.cookie = :cookie;

-- name: see_session!
UPDATE session SET seen_at = :now, seen_address = :address, idle_at = least(CAST(:idle_at AS timestamptz), absolute_at)
WHERE id = :session AND ended_at IS NULL AND seen_at < :now;

-- name: family^
-- One that is not offline has no life beyond its session's, and ends with it.
SELECT f.id, f.session_id, f.person_id, f.client_id, f.scope, f.claims, f.generation, f.salt, f.key_id, f.rotated_at, f.offline,
       f.last_address, f.last_browser, s.cookie IS NOT NULL AS in_browser, s.epoch, s.amr, s.auth_time, s.seen_at,
       s.ended_at AS session_ended_at, s.idle_at AS session_idle_at, s.absolute_at AS session_absolute_at,
       coalesce(f.ended_at, CASE WHEN NOT f.offline THEN s.ended_at END) AS ended_at,
       coalesce(f.end_reason, CASE WHEN NOT f.offline THEN s.end_reason END) AS end_reason,
       least(f.idle_at, CASE WHEN NOT f.offline THEN s.idle_at END) AS idle_at,
       least(f.absolute_at, CASE WHEN NOT f.offline THEN s.absolute_at END) AS absolute_at,
       p.sub, p.roles, p.epoch AS person_epoch, p.disabled_at
FROM refresh_family f JOIN session s ON s.id = f.session_id JOIN person p ON p.id = f.person_id
WHERE f.id = :family;

-- name: rotate_family$
-- One statement, one lock: the presented generation is the row's (or a later one, after a lost write), and everything
-- above the family is still alive. One time for each generation jumped: a straggler of a second ago is no thief.
UPDATE refresh_family f SET
  generation = :presented + 1,
  rotated_at = (array_fill(CAST(:now AS timestamptz), ARRAY[least(8, :presented + 1 - f.generation)]) || f.rotated_at)[1: 8],
  idle_at = least(CAST(:idle_at AS timestamptz), f.absolute_at), last_address = :address, last_browser = :browser
FROM session s, person p
WHERE f.id = :family AND f.generation <= :presented AND f.ended_at IS NULL AND f.idle_at > :now AND f.absolute_at > :now
  AND s.id = f.session_id AND p.id = f.person_id AND p.disabled_at IS NULL AND s.epoch = p.epoch
  AND (f.offline OR (s.ended_at IS NULL AND coalesce(least(s.idle_at, s.absolute_at) > :now, true)))
RETURNING f.generation;

-- name: bearer^
-- Of an offline grant its own end and lives count alone.
SELECT s.id, s.person_id, s.epoch, s.amr, s.auth_time, p.epoch AS person_epoch, p.roles, f.claims, f.client_id,
       coalesce(p.disabled_at, c.disabled_at) AS disabled_at,
       coalesce(f.ended_at, CASE WHEN NOT f.offline THEN s.ended_at END) AS ended_at,
       coalesce(CASE WHEN NOT f.offline THEN s.idle_at END, f.idle_at) AS idle_at,
       least(CASE WHEN NOT f.offline THEN s.absolute_at END, f.absolute_at) AS absolute_at
FROM refresh_family f JOIN session s ON s.id = f.session_id JOIN person p ON p.id = s.person_id LEFT JOIN client c ON c.id = f.client_id
WHERE f.id = :family AND s.id = :session;

-- name: end_session$
UPDATE session SET ended_at = :now, end_reason = :reason
WHERE id = :session AND person_id = :person AND ended_at IS NULL
RETURNING id;

-- name: end_families_of_session!
-- An offline one stays where the end leaves it, and its client may still have such.
UPDATE refresh_family f SET ended_at = :now, end_reason = :reason
WHERE session_id = :session AND ended_at IS NULL AND NOT (offline AND :offline_stays AND EXISTS (
  SELECT FROM client WHERE client.id = f.client_id AND 'offline_access' = ANY(client.scopes)));

-- name: owe_logouts!
-- A client that got something in a session is told of its end, whatever became of its grant.
INSERT INTO logout_notice (session_id, client_id, created_at, next_at)
SELECT DISTINCT f.session_id, f.client_id, CAST(:now AS timestamptz), CAST(:now AS timestamptz)
FROM refresh_family f JOIN client c ON c.id = f.client_id
WHERE f.session_id = ANY(CAST(:sessions AS uuid[])) AND c.backchannel_logout_uri IS NOT NULL AND c.disabled_at IS NULL
ON CONFLICT DO NOTHING;

-- name: expire_sessions
-- What outlived a life ended then, and for that reason, whether or not anybody wrote it down yet.
WITH outlived AS (
  SELECT s.id, least(l.idle_at, l.absolute_at) AS at, CASE WHEN l.idle_at < l.absolute_at THEN 'idle' ELSE 'absolute' END AS reason
  FROM session s
  LEFT JOIN LATERAL (SELECT * FROM refresh_family r WHERE r.session_id = s.id AND s.cookie IS NULL ORDER BY r.ended_at DESC NULLS FIRST, r.id DESC LIMIT 1) f ON true
  CROSS JOIN LATERAL (SELECT coalesce(f.idle_at, s.idle_at) AS idle_at, coalesce(f.absolute_at, s.absolute_at) AS absolute_at) l
  WHERE s.person_id = :person AND s.ended_at IS NULL AND least(l.idle_at, l.absolute_at) <= :now
  ORDER BY s.id FOR UPDATE OF s
), families AS (
  UPDATE refresh_family f SET ended_at = o.at, end_reason = o.reason FROM outlived o
  WHERE f.session_id = o.id AND f.ended_at IS NULL AND NOT (f.offline AND EXISTS (
    SELECT FROM client WHERE client.id = f.client_id AND 'offline_access' = ANY(client.scopes)))
)
UPDATE session s SET ended_at = o.at, end_reason = o.reason
FROM outlived o WHERE s.id = o.id
RETURNING s.id, s.client_id, s.end_reason;

-- name: outlived
-- People with a browser's session that outlived a life, which nobody has written down yet.
SELECT DISTINCT person_id FROM (
  SELECT person_id FROM session WHERE ended_at IS NULL AND cookie IS NOT NULL AND least(idle_at, absolute_at) <= :now LIMIT :most
) AS found;

-- name: end_grants
-- What one client holds of a person, in the order of the ids.
UPDATE refresh_family SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM refresh_family WHERE person_id = :person AND client_id = :client AND ended_at IS NULL ORDER BY id FOR UPDATE)
RETURNING id;

-- name: end_sessions
-- Every session of the person but `kept`, in the order of their ids.
UPDATE session SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM session WHERE person_id = :person AND ended_at IS NULL
             AND id IS DISTINCT FROM CAST(:kept AS uuid) ORDER BY id FOR UPDATE)
RETURNING id;

-- name: end_families!
-- An offline grant goes with the kept session too: it is what whoever had that browser for a minute would leave behind.
UPDATE refresh_family SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM refresh_family WHERE person_id = :person AND ended_at IS NULL
             AND (offline OR session_id IS DISTINCT FROM CAST(:kept AS uuid)) ORDER BY id FOR UPDATE);

-- name: renew_session$
-- The acting session proved itself anew, or lives through a change that ended the others.
UPDATE session SET auth_time = :auth_time, amr = :amr, epoch = :epoch, cookie = coalesce(:cookie, cookie)
WHERE id = :session AND ended_at IS NULL
RETURNING id;

-- name: living_session$
-- Locked, so that whatever ends it waits for the act it is about to do, or the act sees its end.
SELECT epoch FROM session WHERE id = :session AND ended_at IS NULL FOR NO KEY UPDATE;

-- name: person_of_session$
SELECT person_id FROM session WHERE id = :session;

-- name: sessions_of_person
-- Newest first. One that outlived a life has ended, whether or not anybody wrote it down yet.
SELECT * FROM (
  SELECT s.id, s.client_id, s.amr, s.auth_time, s.address, s.browser, s.place, s.created_at, s.cookie IS NOT NULL AS in_browser,
         coalesce(f.rotated_at[1], s.seen_at, s.created_at) AS seen_at,
         coalesce(f.last_address, s.seen_address, s.address) AS seen_address,
         coalesce(s.ended_at, f.ended_at, CASE WHEN l.outlived THEN least(l.idle_at, l.absolute_at) END) AS ended_at,
         coalesce(s.end_reason, f.end_reason, CASE WHEN NOT l.outlived THEN NULL WHEN l.idle_at < l.absolute_at THEN 'idle' ELSE 'absolute' END) AS end_reason
  FROM session s
  LEFT JOIN LATERAL (SELECT * FROM refresh_family r WHERE r.session_id = s.id AND s.cookie IS NULL ORDER BY r.ended_at DESC NULLS FIRST, r.id DESC LIMIT 1) f ON true
  CROSS JOIN LATERAL (SELECT coalesce(f.idle_at, s.idle_at) AS idle_at, coalesce(f.absolute_at, s.absolute_at) AS absolute_at,
                             least(f.idle_at, s.idle_at, f.absolute_at, s.absolute_at) <= :now AS outlived) l
  WHERE s.person_id = :person AND (CAST(:before AS uuid) IS NULL OR s.id < :before)
    AND (s.ended_at IS NULL OR CAST(:ended AS boolean) IS DISTINCT FROM false)
) AS told
WHERE CAST(:ended AS boolean) IS NULL OR (ended_at IS NOT NULL) = :ended
ORDER BY id DESC LIMIT :limit;

-- name: portals_of_sessions
-- The registered clients that hold something living in each of these sessions, with what it lets them have.
SELECT f.session_id, f.client_id, c.name, array_agg(DISTINCT one ORDER BY one) AS scopes, min(f.created_at) AS since
FROM refresh_family f JOIN client c ON c.id = f.client_id CROSS JOIN unnest(string_to_array(f.scope, ' ')) AS one
WHERE f.session_id = ANY(CAST(:sessions AS uuid[])) AND f.person_id = :person
  AND f.ended_at IS NULL AND f.idle_at > :now AND f.absolute_at > :now
GROUP BY f.session_id, f.client_id, c.name
ORDER BY c.name, f.client_id;

-- name: families_under$
SELECT count(*) FROM refresh_family
WHERE key_id = :key_id AND ended_at IS NULL AND idle_at > :now AND absolute_at > :now;
