"""Certified ranges of any network: for which strengths of a semantic change the strongest cells provably stay (T23).

Noise in the pixels may stand beside that in the strength: then the claim is about both together (T25).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import nn

from monai_robustinterp.certificates.ceiling import ceiling
from monai_robustinterp.certificates.certificate import LabelCertificate, Radius, largest_population
from monai_robustinterp.certificates.label import certify_label
from monai_robustinterp.certificates.map_radii import map_radii
from monai_robustinterp.certificates.overlap import BetaLike, required_overlap
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.noise.semantic import SEMANTIC_PROTOCOL, Array, SemanticNoise
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, fill
from monai_robustinterp.smoothing.recipe import Progress, Recipe
from monai_robustinterp.smoothing.tally import VoteTally
from monai_robustinterp.smoothing.voting import TopK
from monai_robustinterp.types import SmoothingSpec, VoteMap

# Of the unproved curve: steps a standard deviation, and how far it and the maps behind it reach in these.
_STEPS, _SHOWN, _EVALUATED = 12, 2.5, 4.5
_NOISY = 100  # copies of it at least, where the pixels are noisy

_DOWN = 1 - 1e-12


@dataclass(frozen=True)
class Film:
    """One image as it was read and as the network takes it.

    Attributes:
        clean: the network's input, float32 [1, H, W].
        source: what it was made of.
    """

    clean: torch.Tensor
    source: Source

    def changed(self, noise: SemanticNoise, strength: float) -> torch.Tensor:
        """The network's input of the changed image, float32 [1, H, W]."""
        if noise.on_source:
            bands = (noise.changed(band.astype(np.float64), strength) for band in self.source.bands())
            with np.errstate(over="ignore"):
                made = self.source.preprocess_bands(band.astype(np.float32) for band in bands)
        else:
            made = noise.changed(self.clean.cpu().numpy().astype(np.float64), strength).astype(np.float32)
        return torch.from_numpy(made).to(self.clean)


class _Copies:
    """Copies of a film whose strengths are drawn, or given one by one, with noise in their pixels or without."""

    def __init__(self, film: Film, noise: SemanticNoise, *, pixel_sigma: float, given: Array | None = None) -> None:
        self.film, self.noise, self.pixel_sigma, self.given = film, noise, pixel_sigma, given

    def strengths(self, stream: CounterNoise, samples: torch.Tensor) -> Array:
        if self.given is None:
            return self.noise.strengths(stream, samples)
        chosen: Array = self.given[samples.cpu().numpy()]
        return chosen

    def copies(self, clean: torch.Tensor, stream: CounterNoise, samples: torch.Tensor) -> torch.Tensor:
        changed = torch.stack([self.film.changed(self.noise, one) for one in self.strengths(stream, samples)])
        if not self.pixel_sigma:
            return changed
        purpose = "noise" if self.given is None else "sampled"
        # The image last, as for white noise alone.
        return stream.normal(samples, tuple(clean.shape), purpose=purpose).mul_(self.pixel_sigma).add_(changed)


class _Tally(VoteTally):
    """Counts the votes of maps that were moved back to where the anatomy lies in the film."""

    noise: _Copies

    def top_cells(self, samples: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, TopK]:
        strengths = self.noise.strengths(self.stream, samples)
        return super().top_cells(samples, self.noise.noise.moved_back(maps, strengths))


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What a dense sampling of the strength found; it proves nothing.

    Attributes:
        strengths: ascending, float64 [N].
        plain: reported cells among the top-k of the plain map of the changed film, int64 [N].
        smoothed: reported cells among the top-k of the expected vote map of the changed film, by quadrature, int64 [N];
            with noise in the pixels from a few draws of it a strength.
    """

    strengths: Array
    plain: npt.NDArray[np.int64]
    smoothed: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CertifiedRange:
    """What is claimed of one film and one kind of change.

    Attributes:
        noise: of the strength.
        votes: of the copies.
        spec: how they were taken; its sigma is in the unit of the strength.
        pixel_sigma: standard deviation of white noise in the network's input beside it; 0 is none.
        beta: share of the reported cells that must stay.
        overlap: ceil(beta k).
        eta: failure probability of the map's claim, and as much again of the decision's.
        radii: of the map, in the unit of the strength.
        ceiling: that of a map which ignores the image.
        label: of the decision, likewise.
        sampled: for the picture.
    """

    noise: SemanticNoise
    votes: VoteMap
    spec: SmoothingSpec
    pixel_sigma: float
    beta: BetaLike
    overlap: int
    eta: float
    radii: tuple[Radius, ...]
    ceiling: float
    label: LabelCertificate
    sampled: Sampled

    @property
    def radius(self) -> float:
        """Every change of a strength below it, up or down, keeps the cells; 0 is no claim."""
        return largest_population(self.radii)

    def pixel_radius(self, radius: float) -> float:
        """The l2 norm that pixels alone may change by, where ``radius`` is the strength alone; both share one budget.

        A strength d and a norm e are covered together if (d/radius)^2 + (e/this)^2 < 1.
        """
        return radius / self.noise.sigma * self.pixel_sigma * _DOWN


def range_recipe(recipe: Recipe, *, pixel_sigma: float) -> Recipe:
    """The recipe's map with white noise of this standard deviation, and its denoiser; without both if it is 0.

    Raises:
        ValueError: if the denoiser was not trained for such noise.
    """
    if pixel_sigma:
        return replace(recipe, sigma=pixel_sigma, brightness=0.0, tilt=0.0, looks=(), pairs=False)
    return replace(recipe, brightness=0.0, tilt=0.0, looks=(), pairs=False, denoiser=None, denoiser_gradient="at")


def range_spec(recipe: Recipe, noise: SemanticNoise, target: int, *, n_samples: int, seed: int) -> SmoothingSpec:
    """How the votes of one kind of change are taken, by a recipe of :func:`range_recipe`."""
    return replace(
        recipe.spec(target),
        sigma=noise.sigma,
        n_samples=n_samples,
        seed=seed,
        noise=SEMANTIC_PROTOCOL,
        batch_size=recipe.batch_size or DEFAULT_BATCH_SIZE,
    )


def certify_range(
    film: Film,
    network: nn.Module,
    recipe: Recipe,
    noise: SemanticNoise,
    *,
    logits: torch.Tensor,
    spec: SmoothingSpec,
    pixel_sigma: float = 0.0,
    beta: BetaLike,
    eta: float,
    input_warnings: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> CertifiedRange:
    """Certifies for which strengths of one change the reported cells stay, and the decision.

    Args:
        film: the image.
        network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
        recipe: of :func:`range_recipe`.
        noise: in the strength.
        logits: of the clean film, [1, classes].
        spec: of :func:`range_spec`.
        pixel_sigma: standard deviation of white noise in the network's input beside it; 0 is none.
        beta: share of the reported cells that must stay, a decimal string or a number in (0, 1].
        eta: failure probability in (0, 1).
        input_warnings: of the film.
        progress: called with the number of copies just done.

    Raises:
        ValueError: if beta or eta is out of range, or the noises do not commute.
        NonFiniteMapError: if a map or a logit of a copy is NaN or infinite.
    """
    if pixel_sigma and not noise.commutes:
        raise ValueError(f"{noise.name} makes another change of one in the pixels: it has no joint claim.")
    tally = _tally(film, recipe, _Copies(film, noise, pixel_sigma=pixel_sigma), spec)
    batch_size = fill(
        [tally], network, spec.n_samples, batch_size=_batch(spec), padded=recipe.padded(network), progress=progress
    )
    spec, votes = replace(spec, batch_size=batch_size), tally.votes(logits, input_warnings)
    return CertifiedRange(
        noise=noise,
        votes=votes,
        spec=spec,
        pixel_sigma=pixel_sigma,
        beta=beta,
        overlap=required_overlap(spec.top_k, beta),
        eta=eta,
        radii=map_radii(votes, spec, beta=beta, eta=eta),
        ceiling=ceiling(votes, spec, beta=beta, eta=eta),
        label=certify_label(votes, spec.sigma, eta_label=eta),
        sampled=_sampled(film, network, recipe, noise, spec, pixel_sigma, votes.top_k_mask.ravel(), progress),
    )


def grid_of(noise: SemanticNoise) -> Array:
    """Strengths at which the unproved curve is computed: each whole pixel of a shift, else steps of sigma / 12."""
    if not noise.on_source:
        most = int(np.ceil(_EVALUATED * noise.sigma))
        return np.arange(-most, most + 1, dtype=np.float64)
    most = int(_EVALUATED * _STEPS)
    return noise.sigma / _STEPS * np.arange(-most, most + 1, dtype=np.float64)


def passes_of_grid(noise: SemanticNoise, *, pixel_sigma: float) -> int:
    """Copies that the unproved curve takes."""
    steps = len(grid_of(noise))
    return steps * (1 + _draws(steps)) if pixel_sigma else steps


def quadrature(votes: Array, strengths: Array, at: float, *, sigma: float) -> Array:
    """The expected vote map of the film that is changed by ``at``, float64 [c], from votes at equally far strengths."""
    half = (strengths[1] - strengths[0]) / 2
    weights: Array = ndtr((strengths - at + half) / sigma) - ndtr((strengths - at - half) / sigma)
    shares: Array = (weights / weights.sum()) @ votes
    return shares


def _sampled(
    film: Film,
    network: nn.Module,
    recipe: Recipe,
    noise: SemanticNoise,
    spec: SmoothingSpec,
    pixel_sigma: float,
    reported: npt.NDArray[np.bool_],
    progress: Progress | None,
) -> Sampled:
    strengths = grid_of(noise)

    def votes_at(recipe: Recipe, given: Array, pixel_sigma: float) -> Array:
        tally = _tally(film, recipe, _Copies(film, noise, pixel_sigma=pixel_sigma, given=given), spec)
        masks = []
        for samples in torch.split(torch.arange(len(given), device=film.clean.device), _batch(spec)):
            masks.append(tally.top_cells(samples, tally.attribute(network, tally.noisy(samples)).maps)[1].mask.cpu())
            if progress is not None:
                progress(len(samples))
        votes: Array = torch.cat(masks).numpy().astype(np.float64)
        return votes

    plain = expected = votes_at(range_recipe(recipe, pixel_sigma=0.0), strengths, 0.0)
    if pixel_sigma:
        draws = _draws(len(strengths))
        noisy = votes_at(recipe, np.repeat(strengths, draws), pixel_sigma)
        expected = noisy.reshape(len(strengths), draws, -1).mean(axis=1)
    shown = np.abs(strengths) <= _SHOWN * noise.sigma
    at = (quadrature(expected, strengths, one, sigma=noise.sigma) for one in strengths[shown])
    return Sampled(
        strengths=strengths[shown],
        plain=plain[shown][:, reported].sum(axis=1).astype(np.int64),
        smoothed=np.array([_shared(one, reported) for one in at], dtype=np.int64),
    )


def _draws(steps: int) -> int:
    return math.ceil(_NOISY / steps)


def _shared(shares: Array, reported: npt.NDArray[np.bool_]) -> int:
    top = np.argsort(-shares, kind="stable")[: int(reported.sum())]
    return int(reported[top].sum())


def _batch(spec: SmoothingSpec) -> int:
    assert spec.batch_size is not None
    return min(spec.batch_size, spec.n_samples)


def _tally(film: Film, recipe: Recipe, copies: _Copies, spec: SmoothingSpec) -> _Tally:
    digest = image_sha256(film.clean)
    return _Tally(
        film.clean,
        digest=digest,
        stream=CounterNoise(seed=spec.seed, image_hash=digest, protocol=SEMANTIC_PROTOCOL),
        noise=copies,
        attribute=partial(recipe.attribute, targets=[spec.target]),
        finds=lambda logits: recipe.findings.finds(logits, spec.target),
        top_k=spec.top_k,
        cell_size=spec.cell_size,
    )
