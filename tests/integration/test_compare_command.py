"""``compare`` on the shipped bundle and real images: every file that it promises, and what it refuses."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_robustinterp import ChestXRayReader, load_bundle
from monai_robustinterp.bundle import shipped_bundle
from monai_robustinterp.cli.main import main
from monai_robustinterp.interpreters import explaining, make_interpreter
from monai_robustinterp.run.compare import compare, comparison_record
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.cases import collected

SAMPLES = Path(__file__).parents[2] / "sample_data"
FILM = SAMPLES / "kermany_person1949_bacteria_4880.jpeg"
CHEAP = "gradient,grad_cam:target_layer=features.denseblock4,robust_perturbation:iterations=6,gradient"
CHEAP += ",captum:Occlusion:sliding_window_shapes=[1,64,64]:strides=[1, 64,64]"


def run_command(source: Path, interpreters: str, output: Path, *more: str) -> int:
    bundle = ["--bundle", "chest_xray_findings", "--quiet"]
    return main(["compare", str(source), "--interpreter", interpreters, "--output", str(output), *bundle, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("compare")
    assert run_command(FILM, CHEAP, output, "--target", "Effusion") == 0
    (found,) = output.glob("cxr-*-maps")
    return found


def test_it_writes_what_the_reference_lists_and_nothing_else(folder) -> None:
    labels = ["gradient", "gradient_2", "grad_cam", "robust_perturbation", "captum_Occlusion"]
    names = {f"{label}.nii.gz" for label in labels} | {"panel.png", "maps.npz", "compare.json"}
    assert {path.name for path in folder.iterdir()} == names | {"robust_perturbation_iterations.png"}
    for picture in folder.glob("*.png"):
        assert np.asarray(Image.open(picture).convert("L")).std() > 10


def test_the_stored_map_is_that_of_the_method(folder) -> None:
    bundle = load_bundle("chest_xray_findings")
    image = bundle.preprocessing({"image": str(FILM)})["image"].as_tensor()[None]
    interpreter = make_interpreter("grad_cam", settings={"target_layer": "features.denseblock4"})
    with explaining(bundle.network):
        expected = interpreter.attribute(bundle.network, image, 4).maps[0, 0].cpu().numpy()
    with np.load(folder / "maps.npz") as maps:
        np.testing.assert_allclose(maps["grad_cam"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(maps["gradient"], maps["gradient_2"])
        np.testing.assert_allclose(maps["input"], image[0, 0].cpu(), atol=1e-6)
        assert maps["logits"].shape == (11,)


def test_the_record_says_that_nothing_is_certified_and_how_each_map_was_made(folder) -> None:
    record = json.loads((folder / "compare.json").read_text())
    assert record["claim"].startswith("none") and record["refused"] == []
    assert record["finding"]["name"] == "Effusion" and 0 < record["finding"]["score"] < 1
    by_label = {entry["label"]: entry for entry in record["maps"]}
    assert by_label["grad_cam"]["settings"] == {"target_layer": "features.denseblock4", "reshape": None}
    occlusion = by_label["captum_Occlusion"]
    assert occlusion["name"] == "captum:Occlusion" and occlusion["settings"]["strides"] == [1, 64, 64]
    assert by_label["robust_perturbation"]["settings"]["activation"] == "sigmoid"
    table = by_label["robust_perturbation"]["iterations"]
    assert [row["iteration"] for row in table] == [0, 2, 6]
    assert table[0]["target_x"] == pytest.approx(record["finding"]["score"], abs=1e-5)
    assert by_label["gradient"]["iterations"] == []


def test_the_nifti_lies_over_the_source_pixel_by_pixel(folder) -> None:
    values, _ = ChestXRayReader().get_data(FILM)
    written = nib.load(folder / "gradient.nii.gz")
    assert written.shape == (values.shape[2], values.shape[1], 1)
    with np.load(folder / "maps.npz") as maps:
        # The network sees 128 x 128 pixels of the square of 944 x 944 in the middle.
        at = ((np.arange(128) + 0.5) * 944 / 128).astype(int)
        shown = written.get_fdata(dtype=np.float32)[(1416 - 944) // 2 + at][:, at, 0].T
        np.testing.assert_array_equal(shown, maps["gradient"])


def test_what_one_method_refuses_is_recorded_and_the_rest_is_written(tmp_path, capsys) -> None:
    methods = "grad_cam:target_layer=features.nothing,gradient,cam:target_layer=class_layers.out"
    assert run_command(FILM, methods, tmp_path) == 1
    (found,) = tmp_path.glob("cxr-*-maps")
    record = json.loads((found / "compare.json").read_text())
    assert [entry["label"] for entry in record["maps"]] == ["gradient"]
    reasons = {entry["label"]: entry["reason"] for entry in record["refused"]}
    assert "features.norm5" in reasons["grad_cam"] and "pooling" in reasons["cam"]


def test_no_map_at_all_writes_nothing(tmp_path, capsys) -> None:
    assert run_command(FILM, "grad_cam:target_layer=nothing", tmp_path / "out") == 1
    assert not list(tmp_path.iterdir()) and "features.norm5" in capsys.readouterr().err


def test_earlier_results_are_not_replaced_unless_asked(folder, capsys) -> None:
    before = (folder / "compare.json").read_bytes()
    assert run_command(FILM, "gradient", folder.parent) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "compare.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gradient:steps=3", "no setting 'steps'"),
        ("integrated_gradients:n_steps=many", "n_steps"),
        ("smooth_grad:n_samples=0", "n_samples"),
        ("gradient:x=1", "gradient has no setting 'x'; it takes none."),
    ],
)
def test_wrong_settings_are_one_sentence(arguments, message, tmp_path, capsys) -> None:
    assert run_command(FILM, arguments, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_what_is_no_interpreter_is_wrong_usage(tmp_path_factory, capsys) -> None:
    every_interpreter = [
        "magic",
        "gradient:x",
        "rise:seed=$print(1)",
        'cam:target_layer="\\u0024print(1)"',
        "",
        "rise:seed=1:seed=2",
    ]
    with collected() as case:
        for interpreter, command in itertools.product(every_interpreter, ["compare", "certify"]):
            with case(interpreter, command):
                tmp_path = tmp_path_factory.mktemp("case")
                with pytest.raises(SystemExit) as stopped:
                    main([command, str(FILM), "--interpreter", interpreter, "--output", str(tmp_path)])
                assert stopped.value.code == 2 and "interpreter" in capsys.readouterr().err


def test_a_list_of_interpreters_may_have_spaces_and_all_stands_alone(tmp_path, capsys) -> None:
    assert run_command(FILM, "gradient, grad_cam", tmp_path) == 0
    assert {path.name for path in tmp_path.glob("*/*.nii.gz")} == {"gradient.nii.gz", "grad_cam.nii.gz"}
    with pytest.raises(SystemExit):
        run_command(FILM, "all,gradient", tmp_path)
    assert "'all' stands alone" in capsys.readouterr().err


@pytest.mark.parametrize("source", [Path("/dev/zero"), SAMPLES], ids=["device", "folder"])
def test_what_is_no_regular_file_is_refused_before_it_is_read(source, tmp_path, capsys) -> None:
    assert run_command(source, "gradient", tmp_path / "out") == 1
    assert "no regular file" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_what_is_no_image_is_one_sentence_without_its_name(content, tmp_path, capsys) -> None:
    source = tmp_path / "DOE^JANE.png"
    source.write_bytes(content)
    assert run_command(source, "gradient", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "DOE" not in error and "Traceback" not in error


def test_certify_takes_settings_and_the_record_names_them(tmp_path) -> None:
    arguments = ["--bundle", "chest_xray_findings", "--samples", "16", "--confidence", "0.5", "--quiet"]
    source = str(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg")
    interpreter = ["--interpreter", "smooth_grad:n_samples=2:sigma=0.05"]
    assert main([*CERTIFY, source, *interpreter, "--output", str(tmp_path), *arguments]) == 0
    (path,) = tmp_path.glob("cxr-*/certificate.json")
    spec = json.loads(path.read_text())["spec"]
    assert spec["interpreter"] == "smooth_grad"
    assert spec["interpreter_settings"] == {"n_samples": 2, "sigma": 0.05, "seed": 0}


def test_logits_that_are_nan_are_refused() -> None:
    bundle = load_bundle("chest_xray_findings")
    with torch.no_grad():
        bundle.network.class_layers.out.weight[4] = float("nan")
    with pytest.raises(ValueError, match="logits that are NaN"):
        compare(FILM, bundle, [make_interpreter("gradient")])


def test_maps_are_in_the_precision_that_the_bundle_certifies_in() -> None:
    bundle = load_bundle("chest_xray_findings", {"precision": "bfloat16", "device": "$torch.device('cpu')"})
    comparison = compare(FILM, bundle, [make_interpreter("gradient"), make_interpreter("cam")])
    assert comparison_record(comparison)["precision"] == "bfloat16"
    assert list(comparison.refused) == ["cam"] and "rounds away" in comparison.refused["cam"]
    with explaining(bundle.network, "bfloat16"):
        image = comparison.image.as_tensor()[None]
        expected = make_interpreter("gradient").attribute(bundle.network, image, comparison.target).maps[0, 0]
    np.testing.assert_array_equal(comparison.maps[0].values, expected.numpy())


def test_settings_of_the_bundles_own_interpreter_stay_and_those_of_others_do_not(tmp_path) -> None:
    root = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(OPACITY), root)
    config = root / "configs" / "inference.json"
    own = {"interpreter_name": "rise", "interpreter_settings": {"n_masks": 7, "keep": 0.4}}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))

    def settings(**overrides: object) -> dict:
        return load_bundle(root, overrides).inferer.recipe.interpreter.settings

    changed = settings(interpreter_name="rise", interpreter_settings={"n_masks": 9})
    assert (changed["n_masks"], changed["keep"]) == (9, 0.4)
    # A gradient takes neither number of masks nor share, and would refuse them.
    assert settings(interpreter_name="gradient", interpreter_settings={}) == {}


def test_a_map_of_all_classes_is_called_so_in_panel_and_certificate(tmp_path, capsys) -> None:
    assert run_command(FILM, "robust_activation_map", tmp_path / "maps") == 0
    (folder,) = (tmp_path / "maps").glob("cxr-*-maps")
    assert json.loads((folder / "compare.json").read_text())["maps"][0]["explains_target"] is False
    arguments = ["--samples", "16", "--confidence", "0.5", "--interpreter", "robust_activation_map"]
    assert main([*CERTIFY, str(FILM), "--output", str(tmp_path / "out"), *arguments]) == 0
    assert "several classes together" in capsys.readouterr().out
    (record,) = (tmp_path / "out").glob("cxr-*/certificate.json")
    assert "several classes together" in " ".join(json.loads(record.read_text())["notes"])
    assert main(["verify", str(record), str(record.with_name("votes.npz"))]) == 0
