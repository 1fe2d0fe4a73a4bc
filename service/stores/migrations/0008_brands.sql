-- What people see of a client on our pages: its links, its colour, its picture.

ALTER TABLE client
  ADD COLUMN client_uri text,
  ADD COLUMN policy_uri text,
  ADD COLUMN tos_uri text,
  ADD COLUMN brand_color text,
  ADD COLUMN logo_type text,
  -- SHA-256 of the bytes, in hexadecimal.
  ADD COLUMN logo_digest text,
  ADD COLUMN logo bytea,
  ADD CHECK ((logo IS NULL) = (logo_type IS NULL) AND (logo IS NULL) = (logo_digest IS NULL));
