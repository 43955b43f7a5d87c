"""Parts of a study that an interrupted run leaves behind: read again under the same settings only."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.files import atomic_write
from monai_robustinterp.io.votes_npz import load_votes, save_votes
from monai_robustinterp.study.report import write_json
from monai_robustinterp.study.tables import strict
from monai_robustinterp.types import SmoothingSpec, VoteMap

Arrays = dict[str, npt.NDArray[Any]]
Settings = Mapping[str, Any]


def kept_json(path: Path, settings: Settings, make: Callable[[], Any]) -> Any:
    """The part that an earlier run of the same settings left at the path, else a new one, which is left there.

    Args:
        path: of the file, ``{"settings": ..., "part": ...}``.
        settings: JSON values, all that the part depends on.
        make: measures the part, JSON values (infinity becomes the string "Infinity").

    Returns:
        The part as it is read back: lists for tuples, text for keys.
    """
    if not _is_of(_read_json(path), settings):
        write_json(path, {"settings": settings, "part": make()})
    return json.loads(path.read_text())["part"]


def left_json(path: Path, settings: Settings) -> Any:
    """The part that an earlier run of the same settings left at the path (:func:`kept_json`); None if it left none."""
    found = _read_json(path)
    return found["part"] if _is_of(found, settings) else None


def kept_arrays(path: Path, settings: Settings, make: Callable[[], Mapping[str, npt.ArrayLike]]) -> Arrays:
    """The same for arrays by name, in a compressed npz without pickles, beside ``settings`` as JSON text."""
    wanted = json.dumps(strict(settings), sort_keys=True)
    if path.exists():
        left = _read_arrays(path)
        if "settings" in left and str(left["settings"]) == wanted:
            return {name: array for name, array in left.items() if name != "settings"}
    arrays = {name: np.asarray(value) for name, value in make().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    named: dict[str, Any] = {**arrays, "settings": np.array(wanted)}
    atomic_write(path, lambda file: np.savez_compressed(file, **named), overwrite=True)
    return arrays


def earlier_votes(path: Path, spec: SmoothingSpec, provenance: Mapping[str, str]) -> VoteMap | None:
    """The votes that an earlier run left, if they are of the same settings but for the number of copies.

    The noise of copy i depends on i alone, so a run may go on from them.

    Args:
        path: of the votes.
        spec: of the run; its number of copies is not compared.
        provenance: versions and hashes.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.exists():
        return None
    votes, stored, origin = load_votes(path)
    same = dataclasses.replace(stored, n_samples=spec.n_samples) == spec and origin == dict(provenance)
    return votes if same else None


def keep_votes(path: Path, votes: VoteMap, spec: SmoothingSpec, provenance: Mapping[str, str]) -> None:
    """Leaves votes for :func:`earlier_votes`, in place of what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # save_votes never overwrites, and the old votes stay until the new ones are whole.
    fresh = path.with_name(f".{secrets.token_hex(8)}.npz")
    try:
        save_votes(fresh, votes, spec, dict(provenance))
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _read_arrays(path: Path) -> Arrays:
    """The arrays of an npz by name; none of a damaged one, which is made anew."""
    damaged = contextlib.suppress(ValueError, EOFError, zipfile.BadZipFile)
    with damaged, path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
    return {}


def _is_of(found: Mapping[str, Any], settings: Settings) -> bool:
    """Whether the content of a file is a part of these settings."""
    return "part" in found and found.get("settings") == json.loads(json.dumps(strict(settings)))


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is no file, or none in it."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
