"""``certify --target found``: folders, one report, what is kept, and images without a finding."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

import monai_robustinterp as ri
from monai_robustinterp.audit import read_record, verify
from monai_robustinterp.cli.main import main
from monai_robustinterp.io.votes_npz import load_votes
from monai_robustinterp.io.write.dicom_object import series_description
from monai_robustinterp.run.lists import NOTHING_FOUND
from monai_robustinterp.run.replay import replay
from tests.support.dciodvfy import dciodvfy_errors
from tests.support.dicom_factory import make_dx
from tests.support.networks import TinyClassifier

FINDINGS = "chest_xray_findings"
SCHEMA = json.loads((files("monai_robustinterp") / "schemas" / "findings.schema.json").read_text())


def small_bundle(found: tuple[int, ...] = (1, 9), **overrides: Any) -> ri.SaliencyBundle:
    """The bundle of 11 findings with a small network that finds these in any image."""
    settings = {"n_samples": 8, "device": "$torch.device('cpu')", "lungs": "off", "eta": 0.3, **overrides}
    bundle = ri.load_bundle(FINDINGS, settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TinyClassifier(classes=11).eval()
    with torch.no_grad():
        network.head.weight *= 1e-2
        network.head.bias.copy_(torch.tensor([1.0 if target in found else -1.0 for target in range(11)]))
    bundle.network = network
    return bundle


def certify(
    folder: Path, bundle: ri.SaliencyBundle, *inputs: Path, outputs: tuple[str, ...] = ("sc",), **more: Any
) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {"every_finding": True, "changes": (), "show_progress": False, **more}
        return ri.certify_cohort(inputs, folder, bundle=bundle, options=ri.OutputOptions(outputs=outputs), **settings)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dx(tmp_path_factory.mktemp("film") / "film.dcm", rows=101, cols=77)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def folder_of(output: Path) -> Path:
    (folder,) = output.glob("cxr-*")
    return folder


def test_an_image_gets_a_folder_a_finding_and_one_report(tmp_path: Path, film: Path) -> None:
    bundle = small_bundle()
    summary = certify(tmp_path, bundle, film, outputs=("sc", "sr", "seg"))
    assert not summary.refused, summary.results[0].reason
    folder = folder_of(tmp_path)
    each = {"certificate.json", "votes.npz", "overlay.png", "overlay.dcm", "segmentation.dcm"}
    names = ("01-cardiomegaly", "09-pleural-thickening")
    assert set(contents(folder)) == {"findings.json", "report.dcm"} | {f"{n}/{file}" for n in names for file in each}
    record = read_record(folder / "findings.json")
    jsonschema.validate(record, SCHEMA)
    assert [one["folder"] for one in record["findings"] if one["found"]] == list(names)
    assert record["eta"] == 0.3 and 2 * record["eta_each"] <= 0.3
    rows = [(row.number, row.folder, row.finding) for row in summary.results]
    assert rows == [
        (1, f"{folder.name}/{name}", finding) for name, finding in zip(names, ("Cardiomegaly", "Pleural_Thickening"))
    ]
    totals = json.loads((tmp_path / "summary.json").read_text())["totals"]
    assert totals["complete"] and totals["inputs"] == 1
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["folders"] == {folder.name: str(film)} and index["last_run"] == {"1": str(film)}
    for name in names:
        own = read_record(folder / name / "certificate.json")
        assert verify(own, folder / name / "votes.npz", input_file=film).verified
        assert own["claim"]["eta"] == record["eta_each"] and own["split"]["findings"] == 2
        votes, spec, _ = load_votes(folder / name / "votes.npz")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = replay(own, votes, spec, source=film, bundle=bundle)
        assert again.confirmed and again.equal, again.differences
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ri.certify_findings(film, bundle, changes=())
    ri.save_findings(found, tmp_path / "python", ri.OutputOptions(outputs=("sc", "sr", "seg")))
    assert contents(tmp_path / "python") == contents(folder)


def test_the_report_tells_of_all_findings(tmp_path: Path, film: Path) -> None:
    certify(tmp_path, small_bundle(), film, outputs=("sr",))
    folder = folder_of(tmp_path)
    path = folder / "report.dcm"
    report, record = pydicom.dcmread(path), read_record(folder / "findings.json")
    assert dciodvfy_errors(path) == []
    texts = [element.value for element in report.iterall() if element.keyword == "TextValue"]
    groups = {"all findings"} | {
        f"{finding}: {group}" for finding in ("Cardiomegaly", "Pleural_Thickening") for group in ("finding", "map")
    }
    assert groups <= set(texts)
    assert record["sentence"] in texts and record["all_claims"]["sentence"] in texts
    absent = [text for text in texts if text.startswith("Not found, and nothing is certified of it: ")]
    assert len(absent) == 9
    for name in ("01-cardiomegaly", "09-pleural-thickening"):
        own = read_record(folder / name / "certificate.json")
        assert own["label"]["sentence"] in texts and own["claim"]["sentence"] in texts
    tracking = [element.value for element in report.iterall() if element.keyword == "UID"]
    assert len(set(tracking)) == len(tracking) >= len(groups)


def test_what_is_there_is_kept_if_the_run_would_make_it(tmp_path: Path, film: Path) -> None:
    bundle, output = small_bundle(), tmp_path / "out"
    certify(output, bundle, film, outputs=("sc",))
    folder = folder_of(output)
    before = contents(folder)
    assert certify(output, bundle, film, outputs=("sc", "sr")).kept == 2
    whole = contents(folder)
    certify(tmp_path / "whole", bundle, film, outputs=("sc", "sr"))
    assert whole == contents(folder_of(tmp_path / "whole")) and before.items() <= whole.items()
    others = {
        "eta 0.3 there, 0.2 here": (small_bundle(eta=0.2), {}),
        "sigma 0.1 there, 0.2 here": (small_bundle(sigma=0.2), {}),
        "another network_sha256": (small_bundle((1, 3)), {}),
        "of every finding, not of one target": (small_bundle(), {"every_finding": False}),
    }
    for words, (other, settings) in others.items():
        (refused,) = certify(output, other, film, **settings).results
        assert refused.status == "refused" and words in refused.reason and "--overwrite" in refused.reason, (
            refused.reason
        )
    assert contents(folder) == whole
    # Results of two runs, and a report of another one.
    certify(tmp_path / "seed", small_bundle(seed=1), film)
    strange = folder_of(tmp_path / "seed") / "01-cardiomegaly"
    report = pydicom.dcmread(folder / "report.dcm")
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    report.save_as(folder / "report.dcm")
    (refused,) = certify(output, bundle, film, outputs=("sr",)).results
    assert "report.dcm is of another result" in refused.reason
    for name, content in contents(strange).items():
        (folder / "01-cardiomegaly" / name).write_bytes(content)
    (refused,) = certify(output, bundle, film).results
    assert "seed 1 there, 0 here" in refused.reason
    (folder / "findings.json").write_bytes(whole["findings.json"].replace(b'"eta": 0.3', b'"eta": 0.2'))
    (refused,) = certify(output, bundle, film).results
    assert "not whole or were changed" in refused.reason
    certify(tmp_path / "one", bundle, film, every_finding=False)
    (refused,) = certify(tmp_path / "one", bundle, film).results
    assert "of one target, not of every finding" in refused.reason


def test_an_image_without_findings_says_so_and_the_rest_goes_on(tmp_path: Path, film: Path) -> None:
    bundle, output = small_bundle(()), tmp_path / "out"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (96, 80), np.uint8)).save(tmp_path / "film.png")
    Image.fromarray(np.full((96, 80), 7, np.uint8)).save(tmp_path / "constant.png")
    inputs = (film, tmp_path / "constant.png", tmp_path / "film.png", film)
    summary = certify(output, bundle, *inputs)
    assert [row.status for row in summary.results] == [NOTHING_FOUND, "refused", NOTHING_FOUND, "same film"]
    assert "finds none of its 11 findings" in summary.results[0].reason
    totals = json.loads((output / "summary.json").read_text())["totals"]
    assert (totals["nothing_found"], totals["abstained"], totals["certified"], totals["complete"]) == (2, 0, 0, True)
    for row in (summary.results[0], summary.results[2]):
        assert set(contents(output / row.folder)) == {"findings.json"}
        record = read_record(output / row.folder / "findings.json")
        jsonschema.validate(record, SCHEMA)
        assert record["eta_each"] is None and record["sentence"] == row.reason
    again = certify(output, bundle, film)
    assert again.kept == 1 and again.results[0].status == NOTHING_FOUND
    (refused,) = certify(output, small_bundle((1,)), film).results
    assert "another network_sha256" in refused.reason


def test_an_image_without_findings_gets_a_report_that_says_so(tmp_path: Path, film: Path) -> None:
    for again in (False, True):
        # The second time the film has its result, and lacks the report alone.
        summary = certify(tmp_path, small_bundle(()), film, outputs=("sr",) if again else ("sc",))
        assert summary.kept == again
    folder = folder_of(tmp_path)
    path, record = folder / "report.dcm", read_record(folder / "findings.json")
    assert set(contents(folder)) == {"findings.json", "report.dcm"}
    assert not dciodvfy_errors(path)
    report = pydicom.dcmread(path)
    texts = [element.value for element in report.iterall() if element.keyword == "TextValue"]
    assert texts.count(record["sentence"]) == 1
    assert sum("Not found, and nothing is certified of it" in text for text in texts) == 11
    numbers = [element.value for element in report.iterall() if element.keyword == "NumericValue"]
    assert numbers == [0]  # of findings; no radius and no confidence
    first = path.read_bytes()
    path.unlink()
    certify(tmp_path, small_bundle(()), film, outputs=("sr",))
    assert path.read_bytes() == first


def test_the_series_of_several_findings_are_told_apart(tmp_path: Path, film: Path) -> None:
    certify(tmp_path, small_bundle(), film, outputs=("sc", "seg"))
    listed = sorted(str(pydicom.dcmread(path).SeriesDescription) for path in tmp_path.rglob("*.dcm"))
    assert listed == [
        *(f"Certified saliency: {name} - not for diagnosis" for name in ("Cardiomegaly", "Pleural_Thickening")),
        *(f"Top-k region: {name} - not for diagnosis" for name in ("Cardiomegaly", "Pleural_Thickening")),
    ]


def test_a_series_takes_a_finding_of_any_name() -> None:
    named = {
        name: series_description("Contours", {"finding": {"name": name}})
        for name in ("", "a\\b", " x\n\ty\a", "心" * 80)
    }
    assert list(named.values()) == [
        "Contours - not for diagnosis",
        "Contours: a/b - not for diagnosis",
        "Contours: x y - not for diagnosis",
        f"Contours: {'心' * 34} - not for diagnosis",
    ]
    assert all(len(one) <= 64 for one in named.values())


def test_a_replaced_result_that_did_not_certify_is_named_by_that_of_its_finding(tmp_path: Path, film: Path) -> None:
    certify(tmp_path, small_bundle(eta=0.001), film)
    folder = folder_of(tmp_path)
    first = {path.parent.name: read_record(path) for path in folder.glob("*/certificate.json")}
    assert {record["status"] for record in first.values()} == {"abstain"}
    certify(tmp_path, small_bundle(seed=1), film, overwrite=True)
    for name, before in first.items():
        (run,) = read_record(folder / name / "certificate.json")["selection"]
        assert run["content_sha256"] == before["content_sha256"]
    # One target after all findings, and back: nothing is forgotten.
    certify(tmp_path, small_bundle(seed=2, eta=0.001, target=1), film, overwrite=True, every_finding=False)
    runs = read_record(folder / "certificate.json")["selection"]
    assert runs[0]["content_sha256"] == first["01-cardiomegaly"]["content_sha256"]
    certify(tmp_path, small_bundle(seed=3), film, overwrite=True)
    assert len(read_record(folder / "01-cardiomegaly" / "certificate.json")["selection"]) > len(runs)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = Path(__file__).parents[2] / "sample_data" / "kermany_person1951_bacteria_4882_dx.dcm"
    few = ["--samples", "16", "--batch-size", "8", "--lungs", "off", "--interpreter", "cam", "--confidence", "0.7"]
    command = ["certify", "--bundle", FINDINGS, "--target", "found", str(film), *few, "--output"]
    assert main([*command, str(tmp_path / "all")]) == 0
    out = capsys.readouterr().out
    folder = folder_of(tmp_path / "all")
    record = read_record(folder / "findings.json")
    found = [one for one in record["findings"] if one["found"]]
    assert len(found) > 1 and all(one["name"] in out for one in found) and "share its confidence" in out
    # Each is what a run of this target with its part of eta gives, but for the words on the split.
    own = read_record(folder / found[0]["folder"] / "certificate.json")
    part = {"eta": own["claim"]["eta"], "target": found[0]["name"]}
    same = {"n_samples": 16, "batch_size": 8, "lungs": "off", "interpreter_name": "cam"}
    bundle = ri.load_bundle(FINDINGS, {**same, **part})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = json.loads(json.dumps(ri.certify_image(film, bundle).record))
    assert {key for key in own if own[key] != alone.get(key)} == {"split", "content_sha256"}
    others = (["compare", str(film), "--interpreter", "cam"], ["attention", str(film), "--perturb", "brightness"])
    for other in others:
        assert main([*other, "--output", str(tmp_path / "other"), "--target", "found"]) == 1
        assert "--target found is of certify alone" in capsys.readouterr().err


def test_the_findings_with_maps_of_their_own_are_certified_by_their_bundle_s_settings(tmp_path: Path) -> None:
    film = Path(__file__).parents[2] / "sample_data" / "kermany_person1951_bacteria_4882_dx.dcm"
    command = ["certify", "--bundle", "chest_xray_findings_evidence", "--target", "found", str(film), "--quiet"]
    assert main([*command, "--samples", "64", "--confidence", "0.7", "--output", str(tmp_path)]) == 0
    folder = folder_of(tmp_path)
    record = read_record(folder / "findings.json")
    found = [one for one in record["findings"] if one["found"]]
    assert len(found) > 1
    for one in found:
        own = read_record(folder / one["folder"] / "certificate.json")
        assert verify(own, folder / one["folder"] / "votes.npz", input_file=film).verified
        assert own["finding"]["name"] == one["name"] and own["spec"]["interpreter"] == "cam"
        assert own["spec"]["denoiser"]["name"] == "chest_xray_denoiser" and own["spec"]["sigma"] == pytest.approx(0.3)
        # The copies agree that the lungs have most of the evidence, of this finding too.
        assert own["status"] != "abstain" and own["regions"][0]["observed"] > 0.5, one["name"]
