"""The whole story through the application, with a clock that the test moves."""

from tests.builders import House


async def test_a_person_turns_the_second_factor_on_and_signs_in_with_it(house: House) -> None:
    ada = await house.a_person()
    tokens = await ada.sign_in()
    bearer = tokens["access_token"]

    me = (await ada.get("/v1/me", bearer=bearer)).json()
    assert me["two_factor"]["status"] == "not_activated"

    started = await ada.post("/v1/me/two-factor/authenticators", {"name": "Phone"}, bearer=bearer)
    assert started.status_code == 201, started.text
    import base64

    ada.secret = base64.b32decode(started.json()["secret"].replace(" ", ""))
    confirmed = await ada.post(
        f"/v1/me/two-factor/authenticators/{started.json()['id']}/confirm",
        {"code": ada.code()},
        bearer=bearer,
    )
    assert confirmed.status_code == 200, confirmed.text
    codes = confirmed.json()["backup_codes"]["codes"]
    assert len(set(codes)) == 5

    me = (await ada.get("/v1/me", bearer=bearer)).json()
    assert me["two_factor"]["status"] == "activated"
    assert me["two_factor"]["backup_codes_left"] == 5

    again = await ada.post("/v1/me/two-factor/backup-codes", {}, bearer=bearer)
    assert again.status_code == 200, again.text

    house.clock.advance(30)
    second = await ada.sign_in()
    assert second["status"] == "complete"
    refreshed = await ada.refresh(second["refresh_token"])
    assert refreshed.status_code == 200, refreshed.text
    house.clock.advance(11)
    stolen = await ada.refresh(second["refresh_token"])
    assert stolen.status_code == 401
    assert stolen.json()["reason"] == "refresh_reuse"
    assert (await ada.refresh(refreshed.json()["refresh_token"])).json()["reason"] == "refresh_reuse"
    assert (await ada.get("/v1/me", bearer=second["access_token"])).status_code == 401

    token = await ada.pre_auth()
    used = await ada.verify(token, again.json()["codes"][0])
    assert used.status_code == 200, used.text
    assert used.json()["backup_codes_left"] == 4
    out = await ada.post("/v1/sign-out", None, bearer=used.json()["access_token"])
    assert out.status_code == 204, out.text
