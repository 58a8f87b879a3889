"""What comes with a request: bounded, JSON, and checked by a model of what it may say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from droplab.errors import ArgumentError, quote
from droplab.lab._limits import BODY, PROBLEMS, Refusal
from droplab.recipe import explain


class Body(BaseModel):
    """What a request may say: the keys of a subclass, and no others; by itself nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


B = TypeVar("B", bound=Body)


async def read(request: Request, model: type[B], *, limit: int = BODY) -> B:
    """Return what a request's body says; an empty body is an empty object.

    Args:
        request: The request, whose body has not been read.
        model: What it may say.
        limit: Most bytes.

    Raises:
        Refusal: The body is too large, no JSON, no object, or says something else.
    """
    return checked(model, await read_object(request, limit=limit))


async def read_object(request: Request, *, limit: int = BODY) -> dict[str, Any]:
    """Return the JSON object in a request's body, for who checks it later."""
    found = parse(await _read(request, limit))
    if not isinstance(found, dict):
        raise Refusal(400, f"body: expected a JSON object, got {quote(found)}")
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
        Refusal: It is not JSON in UTF-8, is nested too deeply, or holds a number or half a
            character that JSON does not have.
    """
    if not body.strip():
        return {}
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"body: expected JSON, and could not read it: {error}") from None


def checked(model: type[B], given: Mapping[str, Any], *, where: str = "body") -> B:
    """Return what a request says, checked.

    Raises:
        Refusal: It is not what the model asks for.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        text = explain(error, where=where, document=given, keys=model.model_fields, most=PROBLEMS)
        raise Refusal(400, text) from None


def whole(low: int, high: int) -> BeforeValidator:
    """Return the check of a field that is a whole number within bounds."""
    return BeforeValidator(partial(check_whole, low=low, high=high))


def check_whole(value: Any, low: int, high: int, *, where: str = "") -> int:
    """Return a whole number, or raise an ArgumentError if it is none or out of bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ArgumentError(
            f"{where}expected a whole number from {low} to {high}, got {quote(value)}"
        )
    return value
