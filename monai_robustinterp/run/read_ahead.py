"""Many images through the pipeline: while the network works on one, the next is read and those before are written.

Three threads take each image in turn, in order. One reads it: hash, pixels, preprocessing, regions, changes for the
ledger. The caller's thread takes its votes; the network runs in no other. One finishes it: certificate, map on the
source grid, picture, files.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.files import atomic_folder
from monai_robustinterp.geometry.changes import Change
from monai_robustinterp.geometry.regions import RegionSource
from monai_robustinterp.io.read.decoder import stop_reading
from monai_robustinterp.run import pipeline
from monai_robustinterp.run.inputs import RESULT_PREFIX, refuse_irregular
from monai_robustinterp.run.pipeline import Prepared
from monai_robustinterp.run.work import Results, Taken, Work
from monai_robustinterp.smoothing.recipe import Progress

MAX_BEHIND = 2
"""Images at most that have their votes and wait for their files while the network works on another one."""


@dataclass(kw_only=True)
class ImageRun:
    """One image on its way.

    Attributes:
        number: position in the run, from 1.
        path: the file.
        folder: name of its result folder; "" before it is known.
        prepared: after reading.
        changes: of the source image, measured after reading.
        taken: its votes, after the network.
        results: what its folder holds, after writing; None if it was refused.
        kept: whether an earlier run made the results, or the same file before it in this one.
        reason: why it was refused; "" if it was not.
        same_as: number of an image of this run that is the same file and has its result; 0 if there is none.
        elapsed_s: seconds that the threads worked on it; the time that it waited for them does not count.
    """

    number: int
    path: Path
    folder: str = ""
    prepared: Prepared | None = None
    changes: tuple[MeasuredChange, ...] = ()
    taken: Taken | None = None
    results: Results | None = None
    kept: bool = False
    reason: str = ""
    same_as: int = 0
    elapsed_s: float = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Counts the time of the block; its exception is the reason why the image is refused, and goes no further."""
        start = time.monotonic()
        try:
            yield
        except Exception as error:
            self.reason = refusal_reason(error)
        finally:
            self.elapsed_s += time.monotonic() - start


@dataclass(frozen=True, kw_only=True)
class ReadAhead:
    """A run over many images.

    Attributes:
        bundle: the classifier and how to certify it.
        regions: of every image.
        changes: of every image, for the ledger.
        output: an existing folder, for a result folder an image.
        overwrite: replace results of an earlier run of the same file.
        admit: refuses an image, before the noise, of which not all that was asked for could be written.
        work: what is made of each image.
        done: takes each image when its files are written or it is refused, in order, in the thread that writes.
        written: result folders of this run, and the number of the image of each.
    """

    bundle: SaliencyBundle
    regions: Sequence[RegionSource]
    changes: Sequence[Change]
    output: Path
    overwrite: bool
    admit: Callable[[Prepared], None]
    work: Work
    done: Callable[[ImageRun], None]
    written: dict[str, int] = field(default_factory=dict)

    def certify(self, images: Sequence[Path], *, show_progress: bool) -> None:
        """Certifies the images.

        An interrupt ends the read under way, and the run when the images that have votes are written.

        Args:
            images: files.
            show_progress: a progress bar on stderr.
        """
        copies = self.bundle.inferer.recipe.max_samples
        with (
            warnings.catch_warnings(),
            ThreadPoolExecutor(1, "writer") as writer,
            ThreadPoolExecutor(1, "reader", _same_gpu(self.bundle.device)) as reader,
            tqdm(total=copies * len(images), unit=" samples", disable=not show_progress) as bar,
            _reading_ends_with_it(),
        ):
            # Once for all threads, since the filters are the process's. The reader's warnings are in the metadata and
            # the summary.
            warnings.simplefilter("ignore", UserWarning)
            # Of any film beyond 89 million pixels, as the ledger's JPEG; the reader has a limit of its own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            runs = (ImageRun(number=number, path=path) for number, path in enumerate(images, start=1))
            ahead = deque(reader.submit(self._read, run) for run in islice(runs, 1))
            behind: deque[tuple[str, Future[None]]] = deque()
            while ahead:
                image = ahead.popleft().result()
                ahead.extend(reader.submit(self._read, run) for run in islice(runs, 1))
                bar.set_description(f"image {image.number}/{len(images)}")
                before = bar.n
                if image.prepared is not None and not image.reason:
                    # The same file again: what became of the first decides.
                    wait([written for folder, written in behind if folder == image.folder])
                    self._vote(image, image.prepared, bar.update)
                # An image that was refused or stopped early has no copies left: the time left is that of the others.
                bar.total -= copies - (bar.n - before)
                behind.append((image.folder, writer.submit(self._write, image)))
                while behind and (len(behind) > MAX_BEHIND or behind[0][1].done()):
                    behind.popleft()[1].result()
            for _, written in behind:
                written.result()

    def _read(self, image: ImageRun) -> ImageRun:
        with image.step():
            refuse_irregular(image.path)
            ready = pipeline.prepare(image.path, self.bundle, regions=self.regions, changes=self.changes)
            self.admit(ready)
            image.folder = f"{RESULT_PREFIX}{ready.image.meta['file_sha256'][:16]}"
            image.prepared = ready
            self._keep_existing(image, ready)
            if not image.kept:
                recipe = self.bundle.inferer.recipe
                image.changes = pipeline.measured_changes(
                    ready, self.bundle, self.changes, noise=recipe.noise, seed=recipe.seed
                )
            image.prepared = replace(ready, source=None)
        return image

    def _vote(self, image: ImageRun, ready: Prepared, progress: Progress) -> None:
        with image.step():
            self._keep_existing(image, ready)
            if not image.kept:
                replaced = self.output / image.folder if self.overwrite else None
                image.taken = self.work.vote(ready, progress, replaced=replaced)

    def _write(self, image: ImageRun) -> None:
        if image.prepared is not None and image.taken is not None and not image.kept:
            with image.step():
                self._finish(image, image.prepared, image.taken)
        self.done(image)

    def _finish(self, image: ImageRun, ready: Prepared, taken: Taken) -> None:
        try:
            with atomic_folder(self.output / image.folder, overwrite=self.overwrite) as folder:
                results = self.work.write(taken, folder, image.changes)
        except FileExistsError:
            # Another run into the same folder was faster.
            self._keep_existing(image, ready)
        else:
            image.results = results
            self.written[image.folder] = image.number

    def _keep_existing(self, image: ImageRun, ready: Prepared) -> None:
        """Takes the result that is there, unless it is another image's of this run."""
        if image.kept:
            return
        image.same_as = self.written.get(image.folder, 0)
        if image.same_as:
            raise InputRefused("the same film as one before it.")
        if self.overwrite or not (self.output / image.folder).exists():
            return
        image.results = self.work.keep(self.output / image.folder, ready)
        image.kept = True
        self.written[image.folder] = image.number


@contextmanager
def _reading_ends_with_it() -> Iterator[None]:
    """What ends the block by an exception ends the read under way, which may take half a minute."""
    try:
        yield
    except BaseException:
        stop_reading()
        raise


def _same_gpu(device: torch.device) -> Callable[[], None] | None:
    """What a thread begins with, so that "cuda" is the caller's current GPU there too: each thread has its own."""
    return partial(torch.cuda.set_device, torch.cuda.current_device()) if device.type == "cuda" else None
