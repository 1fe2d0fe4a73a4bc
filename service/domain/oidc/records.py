"""A client's record as JSON or TOML holds it: strictly read, with all that is wrong told at once."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from service.domain.oidc import logos
from service.domain.oidc.clients import (
    AccessTokenAlg,
    AuthMethod,
    Client,
    Fault,
    GrantType,
    IdTokenAlg,
    faults,
)
from service.domain.oidc.logos import Logo


def read_all(document: object) -> tuple[Sequence[Client], Sequence[Fault]]:
    """The clients of a document that holds them as `clients`, and all that is wrong with it; where anything
    is, the clients are not to be used."""
    records = document.get("clients") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(records, list):
        return [], [Fault("/clients", "not_a_list", "the document must hold `clients`, a list of records")]
    found = [_unknown(str(name), ["clients"]) for name in document if name != "clients"]
    clients = []
    for place, record in enumerate(records):
        client, wrong = read(record)
        found += _under(place, wrong)
        clients.append(client)
    found += _repeated([record.get("id") if isinstance(record, Mapping) else None for record in records])
    return [client for client in clients if client is not None], found


def all_faults(clients: Sequence[Client]) -> Sequence[Fault]:
    """Everything that is wrong with a list of clients, as `read_all` tells it."""
    found = [fault for place, client in enumerate(clients) for fault in _under(place, faults(client))]
    return [*found, *_repeated([client.id for client in clients])]


def read(record: object) -> tuple[Client | None, Sequence[Fault]]:
    """The client that a record of JSON or TOML describes, and all that is wrong with the record. There is
    no client where the record has not its form; rules are judged with what is well-formed all the same."""
    if not isinstance(record, Mapping):
        return None, [Fault("", "not_a_record", "must be a table of fields")]
    known = {field.name: field.type for field in fields(Client)}
    found: list[Fault] = []
    values: dict[str, Any] = {}
    for name, value in record.items():
        if name not in known:
            found.append(_unknown(str(name), list(known)))
        elif (fitting := _FORMS[known[name]])[0](value):
            values[name] = _value(known[name], value)
        else:
            found.append(Fault(f"/{name}", "wrong_type", f"must be {fitting[1]}"))
    for name in ("id", "name"):
        if name not in record:
            found.append(Fault(f"/{name}", "missing", "every client has one"))
    judged = Client(**{"id": "unnamed", "name": "unnamed"} | values)
    told = {fault.pointer.split("/")[1] for fault in found}
    rules = [fault for fault in faults(judged) if fault.pointer.split("/")[1] not in told]
    return (None if found else judged), [*found, *rules]


def _under(place: int, wrong: Sequence[Fault]) -> Iterator[Fault]:
    return (replace(fault, pointer=f"/clients/{place}{fault.pointer}") for fault in wrong)


def _repeated(ids: Sequence[object]) -> Iterator[Fault]:
    for place, one in enumerate(ids):
        if one is not None and one in ids[:place]:
            yield Fault(f"/clients/{place}/id", "duplicate", "stands there already")


def _unknown(name: str, known: Sequence[str]) -> Fault:
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    if "secret" in name:
        return Fault(pointer, "secret", "secrets are made by the service and shown once, never written here")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return Fault(pointer, "unknown", "no such field" + (f"; did you mean {close[0]}?" if close else ""))


def _value(kind: object, value: Any) -> Any:
    """A well-formed field as the client has it."""
    if kind == Logo | None and value is not None:
        return logos.from_uri(value)
    return tuple(value) if isinstance(value, list) else value


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


#: How a field of each type is written, and what is said of anything else.
_FORMS: Mapping[Any, tuple[Callable[[object], bool], str]] = {
    str: (_is_text, "text"),
    AuthMethod: (_is_text, "text"),
    IdTokenAlg: (_is_text, "text"),
    AccessTokenAlg: (_is_text, "text"),
    str | None: (lambda value: value is None or _is_text(value), "text"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int | None: (lambda value: value is None or type(value) is int, "a whole number of seconds"),
    tuple[str, ...]: (_is_list, "a list of texts"),
    tuple[GrantType, ...]: (_is_list, "a list of texts"),
    Logo | None: (
        lambda value: value is None or (isinstance(value, str) and logos.from_uri(value) is not None),
        f"a data: URI of a PNG or an SVG in base64, of at most {logos.LARGEST // 1024} KiB",
    ),
    Mapping[str, Any] | None: (lambda value: value is None or isinstance(value, Mapping), "a JWKS"),
}
