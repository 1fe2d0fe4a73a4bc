-- name: record!
INSERT INTO audit_event (id, at, name, result, person_id, client_id, session_id, factor_id, address, browser, request_id, detail)
VALUES (:id, :at, :name, :result, :person, :client, :session, :factor, :address, :browser, :request_id, :detail);
