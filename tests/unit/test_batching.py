"""Batches: of the fastest size, filled across images, halved where memory ends; and never another result."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import RISE, MeaningfulPerturbation
from monai_robustinterp.networks import CallableClassifier
from monai_robustinterp.smoothing import batching
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, cached_batch_size, find_batch_size
from monai_robustinterp.smoothing.voting import NonFiniteMapError
from monai_robustinterp.types import Region, VoteMap

CPU, SIZES = torch.device("cpu"), (8, 16, 32)


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    settings = {"n_samples": 20, "top_k": 10, "cell_size": 4, "target": 1, "batch_size": 16, "sigma": 0.2}
    return CertifiedSaliencyInferer(**(settings | changes))


def same(first: VoteMap, second: VoteMap) -> bool:
    names = ("counts", "found_copies", "copy_votes", "copy_found")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.fixture
def rows(tiny) -> list[int]:
    """Images of each forward pass of ``tiny``."""
    seen: list[int] = []
    tiny.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


# ---- the search


class Clock:
    """A clock that only the work moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: Callable[[int], float]) -> None:
        self.now, self.cost, self.taken = 0.0, cost, []
        monkeypatch.setattr(batching.time, "perf_counter", lambda: self.now)

    def take(self, size: int) -> None:
        self.taken.append(size)
        self.now += self.cost(size)


@pytest.mark.parametrize(
    ("ms_a_copy", "best"),
    [
        ({8: 3.0, 16: 2.0, 32: 2.5}, 16),
        ({8: 3.0, 16: 2.0, 32: 1.5}, 32),
        ({8: 2.0, 16: 3.0, 32: 1.0}, 8),  # it stops where a larger batch is slower
        ({8: 3.0, 16: 2.99, 32: 1.0}, 8),  # one per cent is not worth the memory
    ],
)
def test_the_search_takes_the_smallest_batch_near_the_fastest(monkeypatch, ms_a_copy, best) -> None:
    clock = Clock(monkeypatch, lambda size: size * ms_a_copy.get(size, 4.0) / 1e3)
    assert find_batch_size(clock.take, CPU, SIZES) == best


def test_the_first_batch_of_a_size_does_not_count(monkeypatch) -> None:
    """It builds kernels and buffers."""
    clock = Clock(monkeypatch, lambda size: size * (9.0 if clock.taken.count(size) == 1 else 2.0 - size / 100) / 1e3)
    assert find_batch_size(clock.take, CPU, SIZES) == 32


def test_a_method_of_many_passes_is_not_searched(monkeypatch) -> None:
    clock = Clock(monkeypatch, lambda size: 0.6 * size)
    assert find_batch_size(clock.take, CPU, SIZES) == DEFAULT_BATCH_SIZE and clock.taken == [1, 1]


def test_a_slow_first_copy_is_no_slow_method(monkeypatch) -> None:
    """On a GPU it waits for kernels."""
    clock = Clock(monkeypatch, lambda size: 0.8 if len(clock.taken) == 1 else size * (2.0 - size / 100) / 1e3)
    assert find_batch_size(clock.take, CPU, SIZES) == 32


def test_the_search_ends_where_memory_does(monkeypatch) -> None:
    def cost(size: int) -> float:
        if size > 16:
            raise torch.OutOfMemoryError("out of memory")
        return size**0.5 / 1e3

    assert find_batch_size(Clock(monkeypatch, cost).take, CPU, SIZES) == 16


def test_what_was_found_is_kept_for_the_machine(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls: list[int] = []
    assert cached_batch_size("a", lambda: calls.append(1) or 32) == 32
    assert cached_batch_size("b", lambda: calls.append(1) or 64) == 64
    assert cached_batch_size("a", lambda: calls.append(1) or 8) == 32
    assert len(calls) == 2
    (path,) = tmp_path.rglob("*.json")
    assert sorted(json.loads(path.read_text()).values()) == [32, 64]
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert cached_batch_size("a", lambda: 8) == 8


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "index does not fit"])
def test_beyond_the_first_size_every_failure_of_a_library_ends_the_search(monkeypatch, words) -> None:
    def cost(size: int) -> float:
        if size > limit:
            raise RuntimeError(words)
        return size**0.5 / 1e3

    limit = 16
    assert find_batch_size(Clock(monkeypatch, cost).take, CPU, SIZES) == 16
    limit = 1
    if words.startswith("index"):
        with pytest.raises(RuntimeError, match=words):
            find_batch_size(Clock(monkeypatch, cost).take, CPU, SIZES)
    else:
        assert find_batch_size(Clock(monkeypatch, cost).take, CPU, SIZES) == DEFAULT_BATCH_SIZE


def test_a_user_without_a_home_gets_it_found_in_each_run(monkeypatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert [cached_batch_size("a", lambda size=size: size) for size in (32, 8)] == [32, 8]


def test_what_another_process_found_meanwhile_stays(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def find() -> int:
        assert cached_batch_size("a", lambda: 8) == 8 and cached_batch_size("b", lambda: 32) == 32
        return 16

    assert cached_batch_size("a", find) == 8
    assert cached_batch_size("b", lambda: 16) == 32


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "{", '{"a": "x"}', "null", "\x00\xff", '{"KEY": 1000000000}', '{"KEY": true}', '{"KEY": [8]}'],
)
def test_a_damaged_cache_is_found_anew(monkeypatch, tmp_path, content) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "monai_robustinterp" / "batch_sizes.json"
    path.parent.mkdir()
    cached_batch_size("a", lambda: 16)
    (key,) = json.loads(path.read_text())
    path.write_text(content.replace("KEY", key))
    assert cached_batch_size("a", lambda: 32) == 32
    assert cached_batch_size("a", lambda: 8) == 32


def test_where_nothing_can_be_written_it_is_found_in_each_run(monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [cached_batch_size("a", lambda size=size: size) for size in (32, 8)] == [32, 8]


def test_only_a_long_run_is_searched_and_a_second_one_is_not(monkeypatch, tmp_path, tiny, image, rows) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_inferer(batch_size=None).vote(image, tiny)
    assert rows == [1, 2, 16, 16] and not list(tmp_path.rglob("*.json"))
    rows.clear()
    monkeypatch.setattr(
        "monai_robustinterp.smoothing.batching.find_batch_size", lambda take, device, sizes: take(3) or 32
    )
    votes, _ = make_inferer(batch_size=None, n_samples=260).vote(image, tiny)
    assert rows == [1, 2, 3, *[32] * 9]
    rows.clear()
    again, _ = make_inferer(batch_size=None, n_samples=260).vote(image, tiny)
    assert rows == [1, 2, *[32] * 9]
    # The copies of the search are not counted.
    assert same(votes, again) and same(votes, make_inferer(n_samples=260).vote(image, tiny)[0])


def test_a_classifier_without_weights_gets_no_copies_of_a_search(monkeypatch, image) -> None:
    """It may be a remote one."""
    monkeypatch.setattr("monai_robustinterp.smoothing.batching.find_batch_size", lambda *_: pytest.fail("searched"))
    seen: list[int] = []

    def classify(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return np.stack([batch[:, 0, :16].sum(axis=(1, 2)), batch[:, 0, 16:].sum(axis=(1, 2))], axis=1)

    interpreter = RISE(n_masks=2, activation="softmax")
    make_inferer(interpreter=interpreter, batch_size=None, n_samples=256).vote(image, CallableClassifier(classify))
    # The clean image, and two copies that show what the classifier is.
    assert sum(seen) == 1 + 2 + 256 * 3


def test_a_search_takes_no_batch_beyond_the_run_and_no_noise_of_it(monkeypatch, tmp_path, tiny, image) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(batching, "WORTH_A_SEARCH", 20)
    # A machine on which any batch takes a tenth of a second, so that the largest is the fastest.
    monkeypatch.setattr(batching, "seconds", lambda take, size, device: (take(size), 0.1)[1])
    copies: list[torch.Tensor] = []
    tiny.register_forward_pre_hook(lambda _, args: copies.append(args[0].detach().clone()))
    make_inferer(batch_size=None).vote(image, tiny)
    assert max(map(len, copies)) == 16
    # A clean image and a batch of two, which show what the network is; then twice one copy, three batches of 8 and of
    # 16; then the run, of 20 copies in two full batches.
    *searched, first, last = copies[2:]
    assert len(first) == len(last) == 16 and {len(batch) for batch in searched} <= {1, 8, 16}
    assert not any(torch.equal(one, other) for one in first for other in torch.cat(searched))


def test_copies_that_go_one_by_one_are_not_searched(monkeypatch, tiny, image) -> None:
    monkeypatch.setattr("monai_robustinterp.smoothing.batching.find_batch_size", lambda *_: pytest.fail("searched"))
    interpreter = MeaningfulPerturbation(iterations=1)
    make_inferer(interpreter=interpreter, batch_size=None, n_samples=2, until_radius=1e-9, max_samples=256).vote(
        image, tiny
    )


# ---- several images in one batch


def test_a_batch_goes_on_with_the_next_image_and_nothing_changes(tiny, image, rows) -> None:
    images = [image, image.flip(-1), 0.5 * image]
    inferer = make_inferer()
    done: list[int] = []
    together = inferer.vote_images(images, tiny, done.append)
    assert rows == [1, 2] * 3 + [16] * 4 and done == [16, 16, 16, 12]
    for (votes, spec), alone in zip(together, images):
        expected, expected_spec = inferer.vote(alone, tiny)
        assert same(votes, expected) and spec == expected_spec
        assert np.array_equal(votes.logits, expected.logits) and votes.image_sha256 == expected.image_sha256


class Brightness(nn.Module):
    """Finds class 1 in bright images; the evidence of the classes lies in different halves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[..., :16].square().mean(dim=(1, 2, 3)), x[..., 16:].square().mean(dim=(1, 2, 3))
        return torch.stack([left, 2 * right], dim=1)


def test_images_of_other_targets_and_shapes_do_not_share_a_batch(image) -> None:
    bright_left, bright_right = image.clone(), image.clone()
    bright_left[..., 16:] *= 0.1
    bright_right[..., :16] *= 0.1
    images = [bright_left, bright_right, torch.cat([bright_left] * 2, dim=1)]
    network, seen = Brightness(), []
    network.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    inferer = make_inferer(target=None)
    together = inferer.vote_images(images, network)
    assert [spec.target for _, spec in together] == [0, 1, 0]
    assert seen[-6:] == [(16, 1, 32, 32), (4, 1, 32, 32)] * 2 + [(16, 1, 64, 32), (4, 1, 64, 32)]
    for (votes, _), alone in zip(together, images):
        assert same(votes, inferer.vote(alone, network)[0])


def test_with_early_stopping_each_image_stops_by_itself(tiny, image) -> None:
    inferer = make_inferer(n_samples=16, until_radius=0.02, max_samples=256, eta=0.05)
    images = [image, 0.3 * image, image.flip(-1)]
    together = inferer.vote_images(images, tiny)
    for (votes, spec), alone in zip(together, images):
        expected, expected_spec = inferer.vote(alone, tiny)
        assert same(votes, expected) and spec == expected_spec
    assert len({spec.n_samples for _, spec in together}) > 1  # otherwise nothing was shown


# ---- memory


class Small(nn.Module):
    """A device that holds so many images and no more."""

    def __init__(self, network: nn.Module, room: int, error: RuntimeError) -> None:
        super().__init__()
        self.network, self.room, self.error = network, room, error
        self.rows: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        if len(x) > self.room:
            raise self.error
        return self.network(x)


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["accelerator", "cpu"])
def test_where_memory_ends_the_batch_is_halved_and_the_votes_are_the_same(tiny, image, error) -> None:
    expected, _ = make_inferer().vote(image, tiny)
    network, done = Small(tiny, 5, error), []
    votes, _ = make_inferer().vote(image, network, done.append)
    assert same(votes, expected)
    assert network.rows == [1, 2, 16, 8, 4, 4, 4, 4, 4] and sum(done) == 20


def test_the_next_images_start_with_what_fitted(tiny, image) -> None:
    network = Small(tiny, 5, OUT_OF_MEMORY[0])
    inferer = make_inferer(until_radius=1e-9, max_samples=20)  # images one after the other
    inferer.vote_images([image, image.flip(-1)], network)
    assert network.rows == [1, 2, 1, 2, 16, 8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]


def test_one_copy_too_many_is_an_error_and_so_is_every_other(tiny, image) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        make_inferer(target=1).vote(image, Small(tiny, 0, OUT_OF_MEMORY[0]))
    network = Small(tiny, 5, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        make_inferer().vote(image, network)
    assert network.rows == [1, 2, 16]


def test_a_batch_is_counted_as_a_whole_or_not_at_all(monkeypatch, tiny, image) -> None:
    """Memory may end after the network is through."""
    expected, _ = make_inferer(pairs=True).vote(image, tiny)
    real, calls = torch.isfinite, []

    def fails_once(values: torch.Tensor) -> torch.Tensor:
        # The check of the logits of the first batch, after its votes are known.
        if values.shape == (16, 3):
            calls.append(1)
            if len(calls) == 1:
                raise torch.OutOfMemoryError("out of memory")
        return real(values)

    monkeypatch.setattr(torch, "isfinite", fails_once)
    votes, _ = make_inferer(pairs=True).vote(image, tiny)
    assert calls and same(votes, expected) and np.array_equal(votes.pair_counts, expected.pair_counts)


@pytest.mark.parametrize("name", ["ones_like", "stack"])
def test_nothing_that_needs_memory_comes_after_the_first_count(monkeypatch, tiny, image, name) -> None:
    region = Region(name="box", cells=np.eye(8, dtype=bool), seen=1.0)
    expected, _ = make_inferer().vote(image, tiny, regions=[region])
    real, tally = getattr(torch, name), []

    def fails(*args: Any, **named: Any) -> torch.Tensor:
        caller = inspect.currentframe().f_back
        if caller.f_code.co_name == "counted" and not tally:
            tally.append(caller.f_locals["self"])
            assert tally[0].n_samples == 0 and not tally[0].counts.any()
            raise torch.OutOfMemoryError("out of memory")
        return real(*args, **named)

    monkeypatch.setattr(torch, name, fails)
    votes, _ = make_inferer().vote(image, tiny, regions=[region])
    assert tally and same(votes, expected) and np.array_equal(votes.region_hits, expected.region_hits)


# ---- copies that cannot be voted, without a look at every batch


class BrokenFrom(nn.Module):
    """Gives NaN from a certain copy on."""

    def __init__(self, network: nn.Module, first: int, *, maps: bool) -> None:
        super().__init__()
        self.network, self.first, self.maps, self.seen = network, first, maps, -3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(x)
        good = min(max(self.first - self.seen, 0), len(x))
        self.seen += len(x)
        # The root of 0 is finite, and its gradient is not.
        bad = (0 * x[good:].mean(dim=(1, 2, 3))).sqrt()[:, None] if self.maps else torch.nan
        return torch.cat([logits[:good], logits[good:] + bad])


@pytest.mark.parametrize("first", [3, 40])
@pytest.mark.parametrize("maps", [False, True])
def test_a_copy_that_is_not_finite_is_never_voted(tiny, image, first, maps) -> None:
    network = BrokenFrom(tiny, first, maps=maps)
    with pytest.raises(NonFiniteMapError, match=r"noisy copies have" if maps else "logits that are NaN"):
        make_inferer(n_samples=48).vote(image, network)
    # The first batch is looked at early.
    assert network.seen == (16 if first == 3 else 48)


def test_the_cache_names_no_patient(monkeypatch, tmp_path, tiny, image) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_inferer(batch_size=None, n_samples=256).vote(image, tiny)
    (path,) = Path(tmp_path).rglob("*.json")
    (key,) = json.loads(path.read_text())
    assert "TinyClassifier" in key and "gradient" in key and str(tmp_path) not in key
