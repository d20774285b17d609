"""The commands: their words, flags and examples. Help, completion and the check of what was typed read this table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: ``value`` is what it wants ('' for a switch), ``choices`` are its values where they are few."""

    name: str
    value: str
    text: str
    choices: tuple[str, ...] = ()
    short: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """``takes`` names the words that follow: file, name, runs; ``words`` is how help spells them."""

    name: str
    words: str
    text: str
    example: str
    flags: tuple[Flag, ...] = ()
    takes: tuple[str, ...] = ()
    most: int | None = 0  # words that it takes at most; None: any number


RUNS_DIR = Flag("runs-dir", "FOLDER", "where the sweeps lie (default: SWEEP_RUNS_DIR, runs_dir: of the file, ./runs)")
JSON = Flag("json", "", "print JSON")
DETACH = Flag("detach", "", "return at once, which it does anyway: for whoever types it after every launch")
_GPU_FLAGS = (
    Flag("gpus", "N", "GPUs for each run: a number, or all"),
    Flag("gpus-allowed", "LIST", "the GPUs that may be used, as indices: 0,2"),
)

LAUNCH = Command(
    "launch",
    "FILE",
    "Make the sweep file true: run what is new, failed or unfinished; keep what is done.",
    "sweep grid.yaml --parallel 4",
    (
        Flag("parallel", "N", "at most N runs at once, each in a tmux window of its own"),
        Flag("serial", "", "one run after another, in one window"),
        *_GPU_FLAGS,
        Flag("hold", "", "a serial chain keeps its GPUs between its runs"),
        Flag("dry-run", "", "print the commands and how many, and start nothing"),
        Flag("detach", "", "return at once instead of showing the progress"),
        Flag("fresh", "", "move the results of earlier launches aside and start anew"),
        Flag("here", "", "run the chain in this terminal, without tmux"),
        RUNS_DIR,
    ),
    ("file",),
    1,
)

COMMANDS = (
    Command(
        "status",
        "[NAME]",
        "How a sweep is: counts, what each run is doing, what did not end well.",
        "sweep status digits",
        (JSON, RUNS_DIR),
        ("name",),
        1,
    ),
    Command("ls", "", "All your sweeps, wherever they lie.", "sweep ls", (JSON, RUNS_DIR), (), 0),
    Command(
        "attach",
        "[NAME] [RUN]",
        "Look into a sweep's tmux session, at a run's window if one is named (Ctrl-b d leaves).",
        "sweep attach digits 7",
        (RUNS_DIR,),
        ("name", "runs"),
        2,
    ),
    Command(
        "logs",
        "[NAME] RUN",
        "Print a run's log, with progress bars folded as a terminal would show them.",
        "sweep logs digits 7 --follow",
        (
            Flag("follow", "", "go on printing until the run ends", short="f"),
            Flag("raw", "", "every byte as it is"),
            RUNS_DIR,
        ),
        ("name", "runs"),
        2,
    ),
    Command(
        "stop",
        "[NAME] [RUN...]",
        "Stop a sweep, or some of its runs: TERM, and after the grace KILL, to all that they started.",
        "sweep stop digits 7 9-12",
        (RUNS_DIR,),
        ("name", "runs"),
        None,
    ),
    Command("pause", "[NAME]", "Let finish what runs, start nothing.", "sweep pause digits", (RUNS_DIR,), ("name",), 1),
    Command(
        "resume",
        "[NAME]",
        "Go on with a paused, stopped or interrupted sweep.",
        "sweep resume digits",
        (
            Flag("all", "", "every sweep that was running when the machine or its scheduler went down"),
            Flag("at-boot", "", "install that for every start of the machine, showing what is written"),
            Flag("never", "", "remove what --at-boot installed"),
            Flag("yes", "", "do not ask", short="y"),
            DETACH,
            RUNS_DIR,
        ),
        ("name",),
        1,
    ),
    Command(
        "retry",
        "[NAME] [RUN...]",
        "Run again what did not end well, or the runs that are named.",
        "sweep retry digits 3",
        (DETACH, RUNS_DIR),
        ("name", "runs"),
        None,
    ),
    Command(
        "rm",
        "[NAME]",
        "Delete a sweep with all its results; asks first, and refuses what runs.",
        "sweep rm digits",
        (Flag("yes", "", "do not ask", short="y"), RUNS_DIR),
        ("name",),
        1,
    ),
    Command(
        "report",
        "[NAME...]",
        "Which setting won, what mattered, and why the others failed.",
        "sweep report digits --maximize val_acc --top 5",
        (
            Flag("maximize", "METRIC", "the metric to rank by, high is good"),
            Flag("minimize", "METRIC", "the metric to rank by, low is good"),
            Flag(
                "last",
                "",
                "rank by last values instead of the best over the curve (what did not end well is not ranked)",
            ),
            Flag("columns", "LIST", "the columns to show"),
            Flag("where", "EXPRESSION", "only runs for which it is true: \"lr < 0.1 and state == 'done'\""),
            Flag("sort", "LIST", "columns to sort by: NAME ascending, -NAME descending (else: best first)"),
            Flag("top", "N", "so many rows; 0: all (else the first 40, and all where it is not a table)"),
            Flag(
                "format",
                "FORMAT",
                "table, csv, json, markdown, latex, parquet or html",
                ("table", "csv", "json", "markdown", "latex", "parquet", "html"),
            ),
            Flag("output", "FILE", "write there instead of printing", short="o"),
            Flag("html", "", "the page, as one file (runs/NAME/report.html unless --output)"),
            Flag("open", "", "the page, shown in your browser"),
            RUNS_DIR,
        ),
        ("name",),
        None,
    ),
    Command(
        "gpus",
        "",
        "Every GPU: who holds it, since when, and who waits for it.",
        "sweep gpus --watch",
        (Flag("watch", "", "look again every 2 seconds (with --json: a line each)"), JSON),
        (),
        0,
    ),
    Command(
        "run-one",
        "-- COMMAND...",
        "Run any command with GPUs of its own, in this terminal, when its turn comes.",
        "sweep run-one --gpus 1 -- python train.py --lr 3",
        (
            *_GPU_FLAGS,
            Flag("gpu-memory", "SIZE", "only where so much memory is free: 8GB"),
            Flag("per-gpu", "N", "share each GPU with N-1 others that share"),
            Flag("ignore-others", "", "take GPUs that strangers compute on, too"),
            Flag("no-wait", "", "fail at once (exit 75) if it would have to wait"),
            Flag("same-command", "", "refuse to start where you run this very command already"),
        ),
        (),
        0,
    ),
    Command(
        "doctor",
        "",
        "Is this machine set up for an unattended night?",
        "sweep doctor",
        (JSON, RUNS_DIR),
        (),
        0,
    ),
    Command("schema", "", "Print the sweep file's JSON Schema, for editors.", "sweep schema > sweep.schema.json"),
    Command(
        "completion",
        "SHELL",
        "Print the completion script for bash, zsh or fish.",
        'eval "$(sweep completion bash)"',
        (),
        ("shell",),
        1,
    ),
)
NAMES = {command.name: command for command in COMMANDS}
SHELLS = ("bash", "zsh", "fish")
