"""Every module of the OpenID Foundation's plans has a test of its name, and nothing else has."""

import ast
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
#: How many modules each plan has: a line that got lost must not go unnoticed.
_PLANS = {
    "oidcc-config-certification-test-plan": (1, ("test_config.py",)),
    "oidcc-basic-certification-test-plan": (38, ("test_basic_answers.py", "test_basic_requests.py")),
    "oidcc-rp-initiated-logout-certification-test-plan": (11, ("test_rp_initiated_logout.py",)),
    "oidcc-backchannel-rp-initiated-logout-certification-test-plan": (2, ("test_back_channel_logout.py",)),
}


def _modules() -> dict[str, list[str]]:
    """The names in the checked-in list, by plan."""
    plans: dict[str, list[str]] = {}
    lines = (_HERE / "modules.txt").read_text().splitlines()
    for line in [line for line in lines if line and not line.startswith("#")]:
        if line.startswith("["):
            plans[line.strip("[]")] = []
        else:
            plans[next(reversed(plans))].append(line)
    return plans


def _functions(file: str) -> list[str]:
    tree = ast.parse((_HERE / file).read_text())
    nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.name for node in nodes if node.name.startswith("test_")]


@pytest.mark.parametrize("plan", _PLANS)
def test_every_module_has_its_test(plan: str) -> None:
    count, files = _PLANS[plan]
    modules = _modules()[plan]
    assert len(set(modules)) == count
    wanted = sorted("test_" + module.replace("-", "_") for module in modules)
    assert sorted(name for file in files for name in _functions(file)) == wanted


def test_the_list_holds_these_plans_and_no_others() -> None:
    assert _modules().keys() == _PLANS.keys()


@pytest.mark.parametrize("file", _PLANS["oidcc-basic-certification-test-plan"][1])
def test_the_form_post_plan_runs_every_module_of_the_basic_plan(file: str) -> None:
    text = (_HERE / file).read_text()
    assert 'pytestmark = pytest.mark.parametrize("response_mode", ["query", "form_post"])' in text
