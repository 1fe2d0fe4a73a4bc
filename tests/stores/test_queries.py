"""Every named query, prepared against the migrated database, and the plans of those in a sign-in's way."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from service.stores.postgres import SQL, queries
from tests.databases import Databases

Connected: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
#: What a sign-in, a refresh or a bearer token waits for, and the tables that must be read by index.
HOT = {
    ("accounts", "person_by_email"),
    ("accounts", "person_by_id"),
    ("accounts", "hold_person"),
    ("factors", "authenticators"),
    ("factors", "pending_authenticator"),
    ("factors", "burn_step"),
    ("factors", "admit_second_factor"),
    ("factors", "second_factor_budget"),
    ("factors", "backup_code_by_digest"),
    ("factors", "backup_codes_left"),
    ("factors", "spend_backup_code"),
    ("sign_in", "pending_sign_in"),
    ("sign_in", "try_pre_auth"),
    ("sessions", "family"),
    ("sessions", "rotate_family"),
    ("sessions", "bearer"),
    ("sessions", "end_session"),
    ("sessions", "end_families_of_session"),
    ("sessions", "portals_of_sessions"),
    ("outbox", "put_at_most"),
    ("trust", "use_trust"),
    ("trust", "end_copied_trust"),
    ("clients", "client"),
    # What each page of an administrator reads.
    ("administration", "told"),
    ("administration", "by_identifier"),
}


def every_query() -> Iterator[tuple[str, str]]:
    for file in sorted(SQL.glob("*.sql")):
        # aiosql lists a row-returning query a second time, as a cursor.
        known = queries(file.stem).available_queries
        yield from ((file.stem, name) for name in known if not name.endswith("_cursor"))


def text_of(file: str, name: str) -> str:
    """The statement with Postgres's own placeholders."""
    text: str = getattr(queries(file), name).sql
    return text


def test_each_name_in_the_files_is_a_query_that_is_prepared_here() -> None:
    written = [
        (file.stem, name)
        for file in sorted(SQL.glob("*.sql"))
        for name in re.findall(r"^-- name: (\w+)", file.read_text(), re.MULTILINE)
    ]
    assert sorted(written) == sorted(every_query())
    assert len(written) > 40
    assert set(written) >= HOT


@pytest.fixture(scope="module")
async def migrated(databases: Databases) -> AsyncIterator[Connected]:
    """A connection to a database for the whole file, of which nothing here changes anything."""
    async with databases.one() as url:
        connection = await asyncpg.connect(url)
        yield connection
        await connection.close()


@pytest.mark.parametrize(("file", "name"), list(every_query()))
async def test_a_query_fits_the_migrated_database(migrated: Connected, file: str, name: str) -> None:
    text = text_of(file, name)
    prepared = await migrated.prepare(text)
    placeholders = {int(number) for number in re.findall(r"\$(\d+)", text)}
    assert placeholders == set(range(1, len(prepared.get_parameters()) + 1))


@pytest.fixture(scope="module")
async def populated(databases: Databases) -> AsyncIterator[Connected]:
    """Two thousand people with all that people have, and what the planner must know of them."""
    filling = """
    INSERT INTO person (id, sub, email, code_salt, created_at)
      SELECT gen_random_uuid(), gen_random_uuid(), 'person' || n || '@example.com',
        decode(md5(n::text), 'hex'), now() FROM generate_series(1, 2000) n;
    INSERT INTO authenticator (id, person_id, name, created_at, started_by, expires_at, confirmed_at)
      SELECT gen_random_uuid(), id, 'Phone', now(), 'session:x', now(), now() FROM person;
    INSERT INTO backup_set (id, person_id, created_at) SELECT gen_random_uuid(), id, now() FROM person;
    INSERT INTO backup_code (set_id, ordinal, person_id, digest, pepper_id)
      SELECT s.id, n, s.person_id, decode(md5(s.id::text || n), 'hex'), 'x'
      FROM backup_set s, generate_series(1, 5) n;
    INSERT INTO pre_auth (digest, id, person_id, client_id, step, epoch, amr, auth_time, known,
        created_at, expires_at)
      SELECT sha256(id::text::bytea), gen_random_uuid(), id, 'doorward', 'second_factor', 0, '{pwd}', now(),
        false, now(), now() + interval '5 minutes' FROM person;
    INSERT INTO session (id, person_id, epoch, amr, auth_time, address, browser, created_at)
      SELECT gen_random_uuid(), id, 0, '{pwd}', now(), '192.0.2.1', '', now() FROM person;
    INSERT INTO refresh_family (id, session_id, person_id, client_id, scope, salt, key_id, last_address,
        last_browser, created_at, idle_at, absolute_at)
      SELECT gen_random_uuid(), id, person_id, 'doorward', '', '', 'x', '192.0.2.1', '', now(), now(),
        now() FROM session;
    INSERT INTO trusted_browser (id, person_id, digest, epoch, session_id, address, browser, created_at,
        expires_at)
      SELECT gen_random_uuid(), id, '', 0, id, '192.0.2.1', '', now(), now() FROM person;
    INSERT INTO outbox (id, kind, person_id, recipient, created_at)
      SELECT gen_random_uuid(), 'verify_email', id, email, now() FROM person;
    INSERT INTO client (id, name, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris,
        backchannel_logout_session_required, grant_types, scopes, first_party, require_pkce,
        id_token_signed_response_alg, access_token_signing_alg, cors_origins, created_at)
      SELECT 'client' || n, 'Client', 'client_secret_basic', '{}', '{}', false, '{}', '{}', false, true,
        'RS256', 'ES256', '{}', now() FROM generate_series(1, 2000) n;
    INSERT INTO client_secret (id, client_id, digest, created_at)
      SELECT gen_random_uuid(), id, sha256(id::bytea), now() FROM client;
    ANALYZE;
    """
    async with databases.one() as url:
        connection = await asyncpg.connect(url)
        await connection.execute(filling)
        yield connection
        await connection.close()


@pytest.mark.parametrize(("file", "name"), sorted(HOT))
async def test_a_query_in_the_way_of_a_sign_in_reads_no_table_whole(
    populated: Connected, file: str, name: str
) -> None:
    text = text_of(file, name)
    prepared = await populated.prepare(text)
    kinds = [parameter.name for parameter in prepared.get_parameters()]
    # The generic plan: what a prepared statement settles on, whatever the values are.
    async with populated.transaction():
        await populated.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        values = ", ".join(["NULL"] * len(kinds))
        await populated.execute(f"PREPARE asked AS {text}")
        lines = await populated.fetch(f"EXPLAIN EXECUTE asked{f'({values})' if values else ''}")
        await populated.execute("DEALLOCATE asked")
    plan = "\n".join(row[0] for row in lines)
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan, plan


async def test_the_planner_would_read_a_table_whole_where_no_index_serves(populated: Connected) -> None:
    """The test above can fail: the same tables without their indexes give sequential scans."""
    transaction = populated.transaction()
    await transaction.start()
    await populated.execute("DROP INDEX backup_code_of_person; DROP INDEX authenticator_of_person")
    for file, name in (("factors", "backup_code_by_digest"), ("factors", "authenticators")):
        values: list[Any] = [UUID(int=1), [b"x"]][: 2 if "digest" in name else 1]
        lines = await populated.fetch(f"EXPLAIN {text_of(file, name)}", *values)
        assert "Seq Scan" in "\n".join(row[0] for row in lines)
    await transaction.rollback()
