"""Certified ranges of one image file, and their record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from monai_robustinterp.attention.ranges import (
    CertifiedRange,
    Film,
    certify_range,
    passes_of_grid,
    range_recipe,
    range_spec,
)
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.certificate import Radius
from monai_robustinterp.certificates.certify import AT_THE_CEILING, notes_of
from monai_robustinterp.certificates.native import NativeScale, native_record
from monai_robustinterp.certificates.overlap import BetaLike, swap_count
from monai_robustinterp.certificates.serialize import spec_to_json
from monai_robustinterp.certificates.units import readable, round_down, round_up, sum_up
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed
from monai_robustinterp.geometry.native import native_scale
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.noise.changes import SEMANTIC_NOISES
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.noise.semantic import SemanticNoise
from monai_robustinterp.smoothing.recipe import Progress
from monai_robustinterp.types import float32_spread

FORMAT = "monai_robustinterp/attention-ranges/3"
CLAIM = (
    "of each kind of change by itself, never of two at once, nor of noise in the pixels: with probability >= 1 - eta "
    "over the noise in its strength, the reported cells and the top-k of the expected vote map of the image that is "
    "changed by any strength below the radius, up or down, share at least overlap cells. The expected vote map is "
    "that of copies whose strength is drawn around the image's own; it is not the plain map, and says nothing about "
    "faithfulness. Brightness, contrast, gamma, slope, window center and window width change display values in real "
    "numbers before they are cut off at black and white, with the choice of the display range as it is; a shift moves "
    "the network's input, in a circle or in a surround, and the maps are compared where the anatomy lies. Network, "
    "interpreter, precision and target class are fixed; the theorem is about real Gaussian noise, which float32 and a "
    "counter-based generator approximate"
)
JOINT_CLAIM = (
    "of each kind of change by itself, together with any change of the pixels: with probability >= 1 - eta over the "
    "noise in its strength and in the pixels, the reported cells and the top-k of the expected vote map of the image "
    "that is changed by a strength d and by pixels of l2 norm e with (d/radius)^2 + (e/l2)^2 < 1 share at least "
    "overlap cells. e is the largest l2 norm by which the pixels move the network's input of a copy, whatever its "
    "strength. The expected vote map is that of copies whose strength is drawn around the image's own, with white "
    "noise in the network's input and the denoiser, if one is named; it is not the plain map, and says nothing about "
    "faithfulness. Brightness, slope and window center change display values in real numbers before they are cut off "
    "at black and white, with the choice of the display range as it is; a shift moves the network's input, in a "
    "circle or in a surround, and the maps are compared where the anatomy lies. Network, interpreter, precision and "
    "target class are fixed; the theorem is about real Gaussian noise, which float32 and a counter-based generator "
    "approximate"
)
_JOINT = tuple(name for name, kind in SEMANTIC_NOISES.items() if kind.commutes)
_DOWN = 1 - 1e-12
_SAME = 1e-3  # more than two ways of rounding the same preprocessing differ


@dataclass(frozen=True, kw_only=True)
class RangeSettings:
    """What is asked; None takes the bundle's.

    Attributes:
        noises: in the strength of the changes, each certified by itself.
        beta: share of the reported cells that must stay.
        eta: failure probability of each claim.
        n_samples: copies of each kind of change.
        seed: of the noise; a searched seed voids the claims.
        pixel_sigma: standard deviation of white noise in the network's input beside it, for a joint claim; 0 is none.

    Raises:
        InputRefused: if there is no noise, or two of one kind, or one that has no joint claim with noise in the pixels.
        ValueError: if the noise in the pixels is negative or not finite.
    """

    noises: tuple[SemanticNoise, ...]
    beta: BetaLike | None = None
    eta: float | None = None
    n_samples: int | None = None
    seed: int | None = None
    pixel_sigma: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixel_sigma", float32_spread("noise in the pixels", self.pixel_sigma))
        names = [noise.name for noise in self.noises]
        if not names or len(set(names)) < len(names):
            raise InputRefused(f"the changes are {names}; name at least one, and each one once.")
        alone = [noise.name for noise in self.noises if self.pixel_sigma and not noise.commutes]
        if alone:
            raise InputRefused(
                f"{alone[0]} has no joint claim with noise in the pixels: it makes another change of one in the "
                f"pixels, so the two do not commute. Leave {alone[0]} or the noise out; {', '.join(_JOINT)} have "
                "a joint claim."
            )

    def n_passes(self, bundle: SaliencyBundle) -> int:
        """Copies that are interpreted in all, those of the unproved curves among them."""
        n_samples = self.n_samples or bundle.inferer.recipe.max_samples
        return sum(n_samples + passes_of_grid(one, pixel_sigma=self.pixel_sigma) for one in self.noises)


@dataclass(frozen=True, kw_only=True)
class Ranged:
    """Certified ranges of one image.

    Attributes:
        image: the network's input [1, H, W], with the metadata of its source.
        bundle: of the classifier.
        target: the explained logit.
        logits: of the clean image, float [1, classes].
        scale: of stored pixels to the network's input, or why there is none.
        ends: of each kind of change the network's input at both ends of its range, [1, H, W] each.
        ranges: one of each kind of change.
    """

    image: MetaTensor
    bundle: SaliencyBundle
    target: int
    logits: torch.Tensor
    scale: NativeScale
    ends: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    ranges: tuple[CertifiedRange, ...]


def certify_ranges(
    source: str | Path, bundle: SaliencyBundle, settings: RangeSettings, *, progress: Progress | None = None
) -> Ranged:
    """Certifies for which strengths of each change the strongest cells of one image file stay, and the decision.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: its interpreter is smoothed by the noise in the strength, without pixel noise and denoiser; where noise
            in the pixels is asked for, with both.
        settings: what is asked.
        progress: called with the number of copies just done.

    Raises:
        InputRefused: if the file is no image that can be explained, or its preprocessing cannot be repeated.
        ValueError: if a setting is out of range.
    """
    loaded = bundle.preprocessing({"image": str(source)}, end=1)
    values = Source(loaded["image"], bundle.preprocessing)
    image: MetaTensor = bundle.preprocessed(loaded)
    film, sigma = Film(image.as_tensor().detach().to(torch.float32), values), settings.pixel_sigma
    recipe, claim = range_recipe(bundle.inferer.recipe, pixel_sigma=sigma), bundle.inferer.claim
    warnings = recipe.check_input(film.clean)
    beta = claim.beta if settings.beta is None else settings.beta
    # A claim that is none is refused before any work.
    swap_count(recipe.top_k, beta, recipe.check_grid(film.clean))
    noises = [noise.of_film(values.values.meta) for noise in settings.noises]
    for noise in noises:
        _check_repeats(film, noise)
    if recipe.denoiser is not None:
        recipe.denoiser.check(film.clean, sigma, digest=image_sha256(film.clean))
    n_samples = settings.n_samples or bundle.inferer.recipe.max_samples
    seed = recipe.seed if settings.seed is None else settings.seed
    with explaining(bundle.network, recipe.precision):
        logits, target = recipe.clean_logits(film.clean, bundle.network)
        found = [
            certify_range(
                film,
                bundle.network,
                recipe,
                noise,
                logits=logits,
                spec=range_spec(recipe, noise, target, n_samples=n_samples, seed=seed),
                pixel_sigma=sigma,
                beta=beta,
                eta=claim.eta if settings.eta is None else settings.eta,
                input_warnings=warnings,
                progress=progress,
            )
            for noise in noises
        ]
    return Ranged(
        image=image,
        bundle=bundle,
        target=target,
        logits=logits,
        scale=native_scale(bundle.preprocessing, image.meta, (film.clean.shape[1], film.clean.shape[2])),
        ends=tuple(_at_the_ends(film, one) for one in found),
        ranges=tuple(found),
    )


def _at_the_ends(film: Film, one: CertifiedRange) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's input of the film changed by the least and the most that is covered."""
    proven = one.noise.proven(one.radius)
    return film.changed(one.noise, -proven), film.changed(one.noise, proven)


def _check_repeats(film: Film, noise: SemanticNoise) -> None:
    furthest = float((film.changed(noise, 0.0) - film.clean).abs().max())
    if not furthest <= _SAME:
        raise InputRefused(
            f"the preprocessing made inputs of the same pixels that differ by {furthest:.2g}: the copies would be of "
            "another function than the image. Take draws and cropping by content out of it."
        )


def stored_values(noise: SemanticNoise, radius: float, meta: Mapping[str, Any]) -> tuple[float | None, str]:
    """The brightness range in stored values, added to every pixel; or None and the reason.

    Args:
        noise: of the strength.
        radius: in display values.
        meta: of the image, with the entries of ``ChestXRayReader``.
    """
    if noise.name != "brightness":
        return None, "only a change of brightness is one number of stored values."
    slope = float(meta["display_slope"])
    if not slope > 0:
        return None, str(meta["display_slope_reason"])
    if "SIGMOID" in str(meta["intensity_path"]):
        return None, "the window is a sigmoid: equal steps of stored values are no equal steps of the display."
    stored = radius / slope * _DOWN
    # Where a range was chosen because the pixels fit it, another one may be chosen beyond.
    if stored * math.sqrt(math.prod(int(side) for side in meta["spatial_shape"])) > float(meta["display_margin"]):
        return None, "beyond a smaller change the header's display range may no longer be the one in use."
    return stored, ""


def sentence(one: CertifiedRange, meta: Mapping[str, Any], scale: NativeScale) -> str:
    """What is claimed of the map for one kind of change, with level, confidence and m.

    Args:
        one: the claim.
        meta: of the image.
        scale: of stored pixels to the network's input.
    """
    m, noise = one.votes.n_samples, one.noise
    drawn = f"{noise.sigma:g}" + (f", and {one.pixel_sigma:g} in the pixels" if one.pixel_sigma else "")
    stored, _ = stored_values(noise, one.radius, meta)
    words = covered(
        one,
        one.radius,
        stored="" if stored is None else f" (+-{_in_steps(stored)} stored values)",
        pixels_stored=_native(one, scale)["l2"] or 0.0,
    )
    if not words:
        return (
            f"{noise.name}: abstain: {m} copies support no change of it but 0, so nothing is claimed (confidence "
            f"1 - {round_up(one.eta)}, noise {drawn})."
        )
    return (
        f"{noise.name}: at least {one.overlap} of the {one.spec.top_k} highlighted cells stay for {words}; "
        f"population level, probability >= 1 - {round_up(one.eta)} over the noise ({drawn}) of {m} copies."
    )


def _native(one: CertifiedRange, scale: NativeScale) -> dict[str, Any]:
    """The l2 norm of a change of the stored pixels that is covered without one of the strength, and how it follows."""
    return native_record(one.pixel_radius(one.radius), scale, math.prod(one.votes.input_shape))


def covered(one: CertifiedRange, radius: float, *, stored: str = "", pixels_stored: float = 0.0) -> str:
    """The changes within a radius in words, those of the pixels too where they were noisy; "" if there are none.

    Args:
        one: whose noise it is.
        radius: of the strength alone.
        stored: said of the range of the strength.
        pixels_stored: l2 norm of the stored pixels that may change alone; 0 is not said.
    """
    words = one.noise.words(radius)
    if not one.pixel_sigma or not radius > 0:
        return f"{words}{stored}" if words else ""
    pixels = f"any change of the network's input of l2 norm below {readable(one.pixel_radius(radius))}"
    if not words:
        return f"{pixels}, without a {one.noise.name}"
    if pixels_stored:
        pixels += f" (pixels alone: any change of the stored values of l2 norm below {_in_steps(pixels_stored)})"
    limit = "" if one.noise.on_source else f" (limit {readable(radius)} px)"
    return f"{words}{stored}{limit} together with {pixels}, where the squares of both shares of their limits sum to < 1"


def _in_steps(stored: float) -> str:
    return round_down(stored, 0) if stored >= 10 else readable(stored)


def ranges_record(ranged: Ranged) -> dict[str, Any]:
    """Content of attention.json: plain values, no names and no dates; the claims follow from the counts in it."""
    bundle, image, first = ranged.bundle, ranged.image, ranged.ranges[0]
    findings = bundle.inferer.recipe.findings
    record = {
        "format": FORMAT,
        "claim": JOINT_CLAIM if first.pixel_sigma else CLAIM,
        "finding": {
            "name": findings.name(ranged.target),
            "target": ranged.target,
            "score": findings.score(ranged.logits[0].cpu().numpy(), ranged.target),
        },
        "beta": str(first.beta),
        "eta": first.eta,
        "all_claims": {"eta": all_eta(ranged)},
        "ranges": [_range_record(one, image.meta, ranged.scale) for one in ranged.ranges],
        "logits": ranged.logits[0].tolist(),
        "image_sha256": first.votes.image_sha256,
        "source": source_record(image.meta, image.shape[-2:]),
        "provenance": provenance(bundle.network, image, bundle.files),
    }
    return sealed(record)


def all_eta(ranged: Ranged) -> float:
    """Failure probability of all claims together: of each change one of the map and one of the decision."""
    return min(1.0, sum_up(*(one.eta for one in ranged.ranges for _ in ("map", "decision"))))


def _range_record(one: CertifiedRange, meta: Mapping[str, Any], scale: NativeScale) -> dict[str, Any]:
    votes, label = one.votes, one.label
    stored, reason = stored_values(one.noise, one.radius, meta)
    return {
        "change": one.noise.settings,
        "pixels": _pixels_record(one, scale),
        "status": "certified" if covered(one, one.radius) else "abstain",
        "sentence": sentence(one, meta, scale),
        "radius": one.radius,
        "range": list(one.noise.range(one.radius)),
        "stored_values": stored,
        "stored_values_reason": reason,
        "display_slope": None if stored is None else float(meta["display_slope"]),
        "overlap": one.overlap,
        "ceiling": one.ceiling,
        "radii": [_radius_record(radius) for radius in one.radii],
        "decision": {
            "found": votes.decision,
            "agreeing_copies": label.agreeing_copies,
            "radius": label.l2,
            "range": list(one.noise.range(label.l2)),
        },
        "counts": votes.counts.tolist(),
        "found_copies": votes.found_copies,
        "spec": spec_to_json(one.spec),
        "notes": range_notes(one),
        "sampled": {
            "strengths": one.sampled.strengths.tolist(),
            "plain": one.sampled.plain.tolist(),
            "smoothed": one.sampled.smoothed.tolist(),
        },
    }


def _pixels_record(one: CertifiedRange, scale: NativeScale) -> dict[str, Any] | None:
    if not one.pixel_sigma:
        return None
    return {
        "sigma": one.pixel_sigma,
        "l2": one.pixel_radius(one.radius),
        "decision_l2": one.pixel_radius(one.label.l2),
        "native": _native(one, scale),
    }


def range_notes(one: CertifiedRange) -> list[str]:
    """What is doubtful: the input, ties, constant maps, a radius at the ceiling."""
    found = notes_of(one.votes, one.spec, one.radius, one.ceiling)
    # A map that ignores the image does not move with it: votes that are moved back reach the ceiling by following it.
    return [note for note in found if one.noise.on_source or note != AT_THE_CEILING]


def _radius_record(radius: Radius) -> dict[str, Any]:
    entry = {"level": radius.level, "family": radius.family, "radius": _number(radius.l2)}
    if radius.epsilon is not None and radius.alpha is not None:
        entry |= {"epsilon": _number(radius.epsilon), "alpha": radius.alpha}
    return entry


def _number(value: float) -> float | str:
    return "Infinity" if math.isinf(value) else value
