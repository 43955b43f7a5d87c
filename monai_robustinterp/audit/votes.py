"""The vote file as plain Python values, and what its counts must satisfy."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from monai_robustinterp.audit.npz import VOTES_FORMAT, check_cells, check_names, read_arrays, stored_json
from monai_robustinterp.audit.strict import AuditError

NOISE = "gaussian/philox4x32-10/box-muller/1"
"""The only noise whose law and key this audit knows."""

SPEC_KEYS = (
    *("sigma", "brightness", "tilt", "n_samples", "top_k", "cell_size", "interpreter", "interpreter_settings"),
    *("denoiser", "explains_target", "precision", "batch_size", "target", "seed", "noise", "looks"),
)
_PRECISIONS = ("float32", "tf32", "bfloat16")
_LARGEST_BATCH = 2**20  # a replay must not be asked for more
_MOST_COPIES = 2**32  # the counter of the noise holds fewer
_REGIONS = ("regions", "region_cells", "region_hits")
_COPIES = ("copy_votes", "copy_found")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class StoredRegion:
    """A region whose hits were counted.

    Attributes:
        name: as it was given.
        seen: share of it in the network's field, in [0, 1].
        cells: whether each cell belongs to it, in reading order.
        hits: entry j is the number of copies that cast j of their k votes in it.
    """

    name: str
    seen: float
    cells: list[bool]
    hits: list[int]


@dataclass(frozen=True, kw_only=True)
class StoredCopies:
    """The votes of each copy.

    Attributes:
        rows: the votes of each copy as a number of c bits, the first cell highest.
        columns: the copies that vote for each cell as a number of m bits, the first copy highest.
        found: number of copies that find the target.
        sha256: of the bytes of both arrays.
    """

    rows: list[int]
    columns: list[int]
    found: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StoredVotes:
    """Content of votes.npz; see docs/reference.md for the arrays.

    Attributes:
        grid: rows and columns of the map.
        counts: votes per cell, in reading order.
        copies: the votes of each copy; None if they were not kept.
        pair_counts: copies that vote for both cells, counted from those; None if pairs are not certified.
        spec: the settings, checked.
    """

    grid: tuple[int, int]
    counts: list[int]
    n_samples: int
    top_k: int
    input_shape: list[int]
    image_sha256: str
    logits: list[float]
    decision: bool
    found_copies: int
    tied_copies: int
    constant_copies: int
    copies: StoredCopies | None
    pair_counts: list[list[int]] | None
    regions: list[StoredRegion]
    input_warnings: list[str]
    spec: dict[str, Any]
    provenance: dict[str, str]

    @property
    def agreeing_copies(self) -> int:
        """Copies that decide on the target as the network does on the clean image."""
        return self.found_copies if self.decision else self.n_samples - self.found_copies

    @property
    def looks(self) -> int:
        """Number of sample sizes at which sampling was allowed to stop."""
        return max(1, len(self.spec["looks"]))


def read_votes(source: str | Path | Mapping[str, Any]) -> StoredVotes:
    """Reads a vote file, or the arrays of one.

    Args:
        source: path of votes.npz, or its arrays by name (numpy arrays, lists, numbers, texts).

    Raises:
        AuditError: if it is no vote file, or lacks something.
    """
    given = source if isinstance(source, Mapping) else read_arrays(source)
    check_names(given)
    arrays = {name: value if name in _COPIES else _plain(value) for name, value in given.items()}
    if arrays.get("format") != VOTES_FORMAT:
        raise AuditError(f"the vote file is not of the format {VOTES_FORMAT!r}, which is the one that is audited.")
    try:
        return _stored(arrays)
    except AuditError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise AuditError("the vote file lacks an array, or one of them has another form.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _stored(arrays: dict[str, Any]) -> StoredVotes:
    rows = arrays["counts"]
    grid = (len(rows), len(rows[0]))
    counts = [_whole(count) for row in rows for count in row]
    if len(counts) != grid[0] * grid[1] or not counts:
        raise ValueError
    spec = _spec(stored_json(arrays["spec"]))
    top_k, m = _whole(arrays["top_k"], 1), _whole(arrays["n_samples"], 1)
    copies = _copies(arrays, m, len(counts))
    pairs = _of(bool, arrays["pairs"])
    if pairs and copies is None:
        raise AuditError("the vote file says that pairs were counted, and lacks the votes of each copy.")
    return StoredVotes(
        grid=grid,
        counts=counts,
        n_samples=m,
        top_k=top_k,
        input_shape=[_whole(side, 1) for side in _listed(arrays["input_shape"], 2)],
        image_sha256=_sha256(arrays["image_sha256"]),
        logits=[_finite(logit) for logit in arrays["logits"]],
        decision=_of(bool, arrays["decision"]),
        found_copies=_whole(arrays["found_copies"]),
        tied_copies=_whole(arrays["tied_copies"]),
        constant_copies=_whole(arrays["constant_copies"]),
        copies=copies,
        pair_counts=_joint(copies.columns) if pairs and copies else None,
        regions=_regions(arrays, grid, top_k),
        input_warnings=[_of(str, text) for text in _of(list, stored_json(arrays.get("input_warnings", "[]")))],
        spec=spec,
        provenance=_provenance(stored_json(arrays["provenance"])),
    )


def _spec(spec: Any) -> dict[str, Any]:
    if set(spec) != set(SPEC_KEYS):
        raise ValueError
    sigma = _finite(spec["sigma"])
    # The noise is multiplied in float32: another number was not used.
    if not sigma > 0 or float(np.float32(sigma)) != sigma:
        raise ValueError
    for name in ("brightness", "tilt"):
        spread = _finite(spec[name])
        if not spread >= 0 or float(np.float32(spread)) != spread:
            raise ValueError
    for name in ("n_samples", "top_k", "cell_size"):
        _whole(spec[name], 1)
    for look in _of(list, spec["looks"]):
        _whole(look, 1)
    if spec["batch_size"] is not None:
        _whole(spec["batch_size"], 1)
        if spec["batch_size"] > _LARGEST_BATCH:
            raise ValueError
    if spec["n_samples"] >= _MOST_COPIES:
        raise ValueError
    _of(str, spec["interpreter"])
    _of(dict, spec["interpreter_settings"])
    _denoiser(_of(dict, spec["denoiser"]))
    _of(bool, spec["explains_target"])
    if spec["precision"] not in _PRECISIONS:
        raise ValueError
    _whole(spec["target"])
    _of(int, spec["seed"])
    if spec["noise"] != NOISE:
        raise AuditError(f"the noise of the copies is not {NOISE!r}, which is the one that is audited.")
    return dict(spec)


def _denoiser(entries: dict[str, Any]) -> None:
    """Name, version, hash ("" if it has no weights) and kind of gradient; nothing if there is none."""
    if not entries:
        return
    if set(entries) != {"name", "version", "sha256", "gradient"} or entries["gradient"] not in ("at", "through"):
        raise ValueError
    _of(str, entries["name"])
    _of(str, entries["version"])
    if entries["sha256"] != "":
        _sha256(entries["sha256"])


def _provenance(entries: Any) -> dict[str, str]:
    """Texts by name. The network has a hash, "" if it has no weights here; its files may have one."""
    if entries["network_sha256"] != "":
        _sha256(entries["network_sha256"])
    for name in ("weights_sha256", "config_sha256", "input_statistics_sha256"):
        if name in entries:
            _sha256(entries[name])
    return {name: _of(str, text) for name, text in _of(dict, entries).items()}


def _copies(arrays: dict[str, Any], n_samples: int, n_cells: int) -> StoredCopies | None:
    if not any(name in arrays for name in _COPIES):
        return None
    check_cells(n_cells, arrays)
    votes, found = (_bytes(arrays[name]) for name in _COPIES)
    if votes.shape != (n_samples, -(-n_cells // 8)) or found.shape != (-(-n_samples // 8),):
        raise ValueError
    by_cell = np.packbits(np.unpackbits(votes, axis=1, count=n_cells).T, axis=1)
    return StoredCopies(
        rows=[_bits(row, n_cells) for row in votes],
        columns=[_bits(row, n_samples) for row in by_cell],
        found=_bits(found, n_samples).bit_count(),
        sha256=hashlib.sha256(votes.tobytes() + found.tobytes()).hexdigest(),
    )


def _bytes(value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or not ((array >= 0) & (array < 256)).all():
        raise ValueError
    return array.astype(np.uint8)


def _bits(row: np.ndarray[Any, Any], length: int) -> int:
    """The first bits of a row of bytes; those behind must be zeros."""
    number, behind = int.from_bytes(row.tobytes(), "big"), 8 * len(row) - length
    if number % 2**behind:
        raise ValueError
    return number >> behind


def _joint(columns: list[int]) -> list[list[int]]:
    rows: list[list[int]] = []
    for a, votes in enumerate(columns):
        # The matrix is symmetric.
        rows.append([row[a] for row in rows] + [(votes & other).bit_count() for other in columns[a:]])
    return rows


def _regions(arrays: dict[str, Any], grid: tuple[int, int], top_k: int) -> list[StoredRegion]:
    if not any(name in arrays for name in _REGIONS):
        return []
    entries = stored_json(arrays["regions"])
    cells, hits = _listed(arrays["region_cells"], len(entries)), _listed(arrays["region_hits"], len(entries))
    return [
        StoredRegion(
            name=_of(str, entry["name"]),
            seen=_finite(entry["seen"]),
            cells=[_of(bool, cell) for row in _listed(mask, grid[0]) for cell in _listed(row, grid[1])],
            hits=[_whole(number) for number in _listed(row_of_hits, top_k + 1)],
        )
        for entry, mask, row_of_hits in zip(entries, cells, hits)
    ]


def _listed(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError
    return value


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError
    return value


def _sha256(value: Any) -> str:
    text: str = _of(str, value)
    if not _SHA256.fullmatch(text):
        raise ValueError
    return text


def _whole(value: Any, least: int = 0) -> int:
    number: int = _of(int, value)
    if number < least:
        raise ValueError
    return number


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def faults(votes: StoredVotes) -> list[str]:
    """What the counts contradict, one sentence each; empty if they may be a run's."""
    m, k, c = votes.n_samples, votes.top_k, len(votes.counts)
    cell = votes.spec["cell_size"]
    rules: list[tuple[Callable[[], bool], str]] = [
        (lambda: (votes.spec["n_samples"], votes.spec["top_k"]) == (m, k), "the settings name other copies or k"),
        (lambda: sum(votes.counts) == m * k, f"the counts sum to {sum(votes.counts)} and m k is {m * k}"),
        (lambda: max(votes.counts) <= m, f"a cell has {max(votes.counts)} votes of {m} copies"),
        (lambda: votes.found_copies <= m, f"{votes.found_copies} of {m} copies find the target"),
        (
            lambda: votes.constant_copies <= votes.tied_copies <= m or (k == c and votes.constant_copies <= m),
            "the copies with ties or constant maps do not fit",
        ),
        (
            lambda: [side * cell for side in votes.grid] == votes.input_shape,
            "the cells do not tile the network's input",
        ),
        (lambda: votes.spec["target"] < len(votes.logits), "there is no logit of the target"),
        (
            lambda: not votes.spec["looks"] or (_ascending(votes.spec["looks"]) and m in votes.spec["looks"]),
            "the looks do not ascend or do not hold the number of copies",
        ),
        (
            lambda: votes.copies is None or all(row.bit_count() == k for row in votes.copies.rows),
            f"a copy does not vote for {k} cells",
        ),
        (
            lambda: votes.copies is None or [row.bit_count() for row in votes.copies.columns] == votes.counts,
            "the counts are not those of the votes of each copy",
        ),
        (
            lambda: votes.copies is None or votes.copies.found == votes.found_copies,
            "other copies find the target than are counted",
        ),
        (lambda: all(_hits_fit(region, votes) for region in votes.regions), "the hits of a region do not fit"),
    ]
    return [f"votes.npz contradicts itself: {sentence}." for rule, sentence in rules if not rule()]


def _ascending(numbers: list[int]) -> bool:
    return all(first < second for first, second in pairwise(numbers))


def _hits_fit(region: StoredRegion, votes: StoredVotes) -> bool:
    inside = sum(count for count, belongs in zip(votes.counts, region.cells) if belongs)
    if sum(region.hits) != votes.n_samples or inside != sum(j * number for j, number in enumerate(region.hits)):
        return False
    if votes.copies is None:
        return True
    cells = int("".join("01"[belongs] for belongs in region.cells), 2)
    of_copies = Counter((row & cells).bit_count() for row in votes.copies.rows)
    return all(of_copies[j] == number for j, number in enumerate(region.hits))
