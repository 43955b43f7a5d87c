"""Files are read in a process of its own: what ends it, or costs too much, is refused, and the next file is read."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from openjpeg.utils import encode_pixel_data
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read import decode_worker, decoder, formats, header_text
from monai_robustinterp.io.read.codestream import check_codestream
from monai_robustinterp.io.read.decoder import Decoder
from monai_robustinterp.io.read.limits import MAX_MEMORY
from monai_robustinterp.io.read.reader import ChestXRayReader
from tests.support.bombs import BOMBS, dicom_frame, jpeg_2000, meta_end, nested
from tests.support.cases import collected
from tests.support.dicom_factory import chest_like, make_dx
from tests.support.shared import shared_case, shared_data

ENDS_THE_PROCESS = {"gdcm_abort_byteflip.dcm": "SIGABRT", "gdcm_segfault.dcm": "SIGSEGV"}


def read(path: Path) -> np.ndarray:
    return ChestXRayReader().get_data(path)[0]


def reason(path: Path) -> str:
    with pytest.raises(InputRefused) as refused:
        read(path)
    return str(refused.value)


def reading_processes() -> list[Path]:
    """What /proc has of the processes that read for this one: one, or none before the first file."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    program = os.fsencode(str(decode_worker.__file__))
    return [Path("/proc", pid) for pid in pids if program in Path("/proc", pid, "cmdline").read_bytes()]


def end_reading() -> None:
    """Ends the process, and waits until it has ended; the next file starts another one."""
    pids = [int(process.name) for process in reading_processes()]
    decoder.stop_reading()
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def peak_memory() -> int:
    """Bytes that the process has had at most; 0 if it never started."""
    for process in reading_processes():
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return 1024 * int(status["VmHWM"].split()[0])
    return 0


def test_a_file_that_ends_the_decoder_is_refused_and_the_next_one_is_read(tmp_path) -> None:
    good = make_dx(tmp_path / "good.dcm")
    expected, files = read(good), sorted(shared_case("hostile").iterdir())
    assert len(files) >= 7
    with collected() as case:
        for path in files:
            with case(path.name):
                assert ENDS_THE_PROCESS.get(path.name, "") in reason(path)
                np.testing.assert_array_equal(read(good), expected)


def test_the_process_gives_what_the_reader_gives_in_this_one(tmp_path) -> None:
    path = make_dx(tmp_path / "image.dcm", mono1=True, elements={"BodyPartExamined": "ANKLE"})
    there, facts = decoder.read_image(path.read_bytes(), strict=False)
    here, expected = formats.read_image(path.read_bytes(), strict=False)
    np.testing.assert_array_equal(there, here)
    assert there.flags.writeable and facts["warnings"] == list(expected["warnings"]) != []
    assert isinstance(facts["dicom_header"], header_text.HeaderText)
    assert facts.keys() == expected.keys() and facts["pixel_sha256"] == expected["pixel_sha256"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import signal; signal.setitimer(signal.ITIMER_REAL, 0.1); signal.pause()", "takes longer than 10 s"),
        ("import signal; signal.setitimer(signal.ITIMER_PROF, 0.1)\nwhile True: pass", "takes longer than 10 s"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("raise SystemExit(3)", "exit code 3"),
    ],
)
def test_how_the_process_ended_is_said(tmp_path, monkeypatch, program, words) -> None:
    script = tmp_path / "worker.py"
    script.write_text(program)
    monkeypatch.setattr(decoder, "decode_worker", SimpleNamespace(__file__=str(script)))
    with pytest.raises(InputRefused, match=words):
        Decoder().ask({"job": "image"}, bytes(10**7))


def test_a_process_that_does_not_answer_is_ended(tmp_path, monkeypatch) -> None:
    """Where it has no clock of its own."""
    script = tmp_path / "worker.py"
    script.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(decoder, "decode_worker", SimpleNamespace(__file__=str(script)))
    monkeypatch.setattr(decoder, "most_seconds", lambda side: 0.2)
    with pytest.raises(InputRefused, match="SIGKILL"):
        Decoder().ask({"job": "image"}, bytes(10**7))


def test_the_process_may_have_two_gigabytes_and_ten_seconds() -> None:
    """And a second more for each five million pixels, once."""
    program = (
        "import runpy, signal, sys\n"
        "runpy.run_path(sys.argv[1])['_leave_out_hosts']()\n"
        "import numpy as np\n"
        "from monai_robustinterp.io.read import limits\n"
        "from monai_robustinterp.io.read.source_image import check_size\n"
        "limits.limit_memory(); np.ones(int(1.5e9 / 8))\n"
        "try:\n    np.ones(int(2e9 / 8)); print('no limit')\nexcept MemoryError: pass\n"
        "def left(): return round(signal.getitimer(signal.ITIMER_PROF)[0], 1)\n"
        "check_size(5000, 4000); assert left() == 0\n"
        "limits.start_clock(); print(left())\n"
        "check_size(5000, 4000); check_size(5000, 4000); print(left(), 'torch' in sys.modules)\n"
        "limits.stop_clock(); assert left() == 0\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(decode_worker.__file__)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["10.0", "14.0", "False"]


def test_bombs_are_refused_before_they_are_spent(tmp_path) -> None:
    with collected() as case:
        for number, (name, (make, words)) in enumerate(BOMBS.items()):
            with case(name):
                path = tmp_path / f"{number}"
                make(path)
                end_reading()  # its peak is that of this file
                start = time.monotonic()
                with pytest.raises(InputRefused, match=words):
                    read(path)
                # Half a minute also where others keep the machine busy.
                assert time.monotonic() - start < 30
                assert peak_memory() < 1.2e9
                path.unlink()


@pytest.mark.slow
def test_the_largest_jpeg_2000_film_is_read(tmp_path) -> None:
    film = np.kron(chest_like(1250, 1250, bits=12), np.ones((8, 8), np.uint16))
    film += np.random.default_rng(0).integers(0, 16, film.shape, dtype=np.uint16)
    film = np.minimum(film, 4095)
    path = dicom_frame(tmp_path / "film.dcm", jpeg_2000(film, bits=12), uid.JPEG2000Lossless, side=10000, bits=12)
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        dataset = dcmread(path)
        dataset.PhotometricInterpretation, dataset.RescaleIntercept = photometric, -7
        dataset.PresentationLUTShape = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
        dataset.save_as(path)
        values, meta = ChestXRayReader().get_data(path)
        shown = film[::97, ::89] - 7.0
        if photometric == "MONOCHROME1":
            shown = meta["display_min"] + meta["display_max"] - shown
        np.testing.assert_array_equal(values[0, ::97, ::89], shown)
        assert peak_memory() < MAX_MEMORY


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:VOI LUT table:UserWarning")
def test_the_largest_film_with_lookup_tables_or_a_sigmoid_window_is_read(tmp_path) -> None:
    """Eight tables, of which only the last one fits, behind a rescale; nothing has room for two of them."""
    film = np.minimum(np.kron(chest_like(1250, 1250, bits=12), np.ones((8, 8), np.uint16)), 4095)
    ramp = np.arange(4096, dtype="<u2")
    for slope in (1, 2):
        path = make_dx(tmp_path / "film.dcm", pixels=film, elements={"WindowCenter": None, "WindowWidth": None})
        dataset = dcmread(path)
        tables = [table if number == 7 else 0 * table for number, table in enumerate([ramp[::-1]] * 8)]
        dataset.VOILUTSequence = [lookup_table(table) for table in tables]
        dataset.RescaleSlope = slope
        dataset.save_as(path)
        values, meta = ChestXRayReader().get_data(path)
        assert meta["display_source"] == "VOI LUT table 8 of 8"
        expected = 4095 - np.minimum(slope * film[::97, ::89].astype(int), 4095)
        np.testing.assert_array_equal(values[0, ::97, ::89], expected)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "SIGMOID"}
    values, _ = ChestXRayReader().get_data(make_dx(path, pixels=film, elements=window))
    expected = 1 / (1 + np.exp(-4 * (film[::97, ::89] - 2048.0) / 4096))
    np.testing.assert_allclose(values[0, ::97, ::89], expected, rtol=1e-6)


def lookup_table(entries: np.ndarray) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries.size, 0, 12])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_decoders_print_reaches_nobody(tmp_path, capfd) -> None:
    """GDCM's libjpeg says on stderr what it thinks of a damaged stream."""
    content = bytearray(shared_data("dicom/RG3_JPLY_extremity.dcm").read_bytes())
    content[len(content) // 2] ^= 0x55
    (tmp_path / "damaged.dcm").write_bytes(content)
    with contextlib.suppress(InputRefused):
        read(tmp_path / "damaged.dcm")
    assert capfd.readouterr() == ("", "")


def test_the_size_in_a_codestream_is_found(tmp_path) -> None:
    pixels = chest_like(100, 120, bits=8).astype(np.uint8)
    stream = jpeg_2000(pixels)
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + stream
    jpeg_ls = bytes.fromhex("ffd8 fff7 000b 08 0064 0078 01 01 11 00 ffda")
    baseline = bytes.fromhex("ffd8 ffe0 0004 ffc0 ff ffc4 0003 00 ffc0 000b 08 0064 0078 01 01 11 00")
    frames = [
        (stream, uid.JPEG2000Lossless),
        (boxed, uid.JPEG2000),
        (stream, uid.HTJ2KLossless),
        (jpeg_ls, uid.JPEGLSLossless),
        (baseline, uid.JPEGBaseline8Bit),
    ]
    with collected() as case:
        for frame, syntax in frames:
            with case(syntax.name):
                stated = {"rows": 100, "columns": 120, "samples": 1, "allocated": 8}
                check_codestream(frame, syntax, **stated)
                for change in ({"rows": 101}, {"columns": 119}, {"samples": 3}):
                    with pytest.raises(InputRefused, match="states 100 rows, 120 columns and 1 samples"):
                        check_codestream(frame, syntax, **stated | change)
                with pytest.raises(InputRefused, match="states none"):
                    check_codestream(frame[:8], syntax, **stated)


def test_a_codestream_of_more_bits_than_are_allocated_is_refused(tmp_path) -> None:
    """Its values would be read without their upper bits."""
    film = chest_like(100, 100, bits=12).astype(np.uint32)
    for bits in (16, 17, 20):
        stream = encode_pixel_data(
            (film << (bits - 12)).tobytes() if bits > 16 else film.astype("<u2").tobytes(),
            rows=100,
            columns=100,
            samples_per_pixel=1,
            bits_stored=bits,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
        )
        path = dicom_frame(tmp_path / "film.dcm", stream, uid.JPEG2000Lossless, bits=12)
        if bits == 16:
            np.testing.assert_array_equal(read(path)[0], film)
        else:
            assert f"{bits} bits a sample; the header allocates 16" in reason(path)


def test_sequences_may_lie_in_each_other_sixteen_times(tmp_path) -> None:
    path = make_dx(tmp_path / "image.dcm")
    content = path.read_bytes()
    start = meta_end(content)
    for levels in (16, 17, 60):
        path.write_bytes(content[:start] + nested(levels) + content[start:])
        if levels == 16:
            read(path)
        else:
            assert "deeper than 16 levels" in reason(path)


def test_nifti_data_must_lie_in_the_file(tmp_path) -> None:
    path = tmp_path / "image.nii"
    content = nib.Nifti1Image(chest_like(100, 100, bits=8).astype(np.uint8)[..., None], np.eye(4)).to_bytes()
    path.write_bytes(content[:-1])
    assert "header and data must be complete" in reason(path)
    path.write_bytes(content + b"more")
    assert read(path).shape == (1, 100, 100)


def test_an_interrupt_ends_the_reading_and_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    """What the process answers later must not be taken for another file."""
    good = make_dx(tmp_path / "good.dcm")
    expected, before = read(good), reading_processes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            read(good)
    assert len(before) == 1 and before != reading_processes()
    np.testing.assert_array_equal(read(good), expected)


def test_a_forked_process_reads_with_a_process_of_its_own(tmp_path) -> None:
    """As workers of a data loader are."""
    good = make_dx(tmp_path / "good.dcm")
    expected = read(good)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if np.array_equal(read(good), expected) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    np.testing.assert_array_equal(read(good), expected)
