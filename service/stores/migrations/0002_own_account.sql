-- Sessions of browsers, where one was seen last, and what people tell of themselves.

ALTER TABLE person
  ADD COLUMN phone_number text,
  -- The claim `address` (OpenID Connect Core §5.1.1).
  ADD COLUMN address jsonb;

ALTER TABLE session
  ADD COLUMN client_id text NOT NULL DEFAULT 'doorward',
  ADD COLUMN place text,
  -- A browser's session: the SHA-256 of its cookie and the cookie's two lives. An API session lives by its family.
  ADD COLUMN cookie bytea UNIQUE,
  ADD COLUMN seen_at timestamptz,
  ADD COLUMN seen_address inet,
  ADD COLUMN idle_at timestamptz,
  ADD COLUMN absolute_at timestamptz,
  ADD CHECK ((cookie IS NULL) = (idle_at IS NULL) AND (cookie IS NULL) = (absolute_at IS NULL));
CREATE INDEX session_of_person_by_birth ON session (person_id, id);

ALTER TABLE audit_event ADD COLUMN place text;
CREATE INDEX audit_event_of_person_by_name ON audit_event (person_id, name, at);
