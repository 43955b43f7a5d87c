"""A result that is there already: kept if this run would make the same one, else the difference in a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robustinterp.audit import AuditError, read_record
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.certificate import Status
from monai_robustinterp.certificates.ledger import change_label
from monai_robustinterp.certificates.overlap import exact_beta
from monai_robustinterp.certificates.record import copy_votes_sha256, counts_sha256
from monai_robustinterp.certificates.serialize import CERTIFICATE_FORMAT, spec_to_json
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed
from monai_robustinterp.geometry.changes import Change
from monai_robustinterp.io.votes_npz import load_votes
from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.outputs import missing_outputs, other_outputs, save_outputs
from monai_robustinterp.io.write.result import CERTIFICATE_NAME, PREVIEW_NAME, VOTES_NAME
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.run.pipeline import Prepared, picture_of
from monai_robustinterp.smoothing.recipe import single_channel
from monai_robustinterp.types import SmoothingSpec, VoteMap

_ADVICE = "pass --overwrite to replace them, or choose another output folder."
_OF_SPEED = "batch_size"  # moves round-off only, and the search for it may find another one


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """A result of an earlier run.

    Attributes:
        record: content of its certificate.json.
        votes: its counts.
        spec: how they were taken.
    """

    record: dict[str, Any]
    votes: VoteMap
    spec: SmoothingSpec


def kept_result(
    folder: Path, prepared: Prepared, *, bundle: SaliencyBundle, changes: Sequence[Change], options: OutputOptions
) -> KeptResult:
    """The result in ``folder``, if it is whole and what this run would make; outputs that it lacks are added.

    Args:
        folder: of a result of the same file.
        prepared: the image as this run reads it.
        bundle: of this run.
        changes: of this run's ledger.
        options: of this run.

    Raises:
        InputRefused: if it is not whole, or was made in another way; the message says in which.
    """
    try:
        found = _read(folder)
        written = other_outputs(folder, prepared.image.meta, found.record, options)
    except (AuditError, ValueError, KeyError, TypeError, AttributeError, OSError):
        raise InputRefused(
            f"results of this file exist in {folder.name} and are of an earlier format, not whole or were changed: "
            f"{_ADVICE}"
        ) from None
    differences = [*_differences(found, prepared, bundle), *_other_changes(found.record, changes), *written]
    if differences:
        raise InputRefused(
            f"results of this file exist in {folder.name} and were made otherwise ({'; '.join(differences)}): {_ADVICE}"
        )
    missing = missing_outputs(folder, options.outputs)
    if missing:
        picture = picture_of(prepared, bundle, found.votes, cell_size=found.spec.cell_size)
        save_outputs(picture, found.record, options, at=folder.joinpath, only=missing, overwrite=True)
    return found


def earlier_runs(folder: Path, prepared: Prepared, *, bundle: SaliencyBundle) -> tuple[dict[str, Any], ...]:
    """Runs of the image with other settings that did not certify it, the first one first.

    A run after them is selected by what they gave: certifying until something is certified voids the confidence. A
    result that cannot be read tells nothing, and neither does one that was removed.

    Args:
        folder: of a result of the same file, which is to be replaced.
        prepared: the image as this run reads it.
        bundle: of this run.

    Returns:
        Those that the result there names itself, and that one if it abstains and was made with other settings.
    """
    try:
        found = _read(folder)
        record, before = found.record, tuple(found.record["selection"])
        differences = _differences(found, prepared, bundle)
    except (AuditError, ValueError, KeyError, TypeError, AttributeError, OSError):
        return ()
    if record["status"] == Status.CERTIFIED.label or not differences:
        return before
    return (
        *before,
        {
            "status": record["status"],
            "n_samples": found.spec.n_samples,
            "seed": found.spec.seed,
            "content_sha256": record["content_sha256"],
            "differences": differences,
        },
    )


def _read(folder: Path) -> KeptResult:
    record = read_record(folder / CERTIFICATE_NAME)
    votes, spec, _ = load_votes(folder / VOTES_NAME)
    unsealed = {key: value for key, value in record.items() if key != "content_sha256"}
    hashes = {"counts_sha256": counts_sha256(votes), "copy_votes_sha256": copy_votes_sha256(votes)}
    if sealed(unsealed) != record or not hashes.items() <= record["votes"].items():
        raise ValueError
    if record["format"] != CERTIFICATE_FORMAT:
        raise ValueError
    if not (folder / PREVIEW_NAME).is_file():
        raise ValueError
    return KeptResult(record=record, votes=votes, spec=spec)


def _differences(found: KeptResult, prepared: Prepared, bundle: SaliencyBundle) -> list[str]:
    """What this run would do otherwise, one phrase each."""
    record, votes, image = found.record, found.votes, prepared.image
    recipe, claim = bundle.inferer.recipe, bundle.inferer.claim
    target = int(votes.logits.argmax()) if recipe.target is None else recipe.target
    spec = recipe.spec(target)
    if found.spec.n_samples in spec.looks:
        spec = dataclasses.replace(spec, n_samples=found.spec.n_samples)
    there = {
        **spec_to_json(found.spec),
        "finding": record["finding"]["name"],
        "beta": float(exact_beta(record["claim"]["beta"])),
        "eta": record["claim"]["eta"],
        "until_radius": record.get("sampling", {}).get("until_radius"),
        "until_covers": record.get("sampling", {}).get("until_covers"),
        "pairs": votes.pair_counts is not None,
        "regions": [region.name for region in votes.regions],
        "lungs": _segmenter(record.get("lungs", {})),
    }
    here = {
        **spec_to_json(spec),
        "finding": recipe.findings.name(target),
        "beta": float(exact_beta(claim.beta)),
        "eta": claim.eta,
        "until_radius": claim.until_radius if claim.until_covers is None else prepared.until_radius,
        "until_covers": claim.until_covers,
        "pairs": recipe.pairs,
        "regions": [region.name for region in prepared.regions],
        "lungs": _segmenter(prepared.lungs_record),
    }
    hashes = {
        "file": (record["source"]["file_sha256"], image.meta["file_sha256"]),
        "pixels": (record["source"]["pixel_sha256"], image.meta["pixel_sha256"]),
        "network input": (votes.image_sha256, image_sha256(single_channel(image))),
    }
    made = provenance(bundle.network, image, bundle.files)
    return [
        *_phrases(there, here, leave_out=(_OF_SPEED,)),
        *_phrases(record["provenance"], made),
        *(f"another {name}" for name, (old, new) in hashes.items() if old != new),
    ]


def _segmenter(lungs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: lungs[name] for name in ("name", "version", "sha256") if lungs}


def _other_changes(record: Mapping[str, Any], changes: Sequence[Change]) -> list[str]:
    there = [change_label(entry["change"], entry["value"]) for entry in record.get("ledger", [])]
    return [] if there == [change.label for change in changes] else ["another list of changes in the ledger"]


def _phrases(there: Mapping[str, Any], here: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> list[str]:
    names = sorted({*there, *here} - {*leave_out})
    changed = [name for name in names if there.get(name) != here.get(name)]
    return [
        f"another {name}"
        if name.endswith("sha256")
        else f"{name} {_shown(there, name)} there, {_shown(here, name)} here"
        for name in changed
    ]


def _shown(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    return f"{value:.7g}" if isinstance(value, float) else str(value)
