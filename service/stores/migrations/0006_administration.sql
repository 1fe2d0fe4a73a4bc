-- What administrators look for among people, kept where an index finds it; and who acted where it was another's account.

ALTER TABLE person
  -- Since when an authenticator is confirmed; NULL without one.
  ADD COLUMN two_factor_since timestamptz,
  -- Unused backup codes of the living set.
  ADD COLUMN codes_left smallint NOT NULL DEFAULT 0;

UPDATE person SET two_factor_since = known.since, codes_left = known.unused
FROM (SELECT a.person_id, min(a.confirmed_at) AS since, (
        SELECT count(*) FROM backup_set s JOIN backup_code c ON c.set_id = s.id
        WHERE s.person_id = a.person_id AND s.replaced_at IS NULL AND c.used_at IS NULL) AS unused
      FROM authenticator a WHERE a.confirmed_at IS NOT NULL GROUP BY a.person_id) known
WHERE known.person_id = person.id;

-- Kept by triggers: a node of the release before this one, which knows neither column, writes beside us during an
-- update, and whatever imports people writes by itself. The person's row is held by then, as the order of locks asks.
CREATE FUNCTION two_factor_turned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    UPDATE person SET two_factor_since = NULL WHERE id = OLD.person_id
      AND NOT EXISTS (SELECT FROM authenticator a WHERE a.person_id = OLD.person_id AND a.confirmed_at IS NOT NULL);
  ELSE
    UPDATE person SET two_factor_since = NEW.confirmed_at WHERE id = NEW.person_id AND two_factor_since IS NULL;
  END IF;
  RETURN NULL;
END $$;
-- A sign-in burns a step of its authenticator and must not come by here.
CREATE TRIGGER authenticator_confirmed AFTER UPDATE OF confirmed_at ON authenticator
  FOR EACH ROW WHEN (NEW.confirmed_at IS NOT NULL) EXECUTE FUNCTION two_factor_turned();
CREATE TRIGGER authenticator_inserted AFTER INSERT ON authenticator
  FOR EACH ROW WHEN (NEW.confirmed_at IS NOT NULL) EXECUTE FUNCTION two_factor_turned();
CREATE TRIGGER authenticator_deleted AFTER DELETE ON authenticator
  FOR EACH ROW WHEN (OLD.confirmed_at IS NOT NULL) EXECUTE FUNCTION two_factor_turned();

CREATE FUNCTION unused_codes(of_person uuid) RETURNS smallint LANGUAGE sql STABLE AS $$
  SELECT count(*)::smallint FROM backup_set s JOIN backup_code c ON c.set_id = s.id
  WHERE s.person_id = of_person AND s.replaced_at IS NULL AND c.used_at IS NULL
$$;
-- Once for a new set, not for each of its codes.
CREATE FUNCTION backup_codes_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE person SET codes_left = unused_codes(id) WHERE id IN (SELECT person_id FROM changed);
  RETURN NULL;
END $$;
CREATE TRIGGER backup_code_used AFTER UPDATE ON backup_code
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION backup_codes_changed();
CREATE TRIGGER backup_code_inserted AFTER INSERT ON backup_code
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION backup_codes_changed();
CREATE FUNCTION backup_set_turned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE person SET codes_left = unused_codes(id) WHERE id = OLD.person_id;
  RETURN NULL;
END $$;
-- Not for what else is written of a set, which may be written of all of them at once.
CREATE TRIGGER backup_set_replaced AFTER UPDATE OF replaced_at ON backup_set
  FOR EACH ROW EXECUTE FUNCTION backup_set_turned();
CREATE TRIGGER backup_set_deleted AFTER DELETE ON backup_set
  FOR EACH ROW EXECUTE FUNCTION backup_set_turned();

ALTER TABLE person
  -- What the filters are made of, one number: 0 without a second factor, 1 with it, 2 with it and at most two codes
  -- left; 3 more for whoever is disabled.
  ADD COLUMN standing smallint NOT NULL GENERATED ALWAYS AS (
    CASE WHEN two_factor_since IS NULL THEN 0 WHEN codes_left > 2 THEN 1 ELSE 2 END
    + CASE WHEN disabled_at IS NULL THEN 0 ELSE 3 END) STORED,
  -- What a search looks among, by the beginning: the address, the pieces of its local part, the words of the name and
  -- their pieces.
  ADD COLUMN words tsvector NOT NULL GENERATED ALWAYS AS (array_to_tsvector(array_remove(string_to_array(lower(
    email || ' ' || left(name, 400) || ' '
    || regexp_replace(split_part(email, '@', 1) || ' ' || left(name, 400), '[^[:alnum:]]+', ' ', 'g')), ' '), ''))) STORED;

-- Each filter is one standing or some, and each order is read of an index for each standing: a page costs the same
-- among a hundred people and among millions.
CREATE INDEX person_by_email ON person (standing, email, id);
CREATE INDEX person_by_name ON person (standing, name, id);
CREATE INDEX person_by_birth ON person (standing, created_at, id);
CREATE INDEX person_by_words ON person USING gin (words);

-- Whoever acted, where it is not the person whose row it is. NULL is the person, or the service's own command line.
ALTER TABLE audit_event ADD COLUMN actor_id uuid;
CREATE INDEX audit_event_of_actor ON audit_event (actor_id, id) WHERE actor_id IS NOT NULL;
