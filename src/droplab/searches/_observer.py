"""What a search tells whoever watches it."""

from __future__ import annotations

from droplab.results import SearchRecord
from droplab.studies import Observer


class SearchObserver(Observer):
    """Does nothing at every event of a search and of its runs; override what you want to see."""

    def generation(self, number: int, of: int) -> None:
        """A generation is trained, or was before and is read again."""

    def told(self, record: SearchRecord) -> None:
        """A generation is done, and Optuna knows how its plans did."""

    def confirming(self, plans: tuple[str, ...]) -> None:
        """The winner, or the plans of the Pareto front, are trained again with the baseline."""
