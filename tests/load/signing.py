"""What a token costs by each algorithm, in CPU of one process: `python -m tests.load.signing`."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

from service.keyring import SIGNING, Alg, Key, Keyring, new_signing_material

#: As long as an access token's.
CLAIMS = {
    **dict.fromkeys(("sub", "sid", "grant", "jti"), "test value, as long as an identifier"),
    **dict.fromkeys(("iat", "exp", "auth_time"), 1_800_000_000),
    **dict.fromkeys(("iss", "aud"), "https://identity.example"),
    "amr": ["pwd", "otp", "mfa"],
    "acr": "urn:doorward:acr:2fa",
    "client_id": "doorward",
    "scope": "openid profile email account",
}


def micros(act: Callable[[], object], rounds: int) -> float:
    act()
    began = time.process_time()
    for _ in range(rounds):
        act()
    return (time.process_time() - began) / rounds * 1e6


def main() -> None:
    now = datetime.now(UTC)
    made: list[Key] = []
    for alg in get_args(Alg):
        began = time.process_time()
        name, material = new_signing_material(SIGNING[alg])
        print(f"{alg}: a key made in {(time.process_time() - began) * 1000:.1f} ms")
        made.append(Key(name, SIGNING[alg], material, now, now))

    def reload() -> Keyring:
        return Keyring([Key(key.id, key.kind, key.material, now, now) for key in made])

    print(f"a reload of one key each: {micros(reload, 200):.0f} µs")
    ring = reload()
    for alg in get_args(Alg):
        token = ring.sign(CLAIMS, "JWT", now, alg)
        signed = micros(lambda alg=alg: ring.sign(CLAIMS, "JWT", now, alg), 500)  # type: ignore[misc]
        checked = micros(lambda token=token: ring.verify(token, "JWT"), 500)  # type: ignore[misc]
        print(f"{alg}: sign {signed:.0f} µs, verify {checked:.0f} µs, {len(token)} bytes")


if __name__ == "__main__":
    main()
