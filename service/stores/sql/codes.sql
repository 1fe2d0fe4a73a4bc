-- name: open_request!
INSERT INTO authorization_request (digest, browser, client_id, redirect_uri, parameters, created_at, expires_at)
VALUES (:digest, :browser, :client, :redirect_uri, :parameters, :now, :expires_at);

-- name: request^
-- Only for the browser that began it; an answered or expired one is told apart, since each has a page.
SELECT client_id, redirect_uri, parameters, created_at, expires_at, answered_at, chosen_by, allowed_by, denied_by
FROM authorization_request WHERE digest = :digest AND browser = :browser;

-- name: answer_request$
-- One request has one answer, however many tabs ask for it.
UPDATE authorization_request SET answered_at = :now
WHERE digest = :digest AND browser = :browser AND answered_at IS NULL AND expires_at > :now
RETURNING client_id;

-- name: add_code!
INSERT INTO authorization_code (digest, client_id, redirect_uri, session_id, person_id, scope, nonce, code_challenge, claims, created_at, expires_at)
VALUES (:digest, :client, :redirect_uri, :session, :person, :scope, :nonce, :code_challenge, :claims, :now, :expires_at);

-- name: code^
-- With its session and person, whatever their state.
SELECT c.client_id, c.redirect_uri, c.session_id, c.person_id, c.scope, c.nonce, c.code_challenge, c.claims, c.expires_at, c.used_at, c.family_id,
       s.amr, s.auth_time, s.epoch, s.ended_at, s.idle_at, s.absolute_at, p.sub, p.roles, p.epoch AS person_epoch, p.disabled_at
FROM authorization_code c JOIN session s ON s.id = c.session_id JOIN person p ON p.id = c.person_id
WHERE c.digest = :digest;

-- name: spend_code$
UPDATE authorization_code SET used_at = :now, family_id = :family
WHERE digest = :digest AND used_at IS NULL AND expires_at > :now
RETURNING digest;

-- name: consent$
SELECT scopes FROM consent WHERE person_id = :person AND client_id = :client;

-- name: grant_consent!
INSERT INTO consent AS c (person_id, client_id, scopes, granted_at) VALUES (:person, :client, :scopes, :now)
ON CONFLICT (person_id, client_id) DO UPDATE
SET scopes = ARRAY(SELECT DISTINCT unnest(c.scopes || excluded.scopes) ORDER BY 1), granted_at = excluded.granted_at;

-- name: revoke_consent!
DELETE FROM consent WHERE person_id = :person AND client_id = :client;

-- name: void_codes!
-- Codes that were given and not redeemed yet buy nothing any more.
UPDATE authorization_code SET used_at = :now WHERE person_id = :person AND client_id = :client AND used_at IS NULL;

-- name: consents
-- What third parties were allowed, and what first parties may do while the person is away.
SELECT consent.client_id, client.name, consent.scopes, consent.granted_at
FROM consent JOIN client ON client.id = consent.client_id
WHERE person_id = :person
UNION ALL
SELECT f.client_id, client.name, array_agg(DISTINCT one ORDER BY one), min(f.created_at)
FROM refresh_family f JOIN client ON client.id = f.client_id CROSS JOIN unnest(string_to_array(f.scope, ' ')) AS one
WHERE f.person_id = :person AND f.offline AND f.ended_at IS NULL AND f.idle_at > :now AND f.absolute_at > :now
  AND NOT EXISTS (SELECT FROM consent WHERE consent.person_id = f.person_id AND consent.client_id = f.client_id)
GROUP BY f.client_id, client.name
ORDER BY granted_at DESC, client_id;

-- name: decide$
-- What a person says to a request counts in the session in which they say it.
UPDATE authorization_request SET
  chosen_by = CASE WHEN CAST(:decision AS text) = 'stay' THEN CAST(:session AS uuid) ELSE chosen_by END,
  allowed_by = CASE WHEN :decision = 'allow' THEN CAST(:session AS uuid) ELSE allowed_by END,
  denied_by = CASE WHEN :decision = 'deny' THEN CAST(:session AS uuid) ELSE denied_by END
WHERE digest = :digest AND browser = :browser AND answered_at IS NULL
RETURNING client_id;

-- name: push_request!
INSERT INTO pushed_request (digest, client_id, parameters, created_at, expires_at)
VALUES (:digest, :client, :parameters, :now, :expires_at);

-- name: pull_request$
UPDATE pushed_request SET used_at = :now
WHERE digest = :digest AND client_id = :client AND used_at IS NULL AND expires_at > :now
RETURNING parameters;

-- name: sweep_requests
DELETE FROM authorization_request WHERE digest IN (SELECT digest FROM authorization_request WHERE expires_at < :before LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING 1;

-- name: sweep_codes
DELETE FROM authorization_code WHERE digest IN (SELECT digest FROM authorization_code WHERE expires_at < :before LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING 1;

-- name: sweep_pushed
DELETE FROM pushed_request WHERE digest IN (SELECT digest FROM pushed_request WHERE expires_at < :before LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING 1;
