"""The attack beside the certificate: one image, at multiples of its certified radius."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from monai_robustinterp.attacks.ascent import Reached, length
from monai_robustinterp.attacks.judge import fresh_votes, judge
from monai_robustinterp.attacks.maps import CellMap
from monai_robustinterp.attacks.plain import attack_plain
from monai_robustinterp.attacks.result import AttackBudget, AttackResult
from monai_robustinterp.attacks.smoothed import attack_smoothed
from monai_robustinterp.certificates import CertifiedResult
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.networks.denoised import Denoised
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.noise.shape import noise_of_spec
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE
from monai_robustinterp.smoothing.recipe import Recipe

GUIDE_PROTOCOL = "attack-guide/1"
START_PROTOCOL = "attack-start/1"


def attack_certificate(
    inferer: CertifiedSaliencyInferer,
    network: nn.Module,
    image: torch.Tensor,
    result: CertifiedResult,
    *,
    factors: Sequence[float] = (0.5, 1.0, 4.0),
    guide_draws: int = 64,
    restarts: int = 2,
    steps: int = 4,
    plain_steps: int = 20,
    fresh_samples: int = 384,
    gamma: float = 0.001,
    seed: int = 1,
) -> tuple[AttackResult, ...]:
    """Attacks the plain and the smoothed map of one image at multiples of its certified radius.

    Both attacks try to swap the s cells that would break the certificate's claim; the plain map's claim is the same
    about its own top-k set (docs/theory/attack.md). Perturbed images are not clipped, as the claim covers
    them too. The result depends on the arguments alone, up to float round-off.

    Args:
        inferer: as it made the votes.
        network: returns logits [B, classes].
        image: float [1, H, W] on the network's device, as it was certified.
        result: votes and certificate of the clean image.
        factors: radii in units of the certified one, each > 0.
        guide_draws: see :class:`AttackBudget`, as the following.
        restarts: the clean image, then random starts.
        steps: steps on the smoothed map.
        plain_steps: steps on the plain map.
        fresh_samples: fresh copies m'.
        gamma: probability of a wrong "broken".
        seed: another than the certificate's.

    Returns:
        One result a factor, in their order.

    Raises:
        ValueError: if the certificate abstains, the arguments do not belong together, the interpreter or network
            cannot be attacked, or a setting is out of range.
    """
    budget = AttackBudget(
        guide_draws=guide_draws,
        restarts=restarts,
        steps=steps,
        plain_steps=plain_steps,
        fresh_samples=fresh_samples,
        gamma=gamma,
        seed=seed,
    )
    # A MetaTensor would carry its metadata through every operation.
    plain = image.detach().as_subclass(torch.Tensor).float()
    _check(inferer.recipe, plain, result, factors, seed)
    run = _Run(inferer.recipe, network, plain, result, budget)
    return tuple(run.at(factor) for factor in factors)


class _Run:
    """The attack on one image."""

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        image: torch.Tensor,
        result: CertifiedResult,
        budget: AttackBudget,
    ) -> None:
        self.recipe, self.network, self.image, self.budget = recipe, network, image, budget
        self.votes, self.certificate = result.votes, result.certificate
        self.target = self.certificate.spec.target
        self.plain_map = CellMap(network, recipe.interpreter, self.target, recipe.cell_size)
        self.smoothed_map = self._smoothed_map()
        restarts = torch.arange(budget.restarts, device=image.device)
        self.starts = recipe.noise.copies(torch.zeros_like(image), self._stream(START_PROTOCOL), restarts)
        # From the clean image the weakest and strongest cells are the right ones to swap more often than by chance.
        self.starts[0] = 0

    def at(self, factor: float) -> AttackResult:
        sigma = self.certificate.spec.sigma
        radius = factor * self.certificate.l_max / sigma
        with explaining(self.network, self.certificate.spec.precision):
            plain, plain_overlap = attack_plain(
                self.plain_map,
                self.image,
                self.keeps_label,
                top_k=self.votes.top_k,
                swaps=self.certificate.swap_count,
                noise=self.recipe.noise,
                radius=radius,
                starts=self.starts,
                steps=self.budget.plain_steps,
            )
            smoothed = self._smoothed(radius)
            label_kept = self.keeps_label(plain.delta) and self.keeps_label(smoothed.delta)
        fresh = fresh_votes(
            self.recipe,
            self.network,
            self.image + smoothed.delta,
            target=self.target,
            seed=self.budget.seed,
            n_samples=self.budget.fresh_samples,
        )
        verdict = judge(fresh, self.votes.top_k_mask, swaps=self.certificate.swap_count, gamma=self.budget.gamma)
        return AttackResult(
            factor=factor,
            radius=radius * sigma,
            certified_overlap=self.certificate.overlap,
            plain_overlap=plain_overlap,
            plain_norm=length(plain.delta, self.recipe.noise) * sigma,
            overlap=verdict.overlap,
            norm=length(smoothed.delta, self.recipe.noise) * sigma,
            broken=verdict.broken,
            label_kept=label_kept,
            budget=self.budget,
        )

    def keeps_label(self, delta: torch.Tensor) -> bool:
        with torch.no_grad():
            logits = self.network((self.image + delta)[None])
        return bool(self.recipe.findings.finds(logits, self.target)[0]) == self.votes.decision

    def _smoothed_map(self) -> CellMap:
        """What is interpreted of a copy."""
        recipe = self.recipe
        if recipe.denoiser is None:
            return self.plain_map
        denoise = partial(recipe.denoiser, sigma=recipe.sigma)
        if recipe.denoiser_gradient == "through":
            return dataclasses.replace(self.plain_map, network=Denoised(self.network, denoise))
        return dataclasses.replace(self.plain_map, denoise=denoise)

    def _smoothed(self, radius: float) -> Reached:
        return attack_smoothed(
            self.smoothed_map,
            self.image,
            self.keeps_label,
            noise=self.recipe.noise,
            stream=self._stream(GUIDE_PROTOCOL),
            guide_draws=self.budget.guide_draws,
            reported=torch.from_numpy(self.votes.top_k_mask.ravel()).to(self.image.device),
            swaps=self.certificate.swap_count,
            radius=radius,
            starts=self.starts,
            steps=self.budget.steps,
            batch_size=self.recipe.batch_size or DEFAULT_BATCH_SIZE,
        )

    def _stream(self, protocol: str) -> CounterNoise:
        return CounterNoise(seed=self.budget.seed, image_hash=self.votes.image_sha256, protocol=protocol)


def _check(
    recipe: Recipe,
    image: torch.Tensor,
    result: CertifiedResult,
    factors: Sequence[float],
    seed: int,
) -> None:
    votes, certificate, spec = result.votes, result.certificate, result.certificate.spec
    if certificate.l_max == 0:
        raise ValueError("the certificate abstains: it claims no radius, so there is nothing to attack.")
    if image_sha256(image) != votes.image_sha256:
        raise ValueError("the votes are of another image (its hash differs): pass the image that was certified.")
    interpreter = recipe.interpreter
    ours = recipe.spec(spec.target)
    here = (
        interpreter.name,
        interpreter.settings,
        ours.denoiser,
        recipe.noise,
        recipe.top_k,
        recipe.cell_size,
        recipe.precision,
    )
    noise = noise_of_spec(spec)
    there = (
        spec.interpreter,
        spec.interpreter_settings,
        spec.denoiser,
        noise,
        spec.top_k,
        spec.cell_size,
        spec.precision,
    )
    if here != there:
        raise ValueError(
            f"the inferer has (interpreter, its settings, denoiser, noise, top_k, cell_size, precision) = {here} and "
            f"the certificate {there}: they must be those of one run."
        )
    votes.check_spec(spec)
    if seed == spec.seed:
        raise ValueError(f"seed is {seed}, the certificate's own: fresh noise needs another one.")
    if not factors or not all(0 < factor < float("inf") for factor in factors):
        raise ValueError(f"factors are {tuple(factors)}; they must be finite and > 0.")
