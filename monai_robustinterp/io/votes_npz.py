"""Stored votes: everything that a re-certification or an audit needs, without pickles."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from monai_robustinterp.audit.npz import VOTES_FORMAT, read_arrays, stored_json
from monai_robustinterp.certificates.pairs import pair_counts
from monai_robustinterp.certificates.serialize import spec_from_json, spec_to_json
from monai_robustinterp.files import atomic_write
from monai_robustinterp.types import Region, SmoothingSpec, VoteMap

_PLAIN = (
    *("counts", "n_samples", "top_k", "input_shape", "image_sha256", "logits"),
    *("decision", "found_copies", "tied_copies", "constant_copies"),
)


def save_votes(path: Path, votes: VoteMap, spec: SmoothingSpec, provenance: dict[str, str]) -> None:
    """Writes :func:`votes_bytes`.

    Args:
        path: a file that does not exist.
        votes: the counts.
        spec: how they were made.
        provenance: versions and hashes.
    """
    content = votes_bytes(votes, spec, provenance)
    atomic_write(path, lambda file: file.write(content))


def votes_bytes(votes: VoteMap, spec: SmoothingSpec, provenance: dict[str, str]) -> bytes:
    """Votes as a compressed npz; docs/reference.md lists its arrays. The same votes give the same bytes.

    Raises:
        ValueError: if there are pair counts without the votes of each copy, in which they are stored.
    """
    texts = {"format": VOTES_FORMAT, "spec": json.dumps(spec_to_json(spec)), "provenance": json.dumps(provenance)}
    arrays: dict[str, Any] = {name: np.array(value) for name, value in {**texts, **_fields(votes)}.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def load_votes(path: str | Path) -> tuple[VoteMap, SmoothingSpec, dict[str, str]]:
    """Reads and checks what :func:`save_votes` wrote, within the bounds of :mod:`monai_robustinterp.audit.npz`.

    Raises:
        ValueError: if the file is no vote file, or its counts contradict each other.
    """
    arrays = read_arrays(path)
    found = str(arrays["format"])
    if found != VOTES_FORMAT:
        raise ValueError(f"the format of the vote file is {found[:40]!r}; this version reads {VOTES_FORMAT!r}.")
    try:
        return _votes(arrays), spec_from_json(stored_json(str(arrays["spec"]))), stored_json(str(arrays["provenance"]))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError("the vote file lacks an array or a setting: take the votes anew.") from error


def _votes(arrays: dict[str, Any]) -> VoteMap:
    votes = VoteMap(
        counts=arrays["counts"],
        n_samples=int(arrays["n_samples"]),
        top_k=int(arrays["top_k"]),
        input_shape=(int(arrays["input_shape"][0]), int(arrays["input_shape"][1])),
        image_sha256=str(arrays["image_sha256"]),
        logits=arrays["logits"],
        decision=bool(arrays["decision"]),
        found_copies=int(arrays["found_copies"]),
        tied_copies=int(arrays["tied_copies"]),
        constant_copies=int(arrays["constant_copies"]),
        copy_votes=arrays.get("copy_votes"),
        copy_found=arrays.get("copy_found"),
        regions=tuple(
            Region(name=str(entry["name"]), cells=cells, seen=float(entry["seen"]))
            for entry, cells in zip(stored_json(str(arrays.get("regions", "[]"))), arrays.get("region_cells", ()))
        ),
        region_hits=arrays.get("region_hits"),
        input_warnings=tuple(str(text) for text in stored_json(str(arrays.get("input_warnings", "[]")))),
    )
    return dataclasses.replace(votes, pair_counts=pair_counts(votes)) if bool(arrays["pairs"]) else votes


def _fields(votes: VoteMap) -> dict[str, Any]:
    fields = {name: getattr(votes, name) for name in _PLAIN} | {"pairs": votes.pair_counts is not None}
    if votes.copy_votes is not None:
        fields |= {"copy_votes": votes.copy_votes, "copy_found": votes.copy_found}
    elif votes.pair_counts is not None:
        raise ValueError("pair counts are stored as the votes of each copy, and these votes do not hold them.")
    if votes.regions:
        fields |= {
            "regions": json.dumps([{"name": region.name, "seen": region.seen} for region in votes.regions]),
            "region_cells": np.stack([region.cells for region in votes.regions]),
            "region_hits": votes.region_hits,
        }
    if votes.input_warnings:
        fields["input_warnings"] = json.dumps(votes.input_warnings)
    return fields
