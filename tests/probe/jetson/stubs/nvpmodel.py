"""A STUB of NVIDIA's nvpmodel: `-q` tells the power mode as the real one does, `-m ID` changes it.

`nvpmodel.json` beside it: `modes` (names by their number), `mode` (the number in force). Output of the real one on an
Orin Nano with JetPack 6.2, `nvpmodel -q`: `NV Power Mode: MAXN_SUPER`, then the number on a line of its own.
"""

from __future__ import annotations

import json
import os
import sys

PATH = os.path.splitext(os.path.abspath(__file__))[0] + ".json"


def main(words: list[str]) -> int:
    about = json.load(open(PATH))
    if words[:1] == ["-q"]:
        print("NV Power Mode: %s\n%d" % (about["modes"][str(about["mode"])], about["mode"]))
        return 0
    if words[:1] == ["-m"] and words[1:2] and words[1] in about["modes"]:
        about["mode"] = int(words[1])
        with open(PATH, "w") as out:
            json.dump(about, out)
        return 0
    print("NVPM ERROR: Error opening or reading power model", file=sys.stderr)
    return 255


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
