"""What stands below a picture: four captions of two lines for a physician, with no word beyond what is certified."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import Enum
from typing import Any

from monai_robustinterp.certificates.certificate import Certificate, Status
from monai_robustinterp.certificates.ledger import applied, covers, radius_in_noise, reached
from monai_robustinterp.certificates.region import LUNGS
from monai_robustinterp.certificates.serialize import certificate_from_json
from monai_robustinterp.certificates.units import radius_units, readable, round_down, round_up_to

LINE_LENGTH = 70
CAPTION_LINES = 2

_CODE_LENGTH = 8
_NAME_LENGTH = 36
_UNSTABLE = {
    Status.MAP_ONLY: "the decision",
    Status.NO_CONFIDENCE: "the decision and the squares",
}
_DISAGREE = "The noisy copies disagree too much, or there are too few."
_NO_CONFIDENCE = "The chosen confidence leaves none for both."
_NOT_NORMAL = '"Not found" does not mean normal.'
_SCORE_IS_NO_PROOF = "A high score does not make them reliable."
_LARGER = "Larger changes: no statement."


class Kind(Enum):
    """Which captions a result gets."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    ABSTAINING = "abstaining"
    ALARM = "alarm"


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The words of a picture.

    Attributes:
        kind: which captions.
        stable: whether decision and squares are certified together; if not, the picture has no color.
        paragraphs: four captions, each of at most ``CAPTION_LINES`` lines of ``LINE_LENGTH`` characters.
        code: the first digits of the record's hash, by which picture, record and DICOM description are matched.
        remarks: what a reader must know before, one short line each: a doubtful input, a run that was selected, lungs
            that were not found, and of a negative decision what the network was seen to miss.
    """

    kind: Kind
    stable: bool
    paragraphs: tuple[tuple[str, ...], ...]
    code: str
    remarks: tuple[str, ...] = ()


def record_code(record: Mapping[str, Any]) -> str:
    """The first digits of ``content_sha256``."""
    return str(record["content_sha256"])[:_CODE_LENGTH]


def captions(record: Mapping[str, Any]) -> Captions:
    """The four captions of a record.

    Args:
        record: content of certificate.json.
    """
    certificate = certificate_from_json(dict(record))
    stable, alarm = certificate.status is Status.CERTIFIED, _alarm(record)
    decision = record["finding"]["decision"]
    if alarm is not None:
        kind = Kind.ALARM
    elif not stable:
        kind = Kind.ABSTAINING
    else:
        kind = Kind.POSITIVE if decision else Kind.NEGATIVE
    texts = {
        Kind.POSITIVE: _certified,
        Kind.NEGATIVE: _certified,
        Kind.ABSTAINING: _abstaining,
        Kind.ALARM: _alarmed,
    }[kind](record, certificate)
    return Captions(
        kind=kind,
        stable=stable,
        paragraphs=tuple(tuple(_wrapped(text)) for text in (_decision(record), *texts)),
        code=record_code(record),
        remarks=tuple(_remarks(record)),
    )


def _remarks(record: Mapping[str, Any]) -> Iterator[str]:
    if any(note.startswith("Check the input") for note in record["notes"]):
        yield "CHECK THE INPUT: the record says why."
    if record["selection"]:
        yield "SELECTED: earlier runs of this film did not certify it."
    if record.get("lungs", {}).get("failure"):
        yield "No statement on the lungs: the record says why."
    if not _found(record) and record["finding"]["misses"]:
        yield record["finding"]["misses"]


def _certified(record: Mapping[str, Any], certificate: Certificate) -> tuple[str, str, str]:
    ends = f"{_LARGER} A stable result can be wrong." if _found(record) else f"{_NOT_NORMAL} {_LARGER}"
    return (
        _outlined(record, certificate),
        _stability(record, certificate),
        f"Confidence in this calculation, not in the finding: {_confidence(record)} %.\n{ends}",
    )


def _abstaining(record: Mapping[str, Any], certificate: Certificate) -> tuple[str, str, str]:
    them = _unstable(certificate)
    return (
        f"NO STABILITY STATEMENT for {them}.\n"
        f"{_NO_CONFIDENCE if certificate.status is Status.NO_CONFIDENCE else _DISAGREE}",
        f"A change too small to see may alter {them}.\nWhether one does is not known.",
        f"Do not rely on the outlines (gray dashes).\n{_SCORE_IS_NO_PROOF if _found(record) else _NOT_NORMAL}",
    )


def _alarmed(record: Mapping[str, Any], certificate: Certificate) -> tuple[str, str, str]:
    share = 100 - int(round_up_to(100 * (_alarm(record) or {})["share_upper"], 0))
    if certificate.status is Status.CERTIFIED:
        stability = _stability(record, certificate)
    else:
        stability = f"NO STABILITY STATEMENT for {_unstable(certificate)}.\nDo not rely on the outlines (gray dashes)."
    return (
        f"CAUTION: at least {share} % of the votes are expected outside the lungs,\n"
        f"as drawn, perhaps wrongly. Confidence in this calculation: {_confidence(record)} %.",
        "The score may rest on something other than lung.\n"
        f"{'Being stable does not make this place right.' if _found(record) else _NOT_NORMAL}",
        stability,
    )


def _found(record: Mapping[str, Any]) -> bool:
    return bool(record["finding"]["decision"])


def _decision(record: Mapping[str, Any]) -> str:
    name = record["finding"]["name"]
    name = name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 3] + "..."
    score = round_down(record["finding"]["score"], 2)
    cut_off = record["finding"]["cut_off"]
    score_is = "A score is no probability" + ("." if cut_off is None else f"; cut-off {cut_off:.2f}.")
    return (
        f"RESEARCH, NOT FOR DIAGNOSIS. {score_is}\n"
        f"Computer: {name} {'FOUND' if _found(record) else 'NOT FOUND'} (score {score})."
    )


def _unstable(certificate: Certificate) -> str:
    """What nothing is certified of."""
    if certificate.status is Status.ABSTAIN:
        return "the squares" if certificate.label.l2 > 0 else "the decision and the squares"
    return _UNSTABLE[certificate.status]


def _stability(record: Mapping[str, Any], certificate: Certificate) -> str:
    """Under which changes decision and squares stay: the claim C4 at the changes of the ledger, or as a length."""
    both = certificate.label_and_map.l2
    stay = f"the noise-averaged decision and >= {certificate.overlap} of {certificate.spec.top_k} squares stay"
    stay_by_chance = f"{stay} (chance: {certificate.overlap_by_chance:.1f})"
    tested, radius = applied(record.get("ledger", ())), radius_in_noise(both, certificate.spec.sigma)
    # The ledger tells what the map's radius covers; that of the decision may be smaller.
    inside = [{**entry, "covered": covers(radius, entry["norm"]), "draws": None} for entry in tested]
    count = sum(entry["covered"] for entry in inside)
    if count:
        under = f"Under {count} of {len(tested)} tested changes"
        # Labels with a comma of their own would read as two.
        examples = [label for label in reached(inside) if "," not in label]
        beginnings = [f"{under}, such as {', '.join(examples[:n])}," for n in range(len(examples), 0, -1)] + [under]
    else:
        levels = readable(radius_units(both, certificate.n_pixels).rms_gray_levels)
        beginnings = [f"Under input changes below {levels} of 255 gray levels RMS"]
    texts = [f"{begins} {ends}." for ends in (stay_by_chance, stay) for begins in beginnings]
    return next((text for text in texts if _fits(text)), texts[-1])


def _outlined(record: Mapping[str, Any], certificate: Certificate) -> str:
    """What the lines are around, and the share of the votes in the lungs.

    What is expected there holds within L_max, so under all changes that the next caption names: those lie within the
    radii of both map and decision.
    """
    squares, lungs = f"({certificate.spec.top_k} of {certificate.n_cells})", next(iter(_lungs(record)), None)
    if lungs is None:
        return f"Outlined: the squares with most votes {squares}.\nThey do not mark disease."
    observed, least = (round_down(100 * lungs[name], 0) for name in ("observed", "at_least"))
    return (
        f"Outlined: the most voted squares {squares}, not disease.\n"
        f"Votes in lungs: {observed} % (expected: >= {least} % under the changes below)."
    )


def _confidence(record: Mapping[str, Any]) -> str:
    """With which all claims of the record hold at once, in percent."""
    # In decimals and down: rounding would turn 1 - 1e-9 into 100 %.
    left = 100 * (1 - Decimal(repr(record["all_claims"]["eta"])))
    return str(left.quantize(Decimal("0.1"), ROUND_FLOOR))


def _lungs(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in record.get("regions", ()) if entry["name"].startswith(LUNGS)]


def _alarm(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The region of the lungs, if it gives an alarm."""
    return next((entry for entry in _lungs(record) if entry["alarm"]), None)


def _fits(text: str) -> bool:
    return len(_wrapped(text)) <= CAPTION_LINES


def _wrapped(text: str) -> Sequence[str]:
    return [line for part in text.split("\n") for line in textwrap.wrap(part, LINE_LENGTH, break_on_hyphens=False)]
