"""The sentences of a record, written anew from its numbers; they must agree to the letter."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

FORMAT = "monai_robustinterp/certificate/6"
UNIT = (
    "l2 over the values of the network's single-channel input, whose display range is [0, 1]; rms and l_inf per pixel "
    "in the same unit; rms_gray_levels on its 0-255 scale"
)
NATIVE_UNIT = (
    "l2 over the stored pixel values of the source; l_inf: a change of at most this much in every stored pixel"
)
PLUG_IN = "estimate: the formula at the observed shares, which claims nothing"
_ALL_CLASSES = "The map is one of several classes together, not of this finding: another finding has the same map."
_AT_THE_CEILING = (
    "The radius is the ceiling of these settings: a map that ignores the image has the same, so check that this one "
    "does not."
)
_ABSTAIN = "abstain: the votes support no radius, so nothing is claimed"


def floored(value: float, digits: int) -> str:
    """A number for print, never larger than itself."""
    return str(Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_FLOOR))


def raised(probability: float) -> str:
    """A failure probability for print, in 6 significant digits at most, never smaller than itself."""
    exact = Decimal(repr(probability))
    six = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 5), rounding=ROUND_CEILING)
    return f"{six.normalize():g}"


def assumptions(spec: Mapping[str, Any]) -> str:
    """What the certificate is about: what is not so by default is named."""
    precision = "" if spec["precision"] == "float32" else f" ({spec['precision']})"
    shape = ""
    if spec["brightness"] > 0 or spec["tilt"] > 0:
        shape = f", and beside it noise of brightness ({spec['brightness']:g}) and of tilt ({spec['tilt']:g})"
    denoised = "Each copy went through a denoiser before the network; the clean image did not. " * bool(
        spec["denoiser"]
    )
    return (
        "The certificate is about the vote map of the smoothed interpretation, not about an ordinary saliency map, and "
        "says nothing about faithfulness. It holds for perturbations of the network's single-channel input on its own "
        f"grid, for this network in this precision{precision}, for the stored target class. The noise is white of "
        f"standard deviation {spec['sigma']:g}{shape}; a radius in standard deviations of the noise holds for every "
        "change that is shorter in them, and so for all in the l2 ball. "
        f"{denoised}The theorem is about real Gaussian noise; float32 and a counter-based generator approximate it."
    )


def population(l2: float, eta: float) -> str:
    """Status of one population radius."""
    return f"certified: holds with probability >= 1 - {raised(eta)} over the noise" if l2 > 0 else _ABSTAIN


def of_the_map(l_max: float, *, eta: float, top_k: int, overlap: int, n_cells: int) -> str:
    """Status of the map's certificate."""
    if not l_max > 0:
        return f"{_ABSTAIN}."
    return (
        f"certified (population level): with probability >= 1 - {raised(eta)} over the noise, the reported top-{top_k} "
        f"cells and the top-{top_k} of the expected vote map of any input of l2 distance below {floored(l_max, 6)} "
        f"share at least {overlap} cells; two random sets of {top_k} of {n_cells} cells share "
        f"{top_k**2 / n_cells:.1f} on average."
    )


def of_the_label(l2: float, *, eta: float, decision: bool) -> str:
    """Status of the label's certificate."""
    if not l2 > 0:
        return "abstain: the copies do not support the clean decision, so nothing is claimed about it."
    return (
        f"certified (population level): with probability >= 1 - {raised(eta)} over the noise, the smoothed classifier "
        f"{'finds' if decision else 'does not find'} the explained finding, as on the clean image, at every input of "
        f"l2 distance below {floored(l2, 6)}."
    )


def of_both(l2: float, *, eta: float) -> str:
    """Status of label and map together; ``eta`` is for both."""
    if not l2 > 0:
        return "abstain: label or map has no radius, or their etas leave no confidence; nothing is claimed about both."
    return (
        f"certified (population level): with probability >= 1 - {raised(eta)} over the noise, label and map both hold "
        f"at every input of l2 distance below {floored(l2, 6)}."
    )


STATUS = {
    "certified": "certified: decision and map both have a radius",
    "map only": "not certified: the map has a radius, but the decision on the finding may flip",
    "no confidence": "not certified: decision and map leave no confidence together",
    "abstain": "abstain: the votes support no radius of the map, so nothing is claimed",
}


def of_the_record(status: str, *, of_the_map: str, both: str) -> str:
    """The whole in words."""
    if status == "abstain":
        return f"{STATUS[status]}."
    return f"{both if status == 'certified' else STATUS[status] + '.'} Of the map alone: {of_the_map}"


def of_all_claims(eta: float, *, curve: bool) -> str:
    """The chance that all claims hold together."""
    beside = " and of a curve of overlap against radius" if curve else ""
    return f"All claims of this record{beside} hold together with probability >= 1 - {raised(eta)}, per image."


def of_the_split(findings: int, eta: float) -> str:
    """What holds for all findings of an image together."""
    return (
        f"Findings of the network in this image: {findings}. eta is split over them in equal parts: each kind of claim "
        "(map, decision, second run, regions) holds for all of them together with probability >= 1 - "
        f"{raised(eta)}, per image."
    )


def of_a_rerun(l2: float, *, overlap: int, top_k: int, fresh_samples: int, eta: float) -> str:
    """Status of the rerun level, whose fresh run has the same eta as the first."""
    if not l2 > 0:
        return "abstain: the votes support no radius for a second run, so nothing is claimed about one."
    return (
        f"certified (rerun level): with probability >= 1 - {raised(eta)} - {raised(eta)} over both runs, the reported "
        f"top-{top_k} cells and those that a fresh run of {fresh_samples} copies for the same target class reports at "
        "any one input of l2 distance below "
        f"{floored(l2, 6)}, chosen independently of its noise, share at least {overlap} cells."
    )


def of_a_region(at_least: float, at_most: float, *, above_half: float, below_half: float, eta: float, l2: float) -> str:
    """Status of a region.

    Args:
        at_least: share of the votes within ``l2``, of 4 digits; 0 claims nothing.
        at_most: the same from above; 1 claims nothing.
        above_half: l2 distance below which more than half is expected inside.
        below_half: the same of less than half.
        eta: of all regions together.
        l2: radius of the map.
    """
    bounds = " and ".join(
        [f"at least {at_least:.4f}"] * (at_least > 0) + [f"at most {at_most:.4f}"] * (not at_most >= 1)
    )
    half, radius = ("more", above_half) if above_half > 0 else ("less", below_half)
    distance = "at every input of l2 distance below {}"
    if not bounds and not radius > 0:
        return (
            f"abstain: below l2 distance {floored(l2, 6)} the copies bound the share of the votes in the region on no "
            "side, so nothing is claimed about it."
        )
    first = f"{bounds} of the votes are expected in the region"
    chance = f"with probability >= 1 - {raised(eta)} over the noise"
    scope = "(of the votes: not of the reported cells, nor of attribution)."
    if not l2 > 0 and not radius > 0:
        return (
            "abstain: the map has no radius, and on which side of one half the share lies is not certified, so nothing "
            f"is claimed about any changed input. In the clean image, {chance}, {first} {scope}"
        )
    where = distance.format(floored(l2, 6)) if l2 > 0 else "in the clean image"
    of_what = "of them" if bounds else "of the votes are expected in the region"
    second = f"{half} than half {of_what} {distance.format(floored(radius, 6))}"
    claims = ", and ".join([f"{first} {where}"] * bool(bounds) + [second] * (radius > 0))
    return f"certified (population level): {chance}, {claims} {scope}"


def with_alarm(sentence: str, *, alarm: bool, l2: float, in_noise: float) -> str:
    """Status of the lungs: that of a region, and whether there is an alarm within a radius fixed beforehand."""
    within = f"within {in_noise} standard deviations of the noise (l2 distance {floored(l2, 6)})"
    if alarm:
        return f"ALARM: most of the votes are expected outside the lungs, whatever change {within}. {sentence}"
    return f"{sentence} No alarm: it is not certified that most of the votes lie outside the lungs {within}."


def notes(
    *,
    of_input: list[str],
    tied: int,
    constant: int,
    n_samples: int,
    explains_target: bool,
    at_ceiling: bool,
    selected: int,
) -> list[str]:
    """What is noted of the input, of the map's classes, of its radius, of ties, constant maps and earlier runs."""
    sentences = of_input + ([] if explains_target else [_ALL_CLASSES])
    if at_ceiling:
        sentences.append(_AT_THE_CEILING)
    if tied:
        sentences.append(f"{tied} of {n_samples} copies had a tie at the k-th value, broken by a random order.")
    if constant:
        sentences.append(
            f"{constant} of {n_samples} copies had a constant map (all-zero, say): their votes are random cells, and "
            "the explanation carries no information from them."
        )
    if selected:
        sentences.append(
            f"This run was selected: {selected} earlier run{'s' * (selected > 1)} of the image with other settings did "
            "not certify it. The stated confidence is that of this run alone, as if it had been the only one."
        )
    return sentences
