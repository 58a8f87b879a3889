"""A recorded step written as C and compiled, for networks so small that calls cost most.

The one door is `CWriter`, which takes the place of the plain writer of a record.
"""

from droplab.train.compiled._compiler import compiler
from droplab.train.compiled._writer import CWriter

__all__ = ["CWriter", "compiler"]
