"""Several findings of one image: eta in equal parts, a part a finding, fixed before the noise (T24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monai_robustinterp.certificates.sequence import eta_part
from monai_robustinterp.certificates.units import round_up, sum_up


@dataclass(frozen=True, kw_only=True)
class Split:
    """How many findings of an image are certified, and what they share.

    Attributes:
        findings: their number, which follows from the clean image.
        eta: failure probability of each kind of claim, over all of them.

    Raises:
        ValueError: if there is no finding.
    """

    findings: int
    eta: float

    def __post_init__(self) -> None:
        if self.findings < 1:
            raise ValueError(f"eta is split over {self.findings} findings; there must be one at least.")

    @property
    def part(self) -> float:
        """The eta of each finding, rounded down, so that together they do not exceed that of all."""
        return eta_part(self.eta, self.findings)

    def to_json(self) -> dict[str, Any]:
        """What the record of each finding says of it."""
        return {"findings": self.findings, "eta": self.eta, "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What holds for all findings together."""
        return (
            f"Findings of the network in this image: {self.findings}. eta is split over them in equal parts: each kind "
            "of claim (map, decision, second run, regions) holds for all of them together with probability >= 1 - "
            f"{round_up(self.eta)}, per image."
        )


def all_findings(etas: Sequence[float]) -> dict[str, Any]:
    """All claims on all findings of an image at once, of those of each (``all_claims``)."""
    eta = min(1.0, sum_up(*etas))
    sentence = (
        f"All claims on all findings of this image hold together with probability >= 1 - {round_up(eta)}, per image."
    )
    return {"eta": eta, "confidence": 1 - eta, "sentence": sentence}
