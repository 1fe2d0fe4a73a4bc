-- People, factors, sign-ins under way, sessions, and what is remembered of each act.

CREATE TABLE person (
  id uuid PRIMARY KEY,
  sub uuid NOT NULL UNIQUE,
  email text NOT NULL UNIQUE,
  name text NOT NULL DEFAULT '',
  language text,
  password_hash text,
  roles text[] NOT NULL DEFAULT '{}',
  email_verified_at timestamptz,
  must_change_password boolean NOT NULL DEFAULT false,
  disabled_at timestamptz,
  -- Raised by whatever ends older sessions: the second net under `ended_at`.
  epoch integer NOT NULL DEFAULT 0,
  -- Times of failed second factors, newest first, at most fifty: strangers, and known devices with
  -- sessions, have a budget each, so that strangers cannot lock the owner out.
  stranger_failures timestamptz[] NOT NULL DEFAULT '{}',
  stranger_streak integer NOT NULL DEFAULT 0,
  known_failures timestamptz[] NOT NULL DEFAULT '{}',
  known_streak integer NOT NULL DEFAULT 0,
  -- One salt for all of a person's backup codes: one hash for a guess, whatever is left.
  code_salt bytea NOT NULL,
  created_at timestamptz NOT NULL
);

CREATE TABLE authenticator (
  id uuid PRIMARY KEY,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  name text NOT NULL,
  seed bytea,
  digits smallint NOT NULL DEFAULT 6,
  period smallint NOT NULL DEFAULT 30,
  algorithm text NOT NULL DEFAULT 'SHA1',
  last_step bigint NOT NULL DEFAULT -1,
  created_at timestamptz NOT NULL,
  -- Whoever started a pending one: a session, or a sign-in that is owed an enrolment.
  started_by text NOT NULL,
  expires_at timestamptz NOT NULL,
  confirmed_at timestamptz,
  replaced_at timestamptz
);
CREATE INDEX authenticator_of_person ON authenticator (person_id);
CREATE UNIQUE INDEX authenticator_pending ON authenticator (person_id)
  WHERE confirmed_at IS NULL AND replaced_at IS NULL;

CREATE TABLE backup_set (
  id uuid PRIMARY KEY,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  created_at timestamptz NOT NULL,
  replaced_at timestamptz
);
CREATE UNIQUE INDEX backup_set_live ON backup_set (person_id) WHERE replaced_at IS NULL;

CREATE TABLE backup_code (
  set_id uuid NOT NULL REFERENCES backup_set ON DELETE CASCADE,
  ordinal smallint NOT NULL,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  digest bytea NOT NULL,
  pepper_id text NOT NULL,
  used_at timestamptz,
  PRIMARY KEY (set_id, ordinal)
);
CREATE INDEX backup_code_of_person ON backup_code (person_id, digest);

-- Keyed by a digest of the address, so that known and unknown people are counted alike.
CREATE TABLE password_tries (
  key bytea PRIMARY KEY,
  failures integer NOT NULL DEFAULT 0,
  pending integer NOT NULL DEFAULT 0,
  pending_since timestamptz NOT NULL,
  failed_at timestamptz,
  wait_until timestamptz
);

CREATE TABLE pre_auth (
  digest bytea PRIMARY KEY,
  id uuid NOT NULL UNIQUE,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  client_id text NOT NULL,
  -- The one door it opens.
  step text NOT NULL,
  epoch integer NOT NULL,
  amr text[] NOT NULL,
  auth_time timestamptz NOT NULL,
  known boolean NOT NULL,
  attempts smallint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  consumed_at timestamptz
);
CREATE INDEX pre_auth_of_person ON pre_auth (person_id);
CREATE INDEX pre_auth_by_expiry ON pre_auth (expires_at);

CREATE TABLE session (
  id uuid PRIMARY KEY,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  epoch integer NOT NULL,
  amr text[] NOT NULL,
  auth_time timestamptz NOT NULL,
  address inet NOT NULL,
  browser text NOT NULL,
  created_at timestamptz NOT NULL,
  ended_at timestamptz,
  end_reason text,
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX session_of_person ON session (person_id) WHERE ended_at IS NULL;

CREATE TABLE refresh_family (
  id uuid PRIMARY KEY,
  session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  client_id text NOT NULL,
  scope text NOT NULL,
  generation integer NOT NULL DEFAULT 0,
  salt bytea NOT NULL,
  key_id text NOT NULL,
  -- The last eight rotations, newest first: when the generation before each was superseded.
  rotated_at timestamptz[] NOT NULL DEFAULT '{}',
  last_address inet NOT NULL,
  last_browser text NOT NULL,
  created_at timestamptz NOT NULL,
  idle_at timestamptz NOT NULL,
  absolute_at timestamptz NOT NULL,
  ended_at timestamptz,
  end_reason text,
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX refresh_family_of_session ON refresh_family (session_id);
CREATE INDEX refresh_family_of_person ON refresh_family (person_id) WHERE ended_at IS NULL;

-- Signing, token, pepper and index keys, sealed under a key that is not in the database.
CREATE TABLE service_key (
  id text PRIMARY KEY,
  kind text NOT NULL,
  sealed bytea NOT NULL,
  created_at timestamptz NOT NULL,
  active_from timestamptz NOT NULL,
  retired_at timestamptz
);

-- Append-only. `xid` lets the sealer take rows below a snapshot's horizon, so that no act waits on it.
CREATE TABLE audit_event (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  name text NOT NULL,
  result text NOT NULL,
  person_id uuid,
  client_id text,
  session_id uuid,
  factor_id uuid,
  address inet,
  browser text,
  request_id text,
  detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_event_of_person ON audit_event (person_id, id);

CREATE TABLE outbox (
  id uuid PRIMARY KEY,
  kind text NOT NULL,
  person_id uuid NOT NULL,
  recipient text NOT NULL,
  data jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  sent_at timestamptz
);
CREATE INDEX outbox_of_person ON outbox (person_id, kind, created_at);
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
