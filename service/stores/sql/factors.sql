-- name: authenticators
SELECT id, name, seed, digits, period, algorithm, last_step, created_at, confirmed_at
FROM authenticator WHERE person_id = :person AND confirmed_at IS NOT NULL ORDER BY id;

-- name: pending_authenticator^
SELECT id, name, seed, digits, period, algorithm, last_step, created_at, expires_at, started_by
FROM authenticator
WHERE person_id = :person AND (CAST(:authenticator AS uuid) IS NULL OR id = :authenticator)
  AND confirmed_at IS NULL AND replaced_at IS NULL AND expires_at > :now;

-- name: started_by$
SELECT started_by FROM authenticator WHERE id = :authenticator AND person_id = :person;

-- name: replace_pending!
-- The seed goes with it: an old QR code must open nothing.
UPDATE authenticator SET replaced_at = :now, seed = NULL
WHERE person_id = :person AND confirmed_at IS NULL AND replaced_at IS NULL;

-- name: add_pending!
INSERT INTO authenticator (id, person_id, name, seed, created_at, started_by, expires_at)
VALUES (:authenticator, :person, :name, :seed, :now, :started_by, :expires_at);

-- name: confirm_authenticator$
-- The step of the confirming code is burnt with it.
UPDATE authenticator SET confirmed_at = :now, last_step = :step
WHERE id = :authenticator AND person_id = :person AND confirmed_at IS NULL AND replaced_at IS NULL AND expires_at > :now
RETURNING id;

-- name: rename_authenticator$
UPDATE authenticator SET name = :new_name WHERE id = :authenticator AND person_id = :person AND confirmed_at IS NOT NULL
RETURNING id;

-- name: remove_authenticators
-- One, or with NULL all of them, a pending one included. The seeds go with the rows.
DELETE FROM authenticator
WHERE person_id = :person AND (CAST(:authenticator AS uuid) IS NULL OR (id = :authenticator AND confirmed_at IS NOT NULL))
RETURNING id;

-- name: burn_step$
UPDATE authenticator SET last_step = :step
WHERE id = :authenticator AND confirmed_at IS NOT NULL AND last_step < :step
RETURNING id;

-- name: admit_second_factor^
-- Counts an evaluated guess of a person, or a success, in one of the two budgets. No row: the budget is used up,
-- and whatever the match said is thrown away unseen.
UPDATE person SET
  stranger_failures = CASE WHEN :known OR NOT :failed THEN stranger_failures
    ELSE (array_prepend(CAST(:now AS timestamptz), stranger_failures))[1: 50] END,
  stranger_streak = CASE WHEN :known THEN stranger_streak WHEN :failed THEN stranger_streak + 1 ELSE 0 END,
  known_failures = CASE WHEN NOT :known OR NOT :failed THEN known_failures
    ELSE (array_prepend(CAST(:now AS timestamptz), known_failures))[1: 50] END,
  known_streak = CASE WHEN NOT :known THEN known_streak WHEN :failed THEN known_streak + 1 ELSE 0 END
WHERE id = :person
  AND CASE WHEN :known THEN known_streak ELSE stranger_streak END < :in_a_row
  AND coalesce((CASE WHEN :known THEN known_failures ELSE stranger_failures END)[:per_5_minutes] <= CAST(:now AS timestamptz) - interval '5 minutes', true)
  AND coalesce((CASE WHEN :known THEN known_failures ELSE stranger_failures END)[:per_hour] <= CAST(:now AS timestamptz) - interval '1 hour', true)
  AND coalesce((CASE WHEN :known THEN known_failures ELSE stranger_failures END)[:per_day] <= CAST(:now AS timestamptz) - interval '1 day', true)
RETURNING epoch, disabled_at IS NOT NULL AS disabled, CASE WHEN :known THEN known_failures ELSE stranger_failures END AS failures;

-- name: count_failure^
-- A guess that was admitted as right and lost the race for its step or code is a failure after all.
UPDATE person SET
  stranger_failures = CASE WHEN :known THEN stranger_failures ELSE (array_prepend(CAST(:now AS timestamptz), stranger_failures))[1: 50] END,
  stranger_streak = stranger_streak + CASE WHEN :known THEN 0 ELSE 1 END,
  known_failures = CASE WHEN :known THEN (array_prepend(CAST(:now AS timestamptz), known_failures))[1: 50] ELSE known_failures END,
  known_streak = known_streak + CASE WHEN :known THEN 1 ELSE 0 END
WHERE id = :person
RETURNING CASE WHEN :known THEN known_failures ELSE stranger_failures END AS failures;

-- name: second_factor_budget^
SELECT code_salt,
       CASE WHEN :known THEN known_failures ELSE stranger_failures END AS failures,
       CASE WHEN :known THEN known_streak ELSE stranger_streak END AS streak
FROM person WHERE id = :person;

-- name: backup_code_by_digest^
SELECT c.set_id, c.ordinal, c.digest, c.used_at, s.replaced_at
FROM backup_code c JOIN backup_set s ON s.id = c.set_id
WHERE c.person_id = :person AND c.digest = ANY(:digests)
ORDER BY s.replaced_at DESC NULLS FIRST LIMIT 1;

-- name: spend_backup_code$
UPDATE backup_code c SET used_at = :now
FROM backup_set s
WHERE c.person_id = :person AND c.set_id = :set AND c.digest = :digest AND c.used_at IS NULL
  AND s.id = c.set_id AND s.replaced_at IS NULL
RETURNING c.set_id;

-- name: backup_codes_left^
SELECT s.id, s.created_at, s.saved_at, count(c.ordinal) FILTER (WHERE c.used_at IS NULL)::int AS unused
FROM backup_set s JOIN backup_code c ON c.set_id = s.id
WHERE s.person_id = :person AND s.replaced_at IS NULL
GROUP BY s.id;

-- name: replace_backup_set!
UPDATE backup_set SET replaced_at = :now WHERE person_id = :person AND replaced_at IS NULL;

-- name: save_backup_set$
-- Said once: when it is said again the first time stands.
UPDATE backup_set SET saved_at = coalesce(saved_at, :now)
WHERE person_id = :person AND id = :set AND replaced_at IS NULL
RETURNING id;

-- name: add_backup_set!
INSERT INTO backup_set (id, person_id, created_at) VALUES (:set, :person, :now);

-- name: add_backup_codes!
INSERT INTO backup_code (set_id, ordinal, person_id, digest, pepper_id)
SELECT :set, ordinal, :person, digest, :pepper_id
FROM unnest(CAST(:digests AS bytea[])) WITH ORDINALITY AS t (digest, ordinal);

-- name: unused_codes_under$
SELECT count(*) FROM backup_code c JOIN backup_set s ON s.id = c.set_id
WHERE c.pepper_id = :pepper_id AND c.used_at IS NULL AND s.replaced_at IS NULL;

-- name: hold_people_with_codes_under
SELECT id FROM person
WHERE id IN (SELECT c.person_id FROM backup_code c JOIN backup_set s ON s.id = c.set_id
             WHERE c.pepper_id = :pepper_id AND c.used_at IS NULL AND s.replaced_at IS NULL)
ORDER BY id LIMIT :most FOR NO KEY UPDATE;

-- name: void_codes_under
-- Asked once more under the people's locks: a new set, under another pepper, may have come meanwhile.
UPDATE backup_set s SET replaced_at = :now
WHERE s.person_id = ANY(CAST(:people AS uuid[])) AND s.replaced_at IS NULL
  AND EXISTS (SELECT 1 FROM backup_code c WHERE c.set_id = s.id AND c.pepper_id = :pepper_id AND c.used_at IS NULL)
RETURNING s.person_id;

-- name: seeds_sealed_otherwise
SELECT id, person_id, seed FROM authenticator
WHERE id > :after
  AND substring(seed FROM 1 FOR octet_length(CAST(:prefix AS bytea))) <> CAST(:prefix AS bytea)
ORDER BY id LIMIT :most;

-- name: reseal_seeds
-- Only where the seed is the one that was opened: one that was replaced or removed meanwhile must not come back.
UPDATE authenticator a SET seed = t.new
FROM unnest(CAST(:ids AS uuid[]), CAST(:olds AS bytea[]), CAST(:news AS bytea[])) AS t (id, old, new)
WHERE a.id = t.id AND a.seed = t.old
RETURNING a.id;
