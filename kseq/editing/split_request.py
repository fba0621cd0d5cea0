"""Which splits are asked for: the checked arguments of `kseq.split`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError
from kseq.ordering.stratified import check_fractions
from kseq.sources.split_names import SPLITS
from kseq.storage.index_schema import check_split_name

__all__ = ["BASIC_SPLITS", "SplitRequest", "is_fold"]

# The splits that have no sample in common.
BASIC_SPLITS = ("train", "val", "test")
_FOLD = re.compile(r"fold[0-9]+-(train|val)")


def is_fold(name: str) -> bool:
    """Whether a split has the name of a fold: `fold0-train`, `fold0-val` and so on."""
    return _FOLD.fullmatch(name) is not None


@dataclass(frozen=True)
class SplitRequest:
    """The arguments of `kseq.split`.

    Raises:
        ArgumentError: If an argument is not allowed, or arguments do not go together.
    """

    val: float | None
    test: float | None
    stratify: bool | None
    seed: int
    folds: int | None
    group: str | None
    lists: dict[str, str]

    def __post_init__(self) -> None:
        if self.val is None and self.test is None and self.folds is None and not self.lists:
            raise ArgumentError(
                f"nothing is to be split: give {', '.join(map(spelled, ('val', 'test', 'folds')))} or {spelled('lists')}"
            )
        check_fractions(self.fractions)
        whole("seed", self.seed)
        if self.folds is not None and self.folds != 0:
            whole("folds", self.folds, 2)
        for name in self.lists:
            self._check_listed(name)

    def _check_listed(self, name: str) -> None:
        """Raise ArgumentError if a split may not be listed."""
        check_split_name(name)
        usual_name = SPLITS.get(name.lower(), name)
        if usual_name != name:
            raise ArgumentError(f"split name {name!r}: allowed is {usual_name!r}, which is what it means")
        if name in self.shares:
            raise ArgumentError(f"{spelled(name, self.shares[name])}: {name} is listed as well, give one of the two")
        if self.folds is not None and is_fold(name):
            raise ArgumentError(f"{spelled('folds', self.folds)}: {name} is listed as well, give one of the two")

    @property
    def shares(self) -> dict[str, float]:
        """The shares that were given, by split; 0 for a split that is to be removed."""
        return {name: share for name, share in (("val", self.val), ("test", self.test)) if share is not None}

    @property
    def fractions(self) -> dict[str, float]:
        """The shares that are drawn, by split."""
        return {name: share for name, share in self.shares.items() if share != 0}

    @property
    def changed(self) -> set[str]:
        """Which of `train`, `val` and `test` do not stay as they are."""
        named = self.shares.keys() | (self.lists.keys() & set(BASIC_SPLITS))
        return named | {"train"} if named else set()

    def describe(self) -> str:
        """The change in one line, for the history."""
        parts = [f"{name}={share}" for name, share in self.shares.items()]
        parts += [] if self.folds is None else [f"{self.folds} folds"]
        is_drawn = bool(self.fractions or self.folds)
        parts += [f"by {self.group}"] if self.group is not None and is_drawn else []
        parts += ["stratified" if self.stratify else "not stratified", f"seed {self.seed}"] if is_drawn else []
        parts += [f"{name} from {os.path.basename(path)}" for name, path in self.lists.items()]
        return f"split {', '.join(parts)}"
