"""What the runs of the fault suite do, WORK TALLY LINES SECONDS: they keep a tally that the product does not know."""

import os
import sys
import time


def ticks(pid: int) -> int:
    """When this process was started, in clock ticks; 0 where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def main() -> None:
    tally, lines, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    run, attempt = os.environ["SWEEP_RUN"], os.environ["SWEEP_ATTEMPT"]
    descriptor = os.open(tally, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    def write(word: str) -> None:
        os.write(descriptor, f"{word} {run} {attempt} {os.getpid()} {ticks(os.getpid())}\n".encode())

    with open(tally, encoding="ascii") as file:
        for line in file:
            word, other, _, pid, began = line.split()
            if word in ("start", "helper") and other == run and ticks(int(pid)) == int(began):
                write("overlap")
    write("start")
    if os.fork() == 0:  # one that leaves everything behind by which a run is known but its environment
        os.setsid()
        write("helper")
        os.closerange(0, 1000)
        time.sleep(600)
        os._exit(0)
    for number in range(lines):
        os.write(1, f"{run} {attempt} {number}\n".encode())
        time.sleep(seconds / lines)
    write("end")


main()
