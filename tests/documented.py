"""Every answer that a test of the application gets must be one that the OpenAPI document tells of."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx

_DOCUMENT = Path(__file__).parent.parent / "openapi" / "openapi.json"


@cache
def _paths() -> list[tuple[re.Pattern[str], Any]]:
    paths = json.loads(_DOCUMENT.read_text())["paths"]
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations) for path, operations in paths.items()]


def undocumented(method: str, path: str, answer: httpx.Response) -> str | None:
    """What the document does not tell of this answer. Other paths and methods are no operations, and a
    500 is never told of: a test makes one by breaking the code."""
    operations: Any = next((found for pattern, found in _paths() if pattern.fullmatch(path)), {})
    operation = operations.get("get" if method == "HEAD" else method.lower())
    if operation is None or answer.status_code == 500:
        return None
    told = operation["responses"].get(str(answer.status_code))
    if told is None:
        return f"{method} {path}: {answer.status_code} is not documented"
    if answer.headers.get("content-type") == "application/problem+json":
        code = json.loads(answer.content)["code"]
        if f"`{code}`" not in told["description"]:
            return f"{method} {path}: {answer.status_code} {code} is not documented"
    return None


async def require_documented(answer: httpx.Response) -> None:
    """A hook for a client."""
    await answer.aread()
    said = undocumented(answer.request.method, answer.request.url.path, answer)
    assert said is None, said
