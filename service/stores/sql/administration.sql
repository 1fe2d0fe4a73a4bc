-- name: plan_anew$
-- For the rest of the transaction a statement is planned for its values, so that what follows needs one text: a filter
-- that is NULL and an order that is not asked for are folded away, and what is left is one range of one index. To read
-- everybody is never right: what is quick among thousands is not among millions.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true) || set_config('enable_seqscan', 'off', true);

-- name: walk$
-- Read in the order that is asked for, until the page is full. The planner would rather gather all that a search fits
-- and sort them: right for a rare word, and seconds for one that nearly everybody has.
SELECT set_config('enable_bitmapscan', 'off', true) || set_config('enable_sort', 'off', true);

-- name: is_common$
-- Whether a search fits many, judged by the newest thousand people.
SELECT count(*) > 10 FROM (SELECT words FROM person ORDER BY id DESC LIMIT 1000) AS sample
WHERE words @@ CAST(lower(:words) AS tsquery);

-- name: people
-- The ids of a page. Each standing is read of its own index, in order, from the row behind the cursor's.
SELECT found.id, found.email, found.name, found.created_at
FROM unnest(CAST(:standings AS smallint[])) AS wanted CROSS JOIN LATERAL (
  SELECT p.id, p.email, p.name, p.created_at FROM person p
  WHERE p.standing = wanted
    AND (CAST(:words AS text) IS NULL OR p.words @@ CAST(lower(:words) AS tsquery))
    AND CASE
      WHEN CAST(:after_id AS uuid) IS NULL THEN true
      WHEN CAST(:sort AS text) = 'email' AND NOT CAST(:down AS boolean) THEN (p.email, p.id) > (CAST(:after_text AS text), :after_id)
      WHEN :sort = 'email' THEN (p.email, p.id) < (:after_text, :after_id)
      WHEN :sort = 'name' AND NOT :down THEN (p.name, p.id) > (:after_text, :after_id)
      WHEN :sort = 'name' THEN (p.name, p.id) < (:after_text, :after_id)
      WHEN NOT :down THEN (p.created_at, p.id) > (CAST(:after_time AS timestamptz), :after_id)
      ELSE (p.created_at, p.id) < (:after_time, :after_id) END
  ORDER BY
    CASE WHEN :sort = 'email' AND NOT :down THEN p.email END, CASE WHEN :sort = 'email' AND :down THEN p.email END DESC,
    CASE WHEN :sort = 'name' AND NOT :down THEN p.name END, CASE WHEN :sort = 'name' AND :down THEN p.name END DESC,
    CASE WHEN :sort = 'created_at' AND NOT :down THEN p.created_at END, CASE WHEN :sort = 'created_at' AND :down THEN p.created_at END DESC,
    CASE WHEN NOT :down THEN p.id END, CASE WHEN :down THEN p.id END DESC
  LIMIT :limit) AS found
ORDER BY
  CASE WHEN :sort = 'email' AND NOT :down THEN found.email END, CASE WHEN :sort = 'email' AND :down THEN found.email END DESC,
  CASE WHEN :sort = 'name' AND NOT :down THEN found.name END, CASE WHEN :sort = 'name' AND :down THEN found.name END DESC,
  CASE WHEN :sort = 'created_at' AND NOT :down THEN found.created_at END, CASE WHEN :sort = 'created_at' AND :down THEN found.created_at END DESC,
  CASE WHEN NOT :down THEN found.id END, CASE WHEN :down THEN found.id END DESC
LIMIT :limit;

-- name: told
-- What is shown of people. The last sign-in is the newest session: ids of one table sort by their birth.
SELECT p.id, p.sub, p.email, p.name, p.language, p.roles, p.email_verified_at, p.must_change_password, p.disabled_at,
       p.two_factor_since, p.codes_left, p.standing, p.created_at, p.stranger_failures, p.stranger_streak, p.known_failures, p.known_streak,
       (SELECT s.created_at FROM session s WHERE s.person_id = p.id ORDER BY s.id DESC LIMIT 1) AS signed_in_at
FROM person p WHERE p.id = ANY(CAST(:people AS uuid[]));

-- name: by_identifier$
-- By the row's own id, or by the one that clients know.
SELECT id FROM person WHERE id = :identifier OR sub = :identifier ORDER BY id LIMIT 1;

-- name: counted$
-- No more than `most` of a standing are counted: the number is for people, and must not cost a walk through millions.
SELECT coalesce(sum(of_one.people), 0)::int
FROM unnest(CAST(:standings AS smallint[])) AS wanted CROSS JOIN LATERAL (
  SELECT count(*) AS people FROM (
    SELECT FROM person p
    WHERE p.standing = wanted AND (CAST(:words AS text) IS NULL OR p.words @@ CAST(lower(:words) AS tsquery))
    LIMIT :most) AS counted_one) AS of_one;

-- name: forget_failures!
UPDATE person SET stranger_failures = '{}', stranger_streak = 0, known_failures = '{}', known_streak = 0 WHERE id = :person;

-- name: set_roles!
UPDATE person SET roles = :roles WHERE id = :person;
