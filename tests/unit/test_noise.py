"""The noise: known answers, what it depends on, and its law as the model receives it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import Attribution, Interpreter
from monai_robustinterp.networks import GrayscaleInput
from monai_robustinterp.noise.counter import CounterNoise, image_sha256, philox4x32


def make_noise(seed: int = 0, image_hash: str = "ab", protocol: str = "p/1") -> CounterNoise:
    return CounterNoise(seed=seed, image_hash=image_hash, protocol=protocol)


FULL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((FULL, FULL, FULL, FULL), (FULL, FULL), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, expected) -> None:
    words = philox4x32(tuple(torch.tensor([c]) for c in counter), key)
    assert " ".join(f"{int(word):08x}" for word in words) == expected


def test_a_copy_depends_on_its_index_alone() -> None:
    noise = make_noise()
    together = noise.normal(torch.arange(100), (1, 9, 7))
    for chunk in torch.arange(100).split(13):
        assert torch.equal(noise.normal(chunk, (1, 9, 7)), together[chunk])
    assert torch.equal(noise.normal(torch.tensor([42, 3]), (1, 9, 7)), together[[42, 3]])


def test_seeds_images_protocols_and_purposes_share_no_draw() -> None:
    samples = torch.arange(8)
    draws = [
        noise.normal(samples, (1, 16, 16)).flatten().numpy()
        for noise in (make_noise(), make_noise(seed=1), make_noise(image_hash="ac"), make_noise(protocol="p/2"))
    ]
    for i, first in enumerate(draws):
        for second in draws[i + 1 :]:
            assert np.intersect1d(first, second).size == 0
            assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_noise_and_tie_breaking_have_keys_of_their_own() -> None:
    noise, samples = make_noise(), torch.arange(64)
    first_of_each = noise.order(samples, 2)[:, 0].double().argsort()
    assert not torch.equal(first_of_each, noise.normal(samples, (4,))[:, 0].argsort())
    draws = [torch.cat(noise.words(purpose, samples, 8)) for purpose in ("noise", "ties")]
    assert np.intersect1d(*(draw.numpy() for draw in draws)).size < 3


def test_the_image_hash_sees_every_value_and_the_shape() -> None:
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[0, 7, 7] = torch.nextafter(changed[0, 7, 7], torch.tensor(2.0))
    hashes = {image_sha256(image), image_sha256(changed), image_sha256(image.reshape(1, 4, 16))}
    assert len(hashes) == 3
    assert image_sha256(image) == image_sha256(image.clone().to(memory_format=torch.contiguous_format))


def test_draws_are_standard_normal_and_uncorrelated() -> None:
    z = make_noise().normal(torch.arange(64), (1, 64, 64)).double().numpy()
    # Seeded, so these p-values are fixed numbers; a wrong variance, angle or tail drives them to 0.
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.001
    for moment, expected in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert np.mean(z**moment) == pytest.approx(expected, abs=0.05)
    flat = z.reshape(64, -1)
    for shift in (1, 2, 3, 4, 64):
        assert abs(np.mean(flat[:, :-shift] * flat[:, shift:])) < 0.01
    assert abs(np.mean(flat[:-1] * flat[1:])) < 0.01


def test_tie_breaking_ranks_are_distinct_and_uniform() -> None:
    ranks = make_noise().order(torch.arange(2000), 10)
    assert all(len(set(row.tolist())) == 10 for row in ranks)
    first = torch.bincount(ranks.argmin(dim=1), minlength=10).numpy()
    assert stats.chisquare(first).pvalue > 0.001


class Recorder(Interpreter):
    """Keeps what the network receives."""

    name = "recorder"

    def __init__(self) -> None:
        self.received: list[torch.Tensor] = []

    def attribute(self, network, inputs, target):
        self.received.append(inputs.clone())
        return Attribution(maps=inputs.abs(), logits=network(inputs))


def test_the_model_receives_the_image_plus_gaussian_noise_of_the_stated_sigma(tiny, image) -> None:
    recorder = Recorder()
    inferer = CertifiedSaliencyInferer(
        interpreter=recorder, sigma=0.3, n_samples=200, top_k=4, cell_size=4, target=1, batch_size=64
    )
    inferer.vote(image, tiny)
    # The last of four batches of 64 is filled up.
    received = torch.cat(recorder.received)[:200]
    assert len(recorder.received) == 4 and received.shape == (200, 1, 32, 32)
    residual = ((received - image) / 0.3).double().numpy().ravel()
    assert stats.kstest(residual, "norm").pvalue > 0.001
    # Not clipped into [0, 1].
    assert received.min() < -0.3 and received.max() > 1.3


def test_replicated_channels_carry_one_noise(image) -> None:
    """Noise per replicated channel would certify a threat that no image can carry (D1)."""
    seen = []

    class ThreeChannels(torch.nn.Module):
        def forward(self, x):
            seen.append(x.detach().clone())
            return x.mean(dim=(2, 3))[:, :2]

    network = GrayscaleInput(ThreeChannels(), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
    CertifiedSaliencyInferer(n_samples=4, top_k=4, cell_size=4, target=0).vote(image, network)
    copies = seen[-1] * torch.tensor([0.2, 0.25, 0.5])[None, :, None, None]
    copies = copies + torch.tensor([0.4, 0.5, 0.6])[None, :, None, None]
    assert copies.shape == (4, 3, 32, 32)
    assert torch.allclose(copies[:, 0], copies[:, 1], atol=1e-6) and torch.allclose(
        copies[:, 0], copies[:, 2], atol=1e-6
    )
    assert (copies[0, 0] - image[0]).std() == pytest.approx(0.1, rel=0.1)


@pytest.mark.gpu
def test_gpu_draws_the_same_numbers() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    samples = torch.arange(32)
    on_gpu = make_noise().normal(samples.cuda(), (1, 64, 64)).cpu()
    assert torch.allclose(on_gpu, make_noise().normal(samples, (1, 64, 64)), atol=1e-6)
    assert torch.equal(make_noise().order(samples.cuda(), 99).cpu(), make_noise().order(samples, 99))
