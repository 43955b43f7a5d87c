"""A file appears whole or not at all, and never over another one by accident."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from monai_robustinterp.files import atomic_folder, atomic_write

CONTENT = b"whole content"


def write(file: BinaryIO) -> None:
    file.write(CONTENT)


def fail_halfway(file: BinaryIO) -> None:
    file.write(CONTENT[:5])
    file.flush()
    raise RuntimeError("disk on fire")


def test_writes_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    assert atomic_write(target, write) == target
    assert target.read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["result.json"]


def test_new_files_have_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "result", write)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o640


def test_existing_file_is_kept_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="is kept"):
        atomic_write(target, write)
    assert target.read_bytes() == b"old"
    atomic_write(target, write, overwrite=True)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("overwrite", [False, True])
def test_failing_write_changes_nothing(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "result"
    if overwrite:
        target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="on fire"):
        atomic_write(target, fail_halfway, overwrite=overwrite)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if overwrite else [])


@pytest.mark.parametrize("hard_links", [True, False])
def test_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool) -> None:
    if not hard_links:
        monkeypatch.setattr(os, "link", _no_hard_links)
    target = tmp_path / "result"

    def write_slowly(file: BinaryIO) -> None:
        target.write_bytes(b"of another process")
        write(file)

    with pytest.raises(FileExistsError):
        atomic_write(target, write_slowly)
    assert target.read_bytes() == b"of another process"
    assert os.listdir(tmp_path) == ["result"]


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", _no_hard_links)
    atomic_write(tmp_path / "result", write)
    assert (tmp_path / "result").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["result"]


def _no_hard_links(*args: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_killed_process_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from monai_robustinterp.files import atomic_write\n"
        "def write(file):\n"
        "    file.write(b'half'); file.flush()\n"
        "    print('writing', flush=True); time.sleep(60)\n"
        "atomic_write(sys.argv[1], write)\n"
    )
    # The module is loaded without its package, whose import takes seconds.
    loader = (
        "import importlib.util, sys, types\n"
        "spec = importlib.util.spec_from_file_location('monai_robustinterp.files', sys.argv[2])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "for name in ('monai_robustinterp', 'monai_robustinterp.io'): sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules[spec.name] = module\n"
    )
    source = sys.modules[atomic_write.__module__].__file__
    command = [sys.executable, "-c", loader + script, str(tmp_path / "result"), str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "result").exists()
    assert not [name for name in os.listdir(tmp_path) if not (name.startswith(".") and name.endswith(".tmp"))]


def test_symbolic_link_is_replaced_and_its_target_untouched(tmp_path: Path) -> None:
    source, link = tmp_path / "source", tmp_path / "link"
    source.write_bytes(b"source")
    link.symlink_to(source)
    with pytest.raises(FileExistsError):
        atomic_write(link, write)
    atomic_write(link, write, overwrite=True)
    assert source.read_bytes() == b"source"
    assert link.read_bytes() == CONTENT
    assert not link.is_symlink()


def test_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    atomic_write(tmp_path / ("x" * 255), write)
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("name", ["Mueller_Anna", "folder/Mueller_Anna"])
def test_messages_hold_no_file_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "Mueller_Anna").write_bytes(b"old")
    with pytest.raises(OSError, match=r"exist") as caught:
        atomic_write(tmp_path / name, write)
    assert "Mueller" not in str(caught.value)
    assert caught.value.filename is None


class TestAtomicFolder:
    def test_it_appears_when_it_is_done(self, tmp_path: Path) -> None:
        target = tmp_path / "result"
        with atomic_folder(target) as folder:
            (folder / "a").write_text("1")
            assert not target.exists()
        assert (target / "a").read_text() == "1"
        assert [path.name for path in tmp_path.iterdir()] == ["result"]

    def test_an_exception_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "result") as folder:
            (folder / "a").write_text("1")
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_appeared_meanwhile_is_kept(self, tmp_path: Path) -> None:
        target = tmp_path / "result"
        with pytest.raises(FileExistsError), atomic_folder(target) as folder:
            (folder / "a").write_text("mine")
            target.mkdir()
            (target / "a").write_text("theirs")
        assert (target / "a").read_text() == "theirs"
        assert [path.name for path in tmp_path.iterdir()] == ["result"]

    def test_overwriting_replaces(self, tmp_path: Path) -> None:
        target = tmp_path / "result"
        for text in ("old", "new"):
            with atomic_folder(target, overwrite=True) as folder:
                (folder / text).write_text(text)
        assert [path.name for path in target.iterdir()] == ["new"]
        assert [path.name for path in tmp_path.iterdir()] == ["result"]

    def test_the_old_result_comes_back_if_the_new_one_cannot_be_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "result"
        target.mkdir()
        (target / "a").write_text("old")
        rename = os.rename
        calls = []

        def failing(source: Path, destination: Path) -> None:
            calls.append(destination)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            rename(source, destination)

        monkeypatch.setattr(os, "rename", failing)
        with pytest.raises(OSError, match="No space"), atomic_folder(target, overwrite=True) as folder:
            (folder / "a").write_text("new")
        assert (target / "a").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["result"]
