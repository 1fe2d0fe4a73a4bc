-- Browsers in which a person gave a second factor, and for some days need not give one again.

CREATE TABLE trusted_browser (
  id uuid PRIMARY KEY,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  -- SHA-256 of the token in its cookie. Each use replaces it, so that a copy is told by an older one.
  digest bytea NOT NULL,
  -- It counts at this epoch of its person only: the second net under `ended_at`.
  epoch integer NOT NULL,
  -- The session of two factors that made it. No reference: it outlives that session.
  session_id uuid NOT NULL,
  address inet NOT NULL,
  browser text NOT NULL,
  place text,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  used_address inet,
  ended_at timestamptz,
  end_reason text,
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX trusted_browser_of_person ON trusted_browser (person_id) WHERE ended_at IS NULL;
CREATE INDEX trusted_browser_by_expiry ON trusted_browser (expires_at);

-- The trusted browser that stood in for the second factor when the session was opened.
ALTER TABLE session ADD COLUMN trusted_browser_id uuid;
