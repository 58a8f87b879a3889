"""The body of a request: bounded, JSON, an object with known keys."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NoReturn

from starlette.requests import Request

from droplab.errors import nearest
from droplab.lab._limits import BODY, Refusal


async def read_object(
    request: Request, keys: Collection[str] = (), *, limit: int = BODY
) -> dict[str, Any]:
    """Return the JSON object in a request's body; an empty body is an empty object.

    Args:
        request: The request, whose body has not been read.
        keys: The keys that the object may have.
        limit: Most bytes.

    Raises:
        Refusal: The body is too large, no JSON, no object, or has another key.
    """
    found = parse(await _read(request, limit))
    if not isinstance(found, dict):
        raise Refusal(400, f"body: expected a JSON object, got {kind(found)}")
    for key in found:
        if key not in keys:
            raise Refusal(400, f"body: unknown key {quoted(key)}{nearest(key[:50], keys)}")
    return found


async def _read(request: Request, limit: int) -> bytes:
    too_large = Refusal(413, f"body: expected at most {limit // 1024} KiB, got more")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said[:15]) > limit:
        raise too_large
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > limit:
            raise too_large
    return bytes(parts)


def parse(body: bytes) -> Any:
    """Return what a body says in JSON.

    Raises:
        Refusal: It is not JSON in UTF-8, or holds a number that JSON does not have.
    """
    if not body.strip():
        return {}
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_such_number)
    except RecursionError:
        raise Refusal(400, "body: nested too deeply") from None
    except ValueError as error:
        raise Refusal(400, f"body: expected JSON, and could not read it: {error}") from None


def _no_such_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def kind(value: Any) -> str:
    """Return what JSON calls a value.

    Example:
        >>> kind([1]), kind(None), kind(True), kind(0.5)
        ('a list', 'null', 'true or false', 'a number')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def quoted(text: str) -> str:
    """Return a piece of a request as it may stand in an error message: short, on one line."""
    return repr(text if len(text) <= 50 else text[:50] + "…")


def whole(found: dict[str, Any], key: str, least: int, most: int, default: int) -> int:
    """Return a whole number of an object, within its bounds."""
    value = found.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        got = str(value)[:20] if number else kind(value)
        raise Refusal(400, f"{key}: expected a whole number from {least} to {most}, got {got}")
    return value
