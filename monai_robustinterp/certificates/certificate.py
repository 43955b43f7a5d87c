"""What follows from one vote map: radii, the certificate with its status, and the result that everything hands on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from monai_robustinterp.types import SmoothingSpec, VoteMap

Level = Literal["plug-in", "population"]
Family = Literal["renyi", "neyman-pearson", "discordant-pairs"]


class Status(Enum):
    """What is claimed of decision and map together; each value is the sentence for a person."""

    CERTIFIED = "certified: decision and map both have a radius"
    MAP_ONLY = "not certified: the map has a radius, but the decision on the finding may flip"
    NO_CONFIDENCE = "not certified: decision and map leave no confidence together"
    ABSTAIN = "abstain: the votes support no radius of the map, so nothing is claimed"

    @property
    def label(self) -> str:
        """The status in a word or two, as tables and records say it: "certified", "map only", ..."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Radius:
    """One radius: no perturbation of l2 norm below it breaks the claim, at the stated level.

    Attributes:
        level: ``plug-in`` (an estimate, no claim) or ``population`` (holds with probability >= 1 - eta).
        family: the mathematics behind it.
        l2: the radius in units of the network's single-channel input; 0 means no claim.
        sentence: what the number is.
        epsilon: Renyi divergence of the cheapest swap at ``alpha`` (Renyi only).
        alpha: the Renyi order that gives the radius (Renyi only).
    """

    level: Level
    family: Family
    l2: float
    sentence: str
    epsilon: float | None = None
    alpha: float | None = None

    @property
    def certified(self) -> bool:
        """Whether this is a claim: a population radius above 0."""
        return self.level == "population" and self.l2 > 0


@dataclass(frozen=True, kw_only=True)
class LabelCertificate:
    """How far the smoothed classifier keeps the clean decision on the explained finding.

    Attributes:
        decision: whether the network finds the target in the clean image.
        agreeing_copies: noisy copies that decide likewise.
        n_samples: m.
        sigma: standard deviation of the noise.
        eta: failure probability of this claim.
        share_lower: lower bound on the expected share of agreeing copies, in [0, 1).
        l2: at every input of l2 distance below it, more than half of the noise agrees with ``decision``; 0 is no claim.
        sentence: what the number is.
    """

    decision: bool
    agreeing_copies: int
    n_samples: int
    sigma: float
    eta: float
    share_lower: float
    l2: float
    sentence: str


@dataclass(frozen=True, kw_only=True)
class LabelAndMap:
    """Label and map together.

    Attributes:
        l2: both claims hold at every input of l2 distance below it; 0 is no claim.
        eta: failure probability of the two together, eta_label + eta_map.
        sentence: what the number is.
    """

    l2: float
    eta: float
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What follows from one vote map for one beta and eta.

    Attributes:
        beta: certified share of the top-k, as the decimal that was given.
        eta: failure probability of the population level, per image.
        swap_count: s, the number of cells that must be swapped to break the claim.
        allowed_wrong_bounds: r, fixed beforehand from s.
        overlap: ceil(beta * k), the number of reported cells that must stay.
        n_cells: c, the number of cells.
        n_pixels: n, the dimension of the noise.
        radii: plug-in and population radii of the families.
        ceiling: the largest radius that as many copies can give under these settings: that of a map that ignores the
            image.
        map_sentence: what is claimed of the map alone.
        label: the certificate of the decision, from the same copies at the same eta.
        label_and_map: both together.
        notes: further sentences (a doubtful input, ties, constant maps, a radius at the ceiling).
        spec: the smoothing.
    """

    beta: str
    eta: float
    swap_count: int
    allowed_wrong_bounds: int
    overlap: int
    n_cells: int
    n_pixels: int
    radii: tuple[Radius, ...]
    ceiling: float
    map_sentence: str
    label: LabelCertificate
    label_and_map: LabelAndMap
    spec: SmoothingSpec
    notes: tuple[str, ...] = ()

    def radius(self, level: Level, family: Family) -> Radius:
        """The radius of that level and family."""
        return next(r for r in self.radii if r.level == level and r.family == family)

    @property
    def l_max(self) -> float:
        """The certified radius of the map: the largest population one. 0 means abstain: no claim at all.

        Renyi and Neyman-Pearson follow from one set of bounds, and pairs have their own part of eta, so the maximum
        needs no further correction.
        """
        return largest_population(self.radii)

    @property
    def ceiling_share(self) -> float:
        """``l_max`` as a share of the ceiling, in [0, 1]; 0 where the settings can give no radius at all."""
        return self.l_max / self.ceiling if self.ceiling > 0 else 0.0

    @property
    def overlap_by_chance(self) -> float:
        """Cells that two sets of k cells drawn at random share on average: k^2 / c."""
        return self.spec.top_k**2 / self.n_cells

    @property
    def status(self) -> Status:
        """What is claimed of decision and map together."""
        if self.l_max == 0:
            return Status.ABSTAIN
        if self.label.l2 == 0:
            return Status.MAP_ONLY
        return Status.CERTIFIED if self.label_and_map.l2 > 0 else Status.NO_CONFIDENCE

    @property
    def sentence(self) -> str:
        """The status with its numbers."""
        if self.status is Status.ABSTAIN:
            return f"{Status.ABSTAIN.value}."
        both = self.label_and_map.sentence if self.status is Status.CERTIFIED else f"{self.status.value}."
        return f"{both} Of the map alone: {self.map_sentence}"


def largest_population(radii: tuple[Radius, ...]) -> float:
    """The largest population radius."""
    return max(radius.l2 for radius in radii if radius.level == "population")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A map on the pixels of its source.

    Attributes:
        share: vote shares, float32 [H, W], 0 where the network saw nothing.
        top_k_mask: reported top-k set, bool [H, W].
        gray: display values of the source, float32 [H, W] in [0, 1].
        lungs: the lung fields, bool [H, W]; None where they are no region.
        meta: the reader's plain metadata of the source.
    """

    share: npt.NDArray[np.float32]
    top_k_mask: npt.NDArray[np.bool_]
    gray: npt.NDArray[np.float32]
    meta: dict[str, Any]
    lungs: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class CertifiedResult:
    """All that is known about one image after the run.

    Attributes:
        votes: the vote map.
        certificate: what follows from it.
        record: content of certificate.json: certificate, finding, evidence, source and provenance.
        picture: the map on the source's pixels; None where there is no file to draw it on.
    """

    votes: VoteMap
    certificate: Certificate
    record: dict[str, Any]
    picture: Picture | None = None

    @property
    def status(self) -> Status:
        """What is claimed of decision and map together."""
        return self.certificate.status
