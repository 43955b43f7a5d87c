"""What a classifier's logits mean: their names, scores and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax

from monai_robustinterp.types import Activation

_LINE = 70


@dataclass(frozen=True)
class Findings:
    """The findings of a classifier.

    Attributes:
        activation: ``softmax`` for exclusive classes, ``sigmoid`` for independent findings.
        names: of the logits, in order; there may be fewer than logits.
        misses: of findings by name, what the network was seen to miss: a sentence of at most 70 characters for the
            reader of a picture on which it does not find one, such as "Computer missed 9 of 53 adult opacities.".

    Raises:
        ValueError: if the activation is another one, or a sentence does not fit on one line.
    """

    activation: Activation
    names: tuple[str, ...] = ()
    misses: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.activation not in ("softmax", "sigmoid"):
            raise ValueError(f"activation is {self.activation!r}; it must be 'softmax' or 'sigmoid'.")
        for name, sentence in self.misses.items():
            if len(sentence) > _LINE or not sentence.isprintable():
                raise ValueError(f"misses of {name!r} must be one line of at most {_LINE} printable characters.")

    def name(self, target: int) -> str:
        """Name of a logit; "class 3" if it has none."""
        return self.names[target] if target < len(self.names) else f"class {target}"

    def index(self, name: str) -> int:
        """The logit of that name.

        Raises:
            ValueError: with the names, if it is none of them.
        """
        if name not in self.names:
            raise ValueError(f"target is {name!r}; it must be a class index or one of {list(self.names)}.")
        return self.names.index(name)

    def scores(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Softmax or sigmoid of the logits [classes] of one image, in [0, 1]; a network's own, not calibrated."""
        values = logits.astype(np.float64)
        scores: npt.NDArray[np.float64] = expit(values) if self.activation == "sigmoid" else softmax(values)
        return scores

    def score(self, logits: npt.NDArray[np.float32], target: int) -> float:
        """The target's one of :meth:`scores`."""
        return float(self.scores(logits)[target])

    def cut_off(self, n_logits: int) -> float | None:
        """The score above which the target is found; None where others decide, as with three exclusive classes."""
        return 0.5 if self.activation == "sigmoid" or n_logits == 2 else None

    def entry(self, logits: npt.NDArray[np.float32], target: int) -> dict[str, Any]:
        """What a record says of the target in an image of logits [classes]: name, score, cut-off, misses."""
        name = self.name(target)
        return {
            "name": name,
            "score": self.score(logits, target),
            "cut_off": self.cut_off(len(logits)),
            "misses": self.misses.get(name, ""),
        }

    def finds(self, logits: torch.Tensor, target: int) -> torch.Tensor:
        """Whether the network finds the target, bool [B]: arg-max, or logit > 0 for independent findings."""
        return logits[:, target] > 0 if self.activation == "sigmoid" else logits.argmax(dim=1) == target

    def found(self, logits: npt.NDArray[np.float32]) -> tuple[int, ...]:
        """The targets that the network finds in one image, logits [classes]: the arg-max, or all logits > 0."""
        if self.activation == "softmax":
            return (int(logits.argmax()),)
        return tuple(int(target) for target in np.flatnonzero(logits > 0))

    def check(self, logits: torch.Tensor) -> None:
        """Refuses logits [B, classes] of which there are too few to decide anything.

        Raises:
            ValueError: if one logit is to be the largest.
        """
        # The arg-max of one logit never changes, and a label that cannot flip would be certified for nothing.
        if self.activation == "softmax" and logits.shape[1] < 2:
            raise ValueError(
                "the network has one logit and the activation is 'softmax', which needs at least two classes. Pass "
                "activation='sigmoid': the finding is then found where its logit is above 0."
            )
