"""How much droplab takes from outside, all in one place: what is larger gets one sentence.

No number here bounds an experiment that anybody runs. Each is far above what is used and far below
what would hang a machine or fill its memory. `droplab.lab` has tighter ones for its requests.
"""

from __future__ import annotations

MESSAGE = 2000
"""Letters of one error message."""

QUOTED = 100
"""Letters of a value from outside that an error message quotes."""

PROBLEMS = 20
"""Problems of one recipe that are listed."""

TEXT_BYTES = 4 * 2**20
"""Bytes of a file that people write: a recipe, a plan, settings."""

DEPTH = 32
"""Tables and lists within each other."""

SYNTAX_DEPTH = 300
"""Levels of the syntax tree of a file that is patched."""

COUNT = 10**9
"""A count in a recipe: epochs, examples of a batch, examples."""

INTEGER = 2**63
"""Whole numbers lie between -INTEGER and INTEGER, as everywhere in torch."""

SEEDS = 10_000
"""Seeds of one recipe."""

USUAL_SEEDS = 8
"""Seeds of an experiment that does not say how many."""

USUAL_FOLDS = 10
"""Folds where somebody only says that there shall be some."""

ARMS = 10_000
"""Arms of one recipe."""

MOST_AXES = 32
"""Dimensions of an array: what every version of numpy takes."""

CLASSES = 65_536
"""Classes of a data set: more are taken for a column of ids."""

ELEMENTS = 2**28
"""Elements of an input that is made from a shape: a gigabyte of floats."""

WEIGHTS = 2**28
"""Weights of the built-in network: a gigabyte of floats."""

PIXELS = 2**26
"""Pixels of one image."""
