-- name: take
-- A lease: whoever takes a notice has until `until` to say what became of it, and then it is due again. At most
-- `of_one` notices of a client, and none of the `busy` ones: many notices of one slow portal leave room for others.
WITH due AS (
  SELECT session_id, client_id, next_at FROM logout_notice
  WHERE done_at IS NULL AND next_at <= :now AND client_id <> ALL (CAST(:busy AS text[]))
  ORDER BY next_at LIMIT 200
), placed AS (
  SELECT session_id, client_id, row_number() OVER (PARTITION BY client_id ORDER BY next_at, session_id) AS place FROM due
), held AS (
  SELECT n.session_id, n.client_id FROM logout_notice n JOIN placed p USING (session_id, client_id)
  -- Said again here: between the look and the lock another node may have taken it.
  WHERE p.place <= :of_one AND n.done_at IS NULL AND n.next_at <= :now
  ORDER BY n.next_at LIMIT :most
  FOR UPDATE OF n SKIP LOCKED
)
UPDATE logout_notice n SET next_at = :until, attempts = n.attempts + 1
FROM held, session, person, client
WHERE n.session_id = held.session_id AND n.client_id = held.client_id
  AND session.id = n.session_id AND person.id = session.person_id AND client.id = n.client_id
RETURNING n.session_id, n.client_id, n.attempts, n.created_at, person.id AS person_id, person.sub,
  client.backchannel_logout_uri, client.id_token_signed_response_alg, client.disabled_at IS NOT NULL AS disabled;

-- name: finish$
UPDATE logout_notice SET done_at = :now, failure = :failure
WHERE session_id = :session AND client_id = :client AND done_at IS NULL
RETURNING true;

-- name: put_off$
-- Only by whoever tried last: one whose lease ran out must not move what another is sending.
UPDATE logout_notice SET next_at = :next_at
WHERE session_id = :session AND client_id = :client AND done_at IS NULL AND attempts = :attempts
RETURNING true;

-- name: sweep
DELETE FROM logout_notice WHERE (session_id, client_id) IN
  (SELECT session_id, client_id FROM logout_notice WHERE done_at < :before LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING 1;
