"""A STUB of NVIDIA's tegrastats: it prints lines of real boards again and again, at the interval it is asked for.

`tegrastats.json` beside it: `lines` (path of a file of lines). Options as the real one's: `--interval` (ms),
`--logfile`, `--stop`; it runs until it is ended.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time

ABOUT = json.load(open(os.path.splitext(os.path.abspath(__file__))[0] + ".json"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tegrastats")
    parser.add_argument("--interval", type=int, default=1000)
    parser.add_argument("--logfile")
    parser.add_argument("--stop", action="store_true")
    wanted = parser.parse_args()
    if wanted.stop:
        return 0
    with open(ABOUT["lines"]) as source:
        lines = [line.rstrip("\n") for line in source if line.strip() and not line.startswith("#")]
    out = open(wanted.logfile, "a") if wanted.logfile else sys.stdout
    for line in itertools.cycle(lines):
        print(line, file=out, flush=True)
        time.sleep(max(0.01, wanted.interval / 1000))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)
