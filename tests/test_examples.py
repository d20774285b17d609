"""The examples really train, and go on where they were killed; every file in sweeps/ is understood."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.command import template
from sweeper.grid import expand
from sweeper.spec import KEYS, read_spec
from tests.ready import Ready

ROOT = Path(__file__).parent.parent
PYTHON = [sys.executable, "-W", "error"]
DIGITS = [str(ROOT / "examples/train_digits.py")]
WINE = [str(ROOT / "examples/train_wine_hydra.py")]
EPOCHS = 24
EPOCH = re.compile(r"epoch (\d+)/(\d+) loss=([\d.]+) val_acc=([\d.]+)")


def environment(run_dir: Path | None = None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    env["OMP_NUM_THREADS"] = "1"
    return env if run_dir is None else {**env, "SWEEP_RUN_DIR": str(run_dir)}


@pytest.fixture(scope="module")
def python() -> Iterator[Ready]:
    """It has imported what the examples import: several times as long as they train here."""
    imported = ("numpy", "scipy.ndimage", "sklearn.datasets", "sklearn.ensemble", "sklearn.model_selection", "fire")
    made = Ready(imported, PYTHON[1:], OMP_NUM_THREADS="1")
    yield made
    made.close()


def output(python: Ready, command: list[str], run_dir: Path | None = None) -> list[str]:
    done = python.run(command, environment(run_dir))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_digits_learns_and_the_seed_decides_everything(python: Ready, tmp_path: Path) -> None:
    lines = output(python, [*DIGITS, "--epochs=4", "--seed=3"])
    epochs = [EPOCH.fullmatch(line) for line in lines]
    assert [found and found.group(1, 2) for found in epochs] == [("1", "4"), ("2", "4"), ("3", "4"), ("4", "4")]
    accuracy = [float(found[4]) for found in epochs if found]
    assert accuracy[-1] > max(0.6, accuracy[0])  # chance is 0.1
    assert output(python, [*DIGITS, "--epochs=4", "--seed=3"], tmp_path) == lines
    assert output(python, [*DIGITS, "--epochs=1", "--seed=4"])[0] != lines[0]


def test_digits_goes_on_where_it_was_killed(python: Ready, tmp_path: Path) -> None:
    command = [*DIGITS, f"--epochs={EPOCHS}", "--seed=1"]
    whole = output(python, command)
    with subprocess.Popen([*PYTHON, *command], env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = []
        for line in process.stdout:
            first.append(line.rstrip("\n"))
            if len(first) == 4:
                process.kill()
        assert process.wait() == -signal.SIGKILL
    second = output(python, command, tmp_path)
    found = re.fullmatch(r"going on after epoch (\d+), from .*checkpoint\.npz", second[0])
    assert found
    done = int(found[1])
    assert 3 <= done <= len(first) < EPOCHS
    assert first == whole[: len(first)]
    assert second[1:] == whole[done:]
    assert output(python, command, tmp_path) == [second[0].replace(f"epoch {done},", f"epoch {EPOCHS},")]


def test_digits_starts_over_with_other_settings(python: Ready, tmp_path: Path) -> None:
    output(python, [*DIGITS, "--epochs=1"], tmp_path)
    lines = output(python, [*DIGITS, "--epochs=1", "--lr=0.02"], tmp_path)
    assert "made with other settings" in lines[0]
    assert lines[1:] == output(python, [*DIGITS, "--epochs=1", "--lr=0.02"])


def test_digits_says_that_it_diverged(python: Ready) -> None:
    done = python.run([*DIGITS, "--lr=1e80"], environment())
    assert done.returncode == 1
    assert "loss=nan" in done.stdout
    assert done.stderr.strip() == "the loss is nan after epoch 1: a learning rate of 1e+80 is too high"


@pytest.mark.parametrize("model", ["boosting", "forest"])
def test_wine_learns(python: Ready, model: str) -> None:
    lines = output(python, [*WINE, f"model={model}", "rounds=12", "model.depth=2", "model.max_features=None"])
    assert len(lines) == 12
    found = re.fullmatch(r"\[12/12\] loss: [\d.]+  val_loss: ([\d.]+)  val_accuracy: ([\d.]+)%", lines[-1])
    assert found
    assert float(found[2]) > 80


@pytest.mark.parametrize(
    ("argument", "message"),
    [("model.dept=3", "did you mean model.depth?"), ("lr", "name=value"), ("model=net", "boosting and forest")],
)
def test_wine_refuses(python: Ready, argument: str, message: str) -> None:
    done = python.run([*WINE, argument], environment())
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "runs"), [("digits", 12), ("overnight", 200), ("every_key", 17)])
def test_every_sweep_file_is_understood(name: str, runs: int) -> None:
    spec = read_spec(ROOT / f"sweeps/{name}.yaml")
    assert spec.name == name
    assert spec.gpus == 0  # the examples run on any machine
    assert spec.workdir == ROOT
    points = expand(spec)
    assert len(points) == runs
    assert template(spec).check(points) == []


def test_no_sweep_file_is_left_out() -> None:
    assert {file.stem for file in (ROOT / "sweeps").iterdir()} == {"digits", "overnight", "every_key"}


@pytest.mark.parametrize("name", ["digits", "every_key"])
def test_the_commands_of_a_sweep_file_run(name: str, tmp_path: Path) -> None:
    spec = read_spec(ROOT / f"sweeps/{name}.yaml")
    points = expand(spec)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for number in (0, len(points) - 1):
        command = template(spec).render(points[number], run=number + 1, run_dir=str(tmp_path), sweep=name)
        if name == "digits":
            command += " --epochs=1"
        done = subprocess.run(
            ["bash", "-c", f"{spec.before}\n{command}"],
            cwd=spec.workdir,
            env={**environment(tmp_path), **spec.env, "PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "loss" in done.stdout


def test_every_key_is_shown() -> None:
    file = ROOT / "sweeps/every_key.yaml"
    shown = re.findall(r"^(?:# )?(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(KEYS)
