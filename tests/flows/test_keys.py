"""Keys are followed by the next, and retired when nothing needs them any more, while everything runs."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, get_args

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service import crypto
from service.errors import Conflict, NotFound, Unavailable
from service.flows import keys as key_flow
from service.jobs.keys import keep_rotating
from service.keyring import ALGORITHMS, SIGNING, Alg, BadToken, Kind
from service.settings import Settings
from service.world import World, make_world
from tests.builders import House
from tests.http.problems import problem

EVERY_ALG: Sequence[Alg] = get_args(Alg)
AHEAD = key_flow.PUBLISHED_AHEAD.total_seconds()


@pytest.fixture
async def second(settings: Settings, house: House) -> AsyncIterator[World]:
    """Another node on the same database, by the same clock."""
    made = make_world(settings, clock=house.clock)
    await made.refresh()
    yield made
    await made.close()


async def living(house: House, kind: Kind) -> list[str]:
    found = await house.rows(
        "SELECT id FROM service_key WHERE kind = $1 AND retired_at IS NULL ORDER BY active_from", kind
    )
    return [row["id"] for row in found]


async def take_over(house: House, kind: Kind) -> tuple[str, str]:
    """Make another key of a kind and wait until every node uses it: the old one's id and the new one's."""
    old = house.world.active(kind).id
    new = (await key_flow.create(house.world, kind)).id
    house.clock.advance(AHEAD if kind in ALGORITHMS else 2 * key_flow.READ_BY_ALL.total_seconds())
    await house.world.refresh()
    assert house.world.active(kind).id == new
    return old, new


# Refused


async def test_a_key_that_nobody_knows_is_not_retired(world: World) -> None:
    with pytest.raises(NotFound):
        await key_flow.retire(world, "nothing")


async def test_a_signing_key_stays_while_its_tokens_may_live(house: House) -> None:
    old, _ = await take_over(house, Kind.SIGN)
    with pytest.raises(Conflict) as refused:
        await key_flow.retire(house.world, old)
    assert "may live until" in refused.value.private
    (event,) = await house.events("keys:retirement:refused")
    assert json.loads(event["detail"])["key"] == old
    await key_flow.retire(house.world, old, force=True)
    with pytest.raises(NotFound):
        await key_flow.retire(house.world, old)


async def test_a_next_key_that_is_used_within_the_minute_is_not_taken_back(house: House) -> None:
    made = await key_flow.rotate(house.world, "ES256")
    house.clock.advance(AHEAD - 59)
    with pytest.raises(Conflict):
        await key_flow.retire(house.world, made.id, force=True)


async def test_a_token_key_stays_while_a_refresh_family_of_its_lives(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    old, new = await take_over(house, Kind.TOKEN)
    for force in (False, True):
        with pytest.raises(Conflict) as refused:
            await key_flow.retire(house.world, old, force=force)
        assert refused.value.private == "1 living refresh families were born under it"
    # The family goes on under the key it was born under, and new ones are born under the new one.
    tokens = (await ada.refresh(tokens["refresh_token"])).json()
    later = await ada.sign_in()
    assert await house.value("SELECT key_id FROM refresh_family ORDER BY id DESC LIMIT 1") == new
    assert (await ada.post("/v1/sign-out", None, bearer=tokens["access_token"])).status_code == 204
    await key_flow.retire(house.world, old)
    await house.world.refresh()
    problem(await ada.refresh(tokens["refresh_token"]), 401, "invalid_refresh_token")
    assert (await ada.refresh(later["refresh_token"])).status_code == 200


async def test_a_pepper_stays_while_codes_stand_unused_and_force_voids_their_sets(house: House) -> None:
    ada, bob = await house.a_person().with_totp(), await house.a_person().with_totp()
    old, new = await take_over(house, Kind.PEPPER)
    eve = await house.a_person().with_totp()
    with pytest.raises(Conflict) as refused:
        await key_flow.retire(house.world, old)
    assert refused.value.private.startswith("10 unused backup codes")
    # A code of the old pepper is good until then.
    assert (await ada.verify(await ada.pre_auth(), ada.codes[0])).status_code == 200

    assert await key_flow.retire(house.world, old, force=True) == 2
    await house.world.refresh()
    for person, code in ((ada, ada.codes[1]), (bob, bob.codes[0])):
        problem(await person.verify(await person.pre_auth(), code), 401, "invalid_code")
        assert (await house.letters(person)).count("backup_codes_voided") == 1
        assert (await person.sign_in())["access_token"]
    assert "backup_codes_voided" not in await house.letters(eve)
    assert (await eve.verify(await eve.pre_auth(), eve.codes[0])).status_code == 200
    voided = await house.events("two_factor:backup_codes_voided:ok")
    assert {event["person_id"] for event in voided} == {ada.id, bob.id}
    assert await living(house, Kind.PEPPER) == [new]


async def test_a_set_that_was_replaced_under_the_new_pepper_is_not_voided(house: House) -> None:
    ada = await house.a_person().with_totp()
    old, _ = await take_over(house, Kind.PEPPER)
    bearer = (await ada.sign_in())["access_token"]
    answer = await ada.post("/v1/me/two-factor/backup-codes", {}, bearer=bearer)
    assert await key_flow.retire(house.world, old) == 0
    await house.world.refresh()
    code = answer.json()["codes"][0]
    assert (await ada.verify(await ada.pre_auth(), code)).status_code == 200


async def test_a_key_that_went_is_gone_from_the_table(house: House) -> None:
    old, _ = await take_over(house, Kind.SIGN)
    await key_flow.retire(house.world, old, force=True)
    assert await house.value("SELECT sealed FROM service_key WHERE id = $1", old) == b""


@pytest.mark.parametrize("settings", [{"keys.rotate_days": 0}], indirect=True)
async def test_zero_days_rotate_nothing(house: House) -> None:
    house.clock.advance(4000 * 86_400)
    await key_flow.upkeep(house.world)
    assert len(await living(house, Kind.SIGN)) == 1


# Raced


@pytest.mark.case("F-16")
@pytest.mark.parametrize("alg", EVERY_ALG)
async def test_eight_who_rotate_at_once_publish_one_key(house: House, second: World, alg: Alg) -> None:
    nodes = [house.world, second] * 4
    found = await asyncio.gather(*(key_flow.rotate(node, alg) for node in nodes))
    assert sorted(one.made for one in found) == [False] * 7 + [True]
    assert len({(one.id, one.active_from) for one in found}) == 1
    assert len(await living(house, SIGNING[alg])) == 2
    (event,) = await house.events("keys:rotation:ok")
    assert json.loads(event["detail"])["key"] == found[0].id


async def test_eight_who_make_the_first_keys_at_once_make_one_of_each(house: House, second: World) -> None:
    await house.rows("DELETE FROM service_key")
    made = await asyncio.gather(*(key_flow.ensure(node) for node in [house.world, second] * 4))
    assert sorted(map(len, made)) == [0] * 7 + [len(Kind)]
    assert await house.value("SELECT count(*) FROM service_key") == len(Kind)
    assert len(await house.events("keys:creation:ok")) == len(Kind)


async def test_eight_nodes_that_look_after_old_keys_publish_one_of_each(house: House, second: World) -> None:
    house.clock.advance(90 * 86_400)
    await asyncio.gather(*(key_flow.upkeep(node) for node in [house.world, second] * 4))
    for kind in ALGORITHMS:
        assert len(await living(house, kind)) == 2
    # They agree on the moment it begins to sign, whichever of them made it.
    for node in (house.world, second):
        await node.refresh()
    for seconds in (AHEAD - 1, 1):
        house.clock.advance(seconds)
        assert house.world.active(Kind.SIGN) == second.active(Kind.SIGN)
    assert house.world.active(Kind.SIGN).id == (await living(house, Kind.SIGN))[1]


async def test_who_finds_the_keys_held_goes_on(house: House, second: World) -> None:
    house.clock.advance(90 * 86_400)
    held = asyncio.Event()

    async def hold(tx: Any) -> None:
        await tx.execute("SELECT pg_advisory_xact_lock(hashtext('doorward.service_key'))")
        held.set()
        await asyncio.sleep(0.3)

    holding = asyncio.create_task(second.db.transact(hold))
    await held.wait()
    await key_flow.upkeep(house.world)
    assert not holding.done()
    assert len(await living(house, Kind.SIGN)) == 1
    await holding


async def test_the_job_goes_on_after_a_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [crypto.SealBroken("a test"), Unavailable("a test"), RuntimeError("a test")]
    looked_again = asyncio.Event()

    async def upkeep(world: World) -> None:
        if faults:
            raise faults.pop()
        looked_again.set()

    monkeypatch.setattr(key_flow, "upkeep", upkeep)
    job = asyncio.create_task(keep_rotating(house.world, every=0.001))
    await asyncio.wait_for(looked_again.wait(), 5)
    assert not job.done()
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job


# Seen from outside


class Verifier:
    """A resource server that keeps the JWKS for as long as it may, and asks for nothing sooner."""

    def __init__(self, jwks: bytes, now: datetime, seconds: float) -> None:
        self.keep(jwks, now, seconds)

    def keep(self, jwks: bytes, now: datetime, seconds: float) -> None:
        self.keys = KeySet.import_key_set(json.loads(jwks))
        self.stale_at = now + timedelta(seconds=seconds)

    def check(self, token: str, alg: Alg, now: datetime) -> None:
        assert now < self.stale_at
        claims = jwt.decode(token, self.keys, algorithms=[alg]).claims
        assert claims["exp"] > now.timestamp()


@pytest.mark.case("F-16")
@pytest.mark.case("K-115")
@pytest.mark.parametrize("settings", [{"keys.rotate_days": 2}], indirect=True)
async def test_who_keeps_the_jwks_for_its_life_can_check_every_token_through_three_rotations(
    house: House, second: World, client: httpx.AsyncClient
) -> None:
    world, clock = house.world, house.clock
    answer = await client.get("/oauth2/jwks")
    max_age = int(answer.headers["cache-control"].partition("max-age=")[2])
    signed_by: set[str] = set()
    checked = 0
    for _ in range(3):
        clock.advance(2 * 86_400)
        await asyncio.gather(world.refresh(), second.refresh())
        # The last of them asked a moment before the next key was there.
        verifiers = [Verifier(world.keyring.jwks, clock.now(), phase) for phase in range(0, max_age + 1, 50)]
        waiting: list[tuple[datetime, Alg, str]] = []
        old = {alg: world.active(SIGNING[alg]) for alg in EVERY_ALG}
        longest: dict[Alg, tuple[datetime, str]] = {}
        for tick in range(180):
            clock.advance(10)
            now = clock.now()
            await world.refresh()
            # The other node is late by up to a minute, and looks after the keys as well.
            if tick % 6 == 0:
                await second.refresh()
                await asyncio.gather(key_flow.upkeep(world), key_flow.upkeep(second))
            fresh: list[tuple[datetime, Alg, str]] = []
            for alg in EVERY_ALG if tick % 3 == 0 else EVERY_ALG[:1]:
                signer = (world, second)[tick % 2]
                claims = {"exp": int(now.timestamp()) + 300}
                fresh.append(
                    (now + timedelta(seconds=290), alg, signer.keyring.sign(claims, "JWT", now, alg))
                )
                signed_by.add(signer.active(SIGNING[alg]).id)
                if signer.active(SIGNING[alg]) == old[alg]:
                    # The last one it signs, for a client whose tokens live for a day.
                    claims = {"exp": int(now.timestamp()) + 86_400}
                    last_moment = now + timedelta(seconds=86_400 - 1)
                    longest[alg] = last_moment, signer.keyring.sign(claims, "JWT", now, alg)
            ripe = [one for one in waiting if one[0] <= now]
            waiting = [one for one in waiting if one[0] > now] + fresh
            for number, one in enumerate(verifiers):
                if one.stale_at <= now:
                    one.keep((world, second)[number % 2].keyring.jwks, now, max_age)
            # Each at its first moment and its last, by everyone, whichever node they had their keys from.
            for _, alg, token in fresh + ripe:
                for one in verifiers:
                    one.check(token, alg, now)
                    checked += 1
                assert second.keyring.verify(token, "JWT")
                assert world.keyring.verify(token, "JWT")
        for alg, (last_moment, token) in sorted(longest.items(), key=lambda item: item[1][0]):
            clock.advance((last_moment - clock.now()).total_seconds())
            await asyncio.gather(key_flow.upkeep(world), key_flow.upkeep(second))
            await asyncio.gather(world.refresh(), second.refresh())
            for node in (world, second):
                Verifier(node.keyring.jwks, clock.now(), 1).check(token, alg, clock.now())
    clock.advance(86_400)
    await asyncio.gather(key_flow.upkeep(world), key_flow.upkeep(second))
    await world.refresh()
    assert checked > 5000
    assert len(signed_by) == 4 * len(EVERY_ALG)
    # The old ones went when their last token had died.
    retired = await house.events("keys:retirement:ok")
    assert len(retired) == 3 * len(EVERY_ALG)
    published = json.loads(world.keyring.jwks)["keys"]
    assert sorted(key["alg"] for key in published) == sorted(EVERY_ALG)


async def test_the_old_key_goes_when_its_last_token_and_the_leeway_are_over(house: House) -> None:
    world = house.world
    token = world.keyring.sign({}, "JWT", world.clock.now())
    old, new = await take_over(house, Kind.SIGN)
    # A client's tokens may live for a day, whatever the service's own do.
    house.clock.advance(86_400 + 300 - 1)
    await key_flow.upkeep(world)
    await world.refresh()
    assert world.keyring.verify(token, "JWT") == {}
    assert await living(house, Kind.SIGN) == [old, new]
    house.clock.advance(1)
    await key_flow.upkeep(world)
    await world.refresh()
    assert await living(house, Kind.SIGN) == [new]
    with pytest.raises(BadToken, match="unknown"):
        world.keyring.verify(token, "JWT")
