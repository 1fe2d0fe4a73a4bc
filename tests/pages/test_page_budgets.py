"""The pages that everybody meets are light and soon there: budgets B1 and B2 of the pages' design."""

import pytest
from playwright.async_api import Browser

from tests.load.pages import measured
from tests.programs import Dev


@pytest.mark.case("U-14")
async def test_sign_in_second_factor_and_consent_keep_their_budgets(chromium: Browser, running: Dev) -> None:
    for one in await measured(chromium, running, rounds=3):
        assert one.compressed <= 14_000, one
        assert one.whole <= 50_000, one
        assert one.requests <= 5, one
        assert 0 < one.largest_paint <= 1_000, one
