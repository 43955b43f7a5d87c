"""The DICOM objects of a result: valid, of the source image, read back equal, the same bytes each time."""

from __future__ import annotations

import datetime
import itertools
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from scipy.ndimage import distance_transform_edt

import monai_robustinterp as ri
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.cli.main import main
from monai_robustinterp.io.read.decoder import read_mask
from monai_robustinterp.io.write import contour_state
from monai_robustinterp.io.write.codes import _OWN, SCHEME
from monai_robustinterp.io.write.options import OUTPUTS, OutputOptions
from monai_robustinterp.io.write.outputs import save_outputs
from monai_robustinterp.run.pipeline import picture_of, prepare
from monai_robustinterp.types import VoteMap
from monai_robustinterp.visualize.color_map import to_uint8
from monai_robustinterp.visualize.outlined import LEAST_WIDTH
from tests.support.cases import collected
from tests.support.dciodvfy import dciodvfy_errors
from tests.support.dicom_factory import make_dx
from tests.support.objects import OBJECTS, picture_of_file, record_with_lungs, small_bundle
from tests.support.shared import require_tool, shared_data

FILES = {
    "pm": "votes.dcm",
    "seg": "segmentation.dcm",
    "sr": "report.dcm",
    "pseudocolor": "pseudocolor.dcm",
    "gsps": "contours.dcm",
}


def written(folder: Path, picture: Picture, record: dict[str, Any], outputs: tuple[str, ...] = OBJECTS) -> Path:
    folder.mkdir(exist_ok=True)
    save_outputs(picture, record, OutputOptions(outputs=outputs, capture="source"), at=folder.joinpath)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dx(tmp_path_factory.mktemp("film") / "film.dcm", rows=101, cols=77)


@pytest.fixture(scope="module")
def picture(film: Path) -> Picture:
    return picture_of_file(film)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return record_with_lungs()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, picture: Picture, record: dict[str, Any]) -> dict[str, Dataset]:
    folder = written(tmp_path_factory.mktemp("objects"), picture, record)
    return {name: pydicom.dcmread(folder / file) for name, file in FILES.items()}


def test_objects_of_odd_sources_are_valid_and_keep_their_secrets(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    every_options: list[dict[str, Any]] = [
        {"cr": True, "mono1": True, "elements": {"PixelSpacing": None, "BodyPartExamined": "LUNG"}},
        {"signed": True, "spacing_mm": (0.2, 0.3), "elements": {"PatientName": "山田^太郎=やまだ^たろう"}},
        {
            "elements": {
                **{"PatientID": "secret" * 20, "PatientName": "secret" * 20, "PatientSex": "secret"},
                **{"StudyDate": "1999.12.31", "ContentDate": "secret", "PatientOrientation": ["secret", "secret"]},
                **{"AccessionNumber": "secret\\more", "InstanceNumber": None, "StudyID": "secret" * 20},
            }
        },
    ]
    with collected() as case:
        for options in every_options:
            with case(options):
                folder = tmp_path_factory.mktemp("case")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    caplog.clear()
                    of_it = picture_of_file(make_dx(folder / "film.dcm", rows=101, cols=77, **options))
                    written(folder, of_it, record)
                for name, file in FILES.items():
                    assert dciodvfy_errors(folder / file) == [], name
                    assert b"secret" not in (folder / file).read_bytes(), name
                assert "secret" not in caplog.text


@pytest.mark.parametrize("name", ["NIH_google_DX", "CR-MONO1-10-chest"])
def test_objects_of_a_real_film_are_valid(name: str, tmp_path: Path, record: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written(tmp_path, picture_of_file(shared_data(f"dicom/{name}.dcm")), record)
    assert [error for file in FILES.values() for error in dciodvfy_errors(tmp_path / file)] == []


def test_objects_are_of_the_source_image_its_patient_and_its_study(film: Path, objects: dict[str, Dataset]) -> None:
    source = pydicom.dcmread(film)
    assert len({made.SOPInstanceUID for made in objects.values()}) == len(FILES)
    assert len({made.SeriesInstanceUID for made in objects.values()}) == len(FILES)
    for name, made in objects.items():
        assert (made.PatientName, made.StudyInstanceUID) == (source.PatientName, source.StudyInstanceUID)
        assert made.SOPInstanceUID.startswith("2.25.") and made.SeriesInstanceUID != source.SeriesInstanceUID
        of = objects["pm"] if name == "pseudocolor" else source
        referred = {element.value for element in made.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
        assert referred == {of.SOPInstanceUID}, name


def test_equal_results_give_equal_bytes_and_their_date_is_that_of_the_source(
    tmp_path: Path, picture: Picture, record: dict[str, Any], objects: dict[str, Dataset]
) -> None:
    folder, today = written(tmp_path, picture, record), datetime.date.today().strftime("%Y%m%d").encode()
    for name, file in FILES.items():
        first, second = Path(str(objects[name].filename)).read_bytes(), (folder / file).read_bytes()
        assert first == second, name
        assert today not in first, name
    assert objects["sr"].ContentDate == "20260102" and objects["gsps"].PresentationCreationTime == "030405"
    other = written(tmp_path / "other", picture, record | {"status": "abstain"}, ("gsps",))
    assert pydicom.dcmread(other / "contours.dcm").SOPInstanceUID != objects["gsps"].SOPInstanceUID


def test_segmentation_and_map_are_read_back_as_they_were(objects: dict[str, Dataset], picture: Picture) -> None:
    path = Path(str(objects["seg"].filename))
    assert picture.lungs is not None
    for number, mask in enumerate((picture.top_k_mask, picture.lungs), start=1):
        # As a region that --region mask:FILE#NUMBER names.
        np.testing.assert_array_equal(read_mask(path, picture.meta, segment=number).pixels, mask)
    segments = hd.seg.segread(path)
    assert [segments.get_segment_description(number).segmented_property_type.value for number in (1, 2)] == [
        "TOP_K",
        "39607008",
    ]
    stored = np.frombuffer(objects["pm"].FloatPixelData, "<f4").reshape(picture.share.shape)
    np.testing.assert_array_equal(stored, picture.share)
    measures = objects["pm"].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == [0.2, 0.203]
    assert objects["pm"].ImageComments.startswith(
        "Research, not for diagnosis. Coarse: one value for each cell of 4 x 4"
    )


def numbers(report: Dataset) -> Iterator[tuple[str, float, str, list[Any]]]:
    """Concept, value, unit and what stands below it, of every number of a report."""

    def below(item: Dataset) -> Iterator[Dataset]:
        for inner in item.get("ContentSequence", []):
            yield inner
            yield from below(inner)

    for item in below(report):
        if item.ValueType == "NUM" and item.RelationshipType == "CONTAINS":
            measured = item.MeasuredValueSequence[0]
            inner = [
                one.MeasuredValueSequence[0].NumericValue
                if one.ValueType == "NUM"
                else one.ConceptCodeSequence[0].CodeValue
                for one in item.get("ContentSequence", [])
            ]
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            yield item.ConceptNameCodeSequence[0].CodeValue, float(measured.NumericValue), unit, inner


def test_the_report_states_the_records_numbers_and_never_more(
    objects: dict[str, Dataset], record: dict[str, Any]
) -> None:
    found = list(numbers(objects["sr"]))
    claim, lungs = record["claim"], record["regions"][0]
    expected = [
        ("SCORE", record["finding"]["score"], "1"),
        ("CUT_OFF", 0.5, "1"),
        ("RADIUS_LABEL", record["label"]["l2"], "{network input}"),
        ("RADIUS_MAP", claim["l_max"]["l2"], "{network input}"),
        ("RADIUS_MAP", claim["l_max"]["rms_gray_levels"], "{gray level}"),
        ("RADIUS_NATIVE", record["native"]["l2"], "{stored value}"),
        ("LUNGS_OBSERVED", lungs["observed"], "1"),
        ("CHANGES_COVERED", sum(entry["covered"] for entry in record["ledger"]), "{changes}"),
    ]
    for concept, value, unit in expected:
        assert value > 0
        close = [n for c, n, u, _ in found if (c, u) == (concept, unit) and n == pytest.approx(value, rel=1e-8)]
        assert close and max(close) <= value, concept
    (agreed,) = (inner for concept, _, _, inner in found if concept == "RADIUS_LABEL")
    assert sorted(agreed, key=str) == [0.99, "L2", "POPULATION"], "norm, level, and 1 - eta in decimals"
    # A radius without its norm, or a bound without level and confidence, may be read as another number.
    norms = {"L2", "L2_STORED", "L_INF", "RMS_GRAY", "RENYI", "NEYMAN_PEARSON", "PAIRS"}
    assert not [(one, inner) for one, _, _, inner in found if one.startswith("RADIUS") and not norms & set(inner)]
    bounds = {concept: inner for concept, _, _, inner in found if concept in ("LUNGS_AT_LEAST", "LUNGS_AT_MOST")}
    assert len(bounds) == 2 and lungs["l2"] > 0
    assert all(sorted(inner, key=str) == [0.99, "POPULATION", "WITHIN_MAP"] for inner in bounds.values())
    # An estimate says that it claims nothing.
    assert sum("PLUG_IN" in inner for concept, _, _, inner in found if concept == "RADIUS_MAP") >= 2


def test_the_report_is_read_by_highdicom_and_names_finding_model_and_record(
    objects: dict[str, Dataset], record: dict[str, Any]
) -> None:
    report = hd.sr.ComprehensiveSR.from_dataset(objects["sr"])
    groups = report.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["finding", "map", "lungs", "ledger"]
    assert {group.finding_type.meaning for group in groups} == {"effusion"}
    (decision,) = (one for one in groups[0].get_qualitative_evaluations() if one.name.value == "DECISION")
    present = "52101004" if record["finding"]["decision"] else "272519000"
    assert decision.value.value == present
    text = Path(str(objects["sr"].filename)).read_bytes().decode(errors="replace")
    assert record["provenance"]["network_sha256"] in text and record["claim"]["sentence"] in text
    assert objects["sr"].PreliminaryFlag == "PRELIMINARY" and objects["sr"].VerificationFlag == "UNVERIFIED"


def test_an_abstaining_report_has_no_radius_of_the_map(tmp_path: Path, picture: Picture) -> None:
    from tests.support.records import make_masks, make_record, make_run

    votes, spec = make_run(make_masks(sharpness=0.0), agreeing=48)
    record = make_record(votes, spec)
    assert record["status"] == "abstain" and not record.get("regions")
    folder = written(tmp_path, picture, record, ("sr", "gsps"))
    report = pydicom.dcmread(folder / "report.dcm")
    assert dciodvfy_errors(folder / "report.dcm") == []
    claimed = [name for name, _, _, inner in numbers(report) if name.startswith("RADIUS") and "POPULATION" in inner]
    assert claimed == []
    # Nor a share of the cells that is certified to stay.
    assert not {name for name, *_ in numbers(report)} & {"BETA", "OVERLAP"}
    assert b"Stability: abstain" in (folder / "contours.dcm").read_bytes()


def test_printed_norms_are_rounded_up_and_a_beta_may_be_a_fraction(tmp_path: Path, picture: Picture) -> None:
    made = record_with_lungs(beta="1/3")
    made["ledger"][0] |= {"norm": 0.00001}
    report = pydicom.dcmread(written(tmp_path, picture, made, ("sr",)) / "report.dcm")
    assert [value for name, value, _, _ in numbers(report) if name == "BETA"] == [pytest.approx(1 / 3, rel=1e-8)]
    assert b"(0.0001 standard deviations of the noise)" in (tmp_path / "report.dcm").read_bytes()


def test_own_codes_fit_their_attributes() -> None:
    assert SCHEME.startswith("99") and len(SCHEME) <= 16
    assert not [name for name, meaning in _OWN.items() if len(name) > 16 or len(meaning) > 64]
    assert len(set(_OWN.values())) == len(_OWN)


def test_contours_enclose_exactly_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture, record: dict[str, Any]
) -> None:
    """Also of a contour that is cut, since one element cannot hold it."""
    monkeypatch.setattr(contour_state, "_MOST_POINTS", 7)
    state = pydicom.dcmread(written(tmp_path, picture, record, ("gsps",)) / "contours.dcm")
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == ["TOP_K", "LUNGS"]
    for annotation, mask in zip(state.GraphicAnnotationSequence, (picture.top_k_mask, picture.lungs)):
        crossings = np.zeros(picture.share.shape, dtype=int)
        for line in annotation.GraphicObjectSequence:
            assert (line.GraphicAnnotationUnits, line.GraphicType) == ("PIXEL", "POLYLINE")
            assert line.NumberOfGraphicPoints <= 7
            points = np.reshape(line.GraphicData, (-1, 2))
            for (x0, y0), (x1, y1) in itertools.pairwise(points):
                if x0 == x1:
                    crossings[int(min(y0, y1)) : int(max(y0, y1)), int(x0) :] += 1
        np.testing.assert_array_equal(crossings % 2 == 1, mask)


def test_dcmtk_shows_the_film_through_the_state_as_the_network_sees_it(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = np.rint(4095 * (np.arange(4096) / 4095) ** 2).astype("<u2").tobytes()
    every_options: list[dict[str, Any]] = [
        {},
        {"mono1": True},
        {"mono1": True, "cr": True},
        {"signed": True},
        {"elements": {"WindowCenter": [700, 2000], "WindowWidth": [1, 1500]}},
        {"elements": {"WindowCenter": None, "WindowWidth": None}},
        {"elements": {"VOILUTSequence": [table]}},
    ]
    with collected() as case:
        for options in every_options:
            with case(options):
                folder = tmp_path_factory.mktemp("case")
                path = make_dx(folder / "film.dcm", rows=101, cols=77, **options)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    of_it = picture_of_file(path)
                    values, meta = ri.ChestXRayReader().get_data(path)
                written(folder, of_it, record, ("gsps",))
                low, high = meta["display_min"], meta["display_max"]
                seen = np.clip((values[0] - low) / (high - low), 0, 1)
                command = [require_tool("dcmp2pgm"), "-p", str(folder / "contours.dcm"), str(path)]
                subprocess.run([*command, str(folder / "shown.pgm")], check=True, capture_output=True)
                with Image.open(folder / "shown.pgm") as shown:
                    difference = np.abs(np.asarray(shown) / 255 - seen)
                assert difference.max() <= 1 / 255, "but for rounding to 8 bits"


def test_all_outputs_lie_on_the_same_pixels(tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]) -> None:
    """Each cell has votes of its own number, so that every pixel tells where it comes from."""
    bundle = small_bundle(lungs="off")
    counts = np.random.default_rng(0).permutation(256).reshape(16, 16)
    every_options: list[dict[str, Any]] = [
        {"rows": 256, "cols": 161},
        {"rows": 130, "cols": 257, "spacing_mm": (0.2, 0.3)},
        {"rows": 243, "cols": 170, "spacing_mm": (0.31, 0.2)},
    ]
    with collected() as case:
        for options in every_options:
            with case(options):
                folder = tmp_path_factory.mktemp("case")
                rows, columns = options["rows"], options["cols"]
                path = make_dx(folder / "film.dcm", **options)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ready = prepare(path, bundle)
                votes = VoteMap(
                    counts=counts,
                    n_samples=255,
                    top_k=128,
                    input_shape=(128, 128),
                    image_sha256="0" * 64,
                    logits=np.zeros(2, np.float32),
                    decision=True,
                    found_copies=255,
                )
                on_film = picture_of(ready, bundle, votes, cell_size=8)
                written(folder, on_film, record, ("sc", "pm", "seg", "nii"))
                stored = np.frombuffer(pydicom.dcmread(folder / "votes.dcm").FloatPixelData, "<f4")
                number = np.rint(255 * stored.reshape(rows, columns)).astype(int)
                height, width = options.get("spacing_mm", (1, 1))
                side = min(rows * height, columns * width)
                extent = np.array([side / height, side / width])
                where = np.indices((rows, columns)) + 0.5 - (np.array([rows, columns]) // 2 - extent / 2)[:, None, None]
                cell = where / extent[:, None, None] * 16
                # Within a pixel of the edges of cells either side is right.
                slack = 1.01 / extent[:, None, None] * 16
                near = np.zeros((rows, columns), bool)
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        at = np.floor(cell + slack * np.array([dy, dx])[:, None, None]).astype(int)
                        inside = ((at >= 0) & (at < 16)).all(axis=0)
                        there = np.where(inside, counts[tuple(np.clip(at, 0, 15))], 0)
                        near |= number == there
                assert near.all()
                np.testing.assert_array_equal(stored.reshape(rows, columns), on_film.share)
                capture = pydicom.dcmread(folder / "overlay.dcm").pixel_array[:rows, :columns]
                drawn = (capture != to_uint8(on_film.gray)[..., None]).any(axis=-1)
                # The border of the film closes a region.
                closed = np.pad(on_film.top_k_mask, 1)
                to_edge = np.maximum(distance_transform_edt(closed), distance_transform_edt(~closed))[1:-1, 1:-1]
                assert drawn[to_edge <= 1].mean() > 0.5 and to_edge[drawn].max() <= LEAST_WIDTH + 2
                mask = read_mask(folder / "segmentation.dcm", ready.image.meta, segment=1).pixels
                np.testing.assert_array_equal(mask, number >= 128)
                for name, values in (("votes", on_film.share), ("top_k", on_film.top_k_mask)):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        back, meta = ri.ChestXRayReader().get_data(folder / f"{name}.nii.gz")
                    np.testing.assert_array_equal(back[0], values)
                    assert meta["spacing_mm"] == pytest.approx(ready.image.meta["spacing_mm"])


def certify(folder: Path, bundle: ri.SaliencyBundle, *inputs: Path, outputs: tuple[str, ...]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = OutputOptions(outputs=outputs)
        return ri.certify_cohort(inputs, folder, bundle=bundle, show_progress=False, options=options)


def test_a_kept_result_gets_the_outputs_that_it_lacks(tmp_path: Path, film: Path) -> None:
    bundle = small_bundle()
    certify(tmp_path / "out", bundle, film, outputs=("sr",))
    (folder,) = (tmp_path / "out").glob("cxr-*")
    assert {path.name for path in folder.iterdir()} == {"report.dcm", "overlay.png", "certificate.json", "votes.npz"}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert certify(tmp_path / "out", bundle, film, outputs=OUTPUTS).kept == 1
    assert certify(tmp_path / "whole", bundle, film, outputs=OUTPUTS).kept == 0
    (whole,) = (tmp_path / "whole").glob("cxr-*")
    completed = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert (
        completed == {path.name: path.read_bytes() for path in whole.iterdir()} and before.items() <= completed.items()
    )
    (folder / "pseudocolor.dcm").unlink()
    assert certify(tmp_path / "out", bundle, film, outputs=OUTPUTS).kept == 1 and (folder / "pseudocolor.dcm").exists()
    # An object of another result is not taken for this one's.
    report = pydicom.dcmread(folder / "report.dcm")
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    report.save_as(folder / "report.dcm")
    (refused,) = certify(tmp_path / "out", bundle, film, outputs=("sr",)).results
    assert "report.dcm is of another result" in refused.reason
    assert certify(tmp_path / "out", bundle, film, outputs=("sc",)).kept == 1


def test_what_cannot_be_referred_to_is_refused_before_the_noise(tmp_path: Path, film: Path) -> None:
    bundle = small_bundle()
    with Image.fromarray(np.asarray(np.random.default_rng(0).integers(0, 255, (96, 80)), np.uint8)) as image:
        image.save(tmp_path / "film.png")
    summary = certify(tmp_path / "out", bundle, tmp_path / "film.png", film, outputs=("sc", "seg", "nii"))
    assert [result.status == "refused" for result in summary.results] == [True, False]
    assert "convert it to DICOM first, or choose among the outputs sc and nii" in summary.results[0].reason
    (folder,) = (tmp_path / "out").glob("cxr-*")
    assert {"votes.nii.gz", "top_k.nii.gz", "segmentation.dcm"} < {path.name for path in folder.iterdir()}
    assert certify(tmp_path / "png", bundle, tmp_path / "film.png", outputs=("sc", "nii")).refused == 0


def test_the_command_says_which_outputs_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for outputs, reason in (
        ("sc,xml", "one or more of sc, pm, seg, sr, pseudocolor, gsps, nii"),
        ("", "the outputs are none"),
        ("pseudocolor", "choose the output pm too"),
    ):
        assert main(["certify", "film.dcm", "--output", str(tmp_path), "--outputs", outputs]) == 1
        assert reason in capsys.readouterr().err
