"""One stream of noisy copies an image: counts at prefixes, and the mean maps that the literature's methods need.

The noise of copy i depends on i alone, so the first m copies are a run of m copies, up to float round-off.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.certificates.plan import FIRST_COPIES, Plan
from monai_robustinterp import SaliencyBundle, SmoothingSpec, VoteMap
from monai_robustinterp.certificates.rivals import relaxed_scores
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.smoothing.tally import VoteTally
from monai_robustinterp.study.settings import versions
from monai_robustinterp.study.store import kept_arrays

FORMAT = "certificate-study/stream/2"
# Of the CIFAR-10 run in Levine et al. 2019.
LEVINE_TAU, LEVINE_GAMMA = 0.1, 0.01
_ARRAYS = ("counts", "tallies", "relaxed", "scores", "pair_counts", "elapsed_s")
_CLEAN = ("input_shape", "image_sha256", "logits", "decision")

Array = npt.NDArray[np.float64]


def linear_scores(n_cells: int) -> Array:
    """The scoring vector that falls linearly from the first rank to 0 at the last, sum 1, float64 [c]."""
    vector = np.arange(n_cells - 1, -1, -1, dtype=np.float64)
    scores: Array = vector / vector.sum()
    return scores


def relaxed_settings(top_k: int, n_cells: int) -> tuple[tuple[float, float], ...]:
    """(tau, gamma) of Levine et al. 2019: those of their CIFAR-10 run, and with tau the share of cells that we mark."""
    return (LEVINE_TAU, LEVINE_GAMMA), (top_k / n_cells, LEVINE_GAMMA)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """The votes of one image at every prefix.

    Attributes:
        name: file name of the image without its suffix.
        spec: the smoothing of the whole stream.
        sizes: the prefixes m, ascending.
        joint_size: copies behind ``pair_counts``.
        counts: votes, int64 [P, h, w].
        tallies: copies that find the target, have a tie, are constant, int64 [P, 3].
        relaxed: mean relaxed maps of Levine et al. at the prefixes, one a setting, float64 [P, S, c]; not a number
            where they were not taken.
        scores: mean linear rank scores, float64 [P, c]; not a number where they were not taken.
        pair_counts: copies that vote for both cells, int64 [c, c].
        clean: fields of the vote map that do not depend on the copies.
        elapsed_s: time that the stream took.
    """

    name: str
    spec: SmoothingSpec
    sizes: tuple[int, ...]
    joint_size: int
    counts: npt.NDArray[np.int64]
    tallies: npt.NDArray[np.int64]
    relaxed: Array
    scores: Array
    pair_counts: npt.NDArray[np.int64]
    clean: dict[str, Any]
    elapsed_s: float

    def at(self, m: int, looks: tuple[int, ...] = ()) -> tuple[VoteMap, SmoothingSpec]:
        """Votes and spec of the first m copies."""
        place = self.sizes.index(m)
        positive, tied, constant = (int(count) for count in self.tallies[place])
        votes = VoteMap(
            counts=self.counts[place],
            n_samples=m,
            top_k=self.spec.top_k,
            found_copies=positive,
            tied_copies=tied,
            constant_copies=constant,
            **self.clean,
        )
        return votes, dataclasses.replace(self.spec, n_samples=m, looks=looks)

    def paired(self) -> tuple[VoteMap, SmoothingSpec]:
        """Votes with pair counts, and their spec."""
        votes, spec = self.at(self.joint_size)
        return dataclasses.replace(votes, pair_counts=self.pair_counts), spec


def batches(sizes: Sequence[int], batch_size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of batches that cover the copies up to the last size and end at every size."""
    start = 0
    for size in sorted(sizes):
        while start < size:
            stop = min(start + batch_size, size)
            yield start, stop
            start = stop


class _Sums:
    """Running sums of one image; their size does not depend on the number of copies."""

    def __init__(self, tally: VoteTally, network: nn.Module, plan: Plan) -> None:
        self.tally, self.network, self.plan = tally, network, plan
        n_cells = self.tally.counts.numel()
        self.vector, self.settings = linear_scores(n_cells), relaxed_settings(tally.top_k, n_cells)
        self.pair_counts = np.zeros((n_cells, n_cells), dtype=np.int64)
        self.relaxed, self.scores = np.zeros((len(self.settings), n_cells)), np.zeros(n_cells)
        self.kept: list[dict[str, npt.NDArray[Any]]] = []

    def add(self, samples: torch.Tensor) -> None:
        attribution = self.tally.attribute(self.network, self.tally.noisy(samples))
        self.tally.count(samples, attribution)
        cells, top = self.tally.top_cells(samples, attribution.maps)
        done = int(samples[-1]) + 1
        if done <= max(self.plan.rival_sizes):
            self._add_scores(cells.flatten(1).numpy().astype(np.float64))
        if done <= self.plan.joint_size:
            marks = top.mask.double()
            self.pair_counts += (marks.T @ marks).numpy().astype(np.int64)

    def _add_scores(self, cells: Array) -> None:
        for total, (tau, gamma) in zip(self.relaxed, self.settings):
            total += relaxed_scores(cells, tau=tau, gamma=gamma).sum(axis=0)
        rank = np.argsort(np.argsort(-cells, axis=1, kind="stable"), axis=1)
        self.scores += self.vector[rank].sum(axis=0)

    def keep(self, m: int) -> None:
        # Later prefixes hold no scores: NaN, so that nobody takes them for a mean.
        share = 1 / m if m <= max(self.plan.rival_sizes) else np.nan
        self.kept.append(
            {
                "counts": self.tally.counts.numpy().reshape(self.tally.grid).copy(),
                "tallies": self.tally.copies[:3].numpy().copy(),
                "relaxed": self.relaxed * share,
                "scores": self.scores * share,
            }
        )


def take_stream(name: str, image: torch.Tensor, bundle: SaliencyBundle, plan: Plan) -> Stream:
    """Draws, interprets and counts the copies of one image.

    Args:
        name: of the stream.
        image: float [1, H, W] on the CPU, preprocessed.
        bundle: with a fixed target.
        plan: prefixes.
    """
    start = time.perf_counter()
    network, recipe = bundle.network, stream_recipe(bundle, plan)
    with explaining(network, recipe.precision):
        case = recipe.case(image, network)
        sums = _Sums(case.tally, network, plan)
        for first, stop in batches(plan.prefixes, case.spec.batch_size or DEFAULT_BATCH_SIZE):
            sums.add(torch.arange(first, stop))
            if stop in plan.prefixes:
                sums.keep(stop)
        votes = case.tally.votes(case.logits)
    clean = {name: getattr(votes, name) for name in _CLEAN}
    stacked = {key: np.stack([kept[key] for kept in sums.kept]) for key in sums.kept[0]}
    return Stream(
        name=name,
        spec=case.spec,
        sizes=plan.prefixes,
        joint_size=plan.joint_size,
        pair_counts=sums.pair_counts,
        clean=clean,
        elapsed_s=time.perf_counter() - start,
        **stacked,
    )


def stream_recipe(bundle: SaliencyBundle, plan: Plan) -> Recipe:
    """How the copies are taken: the bundle's defaults, for the whole stream, at one batch size on every machine.

    Raises:
        ValueError: if the bundle explains the arg-max of each image.
    """
    recipe = bundle.inferer.recipe
    if recipe.target is None:
        raise ValueError("the bundle leaves its target to the arg-max; the study needs a fixed one.")
    batch_size = recipe.batch_size or DEFAULT_BATCH_SIZE
    return dataclasses.replace(recipe, n_samples=plan.max_samples, batch_size=batch_size, pairs=False, looks=())


def stream_spec(bundle: SaliencyBundle, plan: Plan) -> SmoothingSpec:
    """What the records say of it."""
    recipe = stream_recipe(bundle, plan)
    return recipe.spec(recipe.target or 0)


def settings(image: torch.Tensor, bundle: SaliencyBundle, plan: Plan) -> dict[str, Any]:
    """All that a stream depends on: one that was stored under other settings is not read."""
    return {
        "format": FORMAT,
        "spec": dataclasses.asdict(stream_spec(bundle, plan)),
        "sizes": plan.prefixes,
        "rival_sizes": plan.rival_sizes,
        "joint_size": plan.joint_size,
        "first_copies": FIRST_COPIES,
        "image_sha256": image_sha256(image),
        "versions": versions(),
        **bundle.files,
    }


def stored_stream(folder: Path, name: str, image: torch.Tensor, bundle: SaliencyBundle, plan: Plan) -> Stream:
    """The stream that an earlier run of the same settings left in the folder, else a new one, which is left there."""

    def take() -> dict[str, npt.ArrayLike]:
        stream = take_stream(name, image, bundle, plan)
        return {key: getattr(stream, key) for key in _ARRAYS} | {f"clean_{key}": stream.clean[key] for key in _CLEAN}

    arrays = kept_arrays(folder / f"stream-{name}-{plan.name}.npz", settings(image, bundle, plan), take)
    clean = {
        "input_shape": tuple(int(side) for side in arrays["clean_input_shape"]),
        "image_sha256": str(arrays["clean_image_sha256"]),
        "logits": arrays["clean_logits"],
        "decision": bool(arrays["clean_decision"]),
    }
    return Stream(
        name=name,
        spec=stream_spec(bundle, plan),
        sizes=plan.prefixes,
        joint_size=plan.joint_size,
        clean=clean,
        elapsed_s=float(arrays["elapsed_s"]),
        **{key: arrays[key] for key in _ARRAYS if key != "elapsed_s"},
    )
