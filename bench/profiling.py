"""Where the time goes: `make profile`, or `make profile ARGS="remembered"` for one of new, remembered, starlette.

Call trees by pyinstrument, from its own virtual environment; the HTML goes to bench/.cache. It samples, so what is too
short to be seen is not there; for a count of instructions that does not depend on the machine's mood:
`valgrind --tool=callgrind python bench/profiling.py --plain remembered`.
"""

from __future__ import annotations

import argparse
import site
from pathlib import Path

HERE = Path(__file__).parent
WHAT = {
    "new": ("ours", "new RS256", "tokenguard"),
    "remembered": ("ours", "remembered", "tokenguard"),
    "starlette": ("frameworks", "starlette", "tokenguard, remembered"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help=", ".join(WHAT))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--plain", action="store_true", help="only do the work, for other profilers")
    chosen = parser.parse_args()
    # tokenguard and what it needs are installed in .venv only.
    for packages in (HERE.parent / ".venv").glob("lib/python*/site-packages"):
        site.addsitedir(str(packages))
    import importlib

    import contest
    import corpus
    import interleave

    corpus.make("RS256", corpus.QUICK)
    with interleave.key_server(["RS256"], corpus.QUICK) as base:
        for name in chosen.what or WHAT:
            module, workload, contender = WHAT[name]
            importlib.import_module(f"contenders.{module}")
            sample = contest.CONTENDERS[workload, contender](contest.Setup(base, corpus.QUICK))
            count = contest.calibrate(sample, chosen.seconds * 1e3)
            if chosen.plain:
                sample(count)
                continue
            from pyinstrument import Profiler
            from pyinstrument.renderers import HTMLRenderer

            with Profiler(interval=0.0001, async_mode="disabled") as profiler:
                sample(count)
            print(f"== {contender}: {workload}, {count:,} times")
            print(profiler.output_text(unicode=True, show_all=True, timeline=False))
            page = corpus.CACHE / f"profile-{name}.html"
            page.write_text(profiler.output(HTMLRenderer(show_all=True)), "utf-8")
            print(f"{page.relative_to(HERE.parent)}\n")


if __name__ == "__main__":
    main()
