"""Noise, interpretation, votes and certificate as a MONAI inferer."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor, decollate_batch
from monai.inferers import Inferer
from torch import nn

from monai_robustinterp.certificates import Certificate, CertifiedResult, Claim, Origin, certified_result, certify_votes
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.certificates.ledger import MeasuredChange, ledger_record
from monai_robustinterp.certificates.native import UNKNOWN_SCALE, NativeScale, native_record
from monai_robustinterp.certificates.overlap import swap_count
from monai_robustinterp.certificates.sequence import look_schedule
from monai_robustinterp.interpreters import Interpreter, Precision, make_interpreter
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.io.write.result import result_meta
from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.smoothing.case import single_channel
from monai_robustinterp.smoothing.denoising import DenoiserGradient
from monai_robustinterp.smoothing.input_check import InputStatistics
from monai_robustinterp.smoothing.recipe import Enough, Progress, Recipe
from monai_robustinterp.types import Activation, Region, SmoothingSpec, VoteMap


class CertifiedSaliencyInferer(Inferer):
    """Certified saliency of a classifier's finding.

    It may be called under ``no_grad`` or inside an evaluator, and leaves the network as it was.

    Args:
        interpreter: an interpreter, or its name in ``INTERPRETERS``, or ``captum:NAME``.
        sigma: standard deviation of the noise in units of the network's single-channel input; float32(sigma) is used.
        brightness: standard deviation of the copies' brightness beside the white noise, in the same units: changes of
            the exposure are then covered much further (:class:`~monai_robustinterp.noise.exposure.ExposureNoise`).
        tilt: the same of their slopes of exposure, as root mean square over the image.
        n_samples: number of noisy copies m; with ``until_radius`` or ``until_covers`` the first look.
        until_radius: l2 radius at which sampling may stop: it looks at n_samples, twice that, and so on up to
            ``max_samples``, and stops where decision and map are both certified that far. The certificate pays for the
            looks: it splits eta over them.
        until_covers: in place of ``until_radius``, the name of a change of the image: each image then comes with the
            radius that covers it, known before the noise
            (:func:`~monai_robustinterp.certificates.sequence.covering_radius`).
        max_samples: copies at which sampling ends in any case, with ``until_radius`` or ``until_covers``.
        pairs: count which cells each copy votes for together, for the discordant-pairs certificate, which gets half
            of eta; for at most 1,024 cells.
        top_k: number of cells that each copy votes for.
        cell_size: side of a cell in pixels of the input grid.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        eta: failure probability per image.
        target: explained logit, as its index or its name in ``class_names``; None takes the arg-max of the clean image,
            once.
        class_names: names of the logits.
        activation: ``softmax`` for exclusive classes, ``sigmoid`` for independent findings.
        misses: of names of logits, what the network was seen to miss, for the caption of a picture without the finding
            (:class:`~monai_robustinterp.networks.findings.Findings`).
        seed: user seed of the noise; a searched seed voids the certificate.
        precision: ``float32``, ``tf32`` or ``bfloat16``: what the network runs in, and the certified function with it
            (:mod:`monai_robustinterp.interpreters.context.precision`). All else stays float32.
        denoiser: that each copy goes through before the network; None takes the copies as they are. So a classifier
            that was never trained for noise can be certified. The decision that the copies are compared with stays
            that of the network on the clean image itself.
        denoiser_gradient: take the gradient of the network ``at`` the denoised copy, or that of both at the copy,
            ``through`` the denoiser.
        batch_size: noisy copies per forward pass; it changes nothing but speed, up to float round-off. None takes the
            fastest one, which is found once on each machine (:mod:`monai_robustinterp.smoothing.batching`). Where
            memory ends it is halved. The record has the one that was used.
        expected: statistics of the images that the network was trained on; an image unlike them gets a warning.

    Attributes:
        recipe: how votes are taken.
        claim: what is asked of them.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        *,
        interpreter: Interpreter | str = "gradient",
        sigma: float = 0.1,
        brightness: float = 0.0,
        tilt: float = 0.0,
        n_samples: int = 384,
        until_radius: float | None = None,
        until_covers: str | None = None,
        max_samples: int = 4096,
        pairs: bool = False,
        top_k: int = 38,
        cell_size: int = 8,
        beta: str | float = "0.5",
        eta: float = 0.001,
        target: int | str | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = "softmax",
        misses: Mapping[str, str] | None = None,
        seed: int = 0,
        precision: Precision = "float32",
        denoiser: Denoiser | None = None,
        denoiser_gradient: DenoiserGradient = "at",
        batch_size: int | None = None,
        expected: InputStatistics | None = None,
    ) -> None:
        super().__init__()
        findings = Findings(activation, tuple(class_names), misses or {})
        if isinstance(interpreter, str):
            interpreter = make_interpreter(interpreter, known={"activation": activation})
        if until_radius is not None and until_covers is not None:
            raise ValueError("until_radius and until_covers are two rules for one stop; give one of them.")
        if until_radius is not None:
            _check_radius(until_radius)
        self.claim = Claim(beta=beta, eta=eta, until_radius=until_radius, until_covers=until_covers)
        self.recipe = Recipe(
            interpreter=interpreter,
            findings=findings,
            sigma=sigma,
            brightness=brightness,
            tilt=tilt,
            n_samples=n_samples,
            top_k=top_k,
            cell_size=cell_size,
            target=findings.index(target) if isinstance(target, str) else target,
            seed=seed,
            precision=precision,
            denoiser=denoiser,
            denoiser_gradient=denoiser_gradient,
            batch_size=batch_size,
            pairs=pairs,
            looks=_looks(eta, n_samples, max_samples) if self.claim.stops_early else (),
            expected=expected,
        )

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> MetaTensor:
        """Certified vote maps of a batch of images.

        Args:
            inputs: float [B, 1, H, W], preprocessed; a MetaTensor's metadata and history are kept.
            network: returns logits [B, classes].
            args: not used (MONAI's inferer signature).
            kwargs: not used.

        Returns:
            MetaTensor float32 [B, 2, H, W]: vote share of each pixel's cell in [0, 1], and the reported top-k set as 0
            or 1. Its metadata hold the results (:func:`~monai_robustinterp.io.write.result.result_meta`), a list of
            one entry an image.
        """
        batched = isinstance(inputs, MetaTensor) and inputs.is_batch
        images = decollate_batch(inputs) if batched else list(inputs)
        results = [
            self.result(votes, spec, image, network)
            for image, (votes, spec) in zip(images, self.vote_images(images, network))
        ]
        maps = [torch.from_numpy(result.votes.channels(self.recipe.cell_size)) for result in results]
        out = MetaTensor(torch.stack(maps).to(inputs.device))
        if isinstance(inputs, MetaTensor):
            out.copy_meta_from(inputs, copy_attr=True)
        metas = [result_meta(result) for result in results]
        out.meta.update({name: [meta[name] for meta in metas] for name in ("certificate", "votes")})
        out.meta["vote_counts"] = torch.stack([meta["vote_counts"] for meta in metas])
        return out

    def certify(
        self,
        image: torch.Tensor,
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
        until_radius: float | None = None,
    ) -> CertifiedResult:
        """Votes, certificate and record of one image [1, H, W]; see :meth:`vote`."""
        votes, spec = self.vote(image, network, progress, regions=regions, until_radius=until_radius)
        return self.result(votes, spec, image, network, until_radius=until_radius)

    def vote(
        self,
        image: torch.Tensor,
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
        until_radius: float | None = None,
    ) -> tuple[VoteMap, SmoothingSpec]:
        """Streams the votes of one image.

        Args:
            image: float [1, H, W] on the network's device, finite.
            network: returns logits [B, classes].
            progress: called with the number of copies just done.
            regions: of the map, fixed before the noise, whose hits are counted.
            until_radius: with ``until_covers`` the radius that covers the change of this image.

        Raises:
            InputRefused: if the image is none in the display range [0, 1].
            TypeError: if the image is no tensor.
            ValueError: if the image is not [1, H, W] and finite, the cells do not fit, or the network is none that can
                be smoothed (:mod:`~monai_robustinterp.smoothing.network_check`).
            NonFiniteMapError: if an interpretation has NaN or infinite values.
        """
        return self.vote_images([image], network, progress, regions=regions, until_radius=until_radius)[0]

    def vote_images(
        self,
        images: Iterable[torch.Tensor],
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
        until_radius: float | None = None,
    ) -> list[tuple[VoteMap, SmoothingSpec]]:
        """Streams the votes of several images, whose copies share batches where the target is the same.

        Args:
            images: as in :meth:`vote`.
            network: as there.
            progress: as there.
            regions: as there, of every image.
            until_radius: as there, of every image.

        Raises:
            ValueError: as there.
            NonFiniteMapError: as there; one image that cannot be voted ends the run of all.
        """
        images = list(images)
        enough = self._enough(images, until_radius)
        return self.recipe.vote(images, network, progress, regions=regions, enough=enough)

    def vote_each(
        self,
        image: torch.Tensor,
        network: nn.Module,
        targets: Sequence[int],
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
        until_radius: float | None = None,
    ) -> list[tuple[VoteMap, SmoothingSpec]]:
        """Streams the votes for several findings of one image from the same copies; eta is split over them.

        Args:
            image: as in :meth:`vote`.
            network: as there.
            targets: indices of the findings' logits, fixed before the noise, such as those of ``recipe.found``.
            progress: as there.
            regions: as there.
            until_radius: as there, for each finding.

        Returns:
            Of each finding what :meth:`vote` of its inferer (:meth:`of_each`) gives.

        Raises:
            InputRefused: as there.
            ValueError: as there, or without a finding.
            NonFiniteMapError: as there.
        """
        enough = self.of_each(targets)[0]._enough([image], until_radius)
        return self.recipe.vote_each(image, network, targets, progress, regions=regions, enough=enough)

    def of_each(self, targets: Sequence[int]) -> list[CertifiedSaliencyInferer]:
        """An inferer for each of several findings of one image, with its target and its part of eta."""
        each = []
        for target in targets:
            one = copy.copy(self)
            one.claim, one.recipe = self.claim.of_each(len(targets)), dataclasses.replace(self.recipe, target=target)
            each.append(one)
        return each

    def _enough(self, images: Sequence[torch.Tensor], until_radius: float | None) -> Enough:
        """Whether decision and map are both certified up to the radius that was asked for."""
        claim = self._claim(until_radius)
        for image in images:
            # A claim that is none is refused before any work.
            swap_count(self.recipe.top_k, claim.beta, self.recipe.check_grid(single_channel(image)))

        def enough(votes: VoteMap, spec: SmoothingSpec) -> bool:
            if claim.until_radius is None:
                return False
            certificate = certify_votes(votes, spec, beta=claim.beta, eta=claim.eta)
            return min(certificate.l_max, certificate.label.l2) >= claim.until_radius

        return enough

    def result(
        self,
        votes: VoteMap,
        spec: SmoothingSpec,
        image: torch.Tensor,
        network: nn.Module,
        *,
        files: Mapping[str, str] | None = None,
        scale: NativeScale = UNKNOWN_SCALE,
        changes: Sequence[MeasuredChange] = (),
        lungs: Mapping[str, Any] | None = None,
        picture: Picture | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
        until_radius: float | None = None,
    ) -> CertifiedResult:
        """What follows from votes, for Python, files and pictures alike.

        Args:
            votes: of the image.
            spec: how they were taken.
            image: preprocessed, with the metadata of its source if it has one.
            network: that took them.
            files: hashes of the files that network and settings came from.
            scale: from the stored pixels to the network's input.
            changes: of the source image, for the ledger.
            lungs: what drew the lungs among the regions (:class:`~monai_robustinterp.certificates.Origin`).
            picture: the map on the source's pixels.
            earlier: runs of the image that did not certify it (:func:`~monai_robustinterp.run.kept.earlier_runs`).
            until_radius: that its votes were taken with.
        """
        meta = image.meta if isinstance(image, MetaTensor) else {}

        def origin(certificate: Certificate) -> Origin:
            return Origin(
                source=source_record(meta, votes.input_shape),
                native=native_record(certificate.l_max, scale, certificate.n_pixels),
                provenance=provenance(network, image, files),
                ledger=ledger_record(changes, certificate.l_max, spec),
                lungs=lungs or {},
            )

        return certified_result(
            votes,
            spec,
            self._claim(until_radius),
            finding=self.recipe.findings.entry(votes.logits, spec.target),
            origin=origin,
            picture=picture,
            earlier=earlier,
        )

    def _claim(self, until_radius: float | None) -> Claim:
        """The claim of an image that comes with the radius that covers its change."""
        if (until_radius is None) != (self.claim.until_covers is None):
            raise ValueError(
                "until_covers and the radius of an image go together: sampling stops where that change of the image is "
                "covered, and the radius that covers it is known before the noise. Give both or none."
            )
        if until_radius is None:
            return self.claim
        _check_radius(until_radius)
        return dataclasses.replace(self.claim, until_radius=until_radius)


def _check_radius(until_radius: float) -> None:
    if not 0 < until_radius < float("inf"):
        raise ValueError(f"until_radius is {until_radius}; it must be finite and > 0, or None.")


def _looks(eta: float, n_samples: int, max_samples: int) -> tuple[int, ...]:
    if n_samples > max_samples:
        raise ValueError(
            f"n_samples is {n_samples} and max_samples {max_samples}; with early stopping the first look must not lie "
            "beyond the last one."
        )
    return tuple(look.n_samples for look in look_schedule(eta, n_samples, max_samples=max_samples))
