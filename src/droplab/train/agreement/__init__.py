"""Whether a way to take steps gives the numbers of the direct one, measured before it is used."""

from droplab.train._stacked_optimizer import why_not_elementwise
from droplab.train.agreement._compare import comparison_batches, why_not_stacked
from droplab.train.agreement._members import Member, OneByOne
from droplab.train.agreement._recordable import why_not_recorded, why_not_recorded_together

__all__ = [
    "Member",
    "OneByOne",
    "comparison_batches",
    "why_not_elementwise",
    "why_not_recorded",
    "why_not_recorded_together",
    "why_not_stacked",
]
