"""Entry point of the command `dfd`: its two parsers, LightningCLI and cyclopts, and its exit codes.

`fit validate test predict` go to LightningCLI, which costs seconds of imports; every other verb is a plain
typed function of `dfd.commands` behind cyclopts, which answers at once. Nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from dfd import __version__
from dfd.cli.error_messages import UsageError, closest, shortened
from dfd.cli.extras import how_to_install
from dfd.cli.logs import logs_on_stderr
from dfd.cli.own_code import raised_in
from dfd.commands import baselines, cluster, data, detect, forensics, judge, models, serve, study, watch
from dfd.interpreters import safe_path
from dfd.launcher import find_launch
from dfd.signals import Terminated, ending_as_ctrl_c, stop_signals
from dfd.terminal import screen_streams

if TYPE_CHECKING:
    from cyclopts import App

LIGHTNING_VERBS = {
    "fit": "Train: dfd fit --config dual_stream.yaml",
    "validate": "Metrics of a checkpoint on the validation split: dfd validate CHECKPOINT",
    "test": "Metrics of a checkpoint on the test split: dfd test CHECKPOINT",
    "predict": "A checkpoint's verdict on every image of the test split, as CSV: dfd predict CHECKPOINT",
}
COMMANDS = {
    function.__name__.replace("_", "-"): function
    for module in (data, forensics, detect, models, serve, watch, judge, baselines, study, cluster)
    for function in module.VERBS
}
PLAIN_VERBS = tuple(COMMANDS)
# whose output is their work; what the others do lies in files
ANSWERS = ("score", "models", "watch", "runs", "leaks", "submit", "tune-batch", "help", "version")
HELP = {"--help", "-h", "--print_config"}
CLOSED_PIPE = 141  # as if by SIGPIPE
HANDING_ON = ("submit", "tune-batch")  # what they do not know themselves, to others that judge it
# interrupted and started again, they do what is left
GOING_ON = ("prepare", "combine", "cues", "sweep", "evaluate", "bench-forensics", "models", "reproduce")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `dfd ARGV` and returns its exit code: 0 done, 1 the input was at fault, 2 the command line was.

    A package of an extra that is not installed counts as the input's fault. What is no fault of the input
    keeps its traceback; DFD_TRACEBACK=1 shows the others' too. Output that nobody takes costs no work, and
    counts for the verbs of ANSWERS alone: 141 for a closed pipe, as of the shell's own programs, else 1.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    with screen_streams() as (out, err):
        code = _run(args, leaving=argv is None)
        out.flush()
        if out.fault is None or code:
            return code
        answers = not args or args[0] in ANSWERS or args[0].startswith("-") or bool(HELP & set(args))
        if isinstance(out.fault, BrokenPipeError):
            return CLOSED_PIPE if answers else code
        kept = "" if answers else " The work itself was done."
        print(f"{_verb(args)}: the standard output was not written: {out.fault.strerror}.{kept}", file=err)
        return int(answers)


def _run(args: list[str], leaving: bool) -> int:
    """The exit code of a command, its errors said on the standard error.

    Args:
        leaving: whether the process ends with the command.
    """
    try:
        with logs_on_stderr(), safe_path():
            if args and args[0] in LIGHTNING_VERBS:
                return _lightning(args, leaving)
            with ending_as_ctrl_c():
                return _plain(args)
    except SystemExit as leave:  # argparse's and cyclopts' way to end --help and --print_config
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Terminated) else signal.SIGINT
        said = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        goes_on = "; the same command goes on from there" if args and args[0] in GOING_ON else ""
        print(said + goes_on, file=sys.stderr)
        return 128 + number
    except (ValueError, OSError, ModuleNotFoundError) as error:
        text = how_to_install(error) if isinstance(error, ModuleNotFoundError) else _words(error)
        if text is None or os.environ.get("DFD_TRACEBACK"):
            raise
        own = raised_in(error)
        where = f" ({own}; DFD_TRACEBACK=1 shows the whole traceback)" if own else ""
        print(f"{_verb(args)}: {shortened(text)}{where}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _verb(args: list[str]) -> str:
    return f"dfd {args[0]}" if args and not args[0].startswith("-") else "dfd"


def _words(error: Exception) -> str:
    """The message; of an OSError without its number, and with the file; of a stranger's code, with the option
    that allows it.
    """
    if words := getattr(error, "on_command_line", ""):
        return words
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error) or type(error).__name__
    # torch's words for what a loader's process raised: the reason is their end
    if "\nOriginal Traceback" in text:
        return re.split(r"\n(?=[\w.]+: )", text.strip())[-1].partition(": ")[2]
    return text


def _lightning(args: list[str], leaving: bool) -> int:
    import gc

    # half of the import time of torch and lightning is garbage collection that finds nothing; the door
    # switches it on again
    gc.disable()
    if args[0] == "fit":
        stop_signals.listen()  # a signal that arrives while torch is imported waits for the first step too
    try:
        find_launch()  # a rank that is no number is said before Lightning ends at it
        from dfd.cli.lightning_verbs import run

        return run(args)
    finally:
        stop_signals.forget(leaving)


def _plain(args: list[str]) -> int:
    from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnusedCliTokensError

    verbs = (*LIGHTNING_VERBS, *PLAIN_VERBS)
    args = _with_dashes(args)
    if "-" in args:
        raise UsageError("the standard input is not read: write it to a file, and name that.")
    if args and args[0] not in HANDING_ON:
        _refuse_empty(args)
    if args[:1] in (["help"], ["version"]):
        args = [*args[1:], f"--{args[0]}"]
    if args[-1:] == ["--help"] and args[0] in LIGHTNING_VERBS:
        return _lightning(args, leaving=False)
    try:
        return _app()(
            args or ["--help"],
            exit_on_error=False,
            print_error=False,
            result_action="return_int_as_exit_code_else_zero",
        )
    except UnknownCommandError as error:
        raise UsageError(
            f"there is no verb {args[0]!r}. {closest(args[0], verbs)}It takes: {', '.join(verbs)}."
        ) from error
    except UnusedCliTokensError as error:
        raise UsageError(
            f"{' '.join(error.unused_tokens or [])!r} is too many. dfd {args[0]} --help tells more."
        ) from error
    except CycloptsError as error:
        text = str(error).removeprefix(f'Command "{args[0]}" ').replace("parameter ", "", 1)
        if isinstance(error, MissingArgumentError) and _left_out(text, args):
            text = f"{text.partition(' ')[0]} is missing."
        behind = " Options of dfd fit go behind --." if args[0] == "submit" else ""
        raise UsageError(f"{text}{behind} dfd {args[0]} --help tells more.") from error


def _left_out(text: str, args: list[str]) -> bool:
    """Whether an error's option is not on the command line at all, instead of there without its value."""
    option = text.partition(" ")[0]
    return option.startswith("--") and not any(arg.partition("=")[0] == option for arg in args)


def _refuse_empty(args: list[str]) -> None:
    """UsageError where a value or a name is empty: as a path it would mean the current folder."""
    for before, arg in pairwise(args):
        option = arg.removesuffix("=") if arg.startswith("--") and arg.endswith("=") else ""
        if arg == "" and before.startswith("--") and "=" not in before:
            option = before
        if option or arg == "":
            what = f"{option} has an empty value" if option else "one of the names is empty"
            raise UsageError(f"{what}. Write one, or leave it out; a shell's variable may not be set.")


def _with_dashes(args: list[str]) -> list[str]:
    """`--csv -` as `--csv=-`: a lone dash is a value, the standard output, where cyclopts sees an option."""
    joined: list[str] = []
    for arg in args:
        if arg == "-" and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += "=-"
        else:
            joined.append(arg)
    return joined


def _app() -> App:
    """Our own verbs, and those of LightningCLI for the help page only: `main` has sent them elsewhere."""
    from cyclopts import App, Group, Parameter

    app = App(
        name="dfd",
        version=__version__,
        help="Train, judge and use detectors of deepfake images.",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),  # no --no-overwrite beside --overwrite
        suppress_keyboard_interrupt=False,  # `main` has a word for it
    )
    training, other = Group.create_ordered("Train and judge"), Group.create_ordered("Data and use")
    for place, (verb, text) in enumerate(LIGHTNING_VERBS.items()):
        app.command(_lightning, name=verb, help=text, group=training, sort_key=place)
    parameters = {
        # what tune-batch does not know itself, it hands on
        "tune-batch": Parameter(negative=(), allow_leading_hyphen=True),
        # --on ONE OTHER
        "evaluate": Parameter(negative=(), consume_multiple=True),
        "baseline": Parameter(negative=(), consume_multiple=True),
        "generate": Parameter(negative=(), consume_multiple=True),
        "ensemble": Parameter(negative=(), consume_multiple=True),
        "bench-forensics": Parameter(negative=(), consume_multiple=True),
    }
    for place, (verb, function) in enumerate(COMMANDS.items()):
        passing = {"default_parameter": parameters[verb]} if verb in parameters else {}
        app.command(function, name=verb, group=other, sort_key=place, **passing)
    return app
