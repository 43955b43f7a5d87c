"""The sentences of a record, written anew from its numbers; they must agree to the letter."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

FORMAT = "monai_robustinterp/certificate/2"
UNIT = (
    "l2 over the values of the network's single-channel input, whose display range is [0, 1]; rms and l_inf per pixel "
    "in the same unit; rms_grey_levels on its 0-255 scale"
)
NATIVE_UNIT = (
    "l2 over the stored pixel values of the source; l_inf: a change of at most this much in every stored pixel"
)
PLUG_IN = "estimate: the formula at the observed shares, which claims nothing"
_ALL_CLASSES = "The map is one of several classes together, not of this finding: another finding has the same map."
_ABSTAIN = "abstain: the votes support no radius, so nothing is claimed"


def floored(value: float, digits: int) -> str:
    """A number for print, never larger than itself."""
    return str(Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_FLOOR))


def assumptions(precision: str) -> str:
    """What the certificate is about; another precision than float32 is named."""
    named = {"float32": ""}.get(precision, f" ({precision})")
    return (
        "The certificate is about the vote map of the smoothed interpretation, not about an ordinary saliency map, and "
        "says nothing about faithfulness. It holds for perturbations of the network's single-channel input on its own "
        f"grid, for this network in this precision{named}, for the stored target class. The theorem is about real "
        "Gaussian noise; float32 and a counter-based generator approximate it."
    )


def population(l2: float, eta: float) -> str:
    """Status of one population radius."""
    return f"certified: holds with probability >= 1 - {eta:g} over the noise" if l2 > 0 else _ABSTAIN


def of_the_map(l_max: float, *, eta: float, top_k: int, overlap: int) -> str:
    """Status of the map's certificate."""
    if not l_max > 0:
        return f"{_ABSTAIN}."
    return (
        f"certified (population level): with probability >= 1 - {eta:g} over the noise, the reported top-{top_k} cells "
        f"and the top-{top_k} of the expected vote map of any input within l2 distance {floored(l_max, 6)} share at "
        f"least {overlap} cells."
    )


def of_the_label(l2: float, *, eta: float, decision: bool) -> str:
    """Status of the label's certificate."""
    if not l2 > 0:
        return "abstain: the copies do not support the clean decision, so nothing is claimed about it."
    return (
        f"certified: with probability >= 1 - {eta:g} over the noise, the smoothed classifier "
        f"{'finds' if decision else 'does not find'} the explained finding, as on the clean image, at every input of "
        f"l2 distance below {floored(l2, 6)}."
    )


def of_both(l2: float, *, eta: float) -> str:
    """Status of label and map together; ``eta`` is for both."""
    if not l2 > 0:
        return "abstain: label or map has no radius, or their etas leave no confidence; nothing is claimed about both."
    return (
        f"certified: with probability >= 1 - {eta:g} over the noise, label and map both hold at every input of l2 "
        f"distance below {floored(l2, 6)}."
    )


def of_the_record(status: str, *, l_max: float, label: str, label_l2: float, both: str, both_l2: float) -> str:
    """Status of the whole: of the map, unless the decision may flip."""
    if l_max > 0 and not both_l2 > 0:
        return f"not certified: {both if label_l2 > 0 else label} Of the map alone: {status}"
    return status


def of_a_rerun(l2: float, *, overlap: int, top_k: int, fresh_samples: int, eta: float) -> str:
    """Status of the rerun level, whose fresh run has the same eta as the first."""
    if not l2 > 0:
        return "abstain: the votes support no radius for a second run, so nothing is claimed about one."
    return (
        f"certified (rerun level): with probability >= 1 - {eta:g} - {eta:g} over both runs, the reported top-{top_k} "
        f"cells and those that a fresh run of {fresh_samples} copies for the same target class reports at any one "
        "input within l2 distance "
        f"{floored(l2, 6)}, chosen independently of its noise, share at least {overlap} cells."
    )


def of_a_region(share: float, *, eta: float, l2: float) -> str:
    """Status of a region; ``share`` of the votes within ``l2``, rounded down to 4 digits."""
    if not share > 0:
        return (
            f"abstain: the copies support no share of the votes in the region within l2 distance {floored(l2, 6)}, so "
            "nothing is claimed about it."
        )
    claim = (
        f"with probability >= 1 - {eta:g} over the noise, at least {share:.4f} of the votes are expected in the region"
    )
    scope = "(of the votes: not of the reported cells, nor of attribution)."
    if not l2 > 0:
        return (
            "abstain: the map has no radius, so nothing is claimed about any changed input. In the clean image, "
            f"{claim} {scope}"
        )
    return f"certified (population level): {claim} at every input of l2 distance below {floored(l2, 6)} {scope}"


def notes(*, tied: int, constant: int, n_samples: int, explains_target: bool) -> list[str]:
    """What is noted of the map's classes, of ties and of constant maps."""
    sentences = [] if explains_target else [_ALL_CLASSES]
    if tied:
        sentences.append(f"{tied} of {n_samples} copies had a tie at the k-th value, broken by a random order.")
    if constant:
        sentences.append(
            f"{constant} of {n_samples} copies had a constant map (all-zero, say): their votes are random cells, and "
            "the explanation carries no information from them."
        )
    return sentences
