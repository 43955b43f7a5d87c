"""The values that flow through the package: how a map was smoothed, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Activation = Literal["softmax", "sigmoid"]
"""How logits become scores: of exclusive classes, or of independent findings."""

Precision = Literal["float32", "tf32", "bfloat16"]
"""What the network runs in; ``interpreters.context.precision`` says what each one means."""

NOISE_PROTOCOL = "gaussian/philox4x32-10/box-muller/1"


def float32_sigma(sigma: float) -> float:
    """The standard deviation that float32 noise really has: sigma rounded to float32.

    Raises:
        ValueError: if it is no standard deviation.
    """
    # Far beyond any image; a radius must not overflow to an unbounded claim.
    if not 1e-30 <= sigma <= 1e30:
        raise ValueError(f"sigma is {sigma}; it must be finite and > 0, within 1e-30 and 1e30.")
    return float(np.float32(sigma))


def float32_spread(name: str, value: float) -> float:
    """A standard deviation that may be 0, rounded to float32.

    Raises:
        ValueError: if it is negative, not finite, or too small to be told from 0.
    """
    if not (value == 0 or 1e-30 <= value <= 1e30):
        raise ValueError(f"{name} is {value}; it must be 0, which is none, or finite and > 0, such as 0.03.")
    return float(np.float32(value))


@dataclass(frozen=True, kw_only=True)
class SmoothingSpec:
    """How a map was smoothed: what fixes the law of the votes and the draws, apart from image and network.

    Attributes:
        sigma: standard deviation of the Gaussian noise, in units of the network's single-channel input. It is rounded
            to float32: the noise is multiplied in float32, so that is the number that was used.
        brightness: standard deviation of the brightness of a copy beside the white noise, in the same units; 0: none.
        tilt: the same of a slope of the exposure down the image, and of another one across it, as root mean square
            over the image (:class:`~monai_robustinterp.noise.exposure.ExposureNoise`).
        n_samples: number of noisy copies m.
        top_k: number of cells that each copy votes for.
        cell_size: side of the square cells in pixels of the network's input grid; 1 is a pixel map.
        interpreter: name in ``interpreters.INTERPRETERS``, or ``captum:NAME``.
        target: index of the explained logit, fixed once and never taken from a noisy copy.
        seed: user seed of the noise key (the image's hash is the other part).
        noise: name and version of the generator.
        interpreter_settings: arguments of the interpreter, plain JSON values by name: its layer, steps, own draws.
        denoiser: name, version and hash of the denoiser that each copy goes through before the network, and whether
            gradients are taken ``at`` its output or ``through`` it; empty if there is none.
        explains_target: whether the map is one of the target; else it is one of several classes together.
        precision: what the network runs in: the smoothed function is the network's in this precision.
        batch_size: copies in each forward pass. It moves the network's round-off, and so belongs to a replay; None if
            it was not recorded.
        looks: sample sizes, fixed before the noise, at which sampling was allowed to stop; ``n_samples`` is one of
            them. Every certificate splits its eta over them. Empty if ``n_samples`` was fixed.

    Raises:
        ValueError: if a value is out of range.
    """

    sigma: float
    brightness: float = 0.0
    tilt: float = 0.0
    n_samples: int
    top_k: int
    cell_size: int
    interpreter: str
    target: int
    seed: int = 0
    noise: str = NOISE_PROTOCOL
    interpreter_settings: dict[str, Any] = field(default_factory=dict)
    denoiser: dict[str, Any] = field(default_factory=dict)
    explains_target: bool = True
    precision: Precision = "float32"
    batch_size: int | None = None
    looks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", float32_sigma(self.sigma))
        for name in ("brightness", "tilt"):
            object.__setattr__(self, name, float32_spread(name, getattr(self, name)))
        for name in ("n_samples", "top_k", "cell_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be >= 1.")
        if self.n_samples >= 2**32:
            raise ValueError(f"n_samples is {self.n_samples}; the noise counter holds fewer than 2**32 copies.")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be >= 1, or None if it was not recorded.")
        if self.target < 0:
            raise ValueError(f"target is {self.target}; it must be a class index >= 0.")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision is {self.precision!r}; it must be one of {list(get_args(Precision))}.")
        if self.looks and (list(self.looks) != sorted(set(self.looks)) or self.n_samples not in self.looks):
            raise ValueError(
                f"looks are {self.looks} and n_samples {self.n_samples}; looks must ascend and hold n_samples."
            )


MAX_CELLS = 1024
"""Cells of a map at most whose copies' votes are kept, and whose pairs are certified."""

_MOST_BYTES = 2**24  # of the kept votes of an image: 524,288 copies of 256 cells


def keeps_copies(n_cells: int, n_samples: int) -> bool:
    """Whether the votes of each copy of such a map are kept, a bit a cell."""
    return n_cells <= MAX_CELLS and n_samples * packed_bytes(n_cells) <= _MOST_BYTES


def packed_bytes(n_bits: int) -> int:
    """Bytes that hold so many bits."""
    return (n_bits + 7) // 8


def top_k_set(counts: npt.NDArray[Any], top_k: int) -> npt.NDArray[np.bool_]:
    """The k cells with the most votes (or largest values), in the shape of the counts; ties go by reading order."""
    mask = np.zeros(counts.size, dtype=bool)
    mask[np.argsort(-counts.ravel(), kind="stable")[:top_k]] = True
    return mask.reshape(counts.shape)


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region of the map that was fixed before the noise.

    Attributes:
        name: what it is, as records and pictures say it.
        cells: the cells that belong to it, bool [h, w].
        seen: share of the region's pixels on the source grid that lie in the network's field, in [0, 1].
    """

    name: str
    cells: npt.NDArray[np.bool_]
    seen: float


@dataclass(frozen=True, kw_only=True)
class VoteMap:
    """Streamed top-k votes of one image.

    Attributes:
        counts: votes per cell, int64, shape [h, w]; they sum to ``n_samples * top_k``.
        n_samples: number of copies counted.
        top_k: cells voted for by each copy.
        input_shape: height and width of the network's input, in pixels (n = H * W is the dimension of the noise).
        image_sha256: hash of the clean network input (float32 values and shape).
        logits: the network's logits for the clean input, float32, shape [classes].
        decision: whether the network finds the target in the clean image (arg-max, or logit > 0 if independent).
        found_copies: noisy copies in which it finds the target.
        tied_copies: copies whose k-th value was tied with the next one, so that the random order decided.
        constant_copies: copies whose whole map had one value (an all-zero map, say).
        copy_votes: the votes of each copy, uint8 [m, ceil(c / 8)]: row i holds those of copy i, cells in reading order
            from the highest bit on, and zeros behind them. The first m' rows are the votes of a run of m' copies. None
            if they were not kept (:func:`keeps_copies`).
        copy_found: whether each copy finds the target, packed alike, uint8 [ceil(m / 8)]; None without ``copy_votes``.
        pair_counts: copies that vote for cell a and for cell b, int64 [c, c]; None if pairs are not certified.
        regions: regions whose hits were counted.
        region_hits: entry [i, j] is the number of copies that cast j of their k votes in region i, int64 [R, k + 1].
        input_warnings: what is doubtful in the network's input, one sentence each.
    """

    counts: npt.NDArray[np.int64]
    n_samples: int
    top_k: int
    input_shape: tuple[int, int]
    image_sha256: str
    logits: npt.NDArray[np.float32]
    decision: bool
    found_copies: int
    tied_copies: int = 0
    constant_copies: int = 0
    copy_votes: npt.NDArray[np.uint8] | None = None
    copy_found: npt.NDArray[np.uint8] | None = None
    pair_counts: npt.NDArray[np.int64] | None = None
    regions: tuple[Region, ...] = ()
    region_hits: npt.NDArray[np.int64] | None = None
    input_warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        total = int(self.counts.sum())
        if total != self.n_samples * self.top_k:
            raise ValueError(
                f"the vote counts sum to {total}; with {self.n_samples} copies of {self.top_k} votes each they must "
                f"sum to {self.n_samples * self.top_k}. The file was changed or mixed up: take the votes anew."
            )
        if self.counts.min() < 0 or self.counts.max() > self.n_samples:
            raise ValueError(
                f"a cell has {self.counts.max()} (or < 0) votes of {self.n_samples} copies: not a vote map."
            )
        if not 0 <= self.found_copies <= self.n_samples:
            raise ValueError(
                f"{self.found_copies} of {self.n_samples} copies find the target; it must be 0 to all of them. The "
                "file was changed or mixed up: take the votes anew."
            )
        if self.pair_counts is not None:
            self._check_pairs(self.pair_counts)
        if self.copy_votes is not None or self.copy_found is not None:
            self._check_copies(self.copy_votes, self.copy_found)
        if self.regions or self.region_hits is not None:
            self._check_regions()

    def _check_pairs(self, pairs: npt.NDArray[np.int64]) -> None:
        # Every copy that votes for a votes for k cells, a itself among them.
        flat = self.counts.ravel()
        same = pairs.shape == (flat.size, flat.size) and np.array_equal(pairs, pairs.T)
        if not (
            same
            and np.array_equal(pairs.diagonal(), flat)
            and (pairs.sum(axis=1) == self.top_k * flat).all()
            and (pairs >= 0).all()
            and (pairs <= flat).all()
        ):
            raise ValueError(
                "the pair counts do not fit the votes: they must be symmetric, with the votes on the diagonal and "
                "k times the votes in each row. The file was changed or mixed up: take the votes anew."
            )

    def _check_copies(self, votes: npt.NDArray[np.uint8] | None, found: npt.NDArray[np.uint8] | None) -> None:
        m, row = self.n_samples, packed_bytes(self.counts.size)
        if (
            votes is None
            or found is None
            or not votes.dtype == found.dtype == np.uint8
            or (votes.shape, found.shape) != ((m, row), (packed_bytes(m),))
        ):
            raise ValueError(
                "the votes of each copy must be packed bits, uint8: a row a copy, and as many bits of what finds the "
                "target. Take the votes anew."
            )
        masks, finds = self.copy_masks(), np.unpackbits(found)
        # Ones beyond the last cell or copy are votes for nothing.
        if not (
            (np.unpackbits(votes, axis=1).sum(axis=1, dtype=np.int64) == self.top_k).all()
            and np.array_equal(masks.sum(axis=0, dtype=np.int64), self.counts.ravel())
            and finds[:m].sum() == finds.sum() == self.found_copies
        ):
            raise ValueError(
                "the votes of each copy do not fit the counts: every copy votes for k cells, and together they are the "
                "counts. The file was changed or mixed up: take the votes anew."
            )

    def copy_masks(self) -> npt.NDArray[np.bool_]:
        """The cells that each copy votes for, bool [m, c].

        Raises:
            ValueError: if the votes of each copy were not kept.
        """
        if self.copy_votes is None:
            raise ValueError("these votes are counts only: the votes of each copy were not kept.")
        return np.unpackbits(self.copy_votes, axis=1, count=self.counts.size).astype(bool)

    def _check_regions(self) -> None:
        hits = self.region_hits
        if hits is None or hits.shape != (len(self.regions), self.top_k + 1) or hits.min() < 0:
            raise ValueError("each region needs its histogram of hits 0, 1, ..., k: take the votes anew.")
        for region, row in zip(self.regions, hits):
            if region.cells.shape != self.counts.shape or region.cells.dtype != np.bool_:
                raise ValueError("the cells of a region must be bool on the grid of the votes: take the votes anew.")
            inside = int(self.counts[region.cells].sum())
            if row.sum() != self.n_samples or int(row @ np.arange(self.top_k + 1)) != inside:
                raise ValueError(
                    f"the hits of a region are {int(row.sum())} copies with {int(row @ np.arange(self.top_k + 1))} "
                    f"votes, and the map has {self.n_samples} copies with {inside} votes there: take the votes anew."
                )
            if self.copy_votes is not None:
                of_copies = self.copy_masks()[:, region.cells.ravel()].sum(axis=1)
                if not np.array_equal(np.bincount(of_copies, minlength=row.size), row):
                    raise ValueError("the hits of a region are not those of the votes of each copy: take them anew.")

    def check_spec(self, spec: SmoothingSpec) -> None:
        """Checks that these votes were made as the spec says, as far as they tell.

        Raises:
            ValueError: if the number of copies or k differs.
        """
        if (self.n_samples, self.top_k) != (spec.n_samples, spec.top_k):
            raise ValueError(
                f"the votes are {self.n_samples} copies of top-{self.top_k} and the spec says {spec.n_samples} of "
                f"top-{spec.top_k}: they belong to different runs. Pass votes and spec of the same run."
            )

    @property
    def label_agreement(self) -> float:
        """Share of the noisy copies in which the network decides on the target as it does on the clean image."""
        agreeing = self.found_copies if self.decision else self.n_samples - self.found_copies
        return agreeing / self.n_samples

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """The estimated vote map: counts / m, in [0, 1], shape [h, w]."""
        return self.counts / self.n_samples

    @property
    def top_k_mask(self) -> npt.NDArray[np.bool_]:
        """The reported top-k set, shape [h, w]; equal counts are taken in reading order."""
        return top_k_set(self.counts, self.top_k)

    def channels(self, cell_size: int) -> npt.NDArray[np.float32]:
        """Vote share and reported top-k set (0 or 1) of each pixel's cell, float32 [2, H, W]."""
        cells = np.stack([self.share, self.top_k_mask]).astype(np.float32)
        return cells.repeat(cell_size, axis=1).repeat(cell_size, axis=2)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The first copies of a run, for a figure of the method (US 11,341,598, figure 4).

    Attributes:
        plain: the interpretation of the clean image, without smoothing, float32 [H, W].
        copies: noisy inputs, float32 [B, H, W].
        maps: pooled interpretations, float32 [B, h, w].
        votes: top-k masks, bool [B, h, w].
    """

    plain: npt.NDArray[np.float32]
    copies: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    votes: npt.NDArray[np.bool_]
