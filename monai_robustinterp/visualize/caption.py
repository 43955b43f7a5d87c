"""What an overlay says in words: finding, guarantee with its level, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from monai_robustinterp.certificates.certificate import Certificate, Family, Status
from monai_robustinterp.certificates.ledger import applied, reached
from monai_robustinterp.certificates.rerun import RerunRadius
from monai_robustinterp.certificates.serialize import certificate_from_json
from monai_robustinterp.certificates.units import radius_units, readable, round_down
from monai_robustinterp.types import SmoothingSpec

_CALLED = {
    Status.CERTIFIED: "CERTIFIED",
    Status.MAP_ONLY: "NOT CERTIFIED, since the decision may flip; of the map alone",
    Status.NO_CONFIDENCE: "NOT CERTIFIED, since map and decision leave no confidence together; of the map alone",
}
_FAMILIES: dict[Family, str] = {
    "renyi": "Renyi",
    "neyman-pearson": "Neyman-Pearson",
    "discordant-pairs": "discordant pairs",
}

DISCLAIMER = (
    "NOT FOR DIAGNOSIS. The certificate is about the votes of the smoothed interpretation, not about an ordinary "
    "saliency map, and says nothing about faithfulness."
)


def caption_lines(record: Mapping[str, Any]) -> list[str]:
    """Lines for the strip below the image.

    Args:
        record: content of certificate.json.
    """
    certificate, finding = certificate_from_json(dict(record)), record["finding"]
    return [
        f"{finding['name']}: score {finding['score']:.2f} (not calibrated); decision kept in "
        f"{round_down(100 * finding['label_agreement'], 1)} % of noisy copies",
        *lungs_lines(record),
        guarantee(certificate),
        *certificate.notes,  # first a doubtful input: what follows may mean nothing
        ceiling_line(certificate),
        label_line(certificate),
        *further_lines(record),
        _how(certificate),
        DISCLAIMER,
    ]


def lungs_lines(record: Mapping[str, Any]) -> list[str]:
    """What goes first of the lungs: an alarm, or why nothing is said of them.

    Args:
        record: content of certificate.json.
    """
    failure = record.get("lungs", {}).get("failure")
    radii = [entry["alarm_radius"]["in_noise"] for entry in record.get("regions", ()) if entry.get("alarm")]
    alarms = [
        f"ALARM: whatever change within {radius:g} standard deviations of the noise, most of the votes are "
        "expected outside the lungs."
        for radius in radii
    ]
    return alarms + ([f"No claim on the lungs: {failure}"] if failure else [])


def ceiling_line(certificate: Certificate) -> str:
    """How the radius and the overlap compare with a map that ignores the image, and with chance."""
    k, chance = certificate.spec.top_k, certificate.overlap_by_chance
    share = (
        f"L_max is {round_down(100 * certificate.ceiling_share, 1)} % of the ceiling {readable(certificate.ceiling)}"
        if certificate.l_max > 0
        else f"The ceiling is {readable(certificate.ceiling)}"
    )
    return (
        f"{share}, which a map that ignores the image reaches. Two random sets of {k} cells share {chance:.1f} on "
        "average."
    )


def further_lines(record: Mapping[str, Any]) -> list[str]:
    """What the record claims besides map and decision: a second run, stored values, changes of the image, regions.

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
    if "ledger" in record:
        lines.append(ledger_line(record["ledger"]))
    return lines + [f"Region: {entry['name']}: {entry['sentence']}" for entry in record.get("regions", ())]


def ledger_line(ledger: Sequence[Mapping[str, Any]]) -> str:
    """How many changes of the source image the map's radius covers, and which."""
    tested, covered = len(applied(ledger)), sum(entry["covered"] for entry in ledger)
    which = f": {'; '.join(reached(ledger))}" if covered else ""
    return f"Of {tested} tested changes of this image L_max covers {covered}{which}."


def rerun_line(rerun: RerunRadius) -> str:
    """What is certified of the cells that a second run reports."""
    confidence = _confidence(rerun.eta, rerun.eta_rerun)
    if rerun.l2 == 0:
        return f"Second run: ABSTAIN, no radius at confidence {confidence}."
    return (
        f"Second run (rerun level) of {rerun.fresh_samples} copies for this finding: reports at least {rerun.overlap} "
        f"of these cells for any one change, independent of its noise, of l2 norm below L_rerun = "
        f"{readable(rerun.l2)}; confidence {confidence}."
    )


def guarantee(certificate: Certificate) -> str:
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
    length = f"{readable(units.l2)} ({readable(units.rms_gray_levels)} of 255 gray levels RMS of the network's input)"
    called = _CALLED[certificate.status]
    return (
        f"{called}, population level, confidence {_confidence(certificate.eta)}: any change of the network's input "
        f"with l2 norm below L_max = {length}{_in_noise(certificate)} leaves at least "
        f"{certificate.overlap} of the {spec.top_k} outlined cells "
        f"in the expected top-{spec.top_k} (beta {certificate.beta})."
    )


def label_line(certificate: Certificate) -> str:
    """What is certified of the decision, and of decision and map together."""
    label, joint = certificate.label, certificate.label_and_map
    if label.l2 == 0:
        return f"Decision: ABSTAIN, no radius at confidence {_confidence(label.eta)}."
    kept = f"Decision kept by the smoothed network (population level) below L_label = {readable(label.l2)}, confidence"
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
        f"{families}; {_interpreter(spec)}{precision}, {_noise(spec)}, {spec.n_samples} copies{looks}, "
        f"{certificate.n_cells} cells of {spec.cell_size} px, seed {spec.seed}"
    )


def _in_noise(certificate: Certificate) -> str:
    """The radius in standard deviations of noise that is not white, where it covers more than the l2 ball."""
    spec = certificate.spec
    if not spec.brightness and not spec.tilt:
        return ""
    return f", or shorter than {readable(certificate.l_max / spec.sigma)} standard deviations of the noise,"


def _noise(spec: SmoothingSpec) -> str:
    beside = [f"{name} {value:g}" for name, value in (("brightness", spec.brightness), ("tilt", spec.tilt)) if value]
    denoised = f", each copy denoised by {spec.denoiser['name']}" if spec.denoiser else ""
    return f"noise sigma {spec.sigma:g}" + "".join(f", {one}" for one in beside) + denoised


def _interpreter(spec: SmoothingSpec) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in spec.interpreter_settings.items())
    return f"{spec.interpreter} (its own settings: {settings})" if settings else spec.interpreter


def _confidence(*etas: float) -> str:
    # In decimals: rounding would turn 1 - 1e-9 into 100 %.
    left = max(Decimal(), 1 - sum((Decimal(repr(eta)) for eta in etas), start=Decimal()))
    return f"{(100 * left).normalize():f} %"
