"""What the counts and the vote file give for the rest of a record: finding, hashes, sampling, stored units, origin."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_robustinterp.audit import sentences
from monai_robustinterp.audit.case import Case
from monai_robustinterp.audit.expect import (
    HashOnly,
    Judged,
    Leaf,
    Same,
    as_number,
    near,
)
from monai_robustinterp.audit.real import MP
from monai_robustinterp.audit.region import LUNGS
from monai_robustinterp.audit.stored import stored_units
from monai_robustinterp.audit.strict import AuditError

_OF_A_MASK = re.compile(rf"{re.escape(LUNGS)}mask, .*\), SHA-256 [0-9a-f]{{16}}$", re.DOTALL)


def finding(case: Case) -> dict[str, Leaf]:
    """Expectation of ``finding``: the score is the softmax or the sigmoid of the stored logit."""
    votes, fitting = case.votes, _readings(case)
    decided = votes.decision in [reading.decision for reading in fitting]
    return {
        "name": HashOnly(str),
        "score": fitting[0].score,
        "cut_off": fitting[0].cut_off,
        "misses": HashOnly(str, form=".{0,70}"),
        "decision": Same(votes.decision) if decided else Judged("the logits of the clean image say the opposite"),
        "label_agreement": near(MP.mpf(votes.agreeing_copies) / votes.n_samples),
    }


@dataclass(frozen=True)
class _Reading:
    """The logits of the clean image as those of exclusive classes, or of independent findings.

    Attributes:
        score: of the target.
        decision: whether the target is found.
        found: how many are.
        cut_off: the score above which it is; null where the others decide.
    """

    score: Leaf
    decision: bool
    found: int
    cut_off: Leaf


def _readings(case: Case) -> list[_Reading]:
    """The readings that the recorded score fits; the first one if none does."""
    target, logits = case.votes.spec["target"], [MP.mpf(logit) for logit in case.votes.logits]
    softmax = MP.exp(logits[target]) / sum(MP.exp(logit) for logit in logits)
    sigmoid = 1 / (1 + MP.exp(-logits[target]))
    largest = max(logits) == logits[target] and target == logits.index(max(logits))
    half = near(MP.mpf("0.5"))
    exclusive = _Reading(near(softmax), largest, 1, half if len(logits) == 2 else Same(None))
    independent = _Reading(near(sigmoid), bool(logits[target] > 0), sum(bool(logit > 0) for logit in logits), half)
    entry = case.record.get("finding")
    score = entry.get("score") if isinstance(entry, Mapping) else None
    return [one for one in (exclusive, independent) if not one.score.problem(score)] or [exclusive]


def votes(case: Case) -> dict[str, Any]:
    """Expectation of ``votes``."""
    stored = case.votes
    content = b"".join(count.to_bytes(8, "little") for count in stored.counts)
    return {
        "counts_sha256": Same(hashlib.sha256(content).hexdigest()),
        "copy_votes_sha256": Same(None if stored.copies is None else stored.copies.sha256),
        "image_sha256": Same(stored.image_sha256),
        "input_shape": [Same(side) for side in stored.input_shape],
        "tied_copies": Same(stored.tied_copies),
        "constant_copies": Same(stored.constant_copies),
    }


def sampling(case: Case) -> dict[str, Any]:
    """Expectation of ``sampling``, for votes with looks."""
    spec = case.votes.spec
    most, stopped = spec["looks"][-1], case.votes.n_samples < spec["looks"][-1]
    reached = min(case.number("claim", "l_max", "l2"), case.number("label", "l2"))
    early = stopped and reached < case.number("sampling", "until_radius")
    return {
        "until_radius": HashOnly(float, "sampling stopped before decision and map were certified so far" * early),
        "until_covers": Same(None) if _covers(case) is None else HashOnly(str, _short_of(case)),
        "looks": [Same(look) for look in spec["looks"]],
        "n_samples": Same(case.votes.n_samples),
        "max_samples": Same(most),
        "stopped_early": Same(stopped),
        "saved_share": near(1 - MP.mpf(case.votes.n_samples) / most),
    }


def _covers(case: Case) -> Any:
    entry = case.record.get("sampling")
    return entry.get("until_covers") if isinstance(entry, Mapping) else None


def _short_of(case: Case) -> str:
    """What is wrong if the radius to stop at does not cover the change of the ledger that it is said to cover.

    An image without a source file has no ledger; there the caller measured the change.
    """
    radius = MP.mpf(case.number("sampling", "until_radius")) / case.sigma
    norms = [case.number("ledger", i, "norm") for i, label in enumerate(_labels(case)) if label == _covers(case)]
    short = any(not 0 < norm < radius for norm in norms)
    return "the radius to stop at does not cover this change of the ledger" * short


def _labels(case: Case) -> list[str]:
    """Names and values of the ledger's changes, "" where an entry is none."""
    ledger = case.record.get("ledger")
    return [_label(entry) for entry in ledger] if isinstance(ledger, list) else []


def _label(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return ""
    value = as_number(entry.get("value"))
    return f"{entry.get('change')}" + ("" if value is None else f" {float(value):g}")


def has_segmented_lungs(case: Case) -> bool:
    """Whether a region is of lungs that were not drawn by a mask file."""
    return any(region.name.startswith(LUNGS) and not _OF_A_MASK.match(region.name) for region in case.votes.regions)


def lungs(case: Case) -> dict[str, Leaf]:
    """Expectation of ``lungs``: the segmenter that names a region, or the reason why it names none."""
    entry = case.record.get("lungs")
    found = entry if isinstance(entry, Mapping) else {}
    named = f"{LUNGS}{' '.join(filter(None, (str(found.get('name')), str(found.get('version')))))}), SHA-256 "
    fits = any(region.name.startswith(named) for region in case.votes.regions)
    other = "another segmenter than that of the region" if has_segmented_lungs(case) and not fits else ""
    confidence = as_number(found.get("confidence"))
    no_share = "" if confidence is not None and 0 <= confidence <= 1 else "the confidence is none in [0, 1]"
    return {
        "name": HashOnly(str, other),
        "version": HashOnly(str, other),
        "sha256": HashOnly(str, form="([0-9a-f]{64})?"),
        "confidence": HashOnly(float, no_share),
        "failure": Same(None) if has_segmented_lungs(case) else HashOnly(str),
    }


def split(case: Case) -> dict[str, Leaf]:
    """Expectation of ``split``: the parts of all findings do not exceed their eta.

    How many there are follows from the stored logits: those above 0, or one of exclusive classes.
    """
    findings, eta = case.number("split", "findings"), case.number("split", "eta")
    agree = case.votes.decision and findings in [reading.found for reading in _readings(case)]
    other = "" if agree else "the logits of the clean image say otherwise"
    exceeded = "" if findings * MP.mpf(case.eta) <= MP.mpf(eta) < 1 else "the parts of eta exceed it, or it is none"
    return {
        "findings": HashOnly(int, other),
        "eta": HashOnly(float, exceeded),
        "sentence": Same(sentences.of_the_split(int(findings), eta)),
    }


def selection(case: Case) -> list[Any]:
    """Expectation of ``selection``: earlier runs, of which the two files hold nothing else."""
    runs = case.record.get("selection")
    return [
        {
            "status": HashOnly(str, form="map only|no confidence|abstain"),
            "n_samples": HashOnly(int),
            "seed": HashOnly(int),
            "content_sha256": HashOnly(str, form="[0-9a-f]{64}"),
            "differences": [HashOnly(str) for _ in _entries(run, "differences")],
        }
        for run in (runs if isinstance(runs, list) else ())
    ]


def _entries(run: Any, name: str) -> list[Any]:
    entries = run.get(name) if isinstance(run, Mapping) else None
    return entries if isinstance(entries, list) else []


def source(case: Case) -> dict[str, Any]:
    """Expectation of ``source``."""
    texts = ("format", "intensity_path", "display_source", "warnings")
    # An image that came as a tensor has no file.
    entry = case.record.get("source")
    form = "()" if isinstance(entry, Mapping) and entry.get("format") == "tensor" else "[0-9a-f]{64}"
    hashes = {name: HashOnly(str, form=form) for name in ("file_sha256", "pixel_sha256")}
    return {name: HashOnly(str) for name in texts} | hashes | {"shape": [HashOnly(int), HashOnly(int)]}


def native(case: Case) -> dict[str, Leaf]:
    """Expectation of ``native``: the radius is L_max over norm and slope; the norm follows from the two grids."""
    l_max = MP.mpf(case.number("claim", "l_max", "l2"))
    source = case.record.get("source")
    return stored_units(case.record.get("native"), l_max, source=source, input_shape=case.votes.input_shape)


def content_sha256(record: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of all else.

    Raises:
        AuditError: if the record holds what JSON cannot.
    """
    rest = {name: value for name, value in record.items() if name != "content_sha256"}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise AuditError("the certificate holds a value that JSON cannot hold.") from error
