"""What inferer, transform, evaluator and Python write passes the audit, and says which network it is of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, SaveImaged

import monai_robustinterp as ri
from monai_robustinterp.audit import read_record, verify
from monai_robustinterp.io.write.result import save_from_meta
from monai_robustinterp.networks.provenance import network_sha256
from monai_robustinterp.transforms import InvertSaliencyd
from tests.support.bundles import OPACITY
from tests.support.dicom_factory import make_dx

FILM = Path(__file__).parents[2] / "sample_data" / "kermany_person1951_bacteria_4882_dx.dcm"
FEW = {"device": "$torch.device('cpu')", "n_samples": 32, "eta": 0.2}


@pytest.fixture(scope="module")
def bundle() -> ri.SaliencyBundle:
    return ri.load_bundle(OPACITY, overrides=FEW)


def make_inferer(**changes: object) -> ri.CertifiedSaliencyInferer:
    settings = {"n_samples": 48, "top_k": 10, "cell_size": 4, "target": 1, "eta": 0.1}
    return ri.CertifiedSaliencyInferer(**(settings | changes))


def audited(stem: Path) -> dict:
    """The record beside a stem, after the audit."""
    record = read_record(stem.with_name(f"{stem.name}.certificate.json"))
    report = verify(record, stem.with_name(f"{stem.name}.votes.npz"))
    assert report.verified, report.differences
    return record


def test_a_batch_of_the_inferer_passes(tiny, image, tmp_path) -> None:
    batch = MetaTensor(torch.stack([image, image.flip(-1)]))
    batch.is_batch = True
    singles = decollate_batch(make_inferer()(batch, tiny))
    for number, single in enumerate(singles):
        save_from_meta(single.meta, tmp_path / str(number))
    records = [audited(tmp_path / str(number)) for number in range(2)]
    assert records[0]["votes"]["image_sha256"] != records[1]["votes"]["image_sha256"]
    assert all(record["source"]["format"] == "tensor" for record in records)
    assert all(record["provenance"]["network_sha256"] == network_sha256(tiny) for record in records)


def test_the_transform_passes(tiny, image, tmp_path) -> None:
    data = ri.CertifiedSaliencyd("image", tiny, make_inferer(pairs=True))({"image": image})
    save_from_meta(data["image_saliency"].meta, tmp_path / "one")
    assert audited(tmp_path / "one")["radii"][-1]["family"] == "discordant-pairs"


def test_a_result_in_memory_is_saved_like_that_of_a_file(tiny, image, tmp_path) -> None:
    result = make_inferer().certify(image, tiny)
    ri.save(result, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"certificate.json", "votes.npz"}
    record = read_record(tmp_path / "out" / "certificate.json")
    assert verify(record, tmp_path / "out" / "votes.npz").verified
    assert record["status"] == result.status.label and record["sentence"] == result.certificate.sentence
    assert "preprocessed outside of the package" in record["native"]["reason"]
    with pytest.raises(FileExistsError):
        ri.save(result, tmp_path / "out")


def test_an_evaluator_leaves_certificate_and_votes_beside_the_capture(bundle, tmp_path) -> None:
    save = SaveImaged(
        "pred",
        output_dir=tmp_path / "out",
        output_ext=".dcm",
        output_name_formatter=lambda meta, _: {"subject": meta["pixel_sha256"][:16], "idx": None},
        writer=ri.SecondaryCaptureWriter,
        separate_folder=False,
        print_log=False,
    )
    evaluator = SupervisedEvaluator(
        device=bundle.device,
        val_data_loader=DataLoader(Dataset([{"image": str(FILM)}], bundle.preprocessing), batch_size=1),
        network=bundle.network,
        inferer=bundle.inferer,
        postprocessing=Compose([InvertSaliencyd("pred", transform=bundle.preprocessing, orig_keys="image"), save]),
    )
    evaluator.run()
    (capture,) = (tmp_path / "out").glob("*.dcm")
    record = audited(capture.with_suffix(""))
    assert record["source"]["format"] == "DICOM" and len(record["source"]["file_sha256"]) == 64


def test_a_network_that_is_put_into_a_bundle_is_not_said_to_be_that_of_the_file() -> None:
    bundle = ri.load_bundle(OPACITY, overrides=FEW)
    assert set(bundle.files) == {"config_sha256", "weights_sha256", "input_statistics_sha256"}
    of_the_file = ri.certify_image(FILM, bundle).record["provenance"]
    with torch.no_grad():
        bundle.network.class_layers.out.bias += 0.5
    assert set(bundle.files) == {"config_sha256", "input_statistics_sha256"}
    changed = ri.certify_image(FILM, bundle).record["provenance"]
    assert "weights_sha256" in of_the_file and "weights_sha256" not in changed
    assert of_the_file["network_sha256"] != changed["network_sha256"]
    other = ri.load_bundle(OPACITY, overrides=FEW)
    other.network = ri.load_bundle(OPACITY, overrides=FEW).network
    assert (
        set(other.files) == {"config_sha256", "input_statistics_sha256"}
        and network_sha256(other.network) == of_the_file["network_sha256"]
    )


def test_the_hash_of_a_network_is_of_its_names_shapes_and_values(tiny) -> None:
    before = network_sha256(tiny)
    assert network_sha256(tiny) == before and len(before) == 64
    tiny.to(memory_format=torch.channels_last)
    assert network_sha256(tiny) == before
    renamed = torch.nn.ModuleDict({"other": tiny})
    assert network_sha256(renamed) != before
    with torch.no_grad():
        tiny.head.weight[0, 0] += 1e-3
    assert network_sha256(tiny) != before
    assert network_sha256(torch.nn.Flatten()) == ""


def test_the_hash_of_a_frozen_script_is_of_its_constants(tiny) -> None:
    """Freezing moves the weights out of the state dict."""
    first = torch.jit.freeze(torch.jit.script(tiny.eval()))
    again = torch.jit.freeze(torch.jit.script(tiny.eval()))
    assert not first.state_dict()
    before = network_sha256(first)
    assert network_sha256(again) == before
    with torch.no_grad():
        tiny.head.weight[0, 0] += 1
    assert network_sha256(torch.jit.freeze(torch.jit.script(tiny.eval()))) != before


def test_a_header_in_metadata_prints_as_nothing(bundle, tmp_path) -> None:
    source = make_dx(tmp_path / "image.dcm", elements={"PatientName": "Doe^John"})
    meta = bundle.preprocessing({"image": str(source)})["image"].meta
    shown = json.dumps(repr(meta["dicom_header"])) + repr({"dicom_header": meta["dicom_header"]})
    assert "Doe" not in shown and "<DICOM header>" in shown and len(shown) < 100
