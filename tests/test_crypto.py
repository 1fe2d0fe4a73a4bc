"""Sealing, digests with a purpose, the hash pool, and identifiers."""

import asyncio

import pytest

from service import crypto
from service.crypto import HashCost, HashPool, Sealer, SealingKey
from service.entropy import Entropy
from service.errors import Unavailable

OLD, NEW = SealingKey("old", b"o" * 32), SealingKey("new", b"n" * 32)


def test_a_sealed_record_opens_in_its_place_only() -> None:
    sealer = Sealer([NEW])
    record = sealer.seal(b"seed", b"123456789012", "totp", "ada", "phone")
    assert sealer.open(record, "totp", "ada", "phone") == b"seed"
    for context in (("totp", "eve", "phone"), ("totp", "ada", "tablet"), ("key", "ada", "phone"), ("totp",)):
        with pytest.raises(crypto.SealBroken):
            sealer.open(record, *context)


def test_every_changed_byte_breaks_the_seal() -> None:
    sealer = Sealer([NEW])
    record = sealer.seal(b"seed", b"123456789012", "totp")
    for at in range(len(record)):
        changed = record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]
        with pytest.raises(crypto.SealBroken):
            sealer.open(changed, "totp")


def test_two_keys_open_and_the_first_seals() -> None:
    old = Sealer([OLD]).seal(b"seed", b"123456789012", "totp")
    both = Sealer([NEW, OLD])
    assert both.open(old, "totp") == b"seed"
    assert both.seal(b"seed", b"123456789012", "totp").startswith(b"new\0")
    with pytest.raises(crypto.SealBroken, match="old"):
        Sealer([NEW]).open(old, "totp")


def test_a_digest_means_nothing_for_another_purpose() -> None:
    assert crypto.digest(b"k", "refresh", b"x") != crypto.digest(b"k", "device", b"x")
    assert len(crypto.sha256("dwp_x")) == 32


async def test_beyond_its_bound_the_hash_pool_refuses_at_once() -> None:
    pool = HashPool(HashCost(), threads=1, queue=1, deadline=30)
    answers = await asyncio.gather(*(pool.hash_password("x") for _ in range(14)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 14 - (1 + 1 + 8)
    assert {fault.retry_after for fault in refused} == {2}
    assert await pool.hash_password("x")
    pool.close()


async def test_strangers_are_refused_while_spare_places_are_left_for_whoever_proved_something() -> None:
    pool = HashPool(HashCost(), threads=1, queue=1, deadline=30)
    with pool.admission(), pool.admission():
        with pytest.raises(Unavailable), pool.admission():
            pass
        assert await pool.hash_password("x")
    with pool.admission():
        pass
    pool.close()


async def test_a_hash_that_waits_beyond_the_deadline_is_not_made() -> None:
    pool = HashPool(HashCost(memory_kib=200_000), threads=1, queue=10, deadline=0.02)
    answers = await asyncio.gather(*(pool.hash_password("x") for _ in range(5)), return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, str)]
    assert 1 <= len(made) < 5
    assert all(isinstance(answer, str | Unavailable) for answer in answers)
    pool.close()


async def test_nobodys_password_is_hashed_and_never_fits() -> None:
    pool = HashPool(HashCost(), threads=1, queue=5, deadline=30)
    assert not await pool.verify_password(None, "nobody has this password")
    encoded = await pool.hash_password("right")
    assert await pool.verify_password(encoded, "right")
    assert not await pool.verify_password(encoded, "wrong")
    assert not await pool.verify_password("not a hash", "right")
    assert not pool.is_outdated(encoded)
    assert HashPool(HashCost(passes=3), threads=1, queue=1, deadline=1).is_outdated(encoded)
    pool.close()


def test_row_identifiers_are_version_seven_and_in_order_of_birth() -> None:
    entropy = Entropy()
    ids = [entropy.row_id(1_700_000_000_000 + n) for n in range(100)]
    assert ids == sorted(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert len({entropy.row_id(5) for _ in range(1000)}) == 1000
    assert entropy.subject().version == 4


async def test_the_hash_of_nobody_costs_what_a_real_one_costs() -> None:
    pool = HashPool(HashCost(), threads=1, queue=5, deadline=30)
    real = await pool.hash_password("right")
    # The same parameters and lengths: what Argon2 does depends on nothing else.
    assert pool._dummy.rpartition("$")[0].rpartition("$")[0] == real.rpartition("$")[0].rpartition("$")[0]
    assert len(pool._dummy) == len(real)
    pool.close()
