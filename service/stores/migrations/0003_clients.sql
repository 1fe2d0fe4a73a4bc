-- Who may ask for tokens: portals, apps and machines.

CREATE TABLE client (
  id text PRIMARY KEY,
  name text NOT NULL,
  token_endpoint_auth_method text NOT NULL,
  redirect_uris text[] NOT NULL,
  post_logout_redirect_uris text[] NOT NULL,
  backchannel_logout_uri text,
  backchannel_logout_session_required boolean NOT NULL,
  grant_types text[] NOT NULL,
  scopes text[] NOT NULL,
  first_party boolean NOT NULL,
  require_pkce boolean NOT NULL,
  id_token_signed_response_alg text NOT NULL,
  access_token_signing_alg text NOT NULL,
  audience text,
  -- Lives in seconds; NULL is the service's own.
  access_seconds integer,
  refresh_idle_seconds integer,
  refresh_absolute_seconds integer,
  cors_origins text[] NOT NULL,
  -- Public keys only.
  jwks jsonb,
  created_at timestamptz NOT NULL,
  disabled_at timestamptz,
  -- The built-in clients have no row, and nobody may take their names.
  CHECK (lower(id) NOT IN ('doorward', 'pages'))
);

-- Several may live at once, so that a client can change to a new one without an interruption.
CREATE TABLE client_secret (
  id uuid PRIMARY KEY,
  client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
  -- SHA-256 of 256 random bits.
  digest bytea NOT NULL UNIQUE,
  created_at timestamptz NOT NULL,
  expires_at timestamptz
);
CREATE INDEX client_secret_of_client ON client_secret (client_id, id);
