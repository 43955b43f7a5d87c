"""What a derived image takes from its source: all that is valid, nothing that is not, and no word of it in messages."""

from __future__ import annotations

import copy
import io
import itertools
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSNearLossless

from monai_robustinterp.io.derived.derivation import (
    ALLOWED_VALUES,
    COMPANIONS,
    COPIED,
    FORBIDDEN,
    SET,
    TRANSLATED,
    copy_attributes,
    derive,
)
from monai_robustinterp.io.derived.safe_values import valid_element
from tests.support.cases import collected

NAME = "Mustermann^Erika"
TEXTS = {"series_description": "Saliency", "derivation_description": "Votes", "software_version": "0.1"}


def raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Put bytes into a dataset as they would come from a file, unchecked."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


def source_with(**values: Any) -> Dataset:
    """A small CR header; bytes are put in unchecked, None removes."""
    source = Dataset()
    source.SOPClassUID, source.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    source.PatientName, source.PatientID, source.PatientSex = NAME, "ID-7", "F"
    source.StudyDate, source.AccessionNumber, source.PatientOrientation = "20200102", "A-9", ["L", "F"]
    for keyword, value in values.items():
        if isinstance(value, bytes):
            raw(source, keyword, value)
        elif value is None:
            delattr(source, keyword)
        else:
            setattr(source, keyword, value)
    return source


def derived_from(source: Dataset, **texts: str) -> Dataset:
    derived = Dataset()
    derive(source, derived, **(TEXTS | texts))
    return derived


def test_groups_of_the_table_are_disjoint_and_name_real_attributes() -> None:
    groups = [{keyword for module in COPIED for keyword in module.keywords}, set(TRANSLATED), set(SET), set(FORBIDDEN)]
    for one, other in combinations(groups, 2):
        assert not one & other
    assert sum(len(module.keywords) for module in COPIED) == len(groups[0]), "a keyword is listed twice"
    companions = {companion for listed in COMPANIONS.values() for companion in listed}
    named = set().union(*groups, ALLOWED_VALUES, COMPANIONS, companions)
    assert named <= set(keyword_dict)


def test_nothing_outside_the_table_is_in_a_derived_image() -> None:
    source = source_with()
    for keyword in (*FORBIDDEN, "KVP", "ProtocolName", "OperatorsName", "ImageComments", "SpatialResolution"):
        numbers = {"US", "SS", "US or SS"}
        value = {"SQ": [], "OW": b"", "US or OW": b"", "DS": 1, "DA": "20200101", "TM": "120000"} | dict.fromkeys(
            numbers, 1
        )
        setattr(source, keyword, value.get(dictionary_VR(keyword), "TEXT"))
    source.private_block(0x0011, "SECRET", create=True).add_new(1, "LO", NAME)
    derived = derived_from(source)
    allowed = {keyword for module in COPIED for keyword in module.keywords} | {*TRANSLATED, *SET}
    assert {element.keyword for element in derived} <= allowed
    assert {element.keyword for element in derived}.isdisjoint(FORBIDDEN)


def test_forbidden_attributes_that_are_there_already_are_removed() -> None:
    derived = Dataset()
    derived.WindowCenter, derived.RescaleSlope, derived.ContentDate = 100, 2, "20200101"
    derive(source_with(), derived, **TEXTS)
    assert not {"WindowCenter", "RescaleSlope", "ContentDate"} & {element.keyword for element in derived}


def test_source_is_not_changed() -> None:
    source = source_with(PixelSpacing=b"0\\0 ", StudyTime=b"25:00 ")
    before = copy.deepcopy(source).to_json()
    derived_from(source)
    with pydicom.config.disable_value_validation():
        assert source.to_json() == before


def test_valid_values_are_copied_and_missing_ones_of_type_2_are_blank() -> None:
    derived = derived_from(source_with(PatientWeight="62.5", RequestingService="Ward 3"))
    assert (derived.PatientName, derived.PatientID, derived.AccessionNumber) == (NAME, "ID-7", "A-9")
    assert (derived.PatientWeight, derived.RequestingService) == (62.5, "Ward 3")
    for keyword in ("PatientBirthDate", "StudyTime", "StudyID", "ReferringPhysicianName"):
        assert keyword in derived
        assert not derived[keyword].value
    assert "PatientAge" not in derived


def test_invalid_values_are_left_out_or_blank_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    cases = [
        ("PatientID", b"secret" * 20),
        ("PatientID", b"secret\\two"),
        ("PatientID", b"secret\x07 "),
        ("PatientName", b"secret" * 20),
        ("PatientName", b"\xff\xfesecret"),
        ("PatientSex", b"secret"),
        ("PatientBirthDate", b"1999.12.31"),
        ("PatientBirthDate", b"19990231"),
        ("StudyTime", b"25:00 "),
        ("StudyTime", b"2500"),
        ("AccessionNumber", b"secretsecretsecret"),
        ("PatientAge", b"81"),
        ("PatientWeight", b"secret"),
        ("PatientWeight", b"nan "),
        ("PregnancyStatus", b"\x09\x00"),
        ("PregnancyStatus", b"\x01"),
        ("TimezoneOffsetFromUTC", b"CEST"),
        ("ViewPosition", b"secret view"),
        ("StudyDescription", b"secret\x1b "),
        ("RecognizableVisualFeatures", b"secret"),
        ("ImageLaterality", b"X "),
    ]
    with collected() as case:
        for keyword, value in cases:
            with case(keyword, value):
                source = source_with(SpecificCharacterSet="ISO_IR 192", **{keyword: value})
                caplog.set_level(logging.DEBUG)
                caplog.clear()
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    derived = derived_from(source)
                assert not derived.get(keyword)
                blank = {name for module in COPIED for name in module.type_2.split()}
                assert (keyword in derived) == (keyword in blank)
                assert not caught
                assert not caplog.records


def test_sequence_with_an_invalid_value_is_left_out_whole() -> None:
    good, bad = Dataset(), Dataset()
    good.CodeValue, good.CodingSchemeDesignator, good.CodeMeaning = "1", "99X", "chest"
    good.MappingResource = ""
    good.private_block(0x0011, "SECRET", create=True).add_new(1, "LO", NAME)
    bad.update(good)
    raw(bad, "CodeMeaning", b"x" * 80)
    copied = derived_from(source_with(ProcedureCodeSequence=[good])).ProcedureCodeSequence[0]
    assert {element.keyword for element in copied} == {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
    assert "ProcedureCodeSequence" not in derived_from(source_with(ProcedureCodeSequence=[good, bad]))


def test_long_decimal_numbers_are_rounded() -> None:
    spacing = derived_from(source_with(PixelSpacing=b"0.13999999999999999\\0.14")).PixelSpacing
    assert [float(value) for value in spacing] == pytest.approx([0.14, 0.14])
    assert all(len(str(value)) <= 16 for value in spacing)


def test_settings_of_the_process_are_restored_whatever_the_threads_do() -> None:
    before = (pydicom.config.settings.reading_validation_mode, pydicom.config.settings.writing_validation_mode)
    filters, logger = list(warnings.filters), logging.getLogger("pydicom")
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda index: derived_from(source_with(PatientID=f"ID-{index}")), range(40)))
    assert [result.PatientID for result in results] == [f"ID-{index}" for index in range(40)]
    after = (pydicom.config.settings.reading_validation_mode, pydicom.config.settings.writing_validation_mode)
    assert (after, list(warnings.filters), logger.disabled) == (before, filters, False)


def test_unknown_keyword_is_absent() -> None:
    assert valid_element(source_with(), "NoSuchKeyword") is None


def test_module_without_its_required_attributes_is_left_out() -> None:
    trial = {"ClinicalTrialSponsorName": "S", "ClinicalTrialProtocolID": "P"}
    assert "ClinicalTrialSponsorName" not in derived_from(source_with(**trial))
    complete = derived_from(source_with(**trial, ClinicalTrialSubjectID="1"))
    assert complete.ClinicalTrialSponsorName == "S"
    assert "ClinicalTrialSiteID" in complete


def test_removed_identity_needs_a_method() -> None:
    assert not derived_from(source_with(PatientIdentityRemoved="YES")).PatientIdentityRemoved
    said = derived_from(source_with(PatientIdentityRemoved="YES", DeidentificationMethod="by hand"))
    assert said.PatientIdentityRemoved == "YES"


def test_only_patient_and_study_on_request() -> None:
    derived = Dataset()
    copy_attributes(source_with(ViewPosition="PA"), derived, entities=("patient", "study"))
    assert derived.PatientName == NAME
    assert "ViewPosition" not in derived


def test_spacing() -> None:
    cases = [
        ({"PixelSpacing": [0.1, 0.2]}, [0.1, 0.2], None, None),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, [0.1, 0.2], [0.1, 0.2], None),
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [0.11, 0.22]}, [0.1, 0.2], [0.11, 0.22], None),
        (
            {"PixelSpacing": [0.1, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"},
            [0.1, 0.2],
            None,
            "FIDUCIAL",
        ),
        ({"PixelSpacing": [0.1, 0.2], "PixelSpacingCalibrationType": "GUESS"}, [0.1, 0.2], None, None),
        ({"ImagerPixelSpacing": [0.1, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, [0.1, 0.2], [0.1, 0.2], None),
        ({"NominalScannedPixelSpacing": [0.1, 0.2]}, [0.1, 0.2], [0.1, 0.2], None),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.2]}, [0.1, 0.2], [0.1, 0.2], None),
        ({"PixelSpacing": [0, 0]}, None, None, None),
        ({"PixelSpacing": [-0.1, 0.1]}, None, None, None),
        ({"PixelSpacing": b"0.1 "}, None, None, None),
        ({"PixelSpacing": b"inf\\0.1 "}, None, None, None),
        ({}, None, None, None),
    ]
    with collected() as case:
        for values, pixel, nominal, kind in cases:
            with case(values):
                derived = derived_from(source_with(**values))
                assert derived.get("PixelSpacing") == pixel
                assert derived.get("NominalScannedPixelSpacing") == nominal
                assert derived.get("PixelSpacingCalibrationType") == kind
                assert bool(derived.get("PixelSpacingCalibrationDescription")) == (kind is not None)


def test_aspect_ratio_stands_in_for_unknown_spacing() -> None:
    assert derived_from(source_with(PixelAspectRatio=[2, 1])).PixelAspectRatio == [2, 1]
    assert "PixelAspectRatio" not in derived_from(source_with(PixelAspectRatio=[1, 1]))
    assert "PixelAspectRatio" not in derived_from(source_with(PixelAspectRatio=[2, 1], PixelSpacing=[0.2, 0.1]))


def test_body_part_and_side() -> None:
    cases = [
        ({}, "CHEST", None, None),
        ({"BodyPartExamined": b"chest x-ray "}, "CHEST", None, None),
        ({"ImageLaterality": "U"}, "CHEST", None, "U"),
        ({"Laterality": "L"}, "CHEST", None, None),
        ({"BodyPartExamined": "LUNG", "Laterality": "L"}, "LUNG", "L", None),
        ({"BodyPartExamined": "RIB", "ImageLaterality": "R", "Laterality": "R"}, "RIB", None, "R"),
        ({"BodyPartExamined": "THORAX"}, "THORAX", "", None),
        ({"BodyPartExamined": "LUNG", "Laterality": b"LEFT"}, "LUNG", "", None),
    ]
    with collected() as case:
        for values, body_part, laterality, image_laterality in cases:
            with case(values):
                derived = derived_from(source_with(**values))
                assert derived.BodyPartExamined == body_part
                assert ("Laterality" in derived) == (laterality is not None)
                assert (derived.get("Laterality") or "") == (laterality or "")
                assert derived.get("ImageLaterality") == image_laterality


def test_orientation_is_kept_if_its_directions_are_at_right_angles() -> None:
    cases = [
        (["L", "F"], True),
        (["A", "F"], True),
        (["LA", "FP"], True),
        (["L", "R"], False),
        (["L", "L"], False),
        (["LR", "F"], False),
        (b"L\\F\\H ", False),
        (b"L ", False),
        (b"left\\down ", False),
        (b"", False),
    ]
    with collected() as case:
        for orientation, kept in cases:
            with case(orientation, kept):
                derived = derived_from(source_with(PatientOrientation=orientation))
                assert "PatientOrientation" in derived
                assert (derived.PatientOrientation or None) == (orientation if kept else None)


def test_orientation_of_a_quadruped() -> None:
    values = {"AnatomicalOrientationType": "QUADRUPED", "PatientOrientation": ["CD", "V"]}
    derived = derived_from(source_with(**values))
    assert derived.PatientOrientation == ["CD", "V"]
    assert derived.AnatomicalOrientationType == "QUADRUPED"


def test_lossy_stays_lossy() -> None:
    cases = [
        ({}, ExplicitVRLittleEndian, None, None),
        ({"LossyImageCompression": "00"}, ExplicitVRLittleEndian, "00", None),
        ({"LossyImageCompression": "01"}, ExplicitVRLittleEndian, "01", None),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": 10}, ExplicitVRLittleEndian, "01", None),
        (
            {"LossyImageCompression": "01", "LossyImageCompressionMethod": "ISO_14495_1"},
            JPEGBaseline8Bit,
            "01",
            "ISO_14495_1",
        ),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": 10}, JPEG2000, "01", "ISO_15444_1"),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": [10, 5]}, JPEG2000, "01", None),
        ({"LossyImageCompression": "00"}, JPEGBaseline8Bit, "01", "ISO_10918_1"),
        ({"LossyImageCompression": "00"}, JPEG2000, "00", None),
        ({}, JPEG2000, "01", "ISO_15444_1"),
        ({}, JPEG2000Lossless, None, None),
        ({}, JPEGLSNearLossless, "01", "ISO_14495_1"),
    ]
    with collected() as case:
        for values, syntax, lossy, method in cases:
            with case(values, syntax):
                source = source_with(**values)
                source.file_meta = FileMetaDataset()
                source.file_meta.TransferSyntaxUID = UID(syntax)
                derived = derived_from(source)
                assert derived.get("LossyImageCompression") == lossy
                assert derived.get("LossyImageCompressionMethod") == method
                assert derived.get("LossyImageCompressionRatio") == values.get("LossyImageCompressionRatio")


def test_equipment_of_the_source_and_of_this_package() -> None:
    earlier = Dataset()
    earlier.Manufacturer, earlier.PurposeOfReferenceCodeSequence = "Anonymizer Inc.", [code("109104", "De-identifying")]
    source = source_with(Manufacturer="Röntgen AG", StationName="RX1", ContributingEquipmentSequence=[earlier])
    source.SpecificCharacterSet = "ISO_IR 100"
    derived = derived_from(source)
    items = derived.ContributingEquipmentSequence
    assert [item.Manufacturer for item in items] == ["Anonymizer Inc.", "Röntgen AG", "monai_robustinterp"]
    assert [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in items] == ["109104", "109101", "109102"]
    assert (items[1].StationName, items[2].SoftwareVersions) == ("RX1", "0.1")
    assert (derived.Manufacturer, derived.SoftwareVersions) == ("monai_robustinterp", "0.1")


def code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def test_equipment_without_a_manufacturer_is_not_listed() -> None:
    derived = derived_from(source_with(StationName="RX1"))
    assert [item.Manufacturer for item in derived.ContributingEquipmentSequence] == ["monai_robustinterp"]


def test_source_image_is_referred_to_if_it_is_one() -> None:
    item = derived_from(source_with()).SourceImageSequence[0]
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == ("1.2.840.10008.5.1.4.1.1.1", "1.2.3")
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert "SourceImageSequence" not in derived_from(source_with(SOPClassUID=None))
    assert "SourceImageSequence" not in derived_from(source_with(SOPInstanceUID=b"1.2.secret"))


def test_every_text_is_read_back_as_it_was_in_the_source() -> None:
    cases = [
        (None, b"Smith^Ann ", "votes", None),
        (None, "Müller^Jörg".encode("latin-1"), "votes", "ISO_IR 100"),
        (None, "山田^太郎".encode(), "votes", "ISO_IR 192"),
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "votes", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "η < 0.001", "ISO_IR 192"),
        ("ISO_IR 192", "山田^太郎=やまだ^たろう".encode(), "votes", "ISO_IR 192"),
        (
            ["", "ISO 2022 IR 87"],
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            "votes",
            ["", "ISO 2022 IR 87"],
        ),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Ünsal", "ISO_IR 192"),
        (b"NO SUCH SET ", b"Smith^Ann ", "votes", None),
        ("ISO_IR 6", b"M\xfcller^J", "votes", "ISO_IR 100"),
    ]
    with collected() as case:
        for declared, name, description, expected in cases:
            with case(declared, name, description):
                source = source_with(PatientName=None)
                if declared is not None:
                    setattr_or_raw(source, "SpecificCharacterSet", declared)
                raw(source, "PatientName", name)
                source = reread(source)
                derived = derived_from(source, derivation_description=description)
                assert derived.get("SpecificCharacterSet") == expected
                back = reread(derived)
                assert back.DerivationDescription == description
                expected_name = (
                    name.decode() if declared is None and expected == "ISO_IR 192" else str(source.PatientName)
                )
                assert str(back.PatientName) == expected_name
                assert "\ufffd" not in expected_name


def setattr_or_raw(dataset: Dataset, keyword: str, value: Any) -> None:
    (raw if isinstance(value, bytes) else setattr)(dataset, keyword, value)


def reread(dataset: Dataset) -> Dataset:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
        buffer.seek(0)
        back = pydicom.dcmread(buffer, force=True)
        back.decode()
    return back


def test_own_texts_that_are_no_dicom_text_are_refused_and_not_repeated() -> None:
    with collected() as case:
        for keyword, spoil in itertools.product(
            ["series_description", "derivation_description", "software_version"],
            [lambda text: text * 1100, lambda text: text + "\x00", lambda text: ""],
        ):
            with case(keyword, spoil("x")[:2]):
                with pytest.raises(ValueError, match="must be a valid") as caught:
                    derived_from(source_with(), **{keyword: spoil("secret")})
                assert "secret" not in str(caught.value)
                assert NAME not in str(caught.value)
