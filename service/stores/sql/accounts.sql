-- name: create_person^
INSERT INTO person (id, sub, email, name, password_hash, roles, email_verified_at, must_change_password, code_salt, created_at)
VALUES (:id, :sub, :email, :display_name, :password_hash, :roles, :email_verified_at, :must_change_password, :code_salt, :now)
ON CONFLICT (email) DO NOTHING
RETURNING id;

-- name: person_by_email^
SELECT id, sub, email, name, language, password_hash, roles, email_verified_at, must_change_password, disabled_at, epoch,
       EXISTS (SELECT 1 FROM authenticator a WHERE a.person_id = person.id AND a.confirmed_at IS NOT NULL) AS enrolled
FROM person WHERE email = :email;

-- name: person_by_id^
SELECT id, sub, email, name, language, password_hash, roles, email_verified_at, must_change_password, disabled_at, epoch,
       EXISTS (SELECT 1 FROM authenticator a WHERE a.person_id = person.id AND a.confirmed_at IS NOT NULL) AS enrolled
FROM person WHERE id = :person;

-- name: hold_person^
-- The person's row comes first in the order of locks; NO KEY, since inserts that refer to it must not wait.
SELECT epoch, disabled_at IS NOT NULL AS disabled FROM person WHERE id = :person FOR NO KEY UPDATE;

-- name: raise_epoch$
UPDATE person SET epoch = epoch + 1 WHERE id = :person RETURNING epoch;

-- name: profile^
SELECT phone_number, address FROM person WHERE id = :person;

-- name: set_profile!
UPDATE person SET name = :display_name, language = :language, phone_number = :phone_number, address = CAST(:address AS jsonb)
WHERE id = :person;

-- name: disable_person!
UPDATE person SET disabled_at = coalesce(disabled_at, :now) WHERE id = :person;

-- name: enable_person!
UPDATE person SET disabled_at = NULL WHERE id = :person;

-- name: set_password!
UPDATE person SET password_hash = :password_hash, must_change_password = false WHERE id = :person;

-- name: rehash_password!
-- The same password under today's parameters; the old hash in the condition keeps a change made meanwhile.
UPDATE person SET password_hash = :password_hash WHERE email = :email AND password_hash = :old_hash;

-- name: admit_password$
-- Admission adds to `pending`. Below the free number any may come; beyond it one at a time, after the wait.
-- Pending tries older than the stale time belong to a process that died; they are forgotten.
INSERT INTO password_tries AS t (key, pending, pending_since) VALUES (:key, 1, :now)
ON CONFLICT (key) DO UPDATE SET
  failures = CASE WHEN t.failed_at < :forgotten THEN 0 ELSE t.failures END,
  pending = CASE WHEN t.pending_since < :stale THEN 1 ELSE t.pending + 1 END,
  pending_since = :now
WHERE CASE WHEN t.failed_at < :forgotten THEN 0 ELSE t.failures END
      + CASE WHEN t.pending_since < :stale THEN 0 ELSE t.pending END < :free
   OR ((t.pending = 0 OR t.pending_since < :stale) AND (t.wait_until IS NULL OR t.wait_until <= :now))
RETURNING failures;

-- name: password_wait$
SELECT wait_until FROM password_tries WHERE key = :key;

-- name: password_failed$
UPDATE password_tries SET
  pending = greatest(pending - 1, 0), failures = failures + 1, failed_at = :now,
  wait_until = CASE WHEN failures + 1 < :free THEN NULL
    ELSE CAST(:now AS timestamptz) + make_interval(secs => least(power(2, least(failures + 1 - :free, 10)), :longest)) END
WHERE key = :key
RETURNING failures;

-- name: password_held!
-- Only failures already judged are cleared: those still pending may yet turn out wrong.
UPDATE password_tries SET pending = greatest(pending - 1, 0), failures = 0, failed_at = NULL, wait_until = NULL WHERE key = :key;

-- name: password_unjudged!
UPDATE password_tries SET pending = greatest(pending - 1, 0) WHERE key = :key;
