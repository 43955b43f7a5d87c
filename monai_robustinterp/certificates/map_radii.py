"""Plug-in and population radii of a vote map, of every family."""

from __future__ import annotations

from monai_robustinterp.certificates import neyman_pearson, renyi
from monai_robustinterp.certificates.certificate import Level, Radius
from monai_robustinterp.certificates.confidence import allowed_wrong_bounds, mass_weighted_bounds
from monai_robustinterp.certificates.overlap import BetaLike, Boundary, boundary, swap_count
from monai_robustinterp.certificates.pairs import pairs_radius
from monai_robustinterp.certificates.sequence import eta_part
from monai_robustinterp.certificates.units import round_up
from monai_robustinterp.types import SmoothingSpec, VoteMap

ABSTAIN = "abstain: the votes support no radius, so nothing is claimed"
ESTIMATE = "estimate: the formula at the observed shares, which claims nothing"


def map_radii(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> tuple[Radius, ...]:
    """Renyi and Neyman-Pearson at both levels; discordant pairs at the population level where pairs were counted.

    Args:
        votes: the counts.
        spec: how they were made; sigma, top_k and looks are read.
        beta: certified share of the top-k.
        eta: failure probability per image.

    Raises:
        ValueError: if beta, eta or k are out of range.
    """
    s = swap_count(spec.top_k, beta, votes.counts.size)
    wrong, eta_cells = allowed_wrong_bounds(s), cell_eta(votes, spec, eta)
    edges: tuple[tuple[Level, Boundary], ...] = (
        ("plug-in", boundary(votes.share, top_k=spec.top_k, beta=beta)),
        ("population", population_boundary(votes, s=s, wrong=wrong, eta=eta_cells)),
    )
    radii = tuple(radius for level, edge in edges for radius in _radii(level, edge, spec.sigma, eta))
    if votes.pair_counts is None:
        return radii
    l2 = pairs_radius(votes, swaps=s, sigma=spec.sigma, eta_pairs=eta_cells, eta_marginal=eta_cells)
    sentence = _sentence("population", l2, eta)
    return (*radii, Radius(level="population", family="discordant-pairs", l2=l2, sentence=sentence))


def cell_eta(votes: VoteMap, spec: SmoothingSpec, eta: float) -> float:
    """The part of eta that the bounds on the cells of one look may spend: half of a look's where pairs have the other.

    Args:
        votes: the counts, with or without pair counts.
        spec: how they were made; its looks are read.
        eta: the failure probability that is stated.
    """
    return eta_part(eta, max(1, len(spec.looks)) * (1 if votes.pair_counts is None else 2))


def population_boundary(votes: VoteMap, *, s: int, wrong: int, eta: float) -> Boundary:
    """Bounds on the cells that decide when at most ``wrong`` bounds fail: s - r of them on each side."""
    k, used = votes.top_k, s - wrong
    ordered = sorted(votes.counts.ravel().tolist(), reverse=True)
    # The weakest of the reported set, then the strongest of the others.
    bounds = mass_weighted_bounds(ordered[k - used : k + used], votes.n_samples, top_k=k, eta=eta, wrong=wrong)
    return Boundary(inside=bounds.lower[:used], outside=bounds.upper[used:], top_k=k)


def _radii(level: Level, edge: Boundary, sigma: float, eta: float) -> tuple[Radius, Radius]:
    l2, epsilon, alpha = renyi.boundary_radius(edge, sigma=sigma)
    best = neyman_pearson.boundary_radius(edge, sigma=sigma)
    return (
        Radius(level=level, family="renyi", l2=l2, sentence=_sentence(level, l2, eta), epsilon=epsilon, alpha=alpha),
        Radius(level=level, family="neyman-pearson", l2=best, sentence=_sentence(level, best, eta)),
    )


def _sentence(level: Level, l2: float, eta: float) -> str:
    if level == "plug-in":
        return ESTIMATE
    return f"certified: holds with probability >= 1 - {round_up(eta)} over the noise" if l2 > 0 else ABSTAIN
