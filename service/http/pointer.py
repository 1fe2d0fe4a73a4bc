"""JSON Pointers (RFC 6901) to what is wrong in a body."""


def below(pointer: str, part: object) -> str:
    """The pointer to a member or an item of what `pointer` points at. A name of the sender's own is cut
    short, and what is no text in it is replaced."""
    text = str(part)[:64].encode("utf-8", "replace").decode()
    return f"{pointer}/{text.replace('~', '~0').replace('/', '~1')}"
