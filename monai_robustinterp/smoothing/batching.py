"""Batches of noisy copies: filled across images, all of one size, halved where memory ends, the fastest one here."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from monai_robustinterp.errors import out_of_memory
from monai_robustinterp.files import atomic_write
from monai_robustinterp.smoothing.tally import Tally, VoteTally, add_votes

DEFAULT_BATCH_SIZE = 16
"""Where a search would cost more than it could save."""

_CPU_SIZES = (8, 16, 32)
_ACCELERATOR_SIZES = (32, 64, 128, 256, 512, 1024)
_SLOW_COPY_S = 0.5
_REPEATS = 2
# Copies: below, a search would take longer than it saves.
WORTH_A_SEARCH = 256
# A larger batch must pay for its memory.
_WORTH_IT = 1.03


def fill(
    tallies: Sequence[Tally],
    network: nn.Module,
    last: int,
    *,
    batch_size: int,
    padded: bool = False,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Takes the copies of each image up to index ``last``; a batch may hold copies of several images.

    Kernels differ with the size of a batch, and round-off with them. Padded batches have one size, so that every copy
    goes through the same kernels.

    Args:
        tallies: of images whose copies are interpreted alike.
        network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
        last: copies that each tally has in the end.
        batch_size: copies in a batch; where memory ends the batch is halved and taken again.
        padded: fill a short batch with copies that are thrown away.
        progress: called with the number of copies just done (on an accelerator: just queued).

    Returns:
        The batch size in the end.

    Raises:
        NonFiniteMapError: if a copy of the first batch cannot be voted; of the others :meth:`VoteTally.votes` tells.
        RuntimeError: if not even one copy fits into memory.
    """
    first = True
    while parts := _next_batch(tallies, last, batch_size):
        before = sum(tally.n_samples for tally, _ in parts)
        copies = sum(len(samples) for _, samples in parts)
        padding = batch_size - copies if padded else 0
        if not _fits(network, parts, padding):
            batch_size = (copies + padding) // 2
            _free_cached_memory(parts[0][0].clean.device)
        if first:
            # One look, early; a look at every batch would stop an accelerator each time.
            parts[0][0].check_finite()
            first = False
        if progress is not None:
            progress(sum(tally.n_samples for tally, _ in parts) - before)
    return batch_size


def _next_batch(tallies: Sequence[Tally], last: int, size: int) -> list[tuple[Tally, torch.Tensor]]:
    parts: list[tuple[Tally, torch.Tensor]] = []
    for tally in tallies:
        stop = min(last, tally.n_samples + size)
        if stop > tally.n_samples:
            parts.append((tally, torch.arange(tally.n_samples, stop, device=tally.clean.device)))
            size -= stop - tally.n_samples
        if not size:
            break
    return parts


def _fits(network: nn.Module, parts: Sequence[tuple[Tally, torch.Tensor]], padding: int) -> bool:
    try:
        add_votes(network, parts, padding=padding)
    except RuntimeError as error:
        if not out_of_memory(error) or padding + sum(len(samples) for _, samples in parts) == 1:
            raise
        return False
    return True


def _free_cached_memory(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def fastest_batch_size(network: nn.Module, scratch: VoteTally, method: Sequence[object], *, n_samples: int) -> int:
    """The batch size with the most copies per second on this machine; it is found once.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
        scratch: a tally of the image, for copies that are thrown away.
        method: what the speed depends on beside network and image: JSON values.
        n_samples: copies of the run, which no batch exceeds.
    """
    device = scratch.clean.device
    sizes = [size for size in (_CPU_SIZES if device.type == "cpu" else _ACCELERATOR_SIZES) if size <= n_samples]
    if n_samples < WORTH_A_SEARCH:
        return DEFAULT_BATCH_SIZE

    def take(size: int) -> None:
        add_votes(network, [(scratch, torch.arange(size, device=device))])

    setting = json.dumps([*method, list(scratch.clean.shape), scratch.cell_size, sizes])
    return cached_batch_size(f"{_describe(network, device)}, {setting}", lambda: find_batch_size(take, device, sizes))


def find_batch_size(take: Callable[[int], object], device: torch.device, sizes: Sequence[int]) -> int:
    """The smallest batch size that is within a few per cent of the fastest.

    Args:
        take: takes a batch of that many copies, whose result is thrown away.
        device: where it runs.
        sizes: to choose from, rising.
    """
    # The first copy may wait for kernels that are loaded or built.
    if all(seconds(take, 1, device) > _SLOW_COPY_S for _ in range(2)):
        # Many passes a copy, which fill batches of their own.
        return DEFAULT_BATCH_SIZE
    best, best_rate = DEFAULT_BATCH_SIZE, 0.0
    for size in sizes:
        try:
            take(size)
            rate = size / min(seconds(take, size, device) for _ in range(_REPEATS))
        except RuntimeError as error:
            # Beyond what a library can do it fails with other words than those for no memory.
            if not best_rate and not out_of_memory(error):
                raise
            break
        if rate < best_rate * _WORTH_IT:
            break
        best, best_rate = size, rate
    _free_cached_memory(device)
    return best


def seconds(take: Callable[[int], object], size: int, device: torch.device) -> float:
    """Seconds of the clock that ``take`` needs for a batch of ``size``, until the device is done."""
    wait_for(device)
    start = time.perf_counter()
    take(size)
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    module = torch.get_device_module(device)
    # Only the modules of devices that there can be several of take one.
    module.synchronize(device) if device.type in ("cuda", "xpu") else module.synchronize()


def cached_batch_size(setting: str, find: Callable[[], int]) -> int:
    """What ``find`` gave for this setting on this machine, now or in an earlier run: so runs repeat to the last bit.

    It is kept in ``monai_robustinterp/batch_sizes.json`` of the user's cache folder (``XDG_CACHE_HOME``, ``~/.cache``);
    without a place to write to it is found anew in each run.

    Args:
        setting: all that the best size depends on but the machine.
        find: finds it.
    """
    machine = f"{platform.machine()} {platform.node()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    key = f"{machine}, {setting}"
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "monai_robustinterp/batch_sizes.json"
    except RuntimeError:
        # The user has no home.
        return find()
    if key in (kept := _read(path)):
        return kept[key]
    size = find()
    # What other processes found meanwhile stays, of this setting too.
    sizes = {key: size} | _read(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(sizes, indent=2, sort_keys=True)
        atomic_write(path, lambda file: file.write(text.encode()), overwrite=True)
    except OSError:
        pass
    return sizes[key]


def _read(path: Path) -> dict[str, int]:
    """The kept sizes; what is damaged is found anew."""
    possible = {DEFAULT_BATCH_SIZE, *_CPU_SIZES, *_ACCELERATOR_SIZES}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: int(size) for key, size in content.items() if size in possible}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _describe(network: nn.Module, device: torch.device) -> str:
    """A network's kind and the shapes of its weights, and its device, for the key of the cache."""
    shapes = [(name, tuple(parameter.shape)) for name, parameter in network.named_parameters()]
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name}, {type(network).__name__} {digest}"
