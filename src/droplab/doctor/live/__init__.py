"""The behavioural part of the doctor: it runs models, so it imports torch."""

from __future__ import annotations

from droplab.doctor.live._examine import examine
from droplab.doctor.live._watch import Watch, examine_loop

__all__ = ["Watch", "examine", "examine_loop"]
