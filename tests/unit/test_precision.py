"""The precision that the network runs in: what runs in it, what does not, and that every record says which it was."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer, load_bundle
from monai_robustinterp.audit import AuditError, verify
from monai_robustinterp.certificates import certificate_from_json, certify_votes
from monai_robustinterp.certificates.serialize import certificate_to_json
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import (
    INTERPRETERS,
    GradCAM,
    Gradient,
    Interpreter,
    explaining,
    without_float32,
)
from monai_robustinterp.interpreters.base import Attribution
from monai_robustinterp.interpreters.context import network_state
from monai_robustinterp.interpreters.context.precision import float32_products
from monai_robustinterp.interpreters.context.torchscript import traced_tf32
from monai_robustinterp.smoothing import batching
from monai_robustinterp.smoothing.voting import pool_cells
from monai_robustinterp.types import SmoothingSpec
from tests.support.cases import collected
from tests.support.interpreters import make, noisy
from tests.support.network_state import assert_same, state
from tests.support.records import SCHEMA, make_arrays, make_masks, make_record, make_run, resealed
from tests.support.vote_factory import spec_of, vote_map

# Votes of the tiny network's gradient before there was a choice of precision; 24 copies of 10, by rows of 8 cells.
BEFORE = """
 1  7 10  9  7 10 10  1
 0  0  0  0  3 22 21  0
 0  0  0  0  5 22 23  4
 0  0  0  0  0  1  1  1
 1  0  0  0  0  0  0 16
20  8  0  0  0  0  0  7
18 10  0  0  0  0  0  1
 1  0  0  0  0  0  0  0
"""


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    settings = {"n_samples": 24, "top_k": 10, "cell_size": 4, "target": 1, "batch_size": 8, "sigma": 0.2}
    return CertifiedSaliencyInferer(**(settings | changes))


# ---- what runs in which precision


def test_votes_in_float32_are_those_of_before(tiny, image) -> None:
    votes, spec = make_inferer().vote(image, tiny)
    assert spec.precision == "float32"
    assert votes.counts.tolist() == [[int(count) for count in row.split()] for row in BEFORE.strip().splitlines()]


def test_votes_in_bfloat16_are_those_of_a_plain_loop_under_autocast(tiny, image) -> None:
    """Noise, copies, cells and votes as in float32; clean logits, logits and gradients of the network in bfloat16."""
    inferer = make_inferer(precision="bfloat16")
    votes, spec = inferer.vote(image, tiny)
    copies = torch.from_numpy(make_inferer().recipe.stages(image, tiny, target=1, n_copies=24).copies)
    tiny.eval()
    counts, found = np.zeros(64, dtype=int), 0
    for one in copies:
        x = one[None, None].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = tiny(x)
        assert logits.dtype == torch.bfloat16
        logits.float()[0, 1].backward()
        found += int(logits.argmax() == 1)
        cells = [x.grad[0, 0].abs()[r : r + 4, c : c + 4].sum() for r in range(0, 32, 4) for c in range(0, 32, 4)]
        counts[np.argsort(cells)[-10:]] += 1
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        clean = tiny(image[None])[0].float().numpy()
    assert votes.counts.ravel().tolist() == counts.tolist() and votes.found_copies == found
    assert (
        inferer.recipe.stages(image, tiny, target=1, n_copies=24).votes.sum(axis=0).ravel().tolist() == counts.tolist()
    )
    assert np.array_equal(votes.logits, clean) and spec.precision == "bfloat16"
    in_float32, _ = make_inferer().vote(image, tiny)
    assert not np.array_equal(in_float32.counts, votes.counts) and not np.array_equal(in_float32.logits, clean)
    assert in_float32.image_sha256 == votes.image_sha256


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_in_bfloat16_too_results_do_not_depend_on_the_batch_size(tiny, image, batch_size) -> None:
    expected, _ = make_inferer(precision="bfloat16").vote(image, tiny)
    votes, _ = make_inferer(precision="bfloat16", batch_size=batch_size).vote(image, tiny)
    assert np.array_equal(votes.counts, expected.counts)


def test_equal_values_of_bfloat16_leave_exactly_k_votes_a_copy(tiny, image) -> None:
    inferer = make_inferer(precision="bfloat16", cell_size=1, top_k=100)
    votes, _ = inferer.vote(image, tiny)
    assert votes.tied_copies > make_inferer(cell_size=1, top_k=100).vote(image, tiny)[0].tied_copies
    assert (inferer.recipe.stages(image, tiny, target=1, n_copies=24).votes.sum(axis=(1, 2)) == 100).all()


def test_counts_above_what_bfloat16_can_count_are_exact(tiny, image) -> None:
    """Odd numbers above 256: pair counts are a matrix product, which autocast would round."""
    settings = {"n_samples": 601, "batch_size": 601, "pairs": True, "interpreter": Fixed()}
    votes, _ = make_inferer(precision="bfloat16", **settings).vote(image, tiny)
    assert votes.pair_counts is not None and votes.pair_counts.max() == 601
    assert np.array_equal(votes.pair_counts, make_inferer(**settings).vote(image, tiny)[0].pair_counts)


class Fixed(Interpreter):
    """A map that no noise changes."""

    name = "fixed"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        axis = torch.arange(32.0).expand(len(inputs), 1, 32, 32)
        return Attribution(maps=axis + 40 * axis.mT, logits=network(inputs).detach())


def test_what_a_layer_returns_is_weighted_in_float32(tiny, image) -> None:
    """Grad-CAM's equation by hand, on the layer's output and its gradient from a run under autocast."""
    kept: list[torch.Tensor] = []
    handle = tiny.features[3].register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tiny(image[None])
        activation = kept[0].detach().requires_grad_()
        logits = tiny.head(tiny.features[4](activation.clone()).mean(dim=(2, 3)))
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.float()[0, 1], activation)
    assert activation.dtype == gradient.dtype == torch.bfloat16
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    cam = (weights * activation.detach().float()).sum(dim=1, keepdim=True).relu()
    expected = nn.functional.interpolate(cam, size=(32, 32), mode="bilinear", align_corners=False)
    with explaining(tiny, "bfloat16"):
        found = GradCAM("features.3").attribute(tiny, image[None], 1).maps
    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_autocast_around_a_run_changes_nothing(tiny, image, precision) -> None:
    """As MONAI's evaluators enter one with ``amp=True``."""
    inferer = make_inferer(precision=precision, pairs=True)
    expected, _ = inferer.vote(image, tiny)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            votes, _ = inferer.vote(image, tiny)
            assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == dtype
        assert np.array_equal(votes.counts, expected.counts) and np.array_equal(votes.logits, expected.logits)
        assert np.array_equal(votes.pair_counts, expected.pair_counts)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    "export", [torch.jit.script, lambda network: torch.jit.trace(network, torch.rand(1, 1, 32, 32))]
)
def test_a_torchscript_network_in_bfloat16_votes_as_the_eager_one(tiny, image, export) -> None:
    expected, _ = make_inferer(precision="bfloat16").vote(image, tiny)
    script = export(copy.deepcopy(tiny))
    forward = script.forward
    votes, _ = make_inferer(precision="bfloat16").vote(image, script)
    assert np.array_equal(votes.counts, expected.counts) and np.array_equal(votes.logits, expected.logits)
    assert script.forward is forward


# ---- the state that it sets


def products() -> dict[str, str]:
    """How torch multiplies float32 values now, by its settings."""
    of: Any = torch.backends
    settings = {"all": of, "cudnn": of.cudnn, "matmul": of.cuda.matmul, "conv": of.cudnn.conv, "rnn": of.cudnn.rnn}
    on_cpu = {f"cpu {name}": getattr(of.mkldnn, name) for name in ("conv", "rnn", "matmul")}
    return {name: setting.fp32_precision for name, setting in (settings | on_cpu).items()}


OPERATIONS = ("matmul", "conv", "rnn", "cpu conv", "cpu rnn", "cpu matmul")


@pytest.fixture(params=["nothing", "everything", "matrix products", "matrix products of the CPU"])
def somebody_set(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """A setting of the user, and what torch says then."""
    before = products()
    of: Any = torch.backends
    setting, value = {
        "nothing": (of, "none"),
        "everything": (of, "tf32"),
        "matrix products": (of.cuda.matmul, "tf32"),
        "matrix products of the CPU": (of.mkldnn.matmul, "bf16"),
    }[request.param]
    setting.fp32_precision = value
    yield products()
    setting.fp32_precision = "none"
    assert products() == before


def test_torchs_default_is_what_this_is_about() -> None:
    """Convolutions of GPUs round to TF32; should torch change that, the first sentence of ``running_in`` is wrong."""
    assert products()["conv"] == "tf32"


@pytest.mark.parametrize(("precision", "kind"), [("float32", "ieee"), ("bfloat16", "ieee"), ("tf32", "tf32")])
def test_products_are_of_the_precision_inside_and_as_before_afterwards(
    tiny, somebody_set, precision, kind, monkeypatch
) -> None:
    monkeypatch.setattr("monai_robustinterp.interpreters.context.precision.check_tf32", lambda network: None)
    with explaining(tiny, precision):
        assert {products()[name] for name in OPERATIONS} == {kind}
        with explaining(tiny):
            assert {products()[name] for name in OPERATIONS} == {"ieee"}
        assert {products()[name] for name in OPERATIONS} == {kind}
    assert products() == somebody_set
    with pytest.raises(KeyError), explaining(tiny, precision):
        raise KeyError
    assert products() == somebody_set


@pytest.mark.parametrize("before", [(False, True), (True, False)])
def test_cudnn_repeats_itself_inside_and_is_as_before_afterwards(tiny, monkeypatch, before) -> None:
    cudnn: Any = torch.backends.cudnn
    for name, value in zip(("deterministic", "benchmark"), before):
        monkeypatch.setattr(cudnn, name, value)
    with pytest.raises(KeyError), explaining(tiny):
        assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        raise KeyError
    assert (cudnn.deterministic, cudnn.benchmark) == before


@pytest.mark.parametrize(
    ("name", "value", "precision", "refused"),
    [
        ("NVIDIA_TF32_OVERRIDE", "0", "float32", False),
        ("NVIDIA_TF32_OVERRIDE", "1", "float32", True),
        ("NVIDIA_TF32_OVERRIDE", "0", "tf32", True),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", "float32", True),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "strict", "float32", False),
        ("DNNL_DEFAULT_FPMATH_MODE", "ANY", "bfloat16", True),
    ],
)
def test_what_overrules_torch_from_outside_is_refused(tiny, monkeypatch, name, value, precision, refused) -> None:
    monkeypatch.setattr("monai_robustinterp.interpreters.context.precision.check_tf32", lambda network: None)
    monkeypatch.setenv(name, value)
    training = tiny.training
    if refused:
        with pytest.raises(ValueError, match=rf"{name} is '{value}'.*Unset it"), explaining(tiny, precision):
            pass
    else:
        with explaining(tiny, precision):
            pass
    assert tiny.training == training


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.Identity()])
def test_a_network_that_lowers_its_own_precision_is_certified_as_it_is(image, norm) -> None:
    class Lowered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.head = nn.Conv2d(1, 4, 3), norm, nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                seen.append(self.norm(self.first(x)))
            return self.head(seen[-1].float().mean(dim=(2, 3)))

    seen: list[torch.Tensor] = []
    network = Lowered().eval()
    outside = network(image[None])
    with explaining(network):
        inside = network(image[None])
    assert [each.dtype for each in seen] == [torch.bfloat16] * 2
    torch.testing.assert_close(inside, outside, rtol=0.02, atol=0.02)


def test_a_later_setting_of_the_user_is_still_followed(tiny) -> None:
    """What is written once for one operation follows no more: writing the old value back would not be as before."""
    of: Any = torch.backends
    of.fp32_precision = "tf32"
    with explaining(tiny):
        pass
    of.fp32_precision = "ieee"
    found = products()
    of.fp32_precision = "none"
    assert {found[name] for name in ("matmul", "cpu conv", "cpu rnn", "cpu matmul")} == {"ieee"}


OLDER_WAY = """
import torch
from monai_robustinterp.interpreters import explaining
torch.backends.cudnn.allow_tf32 = True
with explaining(torch.nn.Linear(2, 2)):
    print(torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.rnn.fp32_precision)
print(torch.backends.cudnn.allow_tf32)
"""


def test_what_was_set_in_the_older_way_is_overruled_and_kept() -> None:
    """In a process of its own: it cannot be unset."""
    run = subprocess.run([sys.executable, "-c", OLDER_WAY], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["ieee", "ieee", "True"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_network_is_as_before(tiny, precision) -> None:
    tiny.train()
    before = state(tiny)
    forward = tiny.forward
    with pytest.raises(KeyError), explaining(tiny, precision):
        assert ("forward" in vars(tiny)) == (precision == "bfloat16")
        assert ("forward" in vars(tiny.features[1])) == (precision == "float32")  # the batch norm as an affine map
        raise KeyError
    assert_same(before, state(tiny))
    assert "forward" not in vars(tiny) and tiny.forward == forward


def test_a_forward_that_somebody_patched_runs_in_bfloat16_and_stays(tiny, image) -> None:
    seen: list[bool] = []

    def patched(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return type(tiny).forward(tiny, inputs)

    tiny.forward = patched
    with explaining(tiny, "bfloat16"):
        assert tiny(image[None]).dtype == torch.float32
    assert tiny.forward is patched and seen == [True]


# ---- what cannot run in it


def test_tf32_is_refused_on_a_cpu_before_anything_changes(tiny, image) -> None:
    before = products(), state(tiny)
    with pytest.raises(ValueError, match="precision is 'tf32' and the network is on cpu; TF32 is a format of CUDA"):
        make_inferer(precision="tf32").vote(image, tiny)
    assert products() == before[0]
    assert_same(before[1], state(tiny))


class Bare(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))], dim=1)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_network_without_weights_runs_in_float32_only(image, precision) -> None:
    make_inferer().vote(image, Bare())
    with pytest.raises(ValueError, match="has no weights; it needs weights on one device"):
        make_inferer(precision=precision).vote(image, Bare())


def test_a_device_without_bfloat16_is_refused(tiny, image, monkeypatch) -> None:
    """Torch warns there and goes on in float32, which the record would not say."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: False)
    with pytest.raises(ValueError, match="torch has no bfloat16 on cpu here"):
        make_inferer(precision="bfloat16").vote(image, tiny)


@pytest.mark.parametrize("precision", ["float16", "", None, "Float32"])
def test_another_word_is_refused(precision) -> None:
    for refused in (
        lambda: make_inferer(precision=precision),
        lambda: spec_of(vote_map([1, 0], n_samples=1, top_k=1), precision=precision),
    ):
        with pytest.raises(ValueError, match=r"precision is .*one of \['float32', 'tf32', 'bfloat16'\]"):
            refused()


def test_a_trace_keeps_what_was_set_when_it_was_made(tiny, monkeypatch) -> None:
    traces = {}
    for kind in ("ieee", "tf32"):
        with float32_products(kind):
            traces[kind] = torch.jit.trace(copy.deepcopy(tiny), torch.rand(1, 1, 32, 32))
    assert traced_tf32(traces["ieee"]) == {False} and traced_tf32(traces["tf32"]) == {True}
    assert traced_tf32(torch.jit.script(copy.deepcopy(tiny))) == set()
    with explaining(traces["tf32"]):  # on a CPU it changes nothing
        pass
    monkeypatch.setattr(network_state, "has_tf32", lambda device: True)
    with explaining(traces["ieee"]), explaining(nn.Sequential(traces["tf32"]), "bfloat16"):
        pass
    with (
        pytest.raises(ValueError, match=r"fixed to tf32\. Choose that, .*allow_tf32 = False"),
        explaining(traces["tf32"]),
    ):
        pass
    with pytest.raises(ValueError, match="fixed to float32"), explaining(nn.Sequential(traces["ieee"]), "tf32"):
        pass


# ---- interpreters


HOLD = without_float32()


def test_gradients_and_their_weighted_layers_hold() -> None:
    assert [
        *("grad_cam", "grad_cam_pp", "gradient", "gradient_shap", "guided_backprop", "input_x_gradient"),
        *("integrated_gradients", "smooth_grad"),
    ] == HOLD


@pytest.mark.parametrize("name", HOLD)
@pytest.mark.parametrize("which", ["tiny", "dense"])
def test_in_bfloat16_a_map_is_of_one_copy_alone_and_near_that_of_float32(name, which, request) -> None:
    network = request.getfixturevalue(which)
    interpreter, images = (
        make(name, target_layer={"tiny": "features.3", "dense": "features.norm5"}[which]),
        noisy(8, 1, 32, 32),
    )
    with explaining(network):
        expected = interpreter.attribute(network, images, 1)
    with explaining(network, "bfloat16"):
        found, again = (interpreter.attribute(network, images, 1) for _ in range(2))
        alone = torch.cat([interpreter.attribute(network, one[None], 1).maps for one in images])
    assert found.maps.dtype == found.logits.dtype == torch.float32 and torch.isfinite(found.maps).all()
    assert torch.equal(found.maps, again.maps) and not torch.equal(found.maps, expected.maps)
    torch.testing.assert_close(alone, found.maps, rtol=1e-4, atol=1e-4 * float(found.maps.abs().max()))
    cells = [pool_cells(result.maps, 4).flatten(1).topk(10).indices.tolist() for result in (found, expected)]
    shared = [len(set(a) & set(b)) for a, b in zip(*cells)]
    assert sum(shared) >= 0.9 * 80
    assert make_inferer(interpreter=interpreter, precision="bfloat16").recipe.precision == "bfloat16"


def test_the_others_are_refused_with_those_that_hold() -> None:
    with collected() as case:
        for precision, name in itertools.product(["tf32", "bfloat16"], sorted(set(INTERPRETERS) - set(HOLD))):
            with case(precision, name):
                interpreter = make(name)
                make_inferer(interpreter=interpreter)
                with pytest.raises(
                    ValueError, match=f"interpreter '{name}' follows differences .* precision '{precision}'"
                ) as refusal:
                    make_inferer(interpreter=interpreter, precision=precision)
                assert str(HOLD) in str(refusal.value)


@pytest.mark.parametrize("name", ["cam", "robust_activation_map", "deep_lift"])
def test_their_own_checks_would_fail(name, tiny) -> None:
    """That the head makes the logits, and that the map sums to their change."""
    interpreter = make(name, target_layer="features.3")
    with explaining(tiny):
        interpreter.attribute(tiny, noisy(8, 1, 32, 32), 1)
    with pytest.raises(ValueError, match=r"misses the logits|sums to another value"), explaining(tiny, "bfloat16"):
        interpreter.attribute(tiny, noisy(8, 1, 32, 32), 1)


def test_a_precision_that_was_changed_later_is_refused_too(tiny, image) -> None:
    recipe = make_inferer(interpreter="cam").recipe
    with pytest.raises(ValueError, match="rounds away"):
        dataclasses.replace(recipe, precision="bfloat16")


def test_small_changes_of_a_logit_are_no_longer_seen(tiny) -> None:
    """So that the map of a mask that changes little is zero, and votes would be random."""
    interpreter, images = make("extremal_perturbation"), noisy(8, 1, 32, 32)
    with explaining(tiny):
        assert interpreter.attribute(tiny, images, 1).maps.amax(dim=(1, 2, 3)).min() > 0
    with explaining(tiny, "bfloat16"):
        assert interpreter.attribute(tiny, images, 1).maps.amax(dim=(1, 2, 3)).min() == 0


# ---- what says which it was


def test_a_batch_size_is_found_for_each_precision(tiny, image, monkeypatch) -> None:
    settings: list[str] = []
    monkeypatch.setattr(batching, "cached_batch_size", lambda setting, find: settings.append(setting) or 16)
    for precision in ("float32", "bfloat16", "bfloat16"):
        make_inferer(precision=precision, n_samples=256, batch_size=None).vote(image, tiny)
    assert settings[0] != settings[1] == settings[2]


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_certificate_and_schema_name_the_precision(precision) -> None:
    votes = vote_map([40, 30, 20, 10], n_samples=50, top_k=2)
    plain, other = (
        certify_votes(votes, spec_of(votes, precision=name), beta="0.5", eta=0.01) for name in ("float32", precision)
    )
    assert other.radii == plain.radii
    data = json.loads(json.dumps(certificate_to_json(other)))
    jsonschema.validate(data, SCHEMA)
    assert data["spec"]["precision"] == precision and certificate_from_json(data) == other
    assert f"for this network in this precision ({precision}), for the stored" in data["claim"]["assumptions"]
    assert "for this network in this precision, for the" in certificate_to_json(plain)["claim"]["assumptions"]
    data["spec"]["precision"] = "float16"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)


def in_precision(spec: SmoothingSpec, precision: str) -> SmoothingSpec:
    return dataclasses.replace(spec, precision=precision)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_audit_verifies_the_precision_and_tells_another_one(precision, tmp_path: Path) -> None:
    votes, spec = make_run(make_masks())
    record = make_record(votes, in_precision(spec, precision))
    arrays = make_arrays(votes, in_precision(spec, precision), tmp_path)
    report = verify(record, arrays)
    assert report.verified and "spec.precision" in report.checked and "precision" not in record["provenance"]
    for other in {"float32", "tf32", "bfloat16"} - {precision}:
        changed = resealed(record | {"spec": record["spec"] | {"precision": other}})
        assert [text.split(": ")[0] for text in verify(changed, arrays).differences] == ["spec.precision"]
        there = arrays | {"spec": np.array(str(arrays["spec"]).replace(f'"{precision}"', f'"{other}"'))}
        expected = ["claim.assumptions", "spec.precision"]
        assert [text.split(": ")[0] for text in verify(record, there).differences] == expected
        # Both words: the sentence still says what it was.
        assert [text.split(": ")[0] for text in verify(changed, there).differences] == ["claim.assumptions"]
        assert not verify(make_record(votes, in_precision(spec, other)), arrays).verified


@pytest.mark.parametrize("wrong", ['"float16"', "null", "32", '["bfloat16"]', '{"a": 1}'])
def test_votes_of_no_known_precision_are_not_audited(wrong, tmp_path: Path) -> None:
    votes, spec = make_run(make_masks())
    record, arrays = make_record(votes, spec), make_arrays(votes, spec, tmp_path)
    text = str(arrays["spec"])
    for changed in (text.replace('"float32"', wrong), text.replace('"precision": "float32", ', "")):
        assert changed != text
        with pytest.raises(AuditError, match="another form"):
            verify(record, arrays | {"spec": np.array(changed)})


@pytest.mark.parametrize("name", ["chest_xray_certified_saliency", "chest_xray_findings"])
def test_the_bundles_take_it_from_their_key(name) -> None:
    assert load_bundle(name).inferer.recipe.precision == "float32"
    assert load_bundle(name, {"precision": "bfloat16"}).inferer.recipe.precision == "bfloat16"
    with pytest.raises(InputRefused, match="interpreter 'cam' follows differences"):
        load_bundle(name, {"precision": "bfloat16", "interpreter_name": "cam"})


# ---- on a GPU


@pytest.fixture
def on_gpu(tiny: nn.Module) -> nn.Module:
    """The tiny network with enough channels that TF32 shows."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 32, 3, padding=1), nn.Softplus(), nn.Conv2d(32, 32, 3, padding=1), nn.Softplus()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)).eval().cuda()


@pytest.mark.gpu
def test_float32_on_a_gpu_is_float32_and_tf32_is_not(on_gpu, image) -> None:
    batch = image[None].repeat(4, 1, 1, 1)
    on_cpu = copy.deepcopy(on_gpu).cpu()
    with explaining(on_cpu):
        expected = Gradient().attribute(on_cpu, batch, 1).maps
    maps = {}
    for precision in ("float32", "tf32") if torch.cuda.is_tf32_supported() else ("float32",):
        with explaining(on_gpu, precision):
            maps[precision] = Gradient().attribute(on_gpu, batch.cuda(), 1).maps.cpu()
    largest = float(expected.abs().max())
    assert float((maps["float32"] - expected).abs().max()) <= 1e-5 * largest
    if "tf32" in maps:
        assert float((maps["tf32"] - expected).abs().max()) > 1e-5 * largest
    else:
        with pytest.raises(ValueError, match="this GPU has none"), explaining(on_gpu, "tf32"):
            pass


@pytest.mark.gpu
def test_a_trace_with_tf32_is_refused_on_a_gpu(on_gpu, image) -> None:
    with float32_products("tf32"):
        trace = torch.jit.trace(on_gpu, image[None].cuda())
    for script in (trace, torch.jit.freeze(trace)):
        with pytest.raises(ValueError, match="fixed to tf32"), explaining(script):
            pass


@pytest.mark.gpu
def test_bfloat16_on_a_gpu_votes_as_a_plain_loop_under_autocast(on_gpu, image) -> None:
    inferer = make_inferer(precision="bfloat16", batch_size=1)
    votes, _ = inferer.vote(image.cuda(), on_gpu)
    copies = inferer.recipe.stages(image.cuda(), on_gpu, target=1, n_copies=24).copies
    counts = np.zeros(64, dtype=int)
    for one in torch.from_numpy(copies).cuda():
        x = one[None, None].clone().requires_grad_()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = on_gpu(x)
        logits.float()[0, 1].backward()
        counts[pool_cells(x.grad.abs(), 4).flatten().topk(10).indices.cpu().numpy()] += 1
    # Some of cuDNN's sums differ from run to run.
    assert np.abs(votes.counts.ravel() - counts).sum() / 2 <= 0.02 * counts.sum()
