"""Noise, interpretation, votes and certificate as a MONAI inferer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.label import label_beside
from monai_robustinterp.certificates.overlap import swap_count
from monai_robustinterp.certificates.pairs import MAX_CELLS
from monai_robustinterp.certificates.record import certificate_record
from monai_robustinterp.certificates.sequence import look_schedule
from monai_robustinterp.interpreters import Interpreter, Precision, check_precision, explaining, make_interpreter
from monai_robustinterp.interpreters.base import attribute_copies
from monai_robustinterp.interpreters.passes import target_logits
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, fastest_batch_size, fill
from monai_robustinterp.smoothing.tally import VoteTally, check_finite_logits
from monai_robustinterp.types import NOISE_PROTOCOL, Activation, Certificate, Region, SmoothingSpec, Stages, VoteMap

Progress = Callable[[int], object]


@dataclasses.dataclass
class _Case:
    """One image on its way: its tally, and what the last look at it gave."""

    digest: str
    logits: torch.Tensor
    spec: SmoothingSpec
    tally: VoteTally
    votes: VoteMap = dataclasses.field(init=False)

    def look(self) -> None:
        self.votes = self.tally.votes(self.logits, self.digest)
        self.spec = dataclasses.replace(self.spec, n_samples=self.tally.n_samples)


class CertifiedSaliencyInferer(Inferer):
    """Certified saliency of a classifier's finding.

    It may be called under ``no_grad`` or inside an evaluator, and leaves the network as it was.

    Args:
        interpreter: an interpreter, or its name in ``INTERPRETERS``.
        sigma: standard deviation of the noise in units of the network's single-channel input.
        n_samples: number of noisy copies m; with ``until_radius`` the first look.
        until_radius: l2 radius at which sampling may stop: it looks at n_samples, twice that, and so on up to
            ``max_samples``, and stops where decision and map are both certified that far. The certificate pays for the
            looks: it splits eta over them.
        max_samples: copies at which sampling ends in any case, with ``until_radius``.
        pairs: count which cells each pair of copies' votes share, for the discordant-pairs certificate, which gets
            half of eta; for at most 1,024 cells.
        top_k: number of cells that each copy votes for.
        cell_size: side of a cell in pixels of the input grid.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        eta: failure probability per image.
        target: explained logit, as its index or its name in ``class_names``; None takes the arg-max of the clean image,
            once.
        class_names: names of the logits.
        activation: ``softmax`` for exclusive classes, ``sigmoid`` for independent findings.
        seed: user seed of the noise; a searched seed voids the certificate.
        precision: ``float32``, ``tf32`` or ``bfloat16``: what the network runs in, and the certified function with it
            (:mod:`monai_robustinterp.interpreters.context.precision`). All else stays float32.
        batch_size: noisy copies per forward pass; it changes nothing but speed, up to float round-off. None takes the
            fastest one, which is found once on each machine (:mod:`monai_robustinterp.smoothing.batching`). Where
            memory ends it is halved.
    """

    def __init__(
        self,
        *,
        interpreter: Interpreter | str = "gradient",
        sigma: float = 0.1,
        n_samples: int = 384,
        until_radius: float | None = None,
        max_samples: int = 4096,
        pairs: bool = False,
        top_k: int = 38,
        cell_size: int = 8,
        beta: str | float = "0.5",
        eta: float = 0.001,
        target: int | str | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = "softmax",
        seed: int = 0,
        precision: Precision = "float32",
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.findings = Findings(activation, tuple(class_names))
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be >= 1, or None.")
        if isinstance(interpreter, str):
            interpreter = make_interpreter(interpreter, known={"activation": activation})
        check_precision(interpreter, precision)
        self.interpreter, self.precision = interpreter, precision
        if until_radius is not None and not 0 < until_radius < float("inf"):
            raise ValueError(f"until_radius is {until_radius}; it must be finite and > 0, or None.")
        if until_radius is not None and n_samples > max_samples:
            raise ValueError(
                f"n_samples is {n_samples} and max_samples {max_samples}; with until_radius the first look must not "
                "lie beyond the last one."
            )
        self.sigma, self.n_samples, self.top_k, self.cell_size = sigma, n_samples, top_k, cell_size
        self.until_radius, self.max_samples, self.pairs = until_radius, max_samples, pairs
        self.beta, self.eta = beta, eta
        self.target = self.findings.index(target) if isinstance(target, str) else target
        self.seed, self.batch_size = seed, batch_size

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> MetaTensor:
        """Certified vote maps of a batch of images.

        Args:
            inputs: float [B, 1, H, W], preprocessed; a MetaTensor's metadata and history are kept.
            network: returns logits [B, classes].
            args: not used (MONAI's inferer signature).
            kwargs: not used.

        Returns:
            MetaTensor float32 [B, 2, H, W]: vote share of each pixel's cell in [0, 1], and the reported top-k set as 0
            or 1. Its meta gains ``certificate`` (a JSON text an image) and ``vote_counts`` (int64 [B, h, w]).
        """
        results = [
            (votes, certify_votes(votes, spec, beta=self.beta, eta=self.eta))
            for votes, spec in self.vote_images(inputs, network)
        ]
        maps = torch.stack([torch.from_numpy(votes.channels(self.cell_size)) for votes, _ in results])
        out = MetaTensor(maps.to(inputs.device))
        if isinstance(inputs, MetaTensor):
            out.copy_meta_from(inputs, copy_attr=True)
        out.meta["certificate"] = [json.dumps(self.record(votes, certificate)) for votes, certificate in results]
        out.meta["vote_counts"] = torch.stack([torch.from_numpy(votes.counts) for votes, _ in results])
        return out

    def certify(
        self,
        image: torch.Tensor,
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
    ) -> tuple[VoteMap, Certificate]:
        """Votes and certificate of one image [1, H, W]."""
        votes, spec = self.vote(image, network, progress, regions=regions)
        return votes, certify_votes(votes, spec, beta=self.beta, eta=self.eta)

    @property
    def looks(self) -> tuple[int, ...]:
        """Sample sizes at which sampling may stop; the last one is the largest."""
        if self.until_radius is None:
            return (self.n_samples,)
        schedule = look_schedule(self.eta, self.n_samples, max_samples=self.max_samples)
        return tuple(look.n_samples for look in schedule)

    def vote(
        self,
        image: torch.Tensor,
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
    ) -> tuple[VoteMap, SmoothingSpec]:
        """Streams the votes of one image; memory does not grow with the number of samples.

        Args:
            image: float [1, H, W] on the network's device, finite.
            network: returns logits [B, classes].
            progress: called with the number of copies just done.
            regions: of the map, fixed before the noise, whose hits are counted.

        Raises:
            ValueError: if the image is not [1, H, W] and finite, or the cells do not fit.
            NonFiniteMapError: if an interpretation has NaN or infinite values.
        """
        return self.vote_images([image], network, progress, regions=regions)[0]

    def vote_images(
        self,
        images: Iterable[torch.Tensor],
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
    ) -> list[tuple[VoteMap, SmoothingSpec]]:
        """Streams the votes of several images, whose copies share batches where the target is the same.

        Args:
            images: as in :meth:`vote`.
            network: as there.
            progress: as there.
            regions: as there, of every image.

        Raises:
            ValueError: as there.
            NonFiniteMapError: as there; one image that cannot be voted ends the run of all.
        """
        check_precision(self.interpreter, self.precision)
        cleans = [_single_channel(image) for image in images]
        for clean in cleans:
            self._check_grid(clean)
        with explaining(network, self.precision):
            # A clone made outside inference mode is an ordinary tensor, which autograd accepts.
            cases = [self._case(clean.clone(), network, regions) for clean in cleans]
            batch_size = self._batch_size(network, cases)
            for together in self._groups(cases):
                batch_size = self._take(network, together, batch_size, progress)
        return [(case.votes, case.spec) for case in cases]

    def _take(self, network: nn.Module, cases: Sequence[_Case], batch_size: int, progress: Progress | None) -> int:
        for look in self.looks:
            batch_size = fill([case.tally for case in cases], network, look, batch_size=batch_size, progress=progress)
            for case in cases:
                case.look()
            if self.until_radius is not None and self._certified(cases[0]) >= self.until_radius:
                break
        return batch_size

    def stages(self, image: torch.Tensor, network: nn.Module, *, target: int, n_copies: int) -> Stages:
        """The first noisy copies with their maps and votes: the same draws as in :meth:`vote`."""
        clean = _single_channel(image)
        with explaining(network, self.precision):
            clean = clean.clone()
            plain = self.interpreter.attribute(network, clean[None], target).maps[0, 0]
            tally = self._tally(clean, image_sha256(clean), target, ())
            samples = torch.arange(n_copies, device=clean.device)
            copies = tally.noisy(samples)
            cells, top = tally.top_cells(samples, tally.attribute(network, copies).maps)
        arrays = {"plain": plain, "copies": copies[:, 0], "maps": cells, "votes": top.mask.reshape(cells.shape)}
        return Stages(**{name: array.detach().cpu().numpy() for name, array in arrays.items()})

    def record(self, votes: VoteMap, certificate: Certificate) -> dict[str, Any]:
        """The JSON record of one image: certificate, finding and evidence."""
        target = certificate.spec.target
        return certificate_record(
            certificate,
            votes,
            finding=self.findings.name(target),
            score=self.findings.score(votes.logits, target),
            until_radius=self.until_radius,
        )

    def clean_logits(self, clean: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor, int]:
        """What the network says of the image, and the logit that is explained.

        Args:
            clean: float [1, H, W].
            network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.

        Returns:
            Logits [1, classes], and the target: the given one, or their arg-max.

        Raises:
            ValueError: if they are no logits, one is not finite, or the target is none of them.
        """
        with torch.no_grad():
            logits = target_logits(network(clean[None].clone()), self.target or 0)
        check_finite_logits(logits)
        return logits, int(logits.argmax()) if self.target is None else self.target

    def _check_grid(self, clean: torch.Tensor) -> None:
        height, width = clean.shape[-2:]
        if height % self.cell_size or width % self.cell_size:
            raise ValueError(f"cell_size is {self.cell_size}; it must divide the network's input, {height} x {width}.")
        n_cells = (height // self.cell_size) * (width // self.cell_size)
        swap_count(self.top_k, self.beta, n_cells)
        if self.pairs and n_cells > MAX_CELLS:
            raise ValueError(
                f"the map has {n_cells} cells; pairs are counted for at most {MAX_CELLS}. Choose a larger cell_size, "
                "or no pairs."
            )

    def _case(self, clean: torch.Tensor, network: nn.Module, regions: Sequence[Region]) -> _Case:
        digest = image_sha256(clean)
        logits, target = self.clean_logits(clean, network)
        self.findings.check(logits)
        return _Case(digest, logits, self._spec(target, self.n_samples), self._tally(clean, digest, target, regions))

    def _groups(self, cases: Sequence[_Case]) -> list[list[_Case]]:
        """Images whose copies may share a batch: of one target and one shape, where none may stop before the others."""
        if self.until_radius is not None:
            return [[case] for case in cases]
        groups: dict[tuple[int, torch.Size], list[_Case]] = {}
        for case in cases:
            groups.setdefault((case.spec.target, case.tally.clean.shape), []).append(case)
        return list(groups.values())

    def _batch_size(self, network: nn.Module, cases: Sequence[_Case]) -> int:
        """The given one, or the fastest one."""
        if self.batch_size is not None:
            return self.batch_size
        if self.interpreter.amplifies_round_off or not cases:
            return DEFAULT_BATCH_SIZE
        first = cases[0]
        # Of other noise than that of the run.
        scratch = self._tally(first.tally.clean, first.digest, first.spec.target, (), protocol="batch-search/1")
        method = (self.interpreter.name, self.interpreter.settings, self.precision)
        return fastest_batch_size(network, scratch, method, n_samples=len(cases) * self.looks[-1])

    def _tally(
        self,
        clean: torch.Tensor,
        digest: str,
        target: int,
        regions: Sequence[Region],
        *,
        protocol: str = NOISE_PROTOCOL,
    ) -> VoteTally:
        return VoteTally(
            clean,
            noise=CounterNoise(seed=self.seed, image_hash=digest, protocol=protocol),
            sigma=self.sigma,
            attribute=lambda network, copies: attribute_copies(self.interpreter, network, copies, target),
            finds=lambda logits: self.findings.finds(logits, target),
            top_k=self.top_k,
            cell_size=self.cell_size,
            pairs=self.pairs,
            regions=regions,
        )

    def _certified(self, case: _Case) -> float:
        """The radius within which decision and map are both certified."""
        certificate = certify_votes(case.votes, case.spec, beta=self.beta, eta=self.eta)
        return min(certificate.l_max, label_beside(certificate, case.votes).l2)

    def _spec(self, target: int, n_samples: int) -> SmoothingSpec:
        return SmoothingSpec(
            sigma=self.sigma,
            n_samples=n_samples,
            top_k=self.top_k,
            cell_size=self.cell_size,
            interpreter=self.interpreter.name,
            interpreter_settings=self.interpreter.settings,
            explains_target=self.interpreter.explains_target,
            precision=self.precision,
            target=target,
            seed=self.seed,
            looks=self.looks if self.until_radius is not None else (),
        )


def _single_channel(image: torch.Tensor) -> torch.Tensor:
    """The plain float32 tensor [1, H, W] of an image."""
    if image.ndim != 3 or image.shape[0] != 1:
        raise ValueError(
            f"the image has shape {tuple(image.shape)}; it must be [1, H, W]: one channel, before replication and "
            "normalisation, which belong into the network (networks.GrayscaleInput)."
        )
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    plain = plain.detach().to(torch.float32)
    if not bool(torch.isfinite(plain).all()):
        raise ValueError("the preprocessed image has NaN or infinite values: check the file and the preprocessing.")
    return plain
