"""Two workers behind one port are one service: what one has seen, the other knows."""

from collections import Counter

import httpx
import pytest

from tests.builders import Person
from tests.faults.conftest import FIGURES, Rig, in_turn

WORKERS = 2

pytestmark = pytest.mark.fault


@pytest.mark.case("K-11")
async def test_one_code_of_thirty_two_tokens_opens_one_session_across_workers(rig: Rig) -> None:
    ada = await rig.house.a_person().with_totp()
    before = _busy(rig)
    tokens = await rig.tokens_of(ada, 32)
    code = ada.code()
    answers = await in_turn(32, 32, lambda number: _verify_anew(rig, ada, tokens[number], code))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1, statuses
    assert set(statuses) <= {200, 401, 429, 503}, statuses
    assert await rig.failures(ada) <= 5
    async with rig.sql() as connection:
        assert await connection.fetchval("SELECT count(*) FROM session WHERE person_id = $1", ada.id) == 1
    worked = [pid for pid, seconds in _busy(rig).items() if seconds - before.get(pid, 0.0) > 0.05]
    assert len(worked) >= 2, "both workers took part"
    FIGURES.append(f"K-11 two workers, 32 tokens: {dict(sorted(statuses.items()))}")


@pytest.mark.case("K-59")
async def test_a_refresh_race_across_workers_has_one_successor(rig: Rig) -> None:
    ada = await rig.house.a_person()
    token = (await ada.sign_in())["refresh_token"]
    for generation in range(1, 6):
        presented = token
        answers = [
            answer
            for answer in await in_turn(
                16,
                16,
                lambda _, presented=presented: _refresh_anew(rig, presented),  # type: ignore[misc]
            )
            if answer.status_code != 503
        ]
        assert answers
        assert {answer.status_code for answer in answers} == {200}
        (token,) = {answer.json()["refresh_token"] for answer in answers}
        async with rig.sql() as connection:
            family = await connection.fetchrow("SELECT * FROM refresh_family WHERE person_id = $1", ada.id)
        assert family is not None
        assert (family["generation"], family["ended_at"]) == (generation, None)


@pytest.mark.case("K-34")
async def test_a_persons_budget_holds_across_workers_and_a_restart(rig: Rig) -> None:
    ada = await rig.house.a_person().with_totp()
    tokens = await rig.tokens_of(ada, 24)
    answers = await in_turn(
        16, 16, lambda number: _verify_anew(rig, ada, tokens[number], ada.wrong_code(but=number))
    )
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {401, 429, 503}, statuses
    assert statuses[401] <= 5
    for number in range(5):  # use up what a full pool may have left
        await _verify_anew(rig, ada, tokens[16 + number], ada.wrong_code(but=number))
    assert await rig.failures(ada) == 5
    fresh = tokens[21:]
    for _ in range(8):  # either worker refuses even the right code
        assert (await _verify_anew(rig, ada, fresh[0], ada.code())).status_code == 429

    await rig.stop()
    await rig.start()
    for _ in range(8):
        answer = await _verify_anew(rig, ada, fresh[1], ada.code())
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert (await _verify_anew(rig, ada, fresh[2], ada.codes[0])).status_code == 429
    assert await rig.failures(ada) == 5
    # The signing keys and the people have outlived the restart.
    assert (await (await rig.house.a_person()).sign_in())["status"] == "complete"


async def _verify_anew(rig: Rig, person: Person, token: str, code: str) -> httpx.Response:
    """On a connection of its own, so that any worker may get it."""
    body = {"pre_auth_token": token, "code": code}
    return await _post(rig, "/v1/sign-in/second-factor", body)


async def _refresh_anew(rig: Rig, token: str) -> httpx.Response:
    return await _post(rig, "/v1/tokens/refresh", {"refresh_token": token})


async def _post(rig: Rig, path: str, body: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=rig.issuer, timeout=20, trust_env=False) as client:
        return await client.post(path, json=body)


def _busy(rig: Rig) -> dict[int, float]:
    """Processor seconds of each of the service's processes."""
    return {one.pid: sum(one.cpu_times()[:2]) for one in rig.processes()}
