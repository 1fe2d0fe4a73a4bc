-- What else portals send and are told: pushed requests, assertions, logouts; and what a person chose for a request.

-- RFC 9126: a request that a client sent by itself, opened once by the handle it got for it.
CREATE TABLE pushed_request (
  digest bytea PRIMARY KEY,
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  parameters jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX pushed_request_by_expiry ON pushed_request (expires_at);

-- RFC 7523 §3: each assertion of a client is good once.
CREATE TABLE client_assertion (
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  -- SHA-256 of its `jti`.
  digest bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (client_id, digest)
);
CREATE INDEX client_assertion_by_expiry ON client_assertion (expires_at);

-- What the person said to a request under way, and the session in which they said it: another's word counts for nothing.
ALTER TABLE authorization_request
  ADD COLUMN chosen_by uuid,
  ADD COLUMN allowed_by uuid,
  ADD COLUMN denied_by uuid;

-- Taking a consent back looks for the codes of a person; the janitor for sessions that outlived a life.
CREATE INDEX authorization_code_of_person ON authorization_code (person_id);
CREATE INDEX session_by_end ON session (least(idle_at, absolute_at)) WHERE ended_at IS NULL AND cookie IS NOT NULL;

-- A grant with `offline_access` outlives its session's logout (OpenID Connect Back-Channel Logout 1.0 §2.7).
ALTER TABLE refresh_family ADD COLUMN offline boolean NOT NULL DEFAULT false;

-- Logouts that portals are owed word of; the token is made and signed when it is sent.
CREATE TABLE logout_notice (
  session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  created_at timestamptz NOT NULL,
  next_at timestamptz NOT NULL,
  attempts smallint NOT NULL DEFAULT 0,
  -- Set when the client took it, or when it is given up; `failure` then says why.
  done_at timestamptz,
  failure text,
  PRIMARY KEY (session_id, client_id)
);
CREATE INDEX logout_notice_due ON logout_notice (next_at) WHERE done_at IS NULL;
