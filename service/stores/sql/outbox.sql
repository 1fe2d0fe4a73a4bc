-- name: put!
INSERT INTO outbox (id, kind, person_id, recipient, data, created_at)
SELECT :id, :kind, person.id, person.email, :data, :now FROM person WHERE person.id = :person;

-- name: put_at_most$
INSERT INTO outbox (id, kind, person_id, recipient, data, created_at)
SELECT :id, :kind, person.id, person.email, :data, :now FROM person
WHERE person.id = :person
  AND (SELECT count(*) FROM outbox o WHERE o.person_id = :person AND o.kind = :kind AND o.created_at > :since) < :most
RETURNING id;
