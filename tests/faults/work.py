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
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "") or "-"
    descriptor = os.open(tally, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    def write(word: str) -> None:
        os.write(descriptor, f"{word} {run} {attempt} {os.getpid()} {ticks(os.getpid())} {gpus}\n".encode())

    def living() -> list[tuple[str, set[str]]]:
        """The runs that something is alive of, each with its GPUs."""
        with open(tally, encoding="ascii") as file:
            entries = [line.split() for line in file]
        return [
            (other, set(held.split(",")) - {"-"})
            for word, other, _, pid, began, held in entries
            if word in ("start", "helper") and int(pid) != os.getpid() and ticks(int(pid)) == int(began)
        ]

    def use() -> None:
        """Appear on the GPUs, as a program that computes there does."""
        if gpus != "-":
            with open(os.environ["STANDIN_GPUS"], "a", encoding="ascii") as driver:
                driver.writelines(f"live\t{gpu}\t{os.getpid()}\t700000000\n" for gpu in gpus.split(","))

    if any(other == run for other, _ in living()):
        write("overlap")
    write("start")
    if any(other != run and held & set(gpus.split(",")) for other, held in living()):
        write("shared")  # whoever of the two looked last
    use()
    if os.fork() == 0:  # one that leaves everything behind by which a run is known but its environment
        os.setsid()
        write("helper")
        use()
        os.closerange(0, 1000)
        time.sleep(600)
        os._exit(0)
    for number in range(lines):
        os.write(1, f"{run} {attempt} {number}\n".encode())
        time.sleep(seconds / lines)
    write("end")


main()
