"""The recipe: the one place that turns settings into a spec and a tally, and takes the votes of images by them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import nn

from monai_robustinterp.interpreters import Interpreter, check_precision, explaining
from monai_robustinterp.interpreters.base import Attribution, attribute_copies
from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.noise.shape import Noise, noise_of
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, fastest_batch_size, fill
from monai_robustinterp.smoothing.case import Case, Found, single_channel
from monai_robustinterp.smoothing.denoising import DenoiserGradient, attribute_denoised, check_denoiser
from monai_robustinterp.smoothing.input_check import InputStatistics, check_input
from monai_robustinterp.smoothing.network_check import check_logits, first_logits
from monai_robustinterp.smoothing.tally import SharedTally, Tally, VoteTally, check_finite_logits
from monai_robustinterp.types import (
    MAX_CELLS,
    NOISE_PROTOCOL,
    Precision,
    Region,
    SmoothingSpec,
    Stages,
    VoteMap,
    float32_sigma,
    float32_spread,
    keeps_copies,
)

Progress = Callable[[int], object]
Enough = Callable[[VoteMap, SmoothingSpec], bool]

_SEARCH_PROTOCOL = "batch-search/1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the votes of an image are taken.

    Attributes:
        interpreter: interprets each copy.
        findings: what the network's logits mean.
        sigma: standard deviation of the noise in units of the network's single-channel input, rounded to float32.
        brightness: standard deviation of the copies' brightness beside the white noise, in the same units.
        tilt: the same of their slopes of exposure.
        n_samples: number of noisy copies m; with ``looks`` the first of them.
        top_k: number of cells that each copy votes for.
        cell_size: side of a cell in pixels of the input grid.
        target: index of the explained logit; None takes the arg-max of the clean image, once.
        seed: user seed of the noise; a searched seed voids the certificate.
        precision: what the network runs in.
        denoiser: that each copy goes through before the network; None takes the copies as they are.
        denoiser_gradient: take the gradient of the network ``at`` the denoised copy, or that of both at the copy,
            ``through`` the denoiser.
        batch_size: noisy copies per forward pass; None takes the fastest one.
        pairs: count which cells each copy votes for together.
        looks: sample sizes, ascending, at which sampling may stop; empty if there is one only.
        expected: statistics of the images that the network was trained on; an image unlike them gets a warning.
        any_input: take votes of inputs that are no radiographs in [0, 1] too: of perturbed ones, say.

    Raises:
        ValueError: if a setting is out of range.
    """

    interpreter: Interpreter
    findings: Findings
    sigma: float
    n_samples: int
    top_k: int
    cell_size: int
    target: int | None = None
    seed: int = 0
    precision: Precision = "float32"
    brightness: float = 0.0
    tilt: float = 0.0
    denoiser: Denoiser | None = None
    denoiser_gradient: DenoiserGradient = "at"
    batch_size: int | None = None
    pairs: bool = False
    looks: tuple[int, ...] = ()
    expected: InputStatistics | None = None
    any_input: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", float32_sigma(self.sigma))
        for name in ("brightness", "tilt"):
            object.__setattr__(self, name, float32_spread(name, getattr(self, name)))
        check_precision(self.interpreter, self.precision)
        check_denoiser(self.denoiser, self.denoiser_gradient, self.interpreter, sigma=self.sigma)
        # Settings that make no spec are refused before any work.
        self.spec(self.target or 0)

    def spec(self, target: int) -> SmoothingSpec:
        """What the record says of these settings, for one target."""
        return SmoothingSpec(
            sigma=self.sigma,
            brightness=self.brightness,
            tilt=self.tilt,
            n_samples=self.n_samples,
            top_k=self.top_k,
            cell_size=self.cell_size,
            interpreter=self.interpreter.name,
            interpreter_settings=self.interpreter.settings,
            denoiser={**self.denoiser.settings, "gradient": self.denoiser_gradient} if self.denoiser else {},
            explains_target=self.interpreter.explains_target,
            precision=self.precision,
            batch_size=self.batch_size,
            target=target,
            seed=self.seed,
            looks=self.looks,
        )

    @property
    def noise(self) -> Noise:
        """The noise of each copy."""
        return noise_of(sigma=self.sigma, brightness=self.brightness, tilt=self.tilt)

    @property
    def max_samples(self) -> int:
        """Copies at which sampling ends in any case."""
        return self.looks[-1] if self.looks else self.n_samples

    def case(self, image: torch.Tensor, network: nn.Module, *, regions: Sequence[Region] = ()) -> Case:
        """An image without votes yet: its target, its spec and its tally.

        Args:
            image: float [1, H, W] on the network's device, finite.
            network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
            regions: whose hits are counted.

        Raises:
            InputRefused: if the image is none in the display range
                (:func:`~monai_robustinterp.smoothing.input_check.check_input`), or the denoiser is none for it.
            ValueError: if the image is not [1, H, W] and finite, the cells do not fit, or as :meth:`clean_logits`.
        """
        return self._cases(image, network, regions=regions)[0]

    def _cases(
        self, image: torch.Tensor, network: nn.Module, *, targets: Sequence[int] = (), regions: Sequence[Region]
    ) -> list[Case]:
        """One case a target, from one look at the clean image; without targets of that of :meth:`clean_logits`."""
        # A clone made outside inference mode is an ordinary tensor, which autograd accepts.
        clean = single_channel(image).clone()
        keep = self.max_samples if keeps_copies(self.check_grid(clean), self.max_samples) else 0
        found = self.check_input(clean)
        if self.denoiser is not None:
            self.denoiser.check(clean, self.sigma, digest=image_sha256(clean))
        logits, target = self.clean_logits(clean, network)
        return [
            Case(self.spec(one), self.tally(clean, one, regions=regions, keep=keep), logits, found)
            for one in targets or (target,)
        ]

    def check_input(self, clean: torch.Tensor) -> tuple[str, ...]:
        """Warnings of an image [1, H, W], which are raised as such too.

        Raises:
            InputRefused: see :meth:`case`.
        """
        found = () if self.any_input else check_input(clean, self.expected)
        for sentence in found:
            warnings.warn(sentence, UserWarning, stacklevel=2)
        return found

    def check_grid(self, image: torch.Tensor) -> int:
        """The number of cells of an image [..., H, W].

        Raises:
            ValueError: if the cells do not tile it, or are too many for pairs.
        """
        height, width = image.shape[-2:]
        if height % self.cell_size or width % self.cell_size:
            raise ValueError(f"cell_size is {self.cell_size}; it must divide the network's input, {height} x {width}.")
        n_cells = (height // self.cell_size) * (width // self.cell_size)
        if self.pairs and not keeps_copies(n_cells, self.max_samples):
            raise ValueError(
                f"the map has {n_cells} cells and may get {self.max_samples} copies; pairs are counted for at most "
                f"{MAX_CELLS} cells, and 16 MiB of votes at a bit a cell. Choose a larger cell_size, fewer copies, or "
                "no pairs."
            )
        return n_cells

    def clean_logits(self, clean: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor, int]:
        """What the network says of the image, and the logit that is explained.

        Args:
            clean: float [1, H, W].
            network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.

        Returns:
            Logits [1, classes], and the target: the given one, or their arg-max.

        Raises:
            ValueError: if they are no logits or too few, one is not finite, the target is none of them, or the network
                is none that can be smoothed (:mod:`~monai_robustinterp.smoothing.network_check`).
        """
        logits = first_logits(network, clean, target=self.target or 0, precision=self.precision)
        check_finite_logits(logits)
        self.findings.check(logits)
        check_logits(network, clean, logits, sigma=self.sigma, precision=self.precision)
        return logits, int(logits.argmax()) if self.target is None else self.target

    def tally(
        self,
        clean: torch.Tensor,
        target: int,
        *,
        regions: Sequence[Region] = (),
        keep: int = 0,
        protocol: str = NOISE_PROTOCOL,
    ) -> VoteTally:
        """Counts of an image [1, H, W] without a copy yet; other noise has another protocol."""
        digest = image_sha256(clean)
        return VoteTally(
            clean,
            digest=digest,
            stream=CounterNoise(seed=self.seed, image_hash=digest, protocol=protocol),
            noise=self.noise,
            attribute=partial(self.attribute, targets=[target]),
            finds=lambda logits: self.findings.finds(logits, target),
            top_k=self.top_k,
            cell_size=self.cell_size,
            keep=keep,
            pairs=self.pairs,
            regions=regions,
        )

    def vote(
        self,
        images: Iterable[torch.Tensor],
        network: nn.Module,
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
        enough: Enough | None = None,
    ) -> list[tuple[VoteMap, SmoothingSpec]]:
        """Streams the votes of images, whose copies share batches where the target is the same.

        Memory does not grow with the number of copies, but for a bit a cell of each where they are kept
        (:func:`~monai_robustinterp.types.keeps_copies`).

        Args:
            images: as for :meth:`case`.
            network: returns logits [B, classes]; it is left as it was.
            progress: called with the number of copies just done.
            regions: of every image.
            enough: whether sampling may stop at a look.

        Raises:
            ValueError: as :meth:`case`.
            NonFiniteMapError: if an interpretation has NaN or infinite values; one image that cannot be voted ends the
                run of all.
        """
        with explaining(network, self.precision):
            cases = [self.case(image, network, regions=regions) for image in images]
            batch_size = self._batch_size(network, cases)
            for together in self._groups(cases):
                batch_size = self._take(network, [[case] for case in together], batch_size, progress, enough)
        return [(case.votes, case.spec) for case in cases]

    def found(self, image: torch.Tensor, network: nn.Module) -> Found:
        """What the network finds in an image: what :meth:`vote_each` is for.

        Args:
            image: as for :meth:`case`.
            network: returns logits [B, classes]; it is left as it was.

        Raises:
            InputRefused: as :meth:`case`.
            ValueError: as :meth:`clean_logits`.
        """
        with explaining(network, self.precision):
            clean = single_channel(image).clone()
            input_warnings = self.check_input(clean)
            logits = self.clean_logits(clean, network)[0][0].float().cpu().numpy()
        return Found(targets=self.findings.found(logits), logits=logits, input_warnings=input_warnings)

    def vote_each(
        self,
        image: torch.Tensor,
        network: nn.Module,
        targets: Sequence[int],
        progress: Progress | None = None,
        *,
        regions: Sequence[Region] = (),
        enough: Enough | None = None,
    ) -> list[tuple[VoteMap, SmoothingSpec]]:
        """Streams the votes for several targets of one image, from the same copies: each as :meth:`vote` gives it.

        A target whose sampling may stop leaves, and the others go on.

        Args:
            image: as for :meth:`case`.
            network: as for :meth:`vote`.
            targets: indices of the explained logits, one at least.
            progress: as there; a copy counts once.
            regions: as there.
            enough: as there.

        Raises:
            ValueError: as there.
            NonFiniteMapError: as there, for any of the targets.
        """
        with explaining(network, self.precision):
            cases = self._cases(image, network, targets=targets, regions=regions)
            self._take(network, [cases], self._batch_size(network, cases[:1]), progress, enough)
        return [(case.votes, case.spec) for case in cases]

    def stages(self, image: torch.Tensor, network: nn.Module, *, target: int, n_copies: int) -> Stages:
        """The first noisy copies with their maps and votes: the same draws as in :meth:`vote`."""
        with explaining(network, self.precision):
            clean = single_channel(image).clone()
            plain = self.interpreter.attribute(network, clean[None], target).maps[0, 0]
            tally = self.tally(clean, target)
            samples = torch.arange(n_copies, device=clean.device)
            copies = tally.noisy(samples)
            cells, top = tally.top_cells(samples, tally.attribute(network, copies).maps)
        arrays = {"plain": plain, "copies": copies[:, 0], "maps": cells, "votes": top.mask.reshape(cells.shape)}
        return Stages(**{name: array.detach().cpu().numpy() for name, array in arrays.items()})

    def attribute(self, network: nn.Module, copies: torch.Tensor, *, targets: Sequence[int]) -> Attribution:
        """Interprets noisy copies [B, 1, H, W] for each target, after the denoiser if there is one."""
        if self.denoiser is None:
            return attribute_copies(self.interpreter, network, copies, targets)
        denoise = partial(self.denoiser, sigma=self.sigma)
        return attribute_denoised(
            self.interpreter, network, copies, targets, denoise=denoise, gradient=self.denoiser_gradient
        )

    def _take(
        self,
        network: nn.Module,
        images: Sequence[Sequence[Case]],
        batch_size: int,
        progress: Progress | None,
        enough: Enough | None,
    ) -> int:
        """Takes the copies of images, of which each has a case a target; returns the batch size in the end."""
        for look in self.looks or (self.n_samples,):
            tallies = [self._shared(cases) for cases in images]
            batch_size = fill(
                tallies, network, look, batch_size=batch_size, padded=self.padded(network), progress=progress
            )
            for case in (case for cases in images for case in cases):
                case.look(batch_size)
            if enough is not None:
                open_cases = [[case for case in cases if not enough(case.votes, case.spec)] for cases in images]
                images = [cases for cases in open_cases if cases]
        return batch_size

    def _shared(self, cases: Sequence[Case]) -> Tally:
        if len(cases) == 1:
            return cases[0].tally
        attribute = partial(self.attribute, targets=[case.spec.target for case in cases])
        return SharedTally([case.tally for case in cases], attribute)

    def padded(self, network: nn.Module) -> bool:
        """Whether short batches are filled up, so that every copy goes through the same kernels."""
        # Copies that are taken one by one have no batch; a classifier without weights may be a remote one, which gets
        # no more copies than were asked for.
        return not self.interpreter.amplifies_round_off and _has_weights(network)

    def _groups(self, cases: Sequence[Case]) -> list[list[Case]]:
        """Images whose copies may share a batch: of one target and one shape, where none may stop before the others."""
        if self.looks:
            return [[case] for case in cases]
        groups: dict[tuple[int, torch.Size], list[Case]] = {}
        for case in cases:
            groups.setdefault((case.spec.target, case.tally.clean.shape), []).append(case)
        return list(groups.values())

    def _batch_size(self, network: nn.Module, cases: Sequence[Case]) -> int:
        """The given one, or the fastest one; no larger than the run."""
        copies = max(1, len(cases)) * self.max_samples
        if self.batch_size is not None:
            return min(self.batch_size, copies)
        if self.interpreter.amplifies_round_off or not cases or not _has_weights(network):
            return min(DEFAULT_BATCH_SIZE, copies)
        first = cases[0]
        # Of other noise than that of the run.
        scratch = self.tally(first.tally.clean, first.spec.target, protocol=_SEARCH_PROTOCOL)
        method = (self.interpreter.name, self.interpreter.settings, self.precision, self.spec(0).denoiser)
        return min(fastest_batch_size(network, scratch, method, n_samples=copies), copies)


def _has_weights(network: nn.Module) -> bool:
    return next(network.parameters(), None) is not None
