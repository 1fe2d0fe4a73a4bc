-- name: add_trust!
INSERT INTO trusted_browser (id, person_id, digest, epoch, session_id, address, browser, place, created_at, expires_at)
VALUES (:id, :person, :digest, :epoch, :session, :address, :browser, :place, :now, :expires_at);

-- name: use_trust$
-- Each value of a token opens one session: the statement that finds it replaces it. `most` is what the setting allows
-- today, in seconds: a shorter one counts for the browsers trusted before as well.
UPDATE trusted_browser SET digest = :successor, used_at = :now, used_address = :address
WHERE id = :id AND person_id = :person AND digest = :digest AND epoch = :epoch
  AND ended_at IS NULL AND least(expires_at, created_at + make_interval(secs => :most)) > :now
RETURNING least(expires_at, created_at + make_interval(secs => :most));

-- name: end_copied_trust
-- A token that an earlier use replaced: one of its two holders has a copy. One that comes just after that use is
-- another tab's, or a form that was sent twice.
UPDATE trusted_browser SET ended_at = :now, end_reason = 'copied'
WHERE id = :id AND person_id = :person AND digest <> :digest AND epoch = :epoch
  AND ended_at IS NULL AND least(expires_at, created_at + make_interval(secs => :most)) > :now AND used_at < :straggler
RETURNING id;

-- name: end_trust
-- One trusted browser of a person, or all of them.
UPDATE trusted_browser SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM trusted_browser WHERE person_id = :person AND ended_at IS NULL
             AND (CAST(:id AS uuid) IS NULL OR id = :id) ORDER BY id FOR UPDATE)
RETURNING id;

-- name: end_trust_of_session
-- What a session made, or stands on.
UPDATE trusted_browser SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT t.id FROM trusted_browser t WHERE t.person_id = :person AND t.ended_at IS NULL
             AND (t.session_id = :session OR t.id = (SELECT s.trusted_browser_id FROM session s WHERE s.id = :session))
             ORDER BY t.id FOR UPDATE)
RETURNING id;

-- name: end_oldest_trust
UPDATE trusted_browser SET ended_at = :now, end_reason = :reason
WHERE id IN (SELECT id FROM trusted_browser WHERE person_id = :person AND ended_at IS NULL
             ORDER BY created_at DESC, id DESC OFFSET :kept FOR UPDATE)
RETURNING id;

-- name: sessions_on_trust
-- Sessions that stand on nothing but a password and one of these browsers.
SELECT id FROM session
WHERE person_id = :person AND ended_at IS NULL AND NOT 'mfa' = ANY(amr)
  AND trusted_browser_id = ANY(CAST(:browsers AS uuid[])) AND id IS DISTINCT FROM CAST(:kept AS uuid)
ORDER BY id;

-- name: trusted_browsers
-- The latest used first.
SELECT t.id, t.digest, t.browser, t.address, t.place, t.created_at, t.used_at, coalesce(t.used_address, t.address) AS seen_address,
       least(t.expires_at, t.created_at + make_interval(secs => :most)) AS expires_at
FROM trusted_browser t JOIN person p ON p.id = t.person_id
WHERE t.person_id = :person AND t.epoch = p.epoch AND t.ended_at IS NULL
  AND least(t.expires_at, t.created_at + make_interval(secs => :most)) > :now
ORDER BY coalesce(t.used_at, t.created_at) DESC, t.id DESC;

-- name: person_of_trust$
SELECT person_id FROM trusted_browser WHERE id = :id;

-- name: sweep_trust
DELETE FROM trusted_browser WHERE id IN (SELECT id FROM trusted_browser WHERE expires_at < :before LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING 1;
