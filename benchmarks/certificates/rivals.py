"""The literature's certificates on the same copies, each at the level that it really holds at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.certificates.plan import CONTROL, FIRST_COPIES, Plan
from benchmarks.certificates.radii import fixed_votes, plain_radius
from benchmarks.certificates.streams import LEVINE_GAMMA, LEVINE_TAU, Stream, linear_scores
from monai_robustinterp import SmoothingSpec, VoteMap, certify_votes
from monai_robustinterp.certificates import renyi_radius
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.certificates.rivals import (
    AnaniCertificate,
    anani2025,
    anani_certificate,
    levine2019,
    levine_overlap,
    levine_radius,
    patent_closed_form,
    patent_radius,
    scoring_neyman_pearson_radius,
    scoring_renyi_radius,
    scoring_vector,
)
from monai_robustinterp.study.tables import cells_spread, prose, radius_text, spread, table

THEIR_CONFIDENCE = 0.95
ANANI_TAU = 0.75
CLOSED, SOUND = "closed form (US 11,341,598)", "sound Renyi, same shares"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the first m copies of one image left behind.

    Attributes:
        votes: the counts.
        spec: their smoothing.
        relaxed: mean relaxed maps, one a setting of ``relaxed_settings``, float64 [S, c].
        scores: mean linear rank scores, float64 [c].
        first: votes of the first copies, which choose the side in Anani et al., int64 [h, w].
        paired: the votes with pair counts, where m has them.
    """

    votes: VoteMap
    spec: SmoothingSpec
    relaxed: Array
    scores: Array
    first: npt.NDArray[np.int64]
    paired: VoteMap | None = None

    @classmethod
    def of(cls, stream: Stream, m: int) -> Evidence:
        """The evidence of one image."""
        (votes, spec), place = stream.at(m), stream.sizes.index(m)
        return cls(
            votes=votes,
            spec=spec,
            relaxed=stream.relaxed[place],
            scores=stream.scores[place],
            first=stream.counts[stream.sizes.index(FIRST_COPIES)],
            paired=stream.paired()[0] if m == stream.joint_size else None,
        )

    def control(self) -> Evidence:
        """A fixed map: k cells have the largest value in every copy, in the same order of ranks."""
        fixed = fixed_votes(self.votes)
        return Evidence(
            votes=fixed,
            spec=self.spec,
            relaxed=np.tile(fixed.share.ravel(), (len(self.relaxed), 1)),
            scores=linear_scores(self.scores.size),
            first=fixed.counts * FIRST_COPIES // self.spec.n_samples,
            paired=None if self.paired is None else fixed_votes(self.paired),
        )


Numbers = dict[int, dict[str, dict[str, float]]]
Method = tuple[str, Callable[[Evidence, BetaLike, float], float]]


def methods() -> dict[str, Method]:
    """Level and radius of every method, in the order of the table."""
    found: dict[str, Method] = {
        CLOSED: (patent_closed_form.LEVEL, _closed),
        SOUND: ("plug-in", _sound),
        "linear rank scores, Renyi (US 11,687,777)": (scoring_vector.LEVEL, _scores_renyi),
        "linear rank scores, NP": (scoring_vector.LEVEL, _scores_neyman_pearson),
    }
    for own in (False, True):
        suffix = f" at their {THEIR_CONFIDENCE}" if own else ""
        found[f"Levine 2019 on votes{suffix}"] = (levine2019.LEVEL, _levine(None, own))
        for place, tau in enumerate((f"{LEVINE_TAU:g}", "k / c")):
            found[f"Levine 2019 on relaxed maps, tau {tau}{suffix}"] = (levine2019.LEVEL, _levine(place, own))
    return found | {
        "ours: Renyi": ("population", _certified("renyi")),
        "ours: NP, plain bounds": ("population", _plain),
        "ours: NP, mass-weighted bounds (default)": ("population", _certified("neyman-pearson")),
        "ours: discordant pairs with cells, eta / 2 each": ("population", _pairs),
    }


def _closed(evidence: Evidence, beta: BetaLike, eta: float) -> float:
    return patent_radius(evidence.votes.share, top_k=evidence.spec.top_k, beta=beta, sigma=evidence.spec.sigma)


def _sound(evidence: Evidence, beta: BetaLike, eta: float) -> float:
    return renyi_radius(evidence.votes.share, top_k=evidence.spec.top_k, beta=beta, sigma=evidence.spec.sigma)


def _scores_renyi(evidence: Evidence, beta: BetaLike, eta: float) -> float:
    return scoring_renyi_radius(evidence.scores, top_k=evidence.spec.top_k, beta=beta, sigma=evidence.spec.sigma)


def _scores_neyman_pearson(evidence: Evidence, beta: BetaLike, eta: float) -> float:
    vector, spec = linear_scores(evidence.scores.size), evidence.spec
    return scoring_neyman_pearson_radius(evidence.scores, vector, top_k=spec.top_k, beta=beta, sigma=spec.sigma)


def _levine(place: int | None, own: bool) -> Callable[[Evidence, BetaLike, float], float]:
    def radius(evidence: Evidence, beta: BetaLike, eta: float) -> float:
        spec = evidence.spec
        return levine_radius(
            evidence.votes.share if place is None else evidence.relaxed[place],
            top_k=spec.top_k,
            beta=beta,
            sigma=spec.sigma,
            n_samples=spec.n_samples,
            confidence=THEIR_CONFIDENCE if own else 1 - eta,
        )

    return radius


def _certified(family: str) -> Callable[[Evidence, BetaLike, float], float]:
    def radius(evidence: Evidence, beta: BetaLike, eta: float) -> float:
        certificate = certify_votes(evidence.votes, evidence.spec, beta=beta, eta=eta)
        return next(r.l2 for r in certificate.radii if (r.level, r.family) == ("population", family))

    return radius


def _plain(evidence: Evidence, beta: BetaLike, eta: float) -> float:
    return plain_radius(evidence.votes, evidence.spec, beta=beta, eta=eta)


def _pairs(evidence: Evidence, beta: BetaLike, eta: float) -> float:
    if evidence.paired is None:
        raise ValueError("these copies have no pair counts: ask at the joint size of the plan.")
    certificate = certify_votes(evidence.paired, evidence.spec, beta=beta, eta=eta)
    return certificate.radius("population", "discordant-pairs").l2


def anani(evidence: Evidence, eta: float) -> AnaniCertificate:
    """Their certificate as they take it: the first copies choose the side, the others are tested."""
    return anani_certificate(
        evidence.votes.counts - evidence.first,
        evidence.spec.n_samples - FIRST_COPIES,
        top_k=evidence.spec.top_k,
        sigma=evidence.spec.sigma,
        tau=ANANI_TAU,
        alpha=eta,
        chosen_in=2 * evidence.first > FIRST_COPIES,
    )


def overlaps(evidence: Evidence, eta: float) -> dict[str, float]:
    """Cells that each method certifies to stay at the radius of Anani et al., and that radius."""
    spec, theirs = evidence.spec, anani(evidence, eta)
    levine = levine_overlap(
        evidence.votes.share,
        top_k=spec.top_k,
        radius=theirs.radius,
        sigma=spec.sigma,
        n_samples=spec.n_samples,
        confidence=1 - eta,
    )
    curve = overlap_curve(evidence.votes, spec, eta=eta, points=spec.top_k)
    return {
        "radius": theirs.radius,
        "Anani 2025: majority kept": theirs.reported_in,
        "Anani 2025: top-k overlap that follows": theirs.overlap,
        "Levine 2019 on votes": levine,
        "ours: NP, mass-weighted bounds": curve.certified_overlap(theirs.radius),
    }


def measure(streams: Sequence[Stream], plan: Plan, *, beta: BetaLike, eta: float) -> dict[str, Numbers]:
    """Radii and overlaps by m, image (and control) and method."""
    radii: Numbers = {}
    kept: Numbers = {}
    for m in plan.rival_sizes:
        evidence = {stream.name: Evidence.of(stream, m) for stream in streams}
        evidence[CONTROL] = evidence[streams[0].name].control()
        used = {name: radius for name, (_, radius) in methods().items() if m == plan.joint_size or "pairs" not in name}
        radii[m] = {name: {key: radius(e, beta, eta) for key, radius in used.items()} for name, e in evidence.items()}
        kept[m] = {name: overlaps(e, eta) for name, e in evidence.items()}
    return {"radii": radii, "overlaps": kept}


def page(found: dict[str, Numbers], *, beta: BetaLike, eta: float) -> list[str]:
    """The section of the page."""
    return [
        "## Beside the literature",
        "",
        *prose(
            f"The same copies, beta {beta}; the level says whether a number is a claim at all. `plug-in` claims",
            f"nothing; `population` holds with probability >= 1 - {eta:g} an image, each row by itself (rows at",
            f"their own confidence: {THEIR_CONFIDENCE:g}).",
        ),
        "",
        *prose(
            "Closed form:",
            patent_closed_form.WHY_NO_BOUND,
            _closed_ratio(found["radii"]),
        ),
        "",
        *prose(
            "Rank scores: v falls linearly to 0 at the last rank (no text that we could read names a v). Levine",
            "2019: err is Hoeffding's, which does not use that a vote is 0 or 1; in the relaxed maps gamma is",
            f"{LEVINE_GAMMA:g}, tau {LEVINE_TAU:g} is the paper's for CIFAR-10 and tau k / c marks as many cells as",
            "our vote. Rank scores and relaxed maps have a reported top-k of their own, so those rows are radii of",
            "other maps.",
        ),
        *(line for m, images in found["radii"].items() for line in _radius_lines(m, images)),
        "",
        *_overlap_lines(found["overlaps"], eta),
    ]


def _radius_lines(m: int, images: dict[str, dict[str, float]]) -> list[str]:
    own = [radii for name, radii in images.items() if name != CONTROL]
    rows = [
        [name, methods()[name][0], spread([radii[name] for radii in own]), radius_text(control)]
        for name, control in images[CONTROL].items()
    ]
    return ["", f"m = {m:,}:", "", *table(["method", "level", "median [smallest, largest]", CONTROL], rows)]


def _closed_ratio(found: Numbers) -> str:
    pairs = [(r[CLOSED], r[SOUND]) for images in found.values() for name, r in images.items() if name != CONTROL]
    ratios = [closed / sound for closed, sound in pairs if 0 < sound < np.inf]
    if not ratios:
        return "On these images no shares gave both forms a radius."
    return f"On these images it is {max(ratios):.4f} times the sound form at the same shares, or less."


def _overlap_lines(found: Numbers, eta: float) -> list[str]:
    names = [name for name in next(iter(found.values()))[CONTROL] if name != "radius"]
    radius = next(iter(found.values()))[CONTROL]["radius"]
    rows = []
    for name in names:
        cells = []
        for images in found.values():
            own = [int(kept[name]) for image, kept in images.items() if image != CONTROL]
            cells.append(f"{cells_spread(own)}; {CONTROL} {int(images[CONTROL][name])}")
        rows.append([name, *cells])
    return [
        *prose(
            f"Anani et al. (level {anani2025.LEVEL}) fix tau = {ANANI_TAU:g} and with it the radius,",
            f"{radius_text(radius)}; what varies is how many cells pass. Of the m copies the first {FIRST_COPIES}",
            "choose the side, as in the paper. Majority kept: their own claim, which is none about a top-k overlap;",
            "the next row is what follows from it. Cells of the reported top-k that are certified at that radius,",
            f"median [smallest, largest], each row at eta {eta:g}:",
        ),
        "",
        *table(["method", *(f"m = {m:,}" for m in found)], rows),
    ]
