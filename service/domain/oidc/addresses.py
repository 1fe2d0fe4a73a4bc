"""Addresses of clients: what one may be, in the one form in which it is compared."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias
from urllib.parse import urlencode

#: Characters of an address.
MAX = 2000

#: RFC 3986 §2: what else there is, such as a backslash or an accent, browsers read in ways of their own.
CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
#: RFC 3986 §3: scheme, authority and path, before query and fragment.
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(?:\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(r"(?:(.*)@)?(\[[0-9A-Fa-f:.]*\]|[^:@\[\]]*)(?::(.*))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
#: The only addresses whose port may vary: `localhost` may be another host's name (RFC 8252 §7.3, §8.3).
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::([1-9][0-9]{0,4}))?([/?].*)?")
_LOOPBACK_HOSTS = ("127.0.0.1", "[::1]", "localhost")

#: What is wrong with something: a stable word and a sentence, which never quotes it.
Said: TypeAlias = tuple[str, str]


def uri_faults(uri: str, *, native: bool) -> Iterator[Said]:
    """What keeps a text from being an address of a client: absolute, without a fragment (RFC 6749
    §3.1.2), in one form only, and on https but for loopback and a native app's own scheme (RFC 8252 §7)."""
    if len(uri) > MAX:
        yield "too_long", f"may have at most {MAX} characters"
        return
    if "*" in uri:
        yield "wildcard", "is compared character by character: there are no wildcards (RFC 9700 §4.1.1)"
        uri = uri.replace("*", "x")  # so that what else is wrong is told as well
    if "#" in uri:
        yield "fragment", "must not have a fragment"
    if not CHARACTERS.fullmatch(uri):
        yield "not_a_uri", "holds what no URI holds (RFC 3986 §2); a name of other letters is written xn--…"
        return
    parts = _URI.fullmatch(uri)
    if parts is None:
        yield "not_absolute", "must be absolute, such as https://portal.example/callback"
        return
    scheme, authority, path = parts.groups()
    # Servers differ in what they take for a separator, and for the end of a segment.
    segments = re.split(r"/|%2f|%5c", path.lower())
    if any(one.partition(";")[0].replace("%2e", ".") in (".", "..") for one in segments):
        yield "dot_segment", "must not hold `.` or `..` in its path"
    if scheme != scheme.lower():
        yield "not_lower_case", "scheme and host must be in lower case, as browsers write them"
        return
    if scheme in ("https", "http"):
        yield from _place(scheme, authority or "")
        return
    # Without a dot it is another's: `javascript`, `data`, or an app that took a word (RFC 8252 §8.4).
    if not native or "." not in scheme:
        yield "scheme", "must be https, http on loopback, or a public client's own scheme with a dot in it"
    elif not path.startswith("/") and not authority:
        yield "not_absolute", "must have a path, such as com.example.app:/callback"
    if "@" in (authority or ""):
        yield "userinfo", "must not hold a user or a password"


def link_faults(uri: str) -> Iterator[Said]:
    """What keeps a text from being an address that people follow from a page of ours: on https alone, and it
    may point into a document."""
    if uri.startswith("http:"):
        yield "scheme", "must be https"
        return
    yield from (said for said in uri_faults(uri, native=False) if said[0] != "fragment")


def _place(scheme: str, authority: str) -> Iterator[Said]:
    """What is wrong with the part of an http(s) address that names a server."""
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        yield "host", "must name one host"
        return
    userinfo, host, port = parts.groups()
    if userinfo is not None:
        yield "userinfo", "must not hold a user or a password"
    if not _is_host(host.lower()):
        yield "host", "must name one host, an IP address in its usual form"
    elif host != host.lower():
        yield "not_lower_case", "scheme and host must be in lower case, as browsers write them"
    elif scheme == "http" and host not in _LOOPBACK_HOSTS:
        yield "scheme", "must be https; http is for 127.0.0.1, [::1] and localhost"
    if port is not None and not _is_port(port):
        yield "port", "must be from 1 to 65535"


def origin_faults(origin: str) -> Iterator[Said]:
    """What keeps a text from being an origin as browsers send it (RFC 6454 §6.2)."""
    if "*" in origin:
        yield "wildcard", "every origin stands there by itself"
        return
    parts = re.fullmatch(r"(https?)://([^/?#]*)", origin)
    if parts is None:
        yield "not_an_origin", "must be scheme://host[:port] alone, such as https://portal.example"
        return
    scheme, authority = parts.groups()
    yield from _place(scheme, authority)
    if authority.endswith(":443" if scheme == "https" else ":80"):
        yield "port", "browsers leave the usual port out"


def with_query(uri: str, parameters: Mapping[str, str]) -> str:
    """An address of a client with more in its query, beside what it holds already (RFC 6749 §4.1.2)."""
    return uri + ("&" if "?" in uri else "?") + urlencode(parameters)


def _is_host(host: str) -> bool:
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address(host[1:-1])) == host[1:-1]
        labels = host.split(".")
        # What ends in a number browsers read as an IPv4 address, in many forms.
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
            return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
    return len(host) <= 253 and all(len(label) <= 63 and _LABEL.fullmatch(label) for label in labels)


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= 65_535


def without_port(uri: str) -> tuple[str, str | None] | None:
    """Host and rest of an http address on a loopback IP literal; None for any other."""
    parts = _LOOPBACK.fullmatch(uri)
    if parts is None or not _is_port(parts[2] or "1"):
        return None
    return parts[1], parts[3]
