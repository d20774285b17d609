"""Start of a supervisor in a window of its own: ``python -I -S boot.py SOCKET FOLDERS``, where FOLDERS (separated by
colons) are where our package and filelock lie. Isolated and without site, it is there in milliseconds."""

from __future__ import annotations

import os
import sys


def main() -> None:
    sys.path[:0] = sys.argv[2].split(os.pathsep)
    from pathlib import Path

    from sweeper.channel import Channel
    from sweeper.supervisor.relay import Window
    from sweeper.supervisor.standby import Supervisor

    try:
        channel = Channel.connect(Path(sys.argv[1]), None)
    except OSError:
        os._exit(0)  # the scheduler left while this window opened
    window = Window()
    try:
        Supervisor(channel, window).run()
    finally:
        window.restore()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
