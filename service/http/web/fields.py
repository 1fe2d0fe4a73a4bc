"""What people type into a form, made into what the flows take."""

from collections.abc import Mapping
from uuid import UUID

from service.domain.accounts import is_line
from service.errors import DoorwardError, InvalidRequest, NotFound


def code_typed(text: str) -> str:
    """A code as it is typed: apps show six digits with a gap, and people keep it. Anything that is not
    digits then stays as it was; a backup code may stand here too."""
    digits = text.replace(" ", "").replace("-", "")
    return digits if digits.isascii() and digits.isdigit() else text


def id_of(fields: Mapping[str, str], name: str = "id") -> UUID:
    """The identifier that a form carries. Raises NotFound for what is none."""
    try:
        return UUID(fields.get(name, ""))
    except ValueError:
        raise NotFound("a form without a right identifier") from None


def kept_of(fields: Mapping[str, str], *names: str) -> Mapping[str, str]:
    """What a form that is shown again starts with, of what was typed; in bytes, as the cookie that carries
    it is measured."""
    return {name: fields[name].encode()[:256].decode(errors="ignore") for name in names if name in fields}


def name_typed(fields: Mapping[str, str]) -> str:
    """An authenticator's name: 1 to 64 characters of one line. Raises InvalidRequest."""
    name = fields.get("name", "").strip()
    if not 0 < len(name) <= 64 or not is_line(name):
        raise InvalidRequest("a bad name", errors=[{"pointer": "/name", "code": "not_valid"}])
    return name


def line_typed(fields: Mapping[str, str], name: str, most: int) -> str:
    """At most so many characters of one line, or none at all. Raises InvalidRequest."""
    text = fields.get(name, "").strip()
    if len(text) > most or not is_line(text):
        raise InvalidRequest(f"a bad {name}", errors=[{"pointer": f"/{name}", "code": "not_valid"}])
    return text


def require_filled(**fields: str) -> None:
    """Refuse a form with an empty field (InvalidRequest), which says so itself."""
    missing = [{"pointer": f"/{name}", "code": "missing"} for name, text in fields.items() if not text]
    if missing:
        raise InvalidRequest("an empty field", errors=missing)


def marked(fault: DoorwardError) -> dict[str, str]:
    """What the notice says where the fields themselves say what is wrong with them."""
    is_marked = isinstance(fault, InvalidRequest) and bool(fault.public.get("errors"))
    return {"code": "marked_fields"} if is_marked else {}
