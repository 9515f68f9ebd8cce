"""Speed and memory on this machine, into ``results``: ``make bench``, which brings the pages up to date, too.

See ``racing`` for how times are compared. Nothing else should run at the same time.
"""

from __future__ import annotations

import data
import memory
import network
import scaling
import training
from machine import save, this_machine
from racing import ROUNDS


def main() -> None:
    found = this_machine() | {"rounds": ROUNDS}
    found["speeds"] = [figure for part in (network, data, training) for figure in part.figures()]
    found["memory"] = memory.figures()
    found |= {"curves": scaling.curves(), "processes": scaling.weak_scaling()}
    save("cpu", found)


if __name__ == "__main__":
    main()
