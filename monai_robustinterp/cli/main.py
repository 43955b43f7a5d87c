"""Entry point ``monai-robustinterp``: parses the command and calls it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monai_robustinterp._version import __version__
from monai_robustinterp.cli import attention, certify, compare, curve, figure, signals, verify

COMMANDS = {
    "certify": certify,
    "compare": compare,
    "attention": attention,
    "figure": figure,
    "curve": curve,
    "verify": verify,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        0 if all went well, 1 if inputs were refused, 130 and 143 after SIGINT and SIGTERM; wrong usage exits with 2.
    """
    parser = argparse.ArgumentParser(
        prog="monai-robustinterp",
        description="Certifiably robust saliency for medical images. Not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_arguments(subparsers.add_parser(name, help=command.HELP, description=command.HELP))
    arguments = parser.parse_args(argv)
    try:
        with signals.raised():
            code: int = COMMANDS[arguments.command].run(arguments)
    except KeyboardInterrupt as stopped:
        print("monai-robustinterp: interrupted; what was finished is whole and stays", file=sys.stderr)
        return signals.exit_code(stopped)
    return code
