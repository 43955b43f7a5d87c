"""What an overlay says in words: finding, guarantee with its level, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from monai_robustinterp.certificates.label import LabelCertificate, label_and_map
from monai_robustinterp.certificates.rerun import RerunRadius
from monai_robustinterp.certificates.units import radius_units, readable, round_down
from monai_robustinterp.types import Certificate, Family, SmoothingSpec

_FAMILIES: dict[Family, str] = {
    "renyi": "Renyi",
    "neyman-pearson": "Neyman-Pearson",
    "discordant-pairs": "discordant pairs",
}

DISCLAIMER = (
    "NOT FOR DIAGNOSIS. The certificate is about the votes of the smoothed interpretation, not about an ordinary "
    "saliency map, and says nothing about faithfulness."
)


def caption_lines(
    certificate: Certificate,
    label: LabelCertificate,
    *,
    finding: str,
    score: float,
    label_agreement: float,
    further: Sequence[str] = (),
) -> list[str]:
    """Lines for the strip below the image.

    Args:
        certificate: the certificate of the map.
        label: the certificate of the decision, from the same copies.
        finding: name of the explained class.
        score: of the finding in the clean image, in [0, 1]; not calibrated.
        label_agreement: share of noisy copies with the clean image's decision, in [0, 1].
        further: other claims from the same copies (:func:`further_lines`).
    """
    return [
        f"{finding}: score {score:.2f} (not calibrated); decision kept in {round_down(100 * label_agreement, 1)} % of "
        "noisy copies",
        guarantee(certificate, label),
        label_line(certificate, label),
        *further,
        _how(certificate),
        *certificate.notes,
        DISCLAIMER,
    ]


def further_lines(record: Mapping[str, Any]) -> list[str]:
    """What the record claims besides map and decision: a second run, stored pixel values, regions.

    Args:
        record: content of certificate.json.
    """
    lines = [rerun_line(RerunRadius(**record["rerun"]))]
    native = record.get("native", {"l2": None})
    if native["l2"]:
        lines.append(
            f"L_max in stored pixel values: l2 {readable(native['l2'])}, or at most {readable(native['l_inf'])} in "
            "every pixel."
        )
    return lines + [f"Region: {entry['name']}: {entry['status']}" for entry in record.get("regions", ())]


def rerun_line(rerun: RerunRadius) -> str:
    """What is certified of the cells that a second run reports."""
    confidence = _confidence(rerun.eta, rerun.eta_rerun)
    if rerun.l2 == 0:
        return f"Second run: ABSTAIN, no radius at confidence {confidence}."
    return (
        f"Second run of {rerun.fresh_samples} copies for this finding: reports at least {rerun.overlap} of these cells "
        f"for any one change, independent of its noise, of l2 norm up to L_rerun = {readable(rerun.l2)}; confidence "
        f"{confidence}."
    )


def guarantee(certificate: Certificate, label: LabelCertificate) -> str:
    """The claim on the map in one sentence, with level, unit, beta and confidence; or that there is none.

    A map whose label may flip is not called certified.
    """
    spec = certificate.spec
    if certificate.l_max == 0:
        return (
            f"ABSTAIN: no radius at beta {certificate.beta} and confidence {_confidence(certificate.eta)} (population "
            "level). Nothing is claimed about this map."
        )
    units = radius_units(certificate.l_max, certificate.n_pixels)
    length = f"{readable(units.l2)} ({readable(units.rms_grey_levels)} of 255 grey levels RMS)"
    both = label_and_map(label, certificate).l2 > 0
    called = "CERTIFIED" if both else f"NOT CERTIFIED, since {_why_not(label)}; of the map alone"
    return (
        f"{called}, population level, confidence {_confidence(certificate.eta)}: any change of the network's input "
        f"with l2 norm below L_max = {length} leaves at least {certificate.overlap} of the {spec.top_k} outlined cells "
        f"in the expected top-{spec.top_k} (beta {certificate.beta})."
    )


def _why_not(label: LabelCertificate) -> str:
    return "the decision may flip" if label.l2 == 0 else "map and decision leave no confidence together"


def label_line(certificate: Certificate, label: LabelCertificate) -> str:
    """What is certified of the decision, and of decision and map together."""
    if label.l2 == 0:
        return f"Decision: ABSTAIN, no radius at confidence {_confidence(label.eta)}."
    kept = f"Decision kept by the smoothed network below L_label = {readable(label.l2)}, confidence"
    joint = label_and_map(label, certificate)
    together = f"; decision and map below {readable(joint.l2)}, confidence {_confidence(joint.eta)}" if joint.l2 else ""
    return f"{kept} {_confidence(label.eta)}{together}."


def _how(certificate: Certificate) -> str:
    spec = certificate.spec
    families = "; ".join(
        f"{_FAMILIES[radius.family]} {readable(radius.l2)}"
        for radius in certificate.radii
        if radius.level == "population"
    )
    looks = f" (of at most {spec.looks[-1]}; eta split over {len(spec.looks)} looks)" if spec.looks else ""
    precision = "" if spec.precision == "float32" else f", network in {spec.precision}"
    return (
        f"{families}; {_interpreter(spec)}{precision}, sigma {spec.sigma:g}, {spec.n_samples} copies{looks}, "
        f"{certificate.n_cells} cells of {spec.cell_size} px, seed {spec.seed}"
    )


def _interpreter(spec: SmoothingSpec) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in spec.interpreter_settings.items())
    return f"{spec.interpreter} (its own settings: {settings})" if settings else spec.interpreter


def _confidence(*etas: float) -> str:
    # In decimals: rounding would turn 1 - 1e-9 into 100 %.
    left = max(Decimal(), 1 - sum((Decimal(repr(eta)) for eta in etas), start=Decimal()))
    return f"{(100 * left).normalize():f} %"
