"""What is tried, and the rule that chooses, both written down before any result was seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Settings that could be the defaults; all else is the bundle's.

    Attributes:
        interpreter: its name.
        sigma: standard deviation of the white noise.
        brightness: of the noise of exposures.
        tilt: of the noise of exposures.
        denoiser: name of a shipped denoiser, or "none".
    """

    interpreter: str
    sigma: float
    brightness: float = 0.0
    tilt: float = 0.0
    denoiser: str = "none"

    @property
    def noise(self) -> tuple[float, float, float, str]:
        """What the decision under noise depends on."""
        return self.sigma, self.brightness, self.tilt, self.denoiser

    @property
    def label(self) -> str:
        """In words."""
        shape = f" + exposure {self.brightness:g}/{self.tilt:g}" if self.brightness or self.tilt else ""
        return f"{self.interpreter}, sigma {self.sigma:g}{shape}, denoiser {self.denoiser_word}"

    @property
    def denoiser_word(self) -> str:
        """Yes or none."""
        return "none" if self.denoiser == "none" else "yes"

    @property
    def overrides(self) -> dict[str, Any]:
        """For the bundle's configuration."""
        return {
            "interpreter_name": self.interpreter,
            "sigma": self.sigma,
            "brightness": self.brightness,
            "tilt": self.tilt,
            "denoiser": self.denoiser,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done.

    Attributes:
        name: ``full`` or ``quick``.
        candidates: the earlier default first.
        select_samples: copies of each film of the half that selects.
        report_samples: copies of each film of the half that reports; smaller numbers are read from the same votes.
        draws: noisy decisions of each validation image.
        films: of each half, at most.
    """

    name: str
    candidates: tuple[Candidate, ...]
    select_samples: int
    report_samples: tuple[int, ...]
    draws: int
    films: int


OLD = Candidate(interpreter="gradient", sigma=0.1)
EXPOSURE = {"brightness": 0.03, "tilt": 0.015}
DENOISER = "chest_xray_denoiser"
_SHAPES: tuple[dict[str, Any], ...] = (EXPOSURE, EXPOSURE | {"denoiser": DENOISER})
_GRID = tuple(
    Candidate(interpreter=interpreter, sigma=sigma, **shape)
    for interpreter in ("gradient", "input_x_gradient", "grad_cam")
    for sigma in (0.25, 0.4)
    for shape in _SHAPES
)

# Added on the half that selects, when the first round kept the earlier default; neither the rule nor the half that
# reports were touched.
_SECOND_ROUND = tuple(
    Candidate(interpreter=interpreter, sigma=sigma, **shape)
    for interpreter, sigma in (("grad_cam", 0.1), ("grad_cam", 0.15), ("cam", 0.1), ("cam", 0.15), ("cam", 0.25))
    for shape in _SHAPES
)

FULL = Plan(
    name="full",
    candidates=(OLD, *_GRID, *_SECOND_ROUND),
    select_samples=256,
    report_samples=(384, 512, 1024, 2048),
    draws=8,
    films=100,
)
QUICK = Plan(
    name="quick",
    candidates=(OLD, Candidate(interpreter="grad_cam", sigma=0.25, **EXPOSURE, denoiser=DENOISER)),
    select_samples=32,
    report_samples=(32, 64),
    draws=2,
    films=2,
)

KEPT = 0.95
AUC_LOSS = 0.01
SHARED_MORE = 0.1
RULE = (
    "Of the candidates the one with the largest median of the smaller of both radii, of map and decision, is taken,",
    f"subject to: on average {KEPT:.0%} of the noisy decisions agree with the clean one; on no source of images",
    f"the area under the curve of the mean noisy score is more than {AUC_LOSS:g} below that of the clean score; the",
    "top-k lies in the boxes at least as often as with the earlier default; and two films share at most",
    f"{SHARED_MORE:g} more of their reported cells. Cells (8 px), k (38 of 256), beta (0.5) and confidence stay.",
)

SELECT_SEED, REPORT_SEED = 20261129, 0


def selects(patient: str) -> bool:
    """Whether a validation patient is of the half that selects; the other half reports."""
    return hashlib.sha256(patient.encode()).digest()[-1] % 2 == 0
