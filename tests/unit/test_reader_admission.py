"""Which DICOM images count as frontal chest radiographs, and that no free text of a header is repeated."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader, source_record
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")


def code(value: str, scheme: str = "SCT") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "Doe Jane"
    return [item]


NO_REGION = {"AnatomicRegionSequence": None, "ViewCodeSequence": None}
HAND, LATERAL = code("T-D8700", "SRT"), code("399173006")
ADMITTED: list[dict[str, Any]] = [
    *({"BodyPartExamined": part} for part in ("TORAX", "THORAX", "PORT CHEST", "Chest PA", "Tórax AP", "RIBS", "LUNG")),
    *({"BodyPartExamined": part} for part in ("CHESTABDOMEN", "MEDIASTINUM", "CXR_PA", "")),
    *({"AnatomicRegionSequence": code(value)} for value in ("51185008", "816094009", "39607008")),
    {"AnatomicRegionSequence": code("T-D3000", "SRT")},
    {"BodyPartExamined": "BRUSTKASTEN", "AnatomicRegionSequence": code("51185008")},
    *({"ViewPosition": view} for view in ("AP", "PA", "PA ERECT", "", "SUPINE")),
    {"ViewPosition": "PA", "ViewCodeSequence": LATERAL},
    {"ViewPosition": "AP", "PatientOrientation": ["A", "F"]},
    {"ConversionType": "WSD"},
    {"SOPClassUID": uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "Modality": "OT"},
]
CONCERNS: list[tuple[dict[str, Any], str]] = [
    ({"ViewPosition": "LL"}, r"ViewPosition is LL \(lateral\)"),
    ({"ViewPosition": "RLO"}, r"ViewPosition is RLO \(oblique\)"),
    ({"ViewPosition": "LLD"}, r"ViewPosition is LLD \(decubitus\)"),
    ({"ViewPosition": "LATERAL"}, "ViewPosition is lateral"),
    ({"ViewPosition": "", "ViewCodeSequence": LATERAL}, "ViewCodeSequence is lateral"),
    (
        {"ViewPosition": None, "ViewCodeSequence": None, "PatientOrientation": ["P", "F"]},
        "PatientOrientation is lateral",
    ),
    ({"AnatomicRegionSequence": HAND}, "AnatomicRegionSequence has no code of the chest"),
    ({"BodyPartExamined": None, "AnatomicRegionSequence": HAND}, "AnatomicRegionSequence has no code of the chest"),
    ({"BodyPartExamined": "HAND"}, "BodyPartExamined is HAND"),
    ({"BodyPartExamined": "THORACIC SPINE"} | NO_REGION, "BodyPartExamined is not a term"),
    ({"BodyPartExamined": "DOE JANE"} | NO_REGION, "BodyPartExamined is not a term"),
    ({"Modality": "DOE JANE"}, "Modality is not a term"),
    ({"Modality": "MG"}, "Modality is MG"),
    *(({"ConversionType": kind}, f"ConversionType is {kind}") for kind in ("DRW", "DV", "SD", "SI")),
]
ODDITIES: list[tuple[dict[str, Any], str]] = [
    ({"ConversionType": "DF"}, "digitized film"),
    ({"PatientOrientation": ["R", "F"]}, "rows run to R and columns to F: the image is mirrored"),
    ({"PatientOrientation": ["R", "H"]}, "rows run to R and columns to H: the image is mirrored or turned by a half"),
    ({"PatientOrientation": ["F", "L"]}, "rows run to F and columns to L: the image is turned by a quarter"),
    ({"PatientOrientation": ["LF", "FR"]}, ""),
]


def said(path: Path, *, strict: bool = False) -> tuple[str, dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, meta = ChestXRayReader(strict=strict).get_data(str(path))
    return meta["warnings"], meta


def test_frontal_chests_are_admitted_in_silence(tmp_path: Path) -> None:
    with collected() as case:
        for elements in ADMITTED:
            with case(elements):
                assert said(make_dx(tmp_path / "image.dcm", elements=elements), strict=True)[0] == ""


def test_others_are_warned_of_and_refused_when_strict(tmp_path: Path) -> None:
    with collected() as case:
        for elements, found in CONCERNS:
            with case(elements):
                path = make_dx(tmp_path / "image.dcm", elements=elements)
                with pytest.raises(InputRefused, match=found):
                    said(path, strict=True)
                with pytest.warns(UserWarning, match=found):
                    ChestXRayReader().get_data(str(path))


def test_what_is_odd_is_warned_of_and_read(tmp_path: Path) -> None:
    with collected() as case:
        for elements, found in ODDITIES:
            with case(elements):
                text, _ = said(make_dx(tmp_path / "image.dcm", elements=elements), strict=True)
                assert found in text and bool(text) == bool(found)


def test_the_body_part_is_a_term_of_the_standard_or_none(tmp_path: Path) -> None:
    parts = {"HAND": "HAND", "hand": "HAND", "PORT CHEST": "CHEST", "DOE JANE": "", "THORACIC SPINE": "", "": ""}
    with collected() as case:
        for stated, term in parts.items():
            with case(stated):
                elements = {"BodyPartExamined": stated} | NO_REGION
                text, meta = said(make_dx(tmp_path / "image.dcm", elements=elements))
                assert meta["body_part"] == term
                assert "JANE" not in text + str(source_record(meta, (1, 1)))
