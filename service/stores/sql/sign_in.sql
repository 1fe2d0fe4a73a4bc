-- name: open_pre_auth!
INSERT INTO pre_auth (digest, id, person_id, client_id, step, epoch, amr, auth_time, known, created_at, expires_at)
VALUES (:digest, :id, :person, :client, :step, :epoch, :amr, :auth_time, :known, :now, :expires_at);

-- name: pending_sign_in^
SELECT t.id AS pre_auth_id, t.person_id, t.client_id, t.step, t.epoch, t.amr, t.auth_time, t.known, t.attempts,
       t.expires_at, t.consumed_at, p.epoch AS person_epoch, p.sub, p.email, p.name, p.roles,
       p.email_verified_at, p.must_change_password, p.disabled_at, p.code_salt, p.password_hash,
       CASE WHEN t.known THEN p.known_failures ELSE p.stranger_failures END AS failures,
       CASE WHEN t.known THEN p.known_streak ELSE p.stranger_streak END AS streak,
       EXISTS (SELECT 1 FROM authenticator a WHERE a.person_id = p.id AND a.confirmed_at IS NOT NULL) AS enrolled
FROM pre_auth t JOIN person p ON p.id = t.person_id
WHERE t.digest = :digest;

-- name: try_pre_auth$
-- Claims one of the token's tries, and with `spend` the token itself. No row: it is gone.
UPDATE pre_auth SET attempts = attempts + 1, consumed_at = CASE WHEN :spend THEN CAST(:now AS timestamptz) END
WHERE digest = :digest AND consumed_at IS NULL AND attempts < :limit AND expires_at > :now
RETURNING attempts;

-- name: unspend_pre_auth!
-- The code turned out to be burnt by another: the token lives on, its try stays counted.
UPDATE pre_auth SET consumed_at = NULL WHERE digest = :digest;

-- name: spend_pre_auth$
-- For a step that needs no code, or whose try is counted already.
UPDATE pre_auth SET consumed_at = :now
WHERE digest = :digest AND consumed_at IS NULL AND expires_at > :now
RETURNING digest;

-- name: prolong_pre_auth$
-- Bounded from the token's birth: starting an enrolment again and again must not keep it alive.
UPDATE pre_auth SET expires_at = greatest(expires_at,
  least(CAST(:now AS timestamptz) + make_interval(secs => :seconds), created_at + make_interval(secs => :most)))
WHERE digest = :digest AND consumed_at IS NULL AND attempts < :limit AND expires_at > :now
RETURNING digest;
