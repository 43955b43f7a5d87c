"""Denoise, then interpret: what is voted, which gradient, what the record says, and denoisers that are none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from monai_robustinterp.attacks.maps import CellMap
from monai_robustinterp.bundle import load_denoiser
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import Gradient, explaining
from monai_robustinterp.interpreters.base import Attribution
from monai_robustinterp.networks import Denoised, Denoiser
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.smoothing.voting import pool_cells
from monai_robustinterp.types import NOISE_PROTOCOL
from tests.support.cases import collected
from tests.support.networks import TinyClassifier

SIGMA, CELL, K, M = 0.25, 4, 4, 24


class Blur(nn.Module):
    """Means of 3 x 3 pixels, which leave a third of white noise."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return self.scale * functional.avg_pool2d(noisy, 3, stride=1, padding=1, count_include_pad=False)


def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 4, 4, generator=generator)
    return functional.interpolate(coarse, (32, 32), mode="bilinear")[0].clamp(0, 1)


def network() -> TinyClassifier:
    torch.manual_seed(0)
    return TinyClassifier().eval()


def inferer(**settings: object) -> CertifiedSaliencyInferer:
    plain = {"sigma": SIGMA, "n_samples": M, "top_k": K, "cell_size": CELL, "target": 1, "batch_size": 8, "seed": 4}
    return CertifiedSaliencyInferer(**plain | settings)


def counts_by_hand(function: nn.Module, denoise: nn.Module) -> np.ndarray:
    """Votes of absolute gradients of the function at what the denoiser makes of each copy, by autograd alone."""
    clean = image()
    stream = CounterNoise(seed=4, image_hash=image_sha256(clean), protocol=NOISE_PROTOCOL)
    copies = clean + SIGMA * stream.normal(torch.arange(M), (1, 32, 32))
    with torch.no_grad():
        seen = denoise(copies, torch.full((M,), SIGMA)) if denoise else copies
    seen = seen.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(function(seen)[:, 1].sum(), seen)
    cells = pool_cells(gradient.abs(), CELL).flatten(1)
    votes = torch.zeros_like(cells).scatter_(1, cells.topk(K, dim=1).indices, 1.0)
    return votes.sum(dim=0).long().reshape(8, 8).numpy()


def test_each_copy_is_denoised_and_then_interpreted() -> None:
    result = inferer(denoiser=Denoiser(Blur(), name="blur")).certify(image(), network())
    assert np.array_equal(result.votes.counts, counts_by_hand(network(), Blur()))
    assert not np.array_equal(result.votes.counts, inferer().certify(image(), network()).votes.counts)
    # The decision that the copies are compared with is that of the network itself.
    assert np.array_equal(result.votes.logits, network()(image()[None])[0].detach().numpy())


def test_the_gradient_through_the_denoiser_is_that_of_both() -> None:
    settings = {"denoiser": Denoiser(Blur(), name="blur"), "denoiser_gradient": "through"}
    result = inferer(**settings).certify(image(), network())
    both = Denoised(network(), lambda copies: Blur()(copies, torch.full((len(copies),), SIGMA)))
    assert np.array_equal(result.votes.counts, counts_by_hand(both, None))


def test_copies_are_denoised_one_by_one_where_round_off_would_grow() -> None:
    sizes = []

    class Counting(Blur):
        def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            assert sigma.shape == (len(noisy),)
            sizes.append(len(noisy))
            return super().forward(noisy, sigma)

    class Amplifying(Gradient):
        amplifies_round_off = True

    # Two images are the check of the denoiser.
    inferer(denoiser=Denoiser(Counting(), name="x"), interpreter=Amplifying()).certify(image(), network())
    assert sizes == [2] + [1] * M


def test_the_record_names_the_denoiser_and_verifies() -> None:
    denoiser = Denoiser(Blur(), name="blur", version="1.2", sigmas=(0.1, 0.3))
    result = inferer(denoiser=denoiser, brightness=0.05).certify(image(), network())
    found = result.record["spec"]["denoiser"]
    assert found == {"name": "blur", "version": "1.2", "sha256": denoiser.settings["sha256"], "gradient": "at"}
    assert "Each copy went through a denoiser" in result.record["claim"]["assumptions"]
    changed = Blur()
    changed.scale.data += 0.5
    assert Denoiser(changed, name="blur").settings["sha256"] != found["sha256"]


def test_denoisers_that_are_none_are_refused() -> None:
    def made(change: object) -> Denoiser:
        class Other(Blur):
            def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
                return change(super().forward(noisy, sigma), noisy)

        return Denoiser(Other(), name="other")

    cases = {
        "another size": (made(lambda out, _: out[..., :-1]), r"makes \(2, 1, 32, 31\)"),
        "channels": (made(lambda out, _: out.repeat(1, 3, 1, 1)), r"makes \(2, 3, 32, 32\)"),
        "not finite": (made(lambda out, _: out / 0), "not finite"),
        "identity": (made(lambda _, noisy: noisy), "leaves 100% of the noise"),
        "another range": (made(lambda out, _: 255 * out), "changes the clean image by"),
        "an error": (Denoiser(nn.Linear(3, 3), name="x"), r"fails on a batch of shape \(2, 1, 32, 32\) \(TypeError\)"),
    }
    with collected() as case:
        for name, (denoiser, words) in cases.items():
            with case(name), pytest.raises(InputRefused, match=words):
                inferer(denoiser=denoiser).certify(image(), network())


def test_settings_that_go_with_no_denoiser_are_refused() -> None:
    blur = Denoiser(Blur(), name="blur", sigmas=(0.02, 0.2))
    cases = {
        "sigma": ({"denoiser": blur}, r"sigma is 0.25 and the denoiser was trained for 0.02 to 0.2"),
        "no denoiser": ({"denoiser_gradient": "through"}, "there is no denoiser"),
        "no gradient": (
            {"denoiser": blur, "sigma": 0.1, "denoiser_gradient": "through", "interpreter": "rise"},
            "rise",
        ),
        "no such": ({"denoiser": blur, "sigma": 0.1, "denoiser_gradient": "behind"}, "it must be 'at' or 'through'"),
    }
    with collected() as case:
        for name, (settings, words) in cases.items():
            with case(name), pytest.raises(ValueError, match=words):
                inferer(**settings)


def test_a_denoiser_comes_by_name_from_a_folder_or_from_a_file(tmp_path: Path, monkeypatch: object) -> None:
    shipped = load_denoiser("chest_xray_denoiser")
    assert (shipped.name, *shipped.sigmas) == ("chest_xray_denoiser", 0.02, 0.6)
    assert load_denoiser(None) is load_denoiser("none") is None
    path = tmp_path / "Doe^John.pt"
    torch.jit.save(torch.jit.trace(Blur(), (torch.rand(2, 1, 8, 8), torch.rand(2)), check_trace=False), path)
    loaded = load_denoiser(path)
    assert loaded.name == "TorchScript file"
    noisy = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(loaded(noisy, 0.1), Blur()(noisy, torch.ones(2)))
    path.write_bytes(b"no archive")
    with pytest.raises(InputRefused, match="no TorchScript module") as error:
        load_denoiser(path)
    assert "Doe" not in str(error.value)
    with pytest.raises(InputRefused, match="defines no denoiser"):
        load_denoiser("chest_xray_findings")
    (tmp_path / "Doe^John").mkdir()
    with pytest.raises(InputRefused, match=r"has no configs/inference.json") as error:
        load_denoiser(tmp_path / "Doe^John")
    assert "Doe" not in str(error.value)
    with pytest.raises(InputRefused, match="no such bundle"):
        load_denoiser(tmp_path / "missing")
    # Who writes into the working directory does not decide what a shipped name means.
    monkeypatch.chdir(tmp_path)
    Path("chest_xray_denoiser").write_bytes(b"a file of that name")
    assert load_denoiser("chest_xray_denoiser").settings == shipped.settings


def test_an_attack_sees_the_map_behind_the_denoiser() -> None:
    settings = inferer(denoiser=Denoiser(Blur(), name="blur")).recipe
    inputs = (image()[None] + 0.1 * torch.randn(2, 1, 32, 32)).requires_grad_()

    def blurred(copies: torch.Tensor) -> torch.Tensor:
        return settings.denoiser(copies, SIGMA)

    with explaining(model := network()):
        plain = CellMap(model, Gradient(), 1, CELL)
        cells = dataclasses.replace(plain, denoise=blurred)
        found: Attribution = Gradient().attribute(model, blurred(inputs).detach(), 1)
        expected = pool_cells(found.maps, CELL).flatten(1)
        torch.testing.assert_close(cells(inputs, differentiable=False), expected)
        values = cells(inputs, differentiable=True)
        torch.testing.assert_close(values, expected)
        (gradient,) = torch.autograd.grad(values.sum(), inputs)
    assert gradient.shape == inputs.shape and bool(gradient.any())
