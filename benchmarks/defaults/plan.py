"""What is tried, and the rule that chooses, both written down before any result was seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Settings that could be the defaults; all else is the bundle's.

    Attributes:
        bundle: name of the classifier's.
        interpreter: its name.
        settings: of the interpreter.
        sigma: standard deviation of the white noise.
        brightness: of the noise of exposures.
        tilt: of the noise of exposures.
        denoiser: name of a shipped denoiser, or "none".
        cell_size: side of a cell in pixels of the network's input, 128.
        top_k: cells that each copy votes for.
        beta: certified share of the top-k.
    """

    bundle: str
    interpreter: str
    sigma: float
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    brightness: float = 0.0
    tilt: float = 0.0
    denoiser: str = "none"
    cell_size: int = 8
    top_k: int = 38
    beta: str = "0.5"

    @property
    def shape(self) -> dict[str, Any]:
        """The noise and what is done about it."""
        return {name: getattr(self, name) for name in ("sigma", "brightness", "tilt", "denoiser")}

    @property
    def noise(self) -> tuple[Any, ...]:
        """What the decision under noise depends on."""
        return self.bundle, *self.shape.values()

    @property
    def label(self) -> str:
        """In words."""
        shape = f" + exposure {self.brightness:g}/{self.tilt:g}" if self.brightness or self.tilt else ""
        network = self.bundle.removeprefix("chest_xray_").replace("_", " ")
        others = [
            f"{name} {getattr(self, name)}".replace("_", " ")
            for name in ("cell_size", "top_k", "beta")
            if getattr(self, name) != getattr(OLD, name)
        ]
        noise = f"sigma {self.sigma:g}{shape}, denoiser {self.denoiser_word}"
        return ", ".join([f"{network}: {self.interpreter}", noise, *others])

    @property
    def denoiser_word(self) -> str:
        """Yes or none."""
        return "none" if self.denoiser == "none" else "yes"

    @property
    def overrides(self) -> dict[str, Any]:
        """For the bundle's configuration."""
        return {
            "interpreter_name": self.interpreter,
            "interpreter_settings": dict(self.settings),
            "sigma": self.sigma,
            "brightness": self.brightness,
            "tilt": self.tilt,
            "denoiser": self.denoiser,
            "cell_size": self.cell_size,
            "top_k": self.top_k,
            "beta": self.beta,
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


EARLIER, EVIDENCE = "chest_xray_certified_saliency", "chest_xray_evidence"
OLD = Candidate(bundle=EARLIER, interpreter="gradient", sigma=0.1)
EXPOSURE: dict[str, Any] = {"brightness": 0.03, "tilt": 0.015}
DENOISER = "chest_xray_denoiser"
FARTHER: dict[str, Any] = EXPOSURE | {"denoiser": DENOISER}
_AT: dict[str, Any] = {"bundle": EVIDENCE, "sigma": 0.25, **FARTHER}
_CAM: dict[str, Any] = _AT | {"interpreter": "cam"}

FULL = Plan(
    name="full",
    candidates=(
        OLD,
        Candidate(**{**_AT, "bundle": EARLIER, "interpreter": "grad_cam"}),
        # Noise.
        Candidate(**_CAM),
        *(Candidate(**{**_CAM, "sigma": sigma}) for sigma in (0.1, 0.15, 0.3, 0.4)),
        Candidate(**{**_CAM, "denoiser": "none"}),
        Candidate(**{**_CAM, "brightness": 0.0, "tilt": 0.0}),
        # Interpreters.
        *(
            Candidate(**_AT, interpreter=name, settings=settings)
            for name, settings in (
                ("gradient", {}),
                ("input_x_gradient", {}),
                ("integrated_gradients", {"n_steps": 8}),
                ("deep_lift", {}),
                ("guided_backprop", {}),
            )
        ),
        # Cells, k and beta.
        Candidate(**_CAM, cell_size=16, top_k=10),
        *(Candidate(**_CAM, top_k=top_k) for top_k in (20, 26, 51)),
        *(Candidate(**_CAM, beta=beta) for beta in ("0.3", "0.7")),
    ),
    select_samples=256,
    report_samples=(256, 512, 1024, 2048),
    draws=8,
    films=100,
)
QUICK = Plan(
    name="quick",
    candidates=(OLD, Candidate(**_CAM)),
    select_samples=32,
    report_samples=(32, 64),
    draws=2,
    films=2,
)

KEPT = 0.95
AUC_LOSS = 0.01
RULE = (
    "Of the candidates of beta 0.5 the one with the largest median of the smaller of both radii, of map and decision,",
    f"is taken, subject to: on average {KEPT:.0%} of the noisy decisions agree with the clean one; on no source of",
    f"images the area under the curve of the mean noisy score is more than {AUC_LOSS:g} below that of the clean score;",
    "and the top-k lies in the boxes at least as often as with the earlier default, and as cells of the lungs do by",
    "chance. Another beta asks for more or less, so it stands in the table to be read. How many cells two films share",
    "is read beside it: maps that lie in the lungs share some.",
)

SELECT_SEED, REPORT_SEED = 20261129, 0


def selects(patient: str) -> bool:
    """Whether a validation patient is of the half that selects; the other half reports."""
    return hashlib.sha256(patient.encode()).digest()[-1] % 2 == 0
