"""The invariants of the security design (§1), read from the database after a race, and what races share."""

import asyncio
import base64
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from service.domain import sessions as session_rules
from service.domain import totp
from tests.builders import House, Person

#: Rounds of a race: two in every run, a hundred in the long one.
ROUNDS = pytest.mark.parametrize(
    "rounds", [2, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
RACERS = 32
#: A code of the right form that nobody has: it is drawn from 2^60.
NOBODYS = "0000-0000-0000"
_addresses = itertools.count(1)
#: What proves a second factor, and how its audit rows are named.
_SUCCESSES = (
    "account:second_factor:ok",
    "session:reauthentication:ok",
    "two_factor:confirmation:ok",
    "two_factor:disable:ok",
)
_FAILURES = (
    "account:second_factor:failed",
    "session:reauthentication:failed",
    "two_factor:confirmation:failed",
    "two_factor:disable:failed",
)


def nobodys(number: int) -> str:
    """A backup code of the right form that nobody has."""
    return f"ZZZZ-0000-{number:04}"


async def failures(house: House, person: Person, budget: str = "stranger") -> int:
    found: int = await house.value(
        f"SELECT cardinality({budget}_failures) FROM person WHERE id = $1", person.id
    )
    return found


def elsewhere(person: Person) -> Person:
    """The same person at an address nobody else has had: limits of networks are not what is measured."""
    number = next(_addresses)
    return replace(person, address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")


async def pre_auths(person: Person, count: int, **more: object) -> list[str]:
    """So many pre-auth tokens, asked for a few at a time: an address has five passwords under way."""
    tokens: list[str] = []
    while len(tokens) < count:
        some = range(min(4, count - len(tokens)))
        tokens += await asyncio.gather(*(elsewhere(person).pre_auth(**more) for _ in some))
    return tokens


async def verify_all(person: Person, tries: Iterable[tuple[str, str]]) -> list[httpx.Response]:
    """Every (token, code) at once, each from another address."""
    return list(await asyncio.gather(*(elsewhere(person).verify(token, code) for token, code in tries)))


async def guess(person: Person, count: int, **more: object) -> list[httpx.Response]:
    """Wrong codes one after the other, each with a token and an address of its own."""
    answers = []
    for number in range(count):
        away = elsewhere(person)
        token = await away.pre_auth(**more)
        answers.append(await away.verify(token, person.wrong_code(but=number)))
    return answers


def tally(answers: Iterable[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


def claims(token: str) -> dict[str, Any]:
    """What a JWT says; its signature is the business of other tests."""
    body = token.split(".")[1]
    told: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return told


async def flush(house: House) -> None:
    """Redis forgets everything."""
    await house.world.memory.run(("FLUSHALL",))


async def check(house: House, answers: Sequence[httpx.Response] = ()) -> None:
    """Assert every invariant that the database can tell, for everyone in it, and what `answers` add."""
    people = await house.rows("SELECT * FROM person")
    events = await house.rows(
        "SELECT *, detail ->> 'method' AS method FROM audit_event WHERE person_id IS NOT NULL ORDER BY at"
    )
    await _steps(house, events)
    await _backup_codes(house, events)
    await _families(house, answers)
    await _codes(house, answers)
    await _pre_auth_tokens(house, events, answers)
    await _two_factors(house)
    for person in people:
        _failures(person, [event for event in events if event["person_id"] == person["id"]])


async def _steps(house: House, events: Sequence[Any]) -> None:
    """I1: one success for each step of an authenticator, and the last one is the step it remembers."""
    for one in await house.rows("SELECT * FROM authenticator WHERE confirmed_at IS NOT NULL"):
        proofs = [e for e in events if e["factor_id"] == one["id"] and e["name"] in _SUCCESSES]
        assert all(e["method"] == "totp" for e in proofs if e["name"] != "two_factor:confirmation:ok")
        if not proofs:
            continue
        steps = [json.loads(event["detail"])["step"] for event in proofs]
        assert len(set(steps)) == len(steps), "I1: two successes with one step"
        assert max(steps) == one["last_step"], "I1: the last step is not the latest success's"
        for event, step in zip(proofs, steps, strict=True):
            assert abs(step - totp.step_at(event["at"])) <= totp.WINDOW, "I1: a step outside the window"


async def _backup_codes(house: House, events: Sequence[Any]) -> None:
    """I2: as many used codes as successes by backup code, person by person; one living set."""
    used = await house.rows(
        "SELECT person_id, count(*) AS n FROM backup_code WHERE used_at IS NOT NULL GROUP BY person_id"
    )
    succeeded = Counter(
        e["person_id"] for e in events if e["name"] in _SUCCESSES and e["method"] == "backup_code"
    )
    assert {row["person_id"]: row["n"] for row in used} == dict(succeeded), "I2: uses differ from successes"
    sets = await house.rows("SELECT person_id FROM backup_set WHERE replaced_at IS NULL")
    assert max(Counter(row["person_id"] for row in sets).values(), default=0) <= 1, "I2: two living sets"


async def _families(house: House, answers: Sequence[httpx.Response]) -> None:
    """I3: one successor for one token, and no leaf beyond the row's generation."""
    rows = {
        row["id"]: row
        for row in await house.rows(
            "SELECT f.*, s.cookie IS NOT NULL AS in_browser"
            " FROM refresh_family f JOIN session s ON s.id = f.session_id"
        )
    }
    # A browser's session has one for each time that a portal asked; any other has one alone.
    alone = [row for row in rows.values() if row["ended_at"] is None and not row["in_browser"]]
    sessions = Counter(row["session_id"] for row in alone)
    assert max(sessions.values(), default=0) <= 1, "I3: a session with two living families"
    successors = defaultdict(set)
    for answer in answers:
        presented = _refreshed(answer)
        if presented is None:
            continue
        successor = session_rules.parse_refresh(answer.json()["refresh_token"])
        assert successor is not None
        assert successor.generation <= rows[successor.family]["generation"], "I3: a leaf beyond the row"
        successors[presented].add(str(successor))
    assert all(len(leaves) == 1 for leaves in successors.values()), "I3: two leaves"


def _refreshed(answer: httpx.Response) -> str | None:
    """The refresh token that an answer was given for, at either door; None for any other answer."""
    if answer.status_code != 200:
        return None
    if answer.request.url.path == "/v1/tokens/refresh":
        return str(json.loads(answer.request.content)["refresh_token"])
    sent = _form(answer)
    return sent.get("refresh_token") if sent.get("grant_type") == "refresh_token" else None


def _form(answer: httpx.Response) -> dict[str, str]:
    """What was sent to the token endpoint; nothing for any other answer."""
    if answer.request.url.path != "/oauth2/token":
        return {}
    return dict(parse_qsl(answer.request.content.decode()))


async def _codes(house: House, answers: Sequence[httpx.Response]) -> None:
    """I4: an authorization code yields one token answer at most, and a used one names the grant it bought."""
    bought = Counter(
        sent["code"]
        for answer in answers
        if answer.status_code == 200 and (sent := _form(answer)).get("grant_type") == "authorization_code"
    )
    assert max(bought.values(), default=0) <= 1, "I4: a code bought tokens twice"
    used = await house.rows(
        "SELECT c.family_id, f.id, f.client_id = c.client_id AND f.person_id = c.person_id"
        " AND f.session_id = c.session_id AS own"
        " FROM authorization_code c LEFT JOIN refresh_family f ON f.id = c.family_id"
        " WHERE c.used_at IS NOT NULL"
    )
    assert all(row["id"] is not None and row["own"] for row in used), "I4: a used code without its grant"
    grants = Counter(row["family_id"] for row in used)
    assert max(grants.values(), default=0) <= 1, "I4: two codes of one grant"
    told = await house.value("SELECT count(*) FROM audit_event WHERE name = 'client:code_exchange:ok'")
    assert told == len(used), "I4: exchanges told and codes used differ"


async def _pre_auth_tokens(house: House, events: Sequence[Any], answers: Sequence[httpx.Response]) -> None:
    """I5: a token yields one session at most, and each session of two factors was bought by a proof."""
    bought = Counter(
        json.loads(answer.request.content)["pre_auth_token"]
        for answer in answers
        if answer.request.url.path.startswith("/v1/sign-in/")
        and answer.status_code == 200
        and answer.json().get("status") == "complete"
    )
    assert max(bought.values(), default=0) <= 1, "I5: a token bought two sessions"
    sessions = await house.rows("SELECT person_id FROM session WHERE 'mfa' = ANY(amr)")
    proofs = Counter(e["person_id"] for e in events if e["name"] in _SUCCESSES)
    for person, count in Counter(row["person_id"] for row in sessions).items():
        assert count <= proofs[person], "I5: more sessions of two factors than proofs"
    overdrawn = await house.value("SELECT count(*) FROM pre_auth WHERE attempts > 5")
    assert overdrawn == 0, "a token took more than its five tries"


async def _two_factors(house: House) -> None:
    """I6: no living session of an enrolled person that has not proved both factors, but one of a browser that
    they trusted when it was opened, after they had proved both there."""
    weak = await house.value(
        "SELECT count(*) FROM session s WHERE s.ended_at IS NULL AND NOT 'mfa' = ANY(s.amr) AND EXISTS "
        "(SELECT 1 FROM authenticator a WHERE a.person_id = s.person_id AND a.confirmed_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM trusted_browser t WHERE t.id = s.trusted_browser_id"
        " AND t.person_id = s.person_id AND s.client_id = 'pages' AND s.amr = '{pwd}'"
        " AND t.created_at <= s.created_at AND t.expires_at > s.created_at"
        " AND (t.ended_at IS NULL OR t.ended_at >= s.created_at))"
    )
    assert weak == 0, "I6: an enrolled person's session of one factor"
    unproved = await house.value(
        "SELECT count(*) FROM trusted_browser t WHERE t.ended_at IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM session s WHERE s.id = t.session_id AND s.person_id = t.person_id"
        " AND s.amr @> '{otp,mfa}')"
    )
    assert unproved == 0, "I6: a browser trusted without an authenticator's code"


def _failures(person: Any, events: Sequence[Any]) -> None:
    """I8: no window of either budget holds more than its limit, and every failure told was counted."""
    kept = [person["stranger_failures"], person["known_failures"]]
    for failures in kept:
        for limit, window in ((5, timedelta(minutes=5)), (20, timedelta(hours=1)), (50, timedelta(days=1))):
            assert not _crowded(failures, limit, window), f"I8: more than {limit} failures in {window}"
    told = [e for e in events if e["name"] in _FAILURES and e["method"] in ("totp", "backup_code")]
    if len(told) < 50:
        assert len(told) == sum(map(len, kept)), "I8: failures told and failures counted differ"


def _crowded(failures: Sequence[datetime], limit: int, window: timedelta) -> bool:
    """Whether more than `limit` of them (newest first) lie within one window."""
    return any(new - old < window for new, old in zip(failures, failures[limit:], strict=False))
