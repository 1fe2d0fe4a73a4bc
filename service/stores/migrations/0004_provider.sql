-- What a portal asks for while somebody signs in, the codes that answer it, and what people allowed.

CREATE TABLE authorization_request (
  -- Of the handle that stands in the browser's address; the browser's name has to fit as well.
  digest bytea PRIMARY KEY,
  browser bytea NOT NULL,
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  redirect_uri text NOT NULL,
  parameters jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  answered_at timestamptz
);
CREATE INDEX authorization_request_by_expiry ON authorization_request (expires_at);

CREATE TABLE authorization_code (
  digest bytea PRIMARY KEY,
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  redirect_uri text NOT NULL,
  session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  scope text NOT NULL,
  nonce text,
  code_challenge text,
  claims jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  -- What it bought, to be ended when it is used again (RFC 6749 §4.1.2).
  family_id uuid
);
CREATE INDEX authorization_code_by_expiry ON authorization_code (expires_at);

CREATE TABLE consent (
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  scopes text[] NOT NULL,
  granted_at timestamptz NOT NULL,
  PRIMARY KEY (person_id, client_id)
);

-- What was asked for by name, answered at the userinfo endpoint for as long as the grant lives.
ALTER TABLE refresh_family ADD COLUMN claims jsonb NOT NULL DEFAULT '{}';
