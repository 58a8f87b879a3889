"""What makes a class of a recipe: a frozen dataclass that refuses bad input with a RecipeError."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from droplab.errors import RecipeError
from droplab.recipe._problems import describe, message

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def spec(cls: type[T]) -> type[T]:
    """Make `cls` a frozen pydantic dataclass whose constructor raises RecipeError.

    pydantic's own error speaks of its internals; a recipe written in Python deserves the same
    words as one written in TOML.
    """
    made = cast("type[T]", dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls))
    validated = made.__init__

    @functools.wraps(validated)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validated(self, *args, **kwargs)
        except ValidationError as error:
            names = (field.name for field in dataclasses.fields(cast("Any", made)))
            named = dict(zip(names, args, strict=False)) | kwargs
            problems = describe(error, root=cls.__name__, document=named)
            raise RecipeError(message(cls.__name__, problems)) from None

    made.__init__ = checked  # pyright: ignore[reportAttributeAccessIssue] # same signature
    return made
