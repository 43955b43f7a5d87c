"""What is compared, and by which rule the evidence network's noise is chosen; written down before any result."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.defaults.plan import DENOISER, EXPOSURE
from benchmarks.lungs.models import Contender

EVIDENCE = "chest_xray_evidence"
_EXPOSURE = EXPOSURE | {"denoiser": DENOISER}
EARLIER = Contender(label="earlier default: gradient, sigma 0.1", bundle="chest_xray_certified_saliency")
EARLIER_FARTHER = Contender(
    label="earlier network: grad_cam, sigma 0.25, exposure noise, denoiser",
    bundle="chest_xray_certified_saliency",
    overrides={"interpreter_name": "grad_cam", "sigma": 0.25, **_EXPOSURE},
)


def evidence(sigma: float) -> Contender:
    """The evidence network with its own interpreter at a noise level."""
    overrides = {"interpreter_name": "cam", "sigma": sigma, **_EXPOSURE}
    label = f"evidence: cam, sigma {sigma:g}, exposure noise, denoiser"
    return Contender(label=label, bundle=EVIDENCE, overrides=overrides)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done.

    Attributes:
        name: ``full`` or ``quick``.
        candidates: of the evidence network, of which one is chosen on half of the patients.
        rivals: that it stands beside on the other half.
        select_samples: copies of each film of the first half.
        report_samples: copies of each film of the second half, and of films without marks.
        alarm_samples: copies of each film that an alarm is tried on.
        draws: noisy decisions of each validation image.
        films: of each kind, at most.
    """

    name: str
    candidates: tuple[Contender, ...]
    rivals: tuple[Contender, ...]
    select_samples: int
    report_samples: int
    alarm_samples: int
    draws: int
    films: int


FULL = Plan(
    name="full",
    candidates=tuple(evidence(sigma) for sigma in (0.25, 0.3, 0.4)),
    rivals=(EARLIER, EARLIER_FARTHER),
    select_samples=256,
    report_samples=512,
    alarm_samples=192,
    draws=8,
    films=16,
)
QUICK = Plan(
    name="quick",
    candidates=(evidence(0.25),),
    rivals=(EARLIER,),
    select_samples=8,
    report_samples=8,
    alarm_samples=8,
    draws=2,
    films=2,
)

RULE = (
    "Of the evidence network's noise levels the one with the largest median of the smaller of both radii, of map and",
    "decision, is taken, subject to: on average 95% of the noisy decisions agree with the clean one, and on no source",
    "of images the area under the curve of the mean noisy score is more than 0.01 below that of the clean score. If",
    "none keeps both, the smallest level is taken. m of the selection and seeds are fixed; the other half of the",
    "patients is not looked at.",
)
