"""Results and records of given votes, and the arrays of their file, for tests that need no image."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.certificates import CertifiedResult, Claim, Origin, certified_result
from monai_robustinterp.certificates.ledger import MeasuredChange, ledger_record
from monai_robustinterp.certificates.native import UNKNOWN_SCALE, NativeScale, native_record
from monai_robustinterp.certificates.resize import (
    area_resize_matrix,
    display_round_off,
    resize_norms,
    resize_round_off,
)
from monai_robustinterp.files import json_bytes, sealed
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.io.votes_npz import save_votes
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.types import Region, SmoothingSpec, VoteMap
from tests.support.vote_factory import copy_bits

PROVENANCE = {"software": "x", "weights_sha256": "1" * 64, "config_sha256": "2" * 64, "network_sha256": "5" * 64}

LUNGS = {"name": "fake", "version": "1", "sha256": "7" * 64, "confidence": 0.97, "failure": None}

CHANGES = (
    MeasuredChange(name="8-bit rounding", value=None, norms=(1e-3,)),
    MeasuredChange(name="JPEG quality", value=95, reason="the file is a JPEG already."),
    MeasuredChange(name="detector noise, sd", value=0.01, norms=(*[1e-3] * 18, 2e-3, 100.0), drawn=True),
    MeasuredChange(name="brighter by", value=0.02, norms=(10.0,)),
)


def result_of(
    votes: VoteMap,
    spec: SmoothingSpec,
    *,
    beta: str = "0.5",
    eta: float = 0.001,
    finding: str = "x",
    score: float = 0.5,
    cut_off: float | None = 0.5,
    misses: str = "",
    until_radius: float | None = None,
    until_covers: str | None = None,
    scale: NativeScale = UNKNOWN_SCALE,
    source: Mapping[str, Any] | None = None,
    earlier: Sequence[Mapping[str, Any]] = (),
    changes: Sequence[MeasuredChange] = (),
    lungs: Mapping[str, Any] | None = None,
) -> CertifiedResult:
    """The result as the package assembles it."""
    return certified_result(
        votes,
        spec,
        Claim(beta=beta, eta=eta, until_radius=until_radius, until_covers=until_covers),
        finding={"name": finding, "score": score, "cut_off": cut_off, "misses": misses},
        origin=lambda certificate: Origin(
            source=source or source_record({}, votes.input_shape),
            native=native_record(certificate.l_max, scale, certificate.n_pixels),
            provenance=PROVENANCE,
            ledger=ledger_record(changes, certificate.l_max, spec),
            lungs=lungs or {},
        ),
        earlier=earlier,
    )


def written(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is read back from its file."""
    return json.loads(json_bytes(record))


SCHEMA = json.loads(files("monai_robustinterp").joinpath("schemas/certificate.schema.json").read_text())


def make_masks(
    *, m: int = 96, c: int = 16, k: int = 4, sharpness: float = 2.0, ties: bool = False, seed: int = 0
) -> np.ndarray:
    """Top-k masks of m copies, int64 [m, c]."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=c) * sharpness + rng.normal(size=(m, c))
    order = np.argsort(-np.round(values) + rng.random((m, c)) * 1e-3 if ties else -values, axis=1)
    masks = np.zeros((m, c), np.int64)
    np.put_along_axis(masks, order[:, :k], 1, axis=1)
    return masks


def make_run(
    masks: np.ndarray,
    *,
    agreeing: int | None = None,
    regions: int = 0,
    lungs: npt.NDArray[np.bool_] | None = None,
    pairs: bool = False,
    looks: tuple[int, ...] = (),
    sigma: float = 0.1,
    tied: int = 0,
    logits: tuple[float, ...] = (0.3, 1.1),
    input_warnings: tuple[str, ...] = (),
) -> tuple[VoteMap, SmoothingSpec]:
    """Votes and spec of masks [m, c] on a square of cells of 4 pixels; the target is the last logit.

    ``lungs`` are the cells [c] of a further region, the first one, which is that of the lungs.
    """
    (m, c), k = masks.shape, int(masks[0].sum())
    side = math.isqrt(c)
    cells = np.random.default_rng(1).random((regions, c)) < 0.4
    names = [f"box {i}" for i in range(regions)]
    if lungs is not None:
        cells, names = np.concatenate([lungs[None], cells]), ["lungs (fake 1), SHA-256 0123456789abcdef", *names]
    positive = max(logits) == logits[-1]
    agreeing = m - 1 if agreeing is None else agreeing
    found = agreeing if positive else m - agreeing
    votes = VoteMap(
        counts=masks.sum(axis=0).reshape(side, side),
        n_samples=m,
        top_k=k,
        input_shape=(4 * side, 4 * side),
        image_sha256="a" * 64,
        logits=np.array(logits, np.float32),
        decision=positive,
        found_copies=found,
        tied_copies=tied,
        constant_copies=tied // 2,
        pair_counts=masks.T @ masks if pairs else None,
        **copy_bits(masks, found=found),
        regions=tuple(
            Region(name=name, cells=row.reshape(side, side), seen=0.75 + i / 10)
            for i, (name, row) in enumerate(zip(names, cells))
        ),
        region_hits=np.stack([np.bincount(masks @ row, minlength=k + 1) for row in cells]) if names else None,
        input_warnings=input_warnings,
    )
    settings = {"sigma": sigma, "n_samples": m, "top_k": k, "cell_size": 4, "looks": looks}
    return votes, SmoothingSpec(**settings, interpreter="gradient", target=len(logits) - 1)


def make_record(
    votes: VoteMap,
    spec: SmoothingSpec,
    *,
    beta: str = "0.5",
    eta: float = 0.01,
    native: bool = True,
    sigmoid: bool = False,
    earlier: Sequence[Mapping[str, Any]] = (),
    until_covers: str | None = None,
    lungs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record as the pipeline writes it, read back from its JSON; ``lungs`` tell of a segmenter that failed."""
    segmented = any(region.name.startswith("lungs (fake 1)") for region in votes.regions)
    finding = Findings("sigmoid" if sigmoid else "softmax").entry(votes.logits, spec.target)
    shape = (300, 260)
    square = (min(shape), min(shape))
    norms = resize_norms(*(area_resize_matrix(min(shape), side) for side in votes.input_shape))
    lost = resize_round_off(square, votes.input_shape, display=display_round_off(1.0))
    source = {
        "format": "DICOM",
        "file_sha256": "3" * 64,
        "shape": list(shape),
        "pixel_sha256": "4" * 64,
        "intensity_path": "stored values",
        "display_source": "window 1 of 1 (LINEAR)",
        "warnings": "",
    }
    result = result_of(
        votes,
        spec,
        beta=beta,
        eta=eta,
        finding="effusion",
        score=finding["score"],
        cut_off=finding["cut_off"],
        until_radius=0.01,
        until_covers=until_covers,
        scale=NativeScale(1 / 300, norms.l2, norms.l_inf, 1.0, lost, "") if native else UNKNOWN_SCALE,
        source=source,
        earlier=earlier,
        changes=CHANGES,
        lungs=lungs or (LUNGS if segmented else None),
    )
    return written(result.record)


def make_arrays(votes: VoteMap, spec: SmoothingSpec, folder: Path) -> dict[str, Any]:
    """The arrays of votes.npz as it is written."""
    path = folder / "votes.npz"
    path.unlink(missing_ok=True)
    save_votes(path, votes, spec, PROVENANCE)
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def resealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the content hash of what it now holds."""
    return sealed({key: value for key, value in record.items() if key != "content_sha256"})


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """All values of a JSON tree with their paths."""
    if isinstance(value, dict):
        return [leaf for key, entry in value.items() for leaf in leaves(entry, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [leaf for position, entry in enumerate(value) for leaf in leaves(entry, f"{path}[{position}]")]
    return [(path, value)]
