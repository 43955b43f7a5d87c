"""Comprehensive SR of a result after TID 1500 (PS3.16): finding, score, radii with their levels, lungs, ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import partial
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from monai_robustinterp._version import __version__
from monai_robustinterp.certificates.ledger import applied, change_label
from monai_robustinterp.certificates.overlap import exact_beta
from monai_robustinterp.certificates.units import round_up_to
from monai_robustinterp.io.derived.translation import MANUFACTURER
from monai_robustinterp.io.write.codes import (
    CELLS,
    CHANGES,
    FINDINGS,
    GRAY_LEVELS,
    INPUT_UNITS,
    SCHEME,
    SCHEME_NAME,
    STORED_UNITS,
    finding_concept,
    own,
)
from monai_robustinterp.io.write.dicom_object import RESEARCH, Reported

NAME = "report.dcm"
KIND = "structured report"

_LEVELS = {"plug-in": own("PLUG_IN"), "population": own("POPULATION"), "rerun": own("RERUN")}
_FAMILIES = {"renyi": own("RENYI"), "neyman-pearson": own("NEYMAN_PEARSON"), "discordant-pairs": own("PAIRS")}
_DOWN, _UP = (Context(prec=9, rounding=rounding) for rounding in (ROUND_FLOOR, ROUND_CEILING))


def structured_report(source: Reported) -> Dataset:
    """The claims of a record as coded measurements, each in its unit, and the record's own sentences."""
    return _report(source, _groups(source), "Certified saliency report")


def findings_report(of_all: Reported, each: Sequence[Reported]) -> Dataset:
    """One report of all findings of an image: what was found and holds for all of it together, then each finding.

    Args:
        of_all: with the record of the findings (:class:`~monai_robustinterp.certificates.findings.CertifiedFindings`).
        each: results, one a finding.
    """
    groups = [_all_findings(of_all), *(group for source in each for group in _groups(source))]
    return _report(of_all, groups, "Certified findings report")


def _groups(source: Reported) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    return [_finding(source), _map(source), *_lungs(source), *_ledger(source)]


def _report(source: Reported, groups: Sequence[sr.MeasurementsAndQualitativeEvaluations], what: str) -> Dataset:
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(source)),
        procedure_reported=Code("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=list(groups),
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=None,
    )
    made = sr.ComprehensiveSR(
        evidence=[source.image],
        content=report[0],
        is_complete=True,
        **source.identifiers(KIND, 3),
    )
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, SCHEME_NAME
    made.CodingSchemeIdentificationSequence = [scheme]
    source.describe(made, what, body_part=False)
    return made


def _observer(source: Reported) -> sr.ObserverContext:
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=source.uid("observer"),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=MANUFACTURER,
        ),
    )


def _all_findings(source: Reported) -> sr.MeasurementsAndQualitativeEvaluations:
    """What the classifier finds and what not, and what holds for all of it together."""
    record = source.record
    numbers = [
        _number("FINDINGS", sum(entry["found"] for entry in record["findings"]), FINDINGS),
    ]
    claims = [record["sentence"]]
    if record["all_claims"]:
        numbers += [
            _number("CONFIDENCE", _confidence(record["eta"])),
            _number("CONFIDENCE_ALL", _confidence(record["all_claims"]["eta"])),
        ]
        claims.append(record["all_claims"]["sentence"])
    absent = [f"{entry['name']} ({entry['score']:.2f})" for entry in record["findings"] if not entry["found"]]
    texts = [("CLAIM", claim) for claim in claims]
    texts += [("NOTE", f"Not found, and nothing is certified of it: {name}") for name in absent]
    texts += [("RECORD_SHA256", source.record_sha256)]
    return _group(source, "all findings", numbers, texts)


def _finding(source: Reported) -> sr.MeasurementsAndQualitativeEvaluations:
    """What the classifier says, and how far the smoothed one keeps it."""
    record = source.record
    finding, label, both = record["finding"], record["label"], record["label_and_map"]
    decision = codes.SCT.Present if finding["decision"] else codes.SCT.Absent
    numbers = [
        _number("SCORE", finding["score"]),
        *([] if finding["cut_off"] is None else [_number("CUT_OFF", finding["cut_off"])]),
        _number("AGREEMENT", finding["label_agreement"]),
        *_radius("RADIUS_LABEL", label["l2"], etas=(label["eta"],)),
        *_radius("RADIUS_BOTH", both["l2"], etas=(both["eta"],)),
    ]
    texts = [("CLAIM", label["sentence"]), ("CLAIM", both["sentence"])]
    if finding["misses"]:
        texts.append(("NOTE", finding["misses"]))
    return _group(source, "finding", numbers, texts, evaluations={own("DECISION"): decision})


def _map(source: Reported) -> sr.MeasurementsAndQualitativeEvaluations:
    """What is certified of the map, level by level."""
    record, claim, rerun = source.record, source.record["claim"], source.record["rerun"]
    eta, native = (claim["eta"],), record.get("native", {}).get("l2") or 0
    stay = [_number("BETA", float(exact_beta(claim["beta"]))), _number("OVERLAP", claim["overlap"], CELLS)]
    numbers = [
        *(stay if claim["l_max"]["l2"] > 0 else []),
        _number("OVERLAP_CHANCE", claim["overlap_by_chance"], CELLS),
        _number("CONFIDENCE_ALL", _confidence(record["all_claims"]["eta"])),
        *_radius("RADIUS_MAP", claim["l_max"]["l2"], method=own("L2"), etas=eta),
        *_radius("RADIUS_MAP", claim["l_max"]["rms_gray_levels"], method=own("RMS_GRAY"), unit=GRAY_LEVELS, etas=eta),
        *_radius("RADIUS_MAP", claim["l_max"]["l_inf"], method=own("L_INF"), etas=eta),
        *_radius("RADIUS_NATIVE", native, method=own("L2_STORED"), unit=STORED_UNITS, etas=eta),
        *_radius("RADIUS_RERUN", rerun["l2"], level="rerun", etas=(rerun["eta"], rerun["eta_rerun"])),
        *_radius("RADIUS_CEILING", claim["ceiling"]["l2"], level=None),
    ]
    for radius in record["radii"]:
        level, etas = radius["level"], eta if radius["level"] == "population" else ()
        numbers += _radius("RADIUS_MAP", radius["l2"], level=level, method=_FAMILIES[radius["family"]], etas=etas)
    sentences = (claim["sentence"], rerun["sentence"], record["all_claims"]["sentence"])
    texts = [("CLAIM", sentence) for sentence in sentences]
    texts += [("NOTE", note) for note in record["notes"]]
    texts += [("RECORD_SHA256", source.record_sha256), ("NOTE", f"{RESEARCH}: {claim['assumptions']}")]
    status = own(record["status"].upper().replace(" ", "_"))
    return _group(source, "map", numbers, texts, evaluations={own("STATUS"): status})


def _lungs(source: Reported) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    """The share of the votes in the lungs, or why nothing is said of them."""
    entry = next((entry for entry in source.record.get("regions", ()) if "alarm" in entry), None)
    failure = source.record.get("lungs", {}).get("failure")
    if entry is not None:
        eta, place = (entry["eta"],), "WITHIN_MAP" if entry["l2"] > 0 else "AT_IMAGE"
        bound = partial(_number, level=_LEVELS["population"], method=own(place))
        numbers = [
            _number("LUNGS_OBSERVED", entry["observed"]),
            _claimed(bound("LUNGS_AT_LEAST", entry["at_least"]), eta),
            _claimed(bound("LUNGS_AT_MOST", entry["at_most"], rounded=_UP), eta),
            *_radius("RADIUS_LUNGS", entry["radius_above_half"]["l2"], etas=eta),
        ]
        alarm = codes.SCT.Present if entry["alarm"] else codes.SCT.Absent
        yield _group(source, "lungs", numbers, [("CLAIM", entry["sentence"])], evaluations={own("ALARM"): alarm})
    elif failure:
        yield _group(source, "lungs", [], [("NOTE", f"No claim on the lungs: {failure}")])


def _ledger(source: Reported) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    """Which tested changes of the image the radius of the map covers."""
    ledger = source.record.get("ledger", [])
    if ledger:
        numbers = [
            _number("CHANGES_TESTED", len(applied(ledger)), CHANGES),
            _number("CHANGES_COVERED", sum(entry["covered"] for entry in ledger), CHANGES),
        ]
        yield _group(source, "ledger", numbers, [("CHANGE", _change(entry)) for entry in ledger])


def _change(entry: Mapping[str, Any]) -> str:
    name = change_label(entry["change"], entry["value"])
    if entry["norm"] is None:
        return f"{name}: does not apply: {entry['reason']}"
    covered = "covered" if entry["covered"] else "not covered"
    return f"{name}: {covered} ({round_up_to(entry['norm'], 4)} standard deviations of the noise)"


def _group(
    source: Reported,
    name: str,
    numbers: list[sr.Measurement],
    texts: list[tuple[str, str]],
    *,
    evaluations: Mapping[Code, Code] | None = None,
) -> sr.MeasurementsAndQualitativeEvaluations:
    """A group of TID 1501 on the finding, with sentences after its numbers."""
    finding = source.record.get("finding", {}).get("name")
    # Of several findings a group by itself would not say whose it is.
    identifier = f"{finding}: {name}" if "split" in source.record else name
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=source.uid(f"tracking of {name}"), identifier=identifier),
        finding_type=finding_concept(finding) if finding is not None else None,
        # Once, in the group of the finding: the settings are those of all of them.
        algorithm_id=_algorithm(source.record, in_full=name == "finding"),
        measurements=numbers,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(question, answer) for question, answer in (evaluations or {}).items()
        ],
        source_images=[sr.SourceImageForMeasurementGroup(source.image.SOPClassUID, source.image.SOPInstanceUID)],
    )
    for concept, text in texts:
        group[0].ContentSequence.append(
            sr.TextContentItem(name=own(concept), value=text, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _algorithm(record: Mapping[str, Any], *, in_full: bool) -> sr.AlgorithmIdentification:
    """This package; in full with the settings that fix the certified function, the network's hash among them."""
    return sr.AlgorithmIdentification(
        name=MANUFACTURER,
        version=__version__,
        parameters=_parameters(record) if in_full else None,
        family=codes.DCM.ArtificialIntelligence,
    )


def _parameters(record: Mapping[str, Any]) -> list[str]:
    spec = record["spec"]
    settings = ("interpreter", "sigma", "n_samples", "top_k", "cell_size", "target", "seed", "noise", "precision")
    network = record["provenance"].get("network_sha256")
    return [
        f"{own('MODEL_SHA256').meaning} = {network or 'none: the network has no weights here'}",
        *(f"{name} = {spec[name]}" for name in settings),
        *(f"denoiser {key} = {value}" for key, value in spec["denoiser"].items()),
    ]


def _radius(
    name: str,
    value: float | str,
    *,
    etas: tuple[float, ...] = (),
    level: str | None = "population",
    method: Code | None = None,
    unit: Code = INPUT_UNITS,
) -> list[sr.Measurement]:
    """A radius with its norm, level and confidence; none where it is 0 or not bounded, of which the sentences tell."""
    number = float(value)
    if not 0 < number < math.inf:
        return []
    made = _number(name, number, unit, level=_LEVELS[level] if level else None, method=method or own("L2"))
    return [_claimed(made, etas) if etas else made]


def _claimed(made: sr.Measurement, etas: tuple[float, ...]) -> sr.Measurement:
    """A number with the confidence that it holds with."""
    confidence = sr.NumContentItem(
        name=own("CONFIDENCE"),
        value=_confidence(*etas),
        unit=codes.UCUM.NoUnits,
        relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
    )
    made[0].ContentSequence = [*made[0].get("ContentSequence", []), confidence]
    return made


def _confidence(*etas: float) -> float:
    """1 - eta in decimals, never rounded up."""
    return float(_DOWN.plus(1 - sum((Decimal(repr(eta)) for eta in etas), start=Decimal())))


def _number(
    name: str,
    value: float,
    unit: Code = codes.UCUM.NoUnits,
    *,
    level: Code | None = None,
    method: Code | None = None,
    rounded: Context = _DOWN,
) -> sr.Measurement:
    """A number in 9 digits, which a bound from below is never larger in, and one from above never smaller."""
    number = float(rounded.plus(Decimal(repr(float(value)))))
    return sr.Measurement(name=own(name), value=number, unit=unit, derivation=level, method=method)
