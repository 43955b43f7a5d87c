"""Noise in the strength of one semantic change of an image: one real number a copy, whatever the size of the image.

Each change phi(x, u) is a group: phi(phi(x, d), a) = phi(x, a + d). So a copy of the changed image is a function of
a + d, and all that is claimed of Gaussian noise holds in one dimension (docs/theory/attention.md, T23).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.types import float32_sigma

Array = npt.NDArray[np.float64]

SEMANTIC_PROTOCOL = "semantic/philox4x32-10/box-muller/1"

INWARD = 1 - 1e-12  # more than exp and expm1 lose


@dataclass(frozen=True, kw_only=True)
class SemanticNoise(ABC):
    """u ~ N(0, sigma^2) for the strength of one change; u = 0 leaves the image as it is.

    Attributes:
        sigma: standard deviation of the strength, a float32 number.
        name: its key in ``SEMANTIC_NOISES``.
        unit: of the strength, in words.
        largest: sigma that still has a meaning.
        axis: what a reader calls a strength: that of :meth:`shown` and :meth:`range`.
        commutes: whether a change of pixels is no larger in a copy than in the film, whatever the copy's strength, so
            that pixel noise may stand beside it (T25).
        on_source: whether it changes the display values of the source, not cut off at black and white, before all
            preprocessing; else the network's input.

    Raises:
        InputRefused: if sigma is out of range.
    """

    sigma: float

    name: ClassVar[str]
    unit: ClassVar[str]
    axis: ClassVar[str]
    largest: ClassVar[float] = 1.0
    commutes: ClassVar[bool] = True
    on_source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.001 <= self.sigma / self.largest <= 1:
            raise InputRefused(
                f"sigma of {self.name!r} is {self.sigma:g}; it must lie in [{0.001 * self.largest:g}, "
                f"{self.largest:g}] ({self.unit})."
            )
        object.__setattr__(self, "sigma", float32_sigma(self.sigma))

    def strengths(self, stream: CounterNoise, samples: torch.Tensor) -> Array:
        """Strengths of the copies with these indices, int64 [B]: float64 [B]."""
        normals = stream.normal(samples, (1,), purpose=f"semantic/{self.name}")[:, 0]
        return self.sigma * normals.cpu().numpy().astype(np.float64)

    @property
    def settings(self) -> dict[str, Any]:
        """For the record."""
        return {"name": self.name, "unit": self.unit, **vars(self)}

    def of_film(self, meta: Mapping[str, Any]) -> SemanticNoise:
        """The same noise for a film with these entries of ``ChestXRayReader``.

        Raises:
            InputRefused: if such a film has no such change.
        """
        return self

    @abstractmethod
    def changed(self, values: Array, strength: float) -> Array:
        """phi(values, strength) of values [..., H, W]; those of a few rows where ``on_source``."""

    def moved_back(self, maps: torch.Tensor, strengths: Array) -> torch.Tensor:
        """Maps [B, 1, H, W] of copies of these strengths, where the anatomy lies in the image itself."""
        return maps

    def shown(self, strength: float) -> float:
        """A strength as a reader says it."""
        return strength

    @abstractmethod
    def range(self, radius: float) -> tuple[float, float]:
        """Lower and upper end, in a reader's unit, of the changes of strength below ``radius``; rounded inwards."""

    def proven(self, radius: float) -> float:
        """The largest strength up to which changes are covered: the radius, or whole steps below it."""
        return radius

    @abstractmethod
    def words(self, radius: float) -> str:
        """The changes of strength below ``radius`` in words; "" if there is none but 0."""
