"""Recipes as TOML text: `load`, `loads`, `dumps` and the built-in ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import tomli_w

from droplab.documents import DocumentError, parse_toml, read_text
from droplab.errors import RecipeError, nearest, quote
from droplab.recipe._document import from_document, to_document
from droplab.recipe.recipe import Recipe

_BUILTIN = resources.files("droplab.recipe") / "builtin"


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in recipes.

    Example:
        >>> "digits" in builtin_names()
        True
    """
    names = (entry.name for entry in _BUILTIN.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def loads(text: str, *, name: str | None = None, where: str = "recipe") -> Recipe:
    """Return the recipe that a TOML text describes.

    Args:
        text: The TOML text.
        name: The recipe's name if the text gives none.
        where: What error messages begin with.

    Raises:
        RecipeError: If the text is not TOML, or describes no possible recipe.

    Example:
        >>> loads("epoch = 3")
        Traceback (most recent call last):
        droplab.errors.RecipeError: recipe: ... problems
        ...
          epoch: unknown key; did you mean 'epochs'?
    """
    try:
        document = parse_toml(text)
    except DocumentError as error:
        raise RecipeError(f"{where}: expected TOML, and could not read it: {error}") from None
    if name is not None:
        document.setdefault("name", name)
    return from_document(document, where=where)


def dumps(recipe: Recipe) -> str:
    """Return `recipe` as TOML text; `loads(dumps(recipe)) == recipe`.

    Example:
        >>> loads(dumps(load("digits"))) == load("digits")
        True
    """
    document = to_document(recipe)
    plain = tomli_w.dumps(document)
    # A multi-line TOML string reads better, but cannot hold a carriage return.
    return plain if "\\r" in plain else tomli_w.dumps(document, multiline_strings=True)


def load(source: str | Path) -> Recipe:
    """Return a recipe from a built-in name, a path to a TOML file, or TOML text.

    Args:
        source: A name of `builtin_names()`, else an existing file, else (if it has more than one
            line) TOML text. To read a file that is called like a built-in recipe, write "./digits".

    Returns:
        The recipe, checked in its form. Its names (optimizer, model, data, sites) are checked when
        it runs.

    Raises:
        RecipeError: If there is no such recipe, or it describes no possible experiment.

    Example:
        >>> load("mnist-mlp").batch_size
        10
        >>> load("fashion-tutorail")
        Traceback (most recent call last):
        droplab.errors.RecipeError: ... 'fashion-tutorail'; did you mean 'fashion-tutorial'?
    """
    if isinstance(source, str):
        if source in builtin_names():
            text = (_BUILTIN / f"{source}.toml").read_text(encoding="utf-8")
            return loads(text, name=source, where=source)
        if "\n" in source:
            return loads(source, name="recipe")
    path = Path(source)
    try:
        if not path.is_file():
            raise RecipeError(
                f"recipe: expected the name of a built-in recipe or a path to a TOML file, got "
                f"{quote(str(source))}{nearest(str(source), builtin_names())}"
            )
        text = read_text(path)
    except DocumentError as error:
        raise RecipeError(f"{path}: expected TOML in UTF-8, got {error}") from None
    except OSError as error:  # a path that is too long, say
        raise RecipeError(f"{path}: cannot read this file: {error}") from None
    return loads(text, name=path.stem, where=path.name)
