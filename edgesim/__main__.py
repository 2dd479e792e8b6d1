"""The command `edgesim`: every way it can end, as an exit code and a sentence, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DONE, BAD_INPUT, FAILED, BUG, INTERRUPTED = 0, 2, 3, 70, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name; None: the process's own) and return its exit code.

    0 done, 2 bad input, 3 the simulation failed, 70 a bug of edgesim (its log is named), 130 interrupted.
    """
    try:
        code = _command(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as stop:  # typer's own: shell completion, and 1 for a broken pipe
        return _nobody_reads() if stop.code == 1 else int(stop.code or DONE)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except MemoryError:
        return _say("this machine ran out of memory; use a smaller model, batch, cluster or stop", FAILED)
    except Exception as error:  # the last resort: whatever happens, the user gets a sentence
        return _tell(error)


def _command(argv: list[str]) -> int:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    from typer.main import get_command

    from edgesim.cli import app

    code = get_command(app)(args=argv, prog_name="edgesim", standalone_mode=False)
    return code if isinstance(code, int) else DONE


def _tell(error: Exception) -> int:
    from edgesim.errors import EdgesimError

    if isinstance(error, EdgesimError):
        return _say(str(error), error.exit_code, prefix="")
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's usage errors, whoever vendors click
        error.show()
        return int(error.exit_code)
    if type(error).__name__ == "Abort":  # what typer makes of an interrupt
        return _say("interrupted", INTERRUPTED)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", BAD_INPUT)
    return _own_up(error)


def _own_up(error: Exception) -> int:
    """Write the traceback to a file and say that the bug is ours."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="edgesim-bug-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(" ".join(["edgesim", *sys.argv[1:]]) + "\n\n")
        traceback.print_exception(error, file=log)
    return _say(f"a bug of edgesim, not of your input: {error!r}; please report it with {log.name}", BUG)


def _say(message: str, code: int, prefix: str = "edgesim: ") -> int:
    print(f"{prefix}{message}", file=sys.stderr)
    return code


def _nobody_reads() -> int:
    """Whoever read our output has gone (`| head`): keep Python from complaining about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
