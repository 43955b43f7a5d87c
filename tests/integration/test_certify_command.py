"""The command as a user runs it: real bundle, real images, bad input beside good."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.audit import verify
from monai_robustinterp.bundle import load_bundle, shipped_bundle
from monai_robustinterp.certificates import certificate_to_json, certify_votes
from monai_robustinterp.cli.certify import table
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import file_sha256
from monai_robustinterp.geometry.changes import NAMED, PixelChange
from monai_robustinterp.io import load_votes
from monai_robustinterp.run.against import OtherImage
from monai_robustinterp.run.cohort import CohortSummary, ImageResult, certify_cohort
from monai_robustinterp.run.replay import replay
from monai_robustinterp.visualize.caption import further_lines
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.cases import collected
from tests.support.dciodvfy import dciodvfy_errors
from tests.support.dicom_factory import make_dx
from tests.support.records import SCHEMA
from tests.support.shared import shared_data
from tests.support.vote_factory import make_spec, make_votes, vote_map

SAMPLES = Path(__file__).parents[2] / "sample_data"
FILES = {"overlay.dcm", "overlay.png", "certificate.json", "votes.npz"}


def certify(*arguments: object, output: Path, samples: int = 32) -> int:
    return main([*CERTIFY, *map(str, arguments), "--output", str(output), "--samples", str(samples), "--quiet"])


def results(output: Path) -> list[dict]:
    return json.loads((output / "summary.json").read_text())["results"]


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "out"
    # With the defaults, as `make demo` runs it.
    assert main([*CERTIFY, str(SAMPLES), "--output", str(output), "--quiet"]) == 0
    return output


def test_every_sample_image_is_certified(sample_run) -> None:
    """The defaults were chosen for this: a population radius at beta 0.5 and confidence 0.999, and stable labels."""
    entries = results(sample_run)
    assert len(entries) == 8
    for entry in entries:
        assert entry["status"] == "certified"
        assert 0 < entry["renyi"] < entry["neyman_pearson"] < entry["plug_in_neyman_pearson"]
        assert entry["label_agreement"] >= 0.9
    certificate = json.loads((sample_run / entries[0]["folder"] / "certificate.json").read_text())
    claim = certificate["claim"]
    assert (claim["beta"], claim["confidence"]) == ("0.5", 0.999)
    assert claim["n_cells"] >= 64 and claim["top_k"] <= 0.2 * claim["n_cells"]


def test_the_label_is_certified_with_the_map_and_an_image_without_both_is_not_called_certified(
    sample_run, tmp_path
) -> None:
    for entry in results(sample_run):
        record = json.loads((sample_run / entry["folder"] / "certificate.json").read_text())
        assert record["label"]["l2"] == entry["label_radius"] > 0
        assert record["label_and_map"]["l2"] == min(entry["label_radius"], entry["neyman_pearson"])
    # Two claims at confidence 0.5 each leave none for both together.
    sample = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
    assert certify(sample, "--confidence", "0.5", output=tmp_path / "out", samples=96) == 0
    (entry,) = results(tmp_path / "out")
    assert entry["neyman_pearson"] > 0 and entry["label_radius"] > 0
    assert entry["status"] == "no confidence" and entry["reason"].startswith("not certified: decision and map leave")


def test_each_folder_is_complete_and_consistent(sample_run) -> None:
    for entry in results(sample_run):
        folder = sample_run / entry["folder"]
        assert {path.name for path in folder.iterdir()} == FILES
        record = json.loads((folder / "certificate.json").read_text())
        jsonschema.validate(record, SCHEMA)
        votes, spec, provenance = load_votes(folder / "votes.npz")
        again = certificate_to_json(
            certify_votes(votes, spec, beta=record["claim"]["beta"], eta=record["claim"]["eta"])
        )
        assert {key: record[key] for key in again} == again
        assert provenance == record["provenance"] and votes.image_sha256 == record["votes"]["image_sha256"]
        with Image.open(folder / "overlay.png") as png:
            assert np.array_equal(np.asarray(png), pydicom.dcmread(folder / "overlay.dcm").pixel_array)


def test_every_capture_is_valid_dicom(sample_run) -> None:
    for entry in results(sample_run):
        assert dciodvfy_errors(sample_run / entry["folder"] / "overlay.dcm") == []


def test_the_index_maps_folders_to_sources_and_nothing_else_names_them(sample_run) -> None:
    index = json.loads((sample_run / "index.json").read_text())["folders"]
    assert {Path(source).name for source in index.values()} == {
        path.name for path in SAMPLES.iterdir() if path.suffix not in (".md", ".py")
    }
    assert set(index) == {entry["folder"] for entry in results(sample_run)}
    # Each folder to its own source.
    assert all(folder == f"cxr-{file_sha256(source)[:16]}" for folder, source in index.items())
    last_run = json.loads((sample_run / "index.json").read_text())["last_run"]
    assert {index[entry["folder"]] == last_run[str(entry["number"])] for entry in results(sample_run)} == {True}
    for path in sample_run.rglob("*.json"):
        if path.name != "index.json":
            assert not any(Path(source).stem in path.read_text() for source in index.values())


def test_a_second_run_gives_the_same_bytes(tmp_path) -> None:
    source = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
    for name in ("first", "second"):
        assert certify(source, output=tmp_path / name) == 0
    folder = results(tmp_path / "first")[0]["folder"]
    for name in FILES:
        first, second = ((tmp_path / run / folder / name).read_bytes() for run in ("first", "second"))
        assert first == second, name


def test_another_batch_size_gives_the_same_votes_and_is_recorded(tmp_path) -> None:
    source = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
    records = {}
    for size in (32, 13):
        assert certify(source, "--batch-size", str(size), output=tmp_path / str(size)) == 0
        folder = results(tmp_path / str(size))[0]["folder"]
        records[size] = json.loads((tmp_path / str(size) / folder / "certificate.json").read_text())
    assert {size: record["spec"].pop("batch_size") for size, record in records.items()} == {32: 32, 13: 13}
    differing = {key for key in records[32] if records[32][key] != records[13][key]}
    assert differing == {"content_sha256"}


def test_the_capture_lies_in_the_study_of_its_source(tmp_path) -> None:
    source_path = make_dx(tmp_path / "DOE_JANE.dcm", elements={"PatientName": "Doe^Jane", "PatientID": "SECRET77"})
    before = source_path.read_bytes()
    assert certify(source_path, output=tmp_path / "out") == 0
    source = pydicom.dcmread(source_path)
    folder = tmp_path / "out" / results(tmp_path / "out")[0]["folder"]
    capture = pydicom.dcmread(folder / "overlay.dcm")
    assert capture.StudyInstanceUID == source.StudyInstanceUID
    assert capture.SeriesInstanceUID != source.SeriesInstanceUID
    assert capture.PatientID == "SECRET77" and str(capture.PatientName) == "Doe^Jane"
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "population level" in capture.DerivationDescription and capture.BurnedInAnnotation == "YES"
    assert source_path.read_bytes() == before
    texts = [path.read_text() for path in folder.parent.rglob("*.json") if path.name != "index.json"]
    names = [path.name for path in folder.parent.rglob("*")]
    assert not any(secret in text for text in [*texts, *names] for secret in ("DOE", "Doe", "Jane", "SECRET77"))


def test_a_jpeg_joins_the_study_of_a_reference(tmp_path) -> None:
    reference = make_dx(tmp_path / "reference.dcm")
    film = SAMPLES / "kermany_person1949_bacteria_4880.jpeg"
    assert certify(film, "--reference", reference, output=tmp_path / "with") == 0
    assert certify(film, output=tmp_path / "without") == 0
    captures = [pydicom.dcmread(next((tmp_path / name).rglob("overlay.dcm"))) for name in ("with", "without")]
    header = pydicom.dcmread(reference)
    assert captures[0].StudyInstanceUID == header.StudyInstanceUID and captures[0].PatientID == header.PatientID
    assert captures[1].StudyInstanceUID != header.StudyInstanceUID
    assert "SourceImageSequence" not in captures[0] and "SourceImageSequence" not in captures[1]


def test_the_ledger_of_each_image_is_in_record_summary_table_and_capture(sample_run, capsys) -> None:
    labels = [(change.name, change.value) for change in NAMED]
    for entry in results(sample_run):
        folder = sample_run / entry["folder"]
        record = json.loads((folder / "certificate.json").read_text())
        ledger, radius = record["ledger"], record["claim"]["l_max"]["l2"] / record["spec"]["sigma"]
        assert [(one["change"], one["value"]) for one in ledger] == labels
        assert [one["covered"] for one in ledger] == [
            one["norm"] is not None and one["norm"] < radius for one in ledger
        ]
        assert entry["covered_changes"] == sum(one["covered"] for one in ledger)
        assert entry["tested_changes"] == sum(not one["reason"] for one in ledger) > 10
        line = f"Of {entry['tested_changes']} tested changes of this image L_max covers {entry['covered_changes']}"
        assert any(one.startswith(line) for one in further_lines(record))
    jpegs = [entry for entry in results(sample_run) if entry["tested_changes"] < len(NAMED)]
    assert jpegs, "a JPEG has no JPEG compression before it"


def test_against_another_image_says_whether_this_pair_is_covered(tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)
    with Image.open(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg") as image:
        film = np.asarray(image.convert("L"))
    noisy = np.clip(film + rng.normal(0, 0.3, film.shape).round(), 0, 255).astype(np.uint8)
    for name, pixels in {"film": film, "noisy": noisy, "other": film[::-1]}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "none.png").write_text("no image")
    words = {
        "noisy": "covered at the population level, confidence 0.999 per image: the inputs differ by ",
        "other": "not covered: the inputs differ by ",
        "none": "not compared, since it cannot be read: ",
    }
    with collected() as case:
        for name, beginning in words.items():
            with case(name):
                arguments = [str(tmp_path / "film.png"), "--output", str(tmp_path / "out"), "--samples", "128"]
                # The second and third time the result is there already.
                assert main([*CERTIFY, *arguments, "--against", str(tmp_path / f"{name}.png")]) == 0
                (entry,) = results(tmp_path / "out")
                assert entry["l_max"] > 0 and entry["against"].startswith(beginning)
                assert f"against the other image: {beginning}" in capsys.readouterr().out
                assert ("before its noise, not after a look" in entry["against"]) is (name == "noisy")


def test_sampling_goes_on_until_a_change_is_covered(tmp_path, capsys) -> None:
    """And where it cannot, the image or the command gets a sentence."""
    settings = ["--until-covers", "JPEG quality 95", "--samples", "64", "--max-samples", "256", "--quiet"]
    film, output = make_dx(tmp_path / "film.dcm"), tmp_path / "out"
    assert main([*CERTIFY, str(film), "--output", str(output), *settings]) == 0
    (folder,) = output.glob("cxr-*")
    record = json.loads((folder / "certificate.json").read_text())
    sampling, sigma = record["sampling"], record["spec"]["sigma"]
    (entry,) = [each for each in record["ledger"] if (each["change"], each["value"]) == ("JPEG quality", 95)]
    assert sampling["until_covers"] == "JPEG quality 95"
    assert sampling["until_radius"] == pytest.approx(entry["norm"] * sigma, rel=1e-9)
    assert entry["norm"] < sampling["until_radius"] / sigma
    assert entry["covered"] or not sampling["stopped_early"]
    assert main(["verify", str(folder / "certificate.json"), str(folder / "votes.npz")]) == 0
    # The same run again keeps it.
    assert main([*CERTIFY, str(film), "--output", str(output), *settings]) == 0
    jpeg = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    assert main([*CERTIFY, str(jpeg), "--output", str(tmp_path / "jpeg"), *settings]) == 1
    assert "does not apply to this image" in results(tmp_path / "jpeg")[0]["reason"]
    capsys.readouterr()
    assert main([*CERTIFY, str(film), "--output", str(tmp_path / "no"), "--until-covers", "a kiss"]) == 1
    assert "there is no change 'a kiss'" in capsys.readouterr().err


def test_a_pair_of_other_sizes_at_the_network_is_a_sentence() -> None:
    votes = make_votes()
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    other = OtherImage(values=np.zeros((1, 64, 128), np.float32))
    said = other.compared(certificate, torch.zeros(1, 128, 128))
    assert said.startswith("not compared: it makes an input of shape (64, 128)")
    same = OtherImage(values=np.zeros((1, 128, 128), np.float32)).compared(certificate, torch.zeros(1, 128, 128))
    assert same.startswith("covered at the population level")


def test_a_change_of_a_users_own_is_in_the_ledger_and_one_that_fails_ends_nothing(tmp_path) -> None:
    def failing(pixels: np.ndarray) -> np.ndarray:
        raise RuntimeError("Doe^John")

    changes = [PixelChange("half a gray level", 0.5, lambda pixels: pixels + np.float32(0.5 / 255)), *NAMED[:2]]
    changes.append(PixelChange("failing", None, failing))
    bundle = load_bundle(OPACITY, overrides={"n_samples": 32, "device": "cpu"})
    source = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
    summary = certify_cohort([source], tmp_path / "out", bundle=bundle, changes=changes, show_progress=False)
    (result,) = summary.results
    folder = tmp_path / "out" / result.folder
    ledger = json.loads((folder / "certificate.json").read_text())["ledger"]
    # Constant and without clipping: b sqrt(n) / sigma.
    assert ledger[0]["norm"] == pytest.approx(0.5 / 255 * 128 / 0.1, rel=0.01)
    assert "raised RuntimeError" in ledger[-1]["reason"] and "Doe" not in str(ledger)
    votes, spec, _ = load_votes(folder / "votes.npz")
    record = json.loads((folder / "certificate.json").read_text())
    assert verify(record, folder / "votes.npz").verified
    report = replay(record, votes, spec, source=source, bundle=bundle)
    assert report.confirmed
    assert any("2 changes of the ledger that are a user's own" in sentence for sentence in report.not_replayed)


def test_the_table_has_the_ceiling_and_what_different_images_share() -> None:
    numbers = {"score": 0.5, "n_samples": 64, "label_agreement": 1.0, "label_radius": 0.1, "renyi": 0.01}
    results = [
        ImageResult(number=i, status="certified", reason="", finding="x", ceiling=0.2, **radii, **numbers)
        for i, radii in enumerate(({"l_max": 0.1, "ceiling_share": 0.5}, {"l_max": 0.2, "ceiling_share": 1.0}), start=1)
    ]
    summary = CohortSummary(inputs=2, max_samples=64, results=results)
    lines = table(summary).splitlines()
    assert "0.1000  0.2000  50 %" in lines[2] and "0.2000  0.2000 100 %" in lines[3]
    assert "Different images" not in table(summary)
    for cells in ([5, 5, 0, 0], [5, 0, 5, 0]):
        summary.reported.add(vote_map(cells, n_samples=5, top_k=2))
    assert "share 1.0 of 2 reported cells on average; two random sets share 1.0" in table(summary)
    assert summary.reported.shared() == {"cells": 1.0, "by_chance": 1.0, "top_k": 2, "films": 2}


@pytest.mark.parametrize("syntax", ["jpeg2000", "jpegls", "rle"])
def test_compressed_captures_are_lossless(tmp_path, syntax) -> None:
    source = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    assert certify(source, "--transfer-syntax", syntax, output=tmp_path) == 0
    (path,) = tmp_path.rglob("overlay.dcm")
    capture = pydicom.dcmread(path)
    assert capture.file_meta.TransferSyntaxUID.is_compressed
    with Image.open(path.with_name("overlay.png")) as png:
        assert np.array_equal(np.asarray(png), capture.pixel_array)
    assert dciodvfy_errors(path) == []


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> (path, words of the reason)."""
    import nibabel

    good = make_dx(folder / "good_source.dcm")
    truncated = folder / "truncated.dcm"
    truncated.write_bytes(good.read_bytes()[:20_000])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    Image.fromarray(np.full((256, 256), 7, np.uint8)).save(folder / "constant.png")
    color = np.zeros((256, 256, 3), np.uint8)
    color[..., 0] = np.arange(256)
    Image.fromarray(color).save(folder / "color.png")
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(folder / "ten_pixels.png")
    Image.fromarray(np.zeros((1, 20_000), np.uint8)).save(folder / "wide.png")
    array = np.random.default_rng(0).random((128, 128, 1)).astype(np.float32)
    array[5, 5] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / "nan.nii.gz")
    dataset = pydicom.dcmread(good)
    del dataset.PixelData
    dataset.save_as(folder / "no_pixels.dcm")
    dataset = pydicom.dcmread(good)
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2
    dataset.save_as(folder / "frames.dcm")
    words = {
        "truncated.dcm": "cut short",
        "empty.dcm": "0 bytes",
        "text.png": "no known image format",
        "constant.png": "same value",
        "color.png": "color",
        "ten_pixels.png": "10 rows and 10 columns",
        "wide.png": "20000 columns",
        "nan.nii.gz": "NaN",
        "no_pixels.dcm": "no integer Pixel Data",
        "frames.dcm": "NumberOfFrames is 2",
        "missing.dcm": "could not be opened",
    }
    return {name: (folder / name, reason) for name, reason in words.items()}


def test_bad_inputs_are_refused_with_a_reason_and_the_others_finished(tmp_path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    bad = bad_inputs(inputs)
    good = [SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"]
    output = tmp_path / "out"
    assert certify(good[0], *(path for path, _ in bad.values()), good[1], output=output) == 1
    entries = results(output)
    assert [entry["status"] != "refused" for entry in entries] == [True] + [False] * len(bad) + [True]
    for entry, (path, reason) in zip(entries[1:-1], bad.values()):
        assert reason in entry["reason"], (path.name, entry["reason"])
        assert path.name not in entry["reason"]
    folders = [path for path in output.iterdir() if path.is_dir()]
    assert len(folders) == 2
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in output.iterdir() if path.is_file()} == {"summary.json", "index.json"}


@pytest.mark.parametrize("name", ["dicom/RG3_RLE_extremity.dcm", "dicom/highdicom_dog_thorax_DX.dcm"])
def test_another_body_part_is_warned_of_or_refused(tmp_path, name) -> None:
    path = shared_data(name)
    assert certify(path, output=tmp_path / "tolerant") == 0
    warning = results(tmp_path / "tolerant")[0]["warnings"]
    strict = certify(path, "--strict", output=tmp_path / "strict")
    if "extremity" in name:
        assert "EXTREMITY" in warning and strict == 1
        assert "EXTREMITY" in results(tmp_path / "strict")[0]["reason"]


def test_results_are_kept_unless_overwriting_is_asked_for(tmp_path) -> None:
    source = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    other = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"
    assert certify(source, output=tmp_path) == 0
    overlay = tmp_path / results(tmp_path)[0]["folder"] / "overlay.dcm"
    first = overlay.read_bytes()
    assert certify(source, other, "--seed", "1", output=tmp_path) == 1
    assert "--overwrite" in results(tmp_path)[0]["reason"] and overlay.read_bytes() == first
    assert certify(source, "--seed", "1", "--overwrite", output=tmp_path) == 0
    assert overlay.read_bytes() != first
    # The index still knows the image that only the second run had.
    index = json.loads((tmp_path / "index.json").read_text())["folders"]
    assert {Path(path).name for path in index.values()} == {source.name, other.name}


def test_a_failure_while_writing_leaves_no_partial_folder(tmp_path, monkeypatch) -> None:
    from monai_robustinterp.io.write import result

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result, "votes_bytes", fail)
    assert certify(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", output=tmp_path) == 1
    assert "No space left" in results(tmp_path)[0]["reason"]
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "index.json"}


def test_a_pipe_and_earlier_results_in_a_folder_are_passed_over(tmp_path) -> None:
    """A pipe would block the first read for ever."""
    shutil.copy(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    for _ in range(2):
        assert certify(tmp_path, "--overwrite", output=tmp_path / "results") == 0
        assert len(results(tmp_path / "results")) == 1
    assert certify(tmp_path / "pipe.dcm", output=tmp_path / "other") == 1
    assert "no regular file" in results(tmp_path / "other")[0]["reason"]


def test_a_damaged_index_costs_nothing(tmp_path, capsys) -> None:
    source = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    assert certify(source, output=tmp_path) == 0
    before = (tmp_path / "summary.json").read_bytes()
    (tmp_path / "index.json").write_text("garbage")
    assert certify(SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm", output=tmp_path) == 1
    assert "index.json" in capsys.readouterr().err
    assert (tmp_path / "summary.json").read_bytes() == before
    assert certify(source, output=tmp_path / "summary.json") == 1
    assert "must be a folder" in capsys.readouterr().err


def test_an_interrupted_run_says_that_it_is_not_complete(tmp_path, monkeypatch, capsys) -> None:
    vote = CertifiedSaliencyInferer.vote
    calls = []

    def interrupted(*arguments: object, **settings: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return vote(*arguments, **settings)

    monkeypatch.setattr(CertifiedSaliencyInferer, "vote", interrupted)
    images = [SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"]
    assert certify(*images, output=tmp_path) == 130
    assert "interrupted" in capsys.readouterr().err
    totals = json.loads((tmp_path / "summary.json").read_text())["totals"]
    assert (totals["inputs"], totals["complete"]) == (2, False)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_maps_without_information_are_reported_everywhere(tmp_path, capsys) -> None:
    """A class whose logit is constant has the gradient 0 everywhere: the votes are random cells."""
    copy = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(OPACITY), copy)
    state = torch.load(copy / "models" / "model.pt", weights_only=True)
    state["class_layers.out.weight"][0] = 0
    torch.save(state, copy / "models" / "model.pt")
    source = SAMPLES / "kermany_person1947_bacteria_4876.jpeg"
    options = ["--bundle", str(copy), "--target", "0", "--samples", "64"]
    main([*CERTIFY, str(source), "--output", str(tmp_path), *options])
    (entry,) = results(tmp_path)
    assert "constant map" in entry["notes"]
    assert entry["notes"] in capsys.readouterr().out
    record = json.loads((tmp_path / entry["folder"] / "certificate.json").read_text())
    assert record["notes"] and record["votes"]["constant_copies"] == 64
    assert entry["status"] == "abstain"


def test_a_result_of_a_faster_run_is_kept(tmp_path, monkeypatch) -> None:
    from monai_robustinterp.run import cohort

    save = cohort.save_result

    def slow(explanation: object, folder: Path, **settings: object) -> None:
        save(explanation, folder, **settings)
        other = tmp_path / folder.name[1:].rsplit(".", 1)[0]
        other.mkdir()
        (other / "certificate.json").write_text("theirs")

    monkeypatch.setattr(cohort, "save_result", slow)
    assert certify(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", output=tmp_path) == 1
    assert "--overwrite" in results(tmp_path)[0]["reason"]
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (folder / "certificate.json").read_text() == "theirs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bundle", "{tmp}"], "no configs/inference.json"),
        (["--target", "effusion"], "'pneumonia / lung opacity'"),
        (["--target", "$__import__('os').getcwd()"], "no name of a finding"),
        (["--reference", "{tmp}/nothing.dcm"], "--reference"),
    ],
)
def test_a_wrong_bundle_or_target_is_named(tmp_path, capsys, arguments, words) -> None:
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    assert certify(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", *arguments, output=tmp_path / "out") == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("target", ["7", "1", "normal", "predicted"])
def test_targets_by_index_name_and_prediction(tmp_path, target) -> None:
    source = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    code = certify(source, "--target", target, output=tmp_path)
    entry = results(tmp_path)[0]
    if target == "7":
        assert code == 1 and "2 logits" in entry["reason"]
    else:
        assert code == 0
        assert entry["finding"] == ("pneumonia / lung opacity" if target == "1" else "normal")


def test_wrong_usage_exits_with_2(tmp_path_factory, capsys) -> None:
    every_arguments = [
        [],
        ["--sigma", "0"],
        ["--sigma", "nan"],
        ["--samples", "-3"],
        ["--beta", "1.5"],
        ["--confidence", "1"],
        ["--confidence", "1/0"],
        ["--confidence", "1e400"],
        ["--confidence", "0.99999999999999999999"],
        ["--interpreter", "magic"],
        ["--device", "cuda:99"],
        ["--precision", "float16"],
    ]
    with collected() as case:
        for arguments in every_arguments:
            with case(arguments):
                tmp_path = tmp_path_factory.mktemp("case")
                source = [] if not arguments else [str(SAMPLES)]
                with pytest.raises(SystemExit) as error:
                    main([*CERTIFY, *source, "--output", str(tmp_path / "out"), *arguments])
                assert error.value.code == 2 and "usage" in capsys.readouterr().err
                assert not (tmp_path / "out").exists()


def test_cells_that_do_not_fit_are_a_clear_refusal(tmp_path) -> None:
    assert certify(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", "--cell-size", "7", output=tmp_path) == 1
    assert "cell_size is 7" in results(tmp_path)[0]["reason"]


def test_a_precision_that_the_device_or_the_method_has_not_is_a_clear_refusal(tmp_path, capsys) -> None:
    source = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    assert certify(source, "--precision", "tf32", "--device", "cpu", output=tmp_path) == 1
    assert "precision is 'tf32' and the network is on cpu" in results(tmp_path)[0]["reason"]
    assert certify(source, "--precision", "bfloat16", "--interpreter", "rise", output=tmp_path / "out") == 1
    assert "interpreter 'rise' follows differences" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_grad_cam_and_pixel_maps_run_from_the_command(tmp_path) -> None:
    source = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
    assert certify(source, "--interpreter", "grad_cam", output=tmp_path / "cam") == 0
    assert certify(source, "--cell-size", "1", "--top-k", "1638", output=tmp_path / "pixels") == 0
    votes, spec, _ = load_votes(next((tmp_path / "pixels").rglob("votes.npz")))
    assert votes.counts.shape == (128, 128) and spec.cell_size == 1


def test_the_module_runs_as_a_process_with_table_and_progress(tmp_path) -> None:
    shutil.copy(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg", tmp_path / "DOE^JANE.jpg")
    command = [sys.executable, "-m", "monai_robustinterp", "certify", "DOE^JANE.jpg", "gone.dcm"]
    run = subprocess.run(
        [*command, "--output", "out", "--samples", "32"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 1
    assert "L_max" in run.stdout and "could not be opened as a file" in run.stdout
    assert "image 1/2" in run.stderr and "samples/s" in run.stderr
    assert "DOE" not in run.stdout + run.stderr
