"""Perturbations in which the image is affine in one parameter: g(theta, x) = x + theta * direction(x), unclipped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from monai_robustinterp.errors import InputRefused


class Perturbation(ABC):
    """One semantic change of an image, of strength theta; theta = 0 leaves the image as it is.

    Attributes:
        name: its key in ``PERTURBATIONS``.
        unit: of theta, in words.
        span: smallest and largest theta that has a meaning.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    span: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @abstractmethod
    def direction(self, image: torch.Tensor) -> torch.Tensor:
        """The derivative of g(theta, image) by theta, of the image's shape [1, H, W]."""

    def expected_direction(self, saliency: torch.Tensor) -> torch.Tensor:
        """The derivative by theta of g~(theta, map), what the map of the changed image is expected to be.

        Args:
            saliency: gradient map of the clean image, [1, H, W].

        Returns:
            Of the same shape; 0 where the map is expected to stay.
        """
        return torch.zeros_like(saliency)

    def __call__(self, image: torch.Tensor, theta: float) -> torch.Tensor:
        """g(theta, image) for an image [1, H, W]."""
        return image + theta * self.direction(image)

    def within(self, limit: float) -> tuple[float, float]:
        """The range [-limit, limit] of theta; [0, limit] where theta has no meaning below 0.

        Raises:
            InputRefused: if it is empty, or leaves the span.
        """
        least, most = self.span
        if not 0 < limit <= most:
            raise InputRefused(
                f"the range is {limit:g}; for {self.name!r} it must be above 0 and at most {most:g} ({self.unit})."
            )
        return (-limit if least < 0 else 0.0), limit

    @property
    def settings(self) -> dict[str, Any]:
        """For the record."""
        return {"name": self.name, "unit": self.unit, **vars(self)}


@dataclass(frozen=True)
class Brightness(Perturbation):
    """Adds theta to every pixel; the map is expected to stay."""

    name: ClassVar[str] = "brightness"
    unit: ClassVar[str] = "added to every pixel of the network's input (display range = [0, 1])"

    def direction(self, image: torch.Tensor) -> torch.Tensor:
        """See :meth:`Perturbation.direction`."""
        return torch.ones_like(image)


@dataclass(frozen=True)
class Contrast(Perturbation):
    """Moves every pixel away from a pivot by the share theta; the map is expected to stay.

    Attributes:
        pivot: gray level that does not change.
    """

    pivot: float = 0.5

    name: ClassVar[str] = "contrast"
    unit: ClassVar[str] = "share by which distances to the pivot grow"

    def direction(self, image: torch.Tensor) -> torch.Tensor:
        """See :meth:`Perturbation.direction`."""
        return image - self.pivot


@dataclass(frozen=True)
class Slope(Perturbation):
    """Adds a ramp from -theta/2 on the left to theta/2 on the right, as uneven exposure does; the map should stay."""

    name: ClassVar[str] = "slope"
    unit: ClassVar[str] = "difference between the right and the left edge of the network's input"

    def direction(self, image: torch.Tensor) -> torch.Tensor:
        """See :meth:`Perturbation.direction`."""
        ramp = torch.linspace(-0.5, 0.5, image.shape[-1], dtype=image.dtype, device=image.device)
        return ramp.expand_as(image).clone()


@dataclass(frozen=True)
class Patch(Perturbation):
    """Blends a square with one gray level; the map is expected to fade in it by the same share, and to stay elsewhere.

    Attributes:
        top: first row of the square, in pixels of the network's input.
        left: its first column.
        side: its height and width in pixels.
        value: gray level that covers the square at theta = 1.
    """

    top: int = 0
    left: int = 0
    side: int = 16
    value: float = 0.0

    name: ClassVar[str] = "patch"
    unit: ClassVar[str] = "opacity of the patch, 1 covers it"
    span: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def direction(self, image: torch.Tensor) -> torch.Tensor:
        """See :meth:`Perturbation.direction`.

        Raises:
            InputRefused: if the square does not lie in the image.
        """
        return self._in_square(self.value - image)

    def expected_direction(self, saliency: torch.Tensor) -> torch.Tensor:
        """See :meth:`Perturbation.expected_direction`."""
        return self._in_square(-saliency)

    def _in_square(self, values: torch.Tensor) -> torch.Tensor:
        height, width = values.shape[-2:]
        if min(self.top, self.left) < 0 or self.side < 1 or max(self.top, self.left) + self.side > min(height, width):
            raise InputRefused(
                f"the patch has top {self.top}, left {self.left} and side {self.side}, and the network's input is "
                f"{height} x {width} pixels: choose a square within its first {min(height, width)} rows and columns."
            )
        inside = torch.zeros_like(values)
        inside[..., self.top : self.top + self.side, self.left : self.left + self.side] = 1
        return values * inside


_STEPS = "A translation has whole steps, with nothing between them to walk through"
_WINDOW = "Where nothing is cut off, a move of the window is brightness and another width of it contrast about 0.5"
_WHY = {"gamma": "Gamma bends the gray levels", "shift": _STEPS, "shift_down": _STEPS}
_WHY |= dict.fromkeys(("window_center", "window_width"), _WINDOW)
PERTURBATIONS: dict[str, type[Perturbation]] = {one.name: one for one in (Brightness, Contrast, Patch, Slope)}


def make_perturbation(name: str, **settings: Any) -> Perturbation:
    """The perturbation of that name.

    Args:
        name: a key of ``PERTURBATIONS``.
        settings: its attributes.

    Raises:
        InputRefused: if there is none, or it has no such setting.
    """
    if name not in PERTURBATIONS:
        why = f" {_WHY[name]}; without --exact there is a certified range of it." if name in _WHY else ""
        raise InputRefused(
            f"perturbation {name!r} has no exact path, which needs an image that is affine in the parameter: choose "
            f"one of {sorted(PERTURBATIONS)}.{why}"
        )
    try:
        return PERTURBATIONS[name](**settings)
    except TypeError as error:
        known = sorted(PERTURBATIONS[name].__dataclass_fields__)  # type: ignore[attr-defined]
        raise InputRefused(f"{name!r} has the settings {known}, and was given {sorted(settings)}.") from error
