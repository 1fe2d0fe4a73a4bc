-- name: client^
-- With the secrets that live, oldest first: one statement, since every request of a client asks it.
SELECT client.id, name, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
       backchannel_logout_session_required, grant_types, scopes, first_party, require_pkce, id_token_signed_response_alg,
       access_token_signing_alg, audience, access_seconds, refresh_idle_seconds, refresh_absolute_seconds, cors_origins,
       jwks, client_uri, policy_uri, tos_uri, brand_color, logo_type, logo_digest, disabled_at,
       client.created_at, live.digests, live.births, live.ends
FROM client, LATERAL (
  SELECT coalesce(array_agg(digest ORDER BY s.id), '{}') AS digests,
         coalesce(array_agg(s.created_at ORDER BY s.id), '{}') AS births,
         coalesce(array_agg(expires_at ORDER BY s.id), '{}') AS ends
  FROM client_secret s WHERE s.client_id = client.id AND (expires_at IS NULL OR expires_at > :now)
) AS live
WHERE client.id = :client;

-- name: clients
SELECT id, name, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
       backchannel_logout_session_required, grant_types, scopes, first_party, require_pkce, id_token_signed_response_alg,
       access_token_signing_alg, audience, access_seconds, refresh_idle_seconds, refresh_absolute_seconds, cors_origins,
       jwks, client_uri, policy_uri, tos_uri, brand_color, logo_type, logo_digest, disabled_at
FROM client WHERE id > :after ORDER BY id LIMIT :limit;

-- name: logo^
-- Apart from the client, which every request of it reads: the bytes are for whoever looks at the picture.
SELECT logo_type, logo_digest, logo FROM client
WHERE id = :client AND logo IS NOT NULL AND disabled_at IS NULL;

-- name: origin_allowed$
-- A sequential scan: the registry has tens of rows, and what is asked has an Origin header.
SELECT EXISTS (
  SELECT FROM client
  WHERE cors_origins @> ARRAY[CAST(:origin AS text)] AND disabled_at IS NULL
    AND (CAST(:client AS text) IS NULL OR id = :client)
);

-- name: lock_clients!
-- Changes of the registry are rare, and go one after the other.
SELECT pg_advisory_xact_lock(hashtext('doorward.client'));

-- name: put_client^
INSERT INTO client AS c (id, name, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris,
  backchannel_logout_uri, backchannel_logout_session_required, grant_types, scopes, first_party, require_pkce,
  id_token_signed_response_alg, access_token_signing_alg, audience, access_seconds, refresh_idle_seconds,
  refresh_absolute_seconds, cors_origins, jwks, client_uri, policy_uri, tos_uri, brand_color, logo_type, logo_digest,
  logo, created_at, disabled_at)
VALUES (:id, :display_name, :token_endpoint_auth_method, :redirect_uris, :post_logout_redirect_uris,
  :backchannel_logout_uri, :backchannel_logout_session_required, :grant_types, :scopes, :first_party, :require_pkce,
  :id_token_signed_response_alg, :access_token_signing_alg, :audience, :access_seconds, :refresh_idle_seconds,
  :refresh_absolute_seconds, :cors_origins, CAST(:jwks AS jsonb), :client_uri, :policy_uri, :tos_uri, :brand_color,
  :logo_type, :logo_digest,
  -- A record that was read here has the digest alone, and keeps the picture.
  coalesce(:logo, (SELECT kept.logo FROM client kept WHERE kept.id = :id AND kept.logo_digest = :logo_digest)), :now,
  CASE WHEN :disabled THEN CAST(:now AS timestamptz) END)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name,
  token_endpoint_auth_method = excluded.token_endpoint_auth_method,
  redirect_uris = excluded.redirect_uris,
  post_logout_redirect_uris = excluded.post_logout_redirect_uris,
  backchannel_logout_uri = excluded.backchannel_logout_uri,
  backchannel_logout_session_required = excluded.backchannel_logout_session_required,
  grant_types = excluded.grant_types,
  scopes = excluded.scopes,
  first_party = excluded.first_party,
  require_pkce = excluded.require_pkce,
  id_token_signed_response_alg = excluded.id_token_signed_response_alg,
  access_token_signing_alg = excluded.access_token_signing_alg,
  audience = excluded.audience,
  access_seconds = excluded.access_seconds,
  refresh_idle_seconds = excluded.refresh_idle_seconds,
  refresh_absolute_seconds = excluded.refresh_absolute_seconds,
  cors_origins = excluded.cors_origins,
  jwks = excluded.jwks,
  client_uri = excluded.client_uri,
  policy_uri = excluded.policy_uri,
  tos_uri = excluded.tos_uri,
  brand_color = excluded.brand_color,
  logo_type = excluded.logo_type,
  logo_digest = excluded.logo_digest,
  logo = excluded.logo,
  -- The time at which it was disabled first stays.
  disabled_at = CASE WHEN :disabled THEN coalesce(c.disabled_at, excluded.disabled_at) END
WHERE :replace
RETURNING id;

-- name: disable_client!
UPDATE client SET disabled_at = coalesce(disabled_at, :now) WHERE id = :client;

-- name: enable_client!
UPDATE client SET disabled_at = NULL WHERE id = :client;

-- name: add_secret!
INSERT INTO client_secret (id, client_id, digest, created_at) VALUES (:id, :client, :digest, :now);

-- name: expire_secrets!
-- Never later than before: a secret that ends soon does not get a longer life by another rotation.
UPDATE client_secret SET expires_at = :at WHERE client_id = :client AND (expires_at IS NULL OR expires_at > :at);

-- name: spend_assertion$
INSERT INTO client_assertion (client_id, digest, expires_at) VALUES (:client, :digest, :expires_at)
ON CONFLICT DO NOTHING
RETURNING client_id;

-- name: sweep_assertions
DELETE FROM client_assertion WHERE (client_id, digest) IN
  (SELECT client_id, digest FROM client_assertion WHERE expires_at < :before LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING 1;
