"""From votes to a certificate: a pure function, so stored votes are certified again at another beta without a GPU."""

from __future__ import annotations

import numpy as np

from monai_robustinterp.certificates import neyman_pearson, renyi
from monai_robustinterp.certificates.confidence import allowed_wrong_bounds, mass_weighted_bounds
from monai_robustinterp.certificates.overlap import BetaLike, Boundary, boundary, required_overlap, swap_count
from monai_robustinterp.certificates.pairs import pairs_radius
from monai_robustinterp.certificates.sequence import eta_part
from monai_robustinterp.certificates.units import round_down
from monai_robustinterp.types import Certificate, Level, Radius, SmoothingSpec, VoteMap

ABSTAIN = "abstain: the votes support no radius, so nothing is claimed"
ESTIMATE = "estimate: the formula at the observed shares, which claims nothing"

ALL_CLASSES = "The map is one of several classes together, not of this finding: another finding has the same map."


def assumptions(spec: SmoothingSpec) -> str:
    """What a certificate is about, in words for a person."""
    precision = "" if spec.precision == "float32" else f" ({spec.precision})"
    return (
        "The certificate is about the vote map of the smoothed interpretation, not about an ordinary saliency map, and "
        "says nothing about faithfulness. It holds for perturbations of the network's single-channel input on its own "
        f"grid, for this network in this precision{precision}, for the stored target class. The theorem is about real "
        "Gaussian noise; float32 and a counter-based generator approximate it."
    )


def certify_votes(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> Certificate:
    """Certifies a vote map at the plug-in and population levels.

    Population: with probability >= 1 - eta over the noise, the reported top-k set and the top-k of the expected vote
    map of any input within l2 distance ``l_max`` share at least ceil(beta k) cells (docs/certificates.md, section 4).
    Eta is split evenly over the spec's looks, and in halves between cells and pairs where the votes hold pair counts.

    Args:
        votes: the counts.
        spec: how they were made; sigma and top_k are read.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        eta: failure probability per image, in (0, 1).

    Raises:
        ValueError: if votes and spec do not belong together, or beta, eta or k are out of range.
    """
    votes.check_spec(spec)
    if not (0 < eta < 1 and 1 - eta < 1):
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001, and 1 - eta must be below 1 in floats.")
    n_cells = votes.counts.size
    s = swap_count(spec.top_k, beta, n_cells)
    wrong = allowed_wrong_bounds(s)
    eta_cells = cell_eta(votes, spec, eta)
    edges: tuple[tuple[Level, Boundary], ...] = (
        ("plug-in", boundary(votes.share, top_k=spec.top_k, beta=beta)),
        ("population", _population_boundary(votes, s=s, wrong=wrong, eta=eta_cells)),
    )
    radii = tuple(radius for level, edge in edges for radius in _radii(level, edge, spec.sigma, eta))
    if votes.pair_counts is not None:
        l2 = pairs_radius(votes, swaps=s, sigma=spec.sigma, eta_pairs=eta_cells, eta_marginal=eta_cells)
        status = _sentence("population", l2, eta)
        radii = (*radii, Radius(level="population", family="discordant-pairs", l2=l2, status=status))
    required = required_overlap(spec.top_k, beta)
    l_max = max(r.l2 for r in radii if r.level == "population")
    return Certificate(
        beta=str(beta),
        eta=eta,
        swap_count=s,
        allowed_wrong_bounds=wrong,
        overlap=required,
        n_cells=n_cells,
        n_pixels=votes.input_shape[0] * votes.input_shape[1],
        radii=radii,
        status=_status(l_max, required, spec, eta),
        notes=_notes(votes, spec),
        spec=spec,
    )


def cell_eta(votes: VoteMap, spec: SmoothingSpec, eta: float) -> float:
    """The part of eta that the bounds on the cells of one look may spend: half of a look's where pairs have the other.

    Args:
        votes: the counts, with or without pair counts.
        spec: how they were made; its looks are read.
        eta: the failure probability that is stated.
    """
    return eta_part(eta, max(1, len(spec.looks)) * (1 if votes.pair_counts is None else 2))


def _population_boundary(votes: VoteMap, *, s: int, wrong: int, eta: float) -> Boundary:
    """Bounds on the cells that decide when at most ``wrong`` bounds fail: s - r of them on each side."""
    k, used = votes.top_k, s - wrong
    ordered = -np.sort(-votes.counts.ravel())
    # The weakest of the reported set, then the strongest of the others.
    bounds = mass_weighted_bounds(ordered[k - used : k + used], votes.n_samples, top_k=k, eta=eta, wrong=wrong)
    return Boundary(inside=bounds.lower[:used], outside=bounds.upper[used:], top_k=k)


def _radii(level: Level, edge: Boundary, sigma: float, eta: float) -> tuple[Radius, Radius]:
    l2, epsilon, alpha = renyi.boundary_radius(edge, sigma=sigma)
    best = neyman_pearson.boundary_radius(edge, sigma=sigma)
    return (
        Radius(level=level, family="renyi", l2=l2, status=_sentence(level, l2, eta), epsilon=epsilon, alpha=alpha),
        Radius(level=level, family="neyman-pearson", l2=best, status=_sentence(level, best, eta)),
    )


def _sentence(level: Level, l2: float, eta: float) -> str:
    if level == "plug-in":
        return ESTIMATE
    return f"certified: holds with probability >= 1 - {eta:g} over the noise" if l2 > 0 else ABSTAIN


def _status(l_max: float, required: int, spec: SmoothingSpec, eta: float) -> str:
    if l_max == 0:
        return f"{ABSTAIN}."
    return (
        f"certified (population level): with probability >= 1 - {eta:g} over the noise, the reported top-{spec.top_k} "
        f"cells and the top-{spec.top_k} of the expected vote map of any input within l2 distance "
        f"{round_down(l_max, 6)} share at least {required} cells."
    )


def _notes(votes: VoteMap, spec: SmoothingSpec) -> tuple[str, ...]:
    notes = [] if spec.explains_target else [ALL_CLASSES]
    if votes.tied_copies:
        notes.append(
            f"{votes.tied_copies} of {votes.n_samples} copies had a tie at the k-th value, broken by a random order."
        )
    if votes.constant_copies:
        notes.append(
            f"{votes.constant_copies} of {votes.n_samples} copies had a constant map (all-zero, say): their votes are "
            "random cells, and the explanation carries no information from them."
        )
    return tuple(notes)
