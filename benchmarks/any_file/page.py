"""The page of the study, from its results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.any_file.mutants import CUT_SHARE, ENDED, HEADER, MOST_CHANGES, READ, SLOW_S, STEP
from monai_robustinterp.io.read.limits import MAX_MEMORY, SECONDS
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, prose, rounded_down, rounded_up, table

LEAST_REACHED, LEAST_MUTANTS = 0.3, 10_000

Row = Mapping[str, Any]


def sections(results: Row) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
    """
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    return [
        ["# Damaged and odd files, measured"],
        [quick] if results["plan"] == "quick" else [],
        prose(
            "What a reader must not do is read wrong pixels, end the run, or spend the machine;",
            "[security.md](../security.md) has the limits. Written by `python -m benchmarks.any_file OUTPUT_DIR`",
            f"(`make study-any-file`), seed {results['seed']}. Seconds are of CPU: the machine did other work too.",
            f"Machine: {surroundings_text(results['mutants']['surroundings'])}.",
        ),
        ["## Goals", "", *(goal.line for goal in _goals(results))],
        *_cases(results),
        _mutants(results["mutants"]["rows"]),
        _costs(results),
        _process(results["process"]["rows"]),
        *_decoders(results["decoders"]["rows"]),
        _killed(results["killed"]["rows"]),
    ]


def _goals(results: Row) -> list[Goal]:
    mutants, killed = results["mutants"]["rows"], results["killed"]["rows"]
    outcomes = _outcomes(mutants)
    least = min(row["reached"] / sum(row["outcomes"].values()) for row in mutants.values())
    peak = max(row["peak_bytes"] for row in (*mutants.values(), *results["bombs"]["rows"]))
    said = [row for name in ("cases", "strict", "others", "folder") for row in results[name]["rows"]]
    pairs = [row["found"] for rows in results["decoders"]["rows"].values() for row in rows]
    equal, differ = pairs.count("equal"), sum(found.startswith(("differs", "FAULT")) for found in pairs)
    faults = sum(number for name, number in outcomes.items() if name.startswith("FAULT"))
    unread = [row for row in results["largest"]["rows"] if row["said"]]
    kept = killed["exit"] == 0 and killed["whole"] == killed["images"] and not killed["leftovers"]
    return [
        Goal(
            f"{LEAST_MUTANTS:,} mutants: none ends the run, raises anything but a refusal, or takes {SLOW_S:g} s",
            outcomes.total() >= LEAST_MUTANTS and not faults,
            f"{outcomes.total():,} mutants, {faults} faults.",
        ),
        Goal(
            f"at least {LEAST_REACHED:.0%} of each format reach decoding",
            least >= LEAST_REACHED,
            f"The least share is {rounded_down(100 * least, 1)} %.",
        ),
        Goal(
            f"no mutant or bomb takes more than {MAX_MEMORY / 1e9:g} GB",
            peak <= MAX_MEMORY,
            f"{rounded_up(peak / 1e9)} GB at most.",
        ),
        Goal(
            "every case is read, warned of or refused in words of its own",
            not any(row["outcome"] == "FAULT" for row in said),
            f"{len(said)} rows.",
        ),
        Goal("the largest films are read", not unread, f"{len(unread)} of {len(results['largest']['rows'])} are not."),
        Goal("pixels are those of another decoder", not differ, f"{equal} files are equal, {differ} differ."),
        Goal(
            "a run that is killed again and again is complete in the end, without leftovers",
            kept,
            f"{len(killed['after_kills'])} kills; {killed['whole']} of {killed['images']} results, exit code "
            f"{killed['exit']}, {len(killed['leftovers'])} leftovers.",
        ),
    ]


def _outcomes(mutants: Mapping[str, Row]) -> Counter[str]:
    return sum((Counter(row["outcomes"]) for row in mutants.values()), Counter[str]())


def _cases(results: Row) -> list[list[str]]:
    header = ["case", "outcome", "score", "printed"]
    counts = Counter(row["outcome"] for row in results["cases"]["rows"])
    found = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    return [
        [
            "## Reported and hostile files",
            "",
            *prose(
                "All files of the project's `shared/cases` through `certify`: what its table says of each. The files",
                "of reports have the pixels of `00_control.dcm`, so a right reading has its score, where nothing says",
                f"otherwise. {found or 'The folder is not here'}.",
            ),
            "",
            *table(header, map(_case, results["cases"]["rows"])),
        ],
        ["With `--strict`:", "", *table(header, map(_case, results["strict"]["rows"]))],
        [
            "A folder as on a CD, with a DICOMDIR, a report and the same film twice:",
            "",
            *table(header, map(_case, results["folder"]["rows"])),
        ],
        ["Other headers, and calls from Python:", "", *table(header, map(_case, results["others"]["rows"]))],
    ]


def _case(row: Row) -> list[str]:
    return [row["case"], row["outcome"], "-" if row["score"] is None else f"{row['score']:.3f}", _cell(row["said"])]


def _mutants(mutants: Mapping[str, Row]) -> list[str]:
    rows = []
    for name, row in mutants.items():
        outcomes = Counter(row["outcomes"])
        total, faults = outcomes.total(), sum(n for outcome, n in outcomes.items() if outcome.startswith("FAULT"))
        refused = total - outcomes[READ] - outcomes[ENDED] - faults
        counts = [outcomes[READ], refused, outcomes[ENDED], faults]
        share = f"{math.floor(100 * row['reached'] / total)} %"
        spent = [rounded_up(row["slowest_s"], 1), _megabytes(row)]
        rows.append([name, f"{total:,}", share, *(f"{count:,}" for count in counts), *spent])
    header = ["format", "mutants", "reach decoding", "read", "refused", "refused: ended the decoder", "faults"]
    return [
        f"## {_outcomes(mutants).total():,} mutated files",
        "",
        *prose(
            f"One small film (every {STEP}th pixel of a shipped one) in all formats. A mutant has one to",
            f"{MOST_CHANGES} changes (a bit flipped, up to 8 bytes overwritten or cut out, up to 512 doubled),",
            f"in half of them within the first 2,048 bytes; {CUT_SHARE:.0%} are cut short.",
            f"Of *{HEADER}* there is **one change a mutant**, in",
            "front of the pixels and behind the preamble, and no cut, so that more of them get as far as the pixels.",
            "Its files are those of all codecs but deflate, in turn. *Reach decoding* counts what was read",
            "and refusals that only a decoder gives, so it is a lower bound. A file that ended the decoding process",
            "was refused and the next one was read.",
        ),
        "",
        *table([*header, "slowest, s by the clock", "most memory, MB"], rows),
    ]


def _costs(results: Row) -> list[str]:
    rows = [*results["bombs"]["rows"], *({**row, "said": row["said"] or "read"} for row in results["largest"]["rows"])]
    return [
        "## Bombs and the largest films",
        "",
        *prose(
            "Each file alone in a new process, whose start is counted. CPU seconds of it and of the one that asks; the",
            "most memory of the process that reads (- where none was asked). Limits:",
            f"{SECONDS:g} s, 1 s more for each 5 declared megapixels, {MAX_MEMORY / 1e9:g} GB. The last rows, of",
            "10,000 x 10,000 pixels, are to be read.",
        ),
        "",
        *table(
            ["file", "CPU, s", "MB", "printed"],
            [[row["file"], rounded_up(row["cpu_s"], 1), _megabytes(row), _cell(row["said"])] for row in rows],
        ),
    ]


def _megabytes(row: Row) -> str:
    return f"{math.ceil(row['peak_bytes'] / 1e6):,}" if row["peak_bytes"] else "-"


def _process(rows: Sequence[Row]) -> list[str]:
    lines = [
        [row["film"], *(f"{ms:.0f}" for ms in (row["apart_ms"], row["here_ms"], row["apart_ms"] - row["here_ms"]))]
        for row in rows
    ]
    header = ["film", "in a process of its own", "in the same process", "cost"]
    note = prose(
        "CPU milliseconds a reading, mean of several; both processes count. The one that reads keeps freed memory,",
        "which the same process gives back to the system, so that of a large film it can be the faster one.",
    )
    return ["## What the process of its own costs an image", "", *note, "", *table(header, lines)]


def _decoders(sets: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    lines = [
        [
            "## Other decoders",
            "",
            *prose(
                "All DICOM files of pydicom's wheel and, where the command is given it, of the wheel pydicom-data.",
                "Each one that the reader takes was rewritten without compression by DCMTK (JPEG 2000: GDCM), and its",
                "stored pixels were compared. Most files are refused for what they are: reports, plans, color,",
                "several frames, and pictures below 64 pixels a side. Files that pydicom downloads one by one were not",
                "tried.",
            ),
        ]
    ]
    for name, rows in sets.items():
        found = [(row["syntax"], _kind(row["found"])) for row in rows]
        kinds, syntaxes, counts = sorted({k for _, k in found}), sorted({s for s, _ in found}), Counter(found)
        body = [[syntax, *(str(counts[syntax, kind]) for kind in kinds)] for syntax in syntaxes]
        refused = Counter(row["found"].removeprefix("refused: ") for row in rows if _kind(row["found"]) == "refused")
        odd = [[row["file"], row["found"]] for row in rows if _kind(row["found"]) not in ("refused", "equal")]
        lines += [
            [f"{name}, {len(rows)} files:", "", *table(["transfer syntax", *kinds], body)],
            table(["files", "refused with"], [[str(n), _cell(said)] for said, n in refused.most_common()]),
            table(["file", "found"], odd) if odd else [],
        ]
    return lines


def _kind(found: str) -> str:
    return found.split(" ")[0].rstrip(":") if found.startswith(("refused", "differs")) else found


def _killed(killed: Row) -> list[str]:
    return [
        "## Killed runs",
        "",
        *prose(
            f"{killed['images']} images into one folder, SIGKILL at a moment that is uniform between 0 and",
            f"{killed['longest_s']:g} s after the start, {len(killed['after_kills'])} times, then one run to the end.",
            f"Results in the folder at each kill: {', '.join(map(str, killed['after_kills']))}. The last run: exit",
            f"code {killed['exit']}; {killed['results']} results, {killed['whole']} of them whole;",
            f"{len(killed['leftovers'])} leftovers.",
        ),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or "-"
