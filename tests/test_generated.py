"""What is generated and checked in is what the code says today."""

from pathlib import Path

from click.testing import CliRunner

from service.__main__ import main
from service.app import openapi_document


def _printed(*words: str) -> str:
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_the_openapi_document_is_the_one_checked_in(root: Path) -> None:
    assert (root / "openapi" / "openapi.json").read_text() == openapi_document()


def test_the_table_of_errors_is_the_one_checked_in(root: Path) -> None:
    assert (root / "docs" / "errors.md").read_text() == _printed("errors")


def test_the_table_of_settings_is_the_one_checked_in(root: Path) -> None:
    assert (root / "docs" / "settings.md").read_text() == _printed("config", "reference")


def test_the_lock_names_no_address_and_every_hash(root: Path) -> None:
    lock = (root / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index-url" not in lock
    pinned = [line for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert len(pinned) > 50
    assert lock.count("--hash=sha256:") > len(pinned)
