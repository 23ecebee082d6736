"""What the log may be told of an exception: class, file and line, and the text where it is our own.

Owns: keeping the texts of foreign exceptions out of the log; they quote tokens, keys and URLs. Must not know: who logs.
"""

from __future__ import annotations

from types import TracebackType

from tokenguard.errors import ConfigurationError


def trail(error: BaseException) -> str:
    """Where an exception came from, and its causes: class, file and line."""
    places: list[str] = []
    current: BaseException | None = error
    while current is not None and len(places) < 4:
        trace = current.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        # Our own texts are constants and say what to do.
        ours = type(current) is ConfigurationError and trace is not None and _is_ours(trace)
        places.append(f"{type(current).__name__}{place}{f' ({current})' if ours else ''}")
        current = current.__cause__
    return ", from ".join(places)


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).startswith("tokenguard.")
