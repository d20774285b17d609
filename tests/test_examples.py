"""The examples really train, and go on where they were killed; every file in sweeps/ is understood."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.command import template
from sweeper.grid import expand
from sweeper.spec import KEYS, read_spec

ROOT = Path(__file__).parent.parent
DIGITS = [sys.executable, "-W", "error", str(ROOT / "examples/train_digits.py")]
WINE = [sys.executable, "-W", "error", str(ROOT / "examples/train_wine_hydra.py")]
EPOCH = re.compile(r"epoch (\d+)/(\d+) loss=([\d.]+) val_acc=([\d.]+)")


def environment(run_dir: Path | None = None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    env["OMP_NUM_THREADS"] = "1"
    return env if run_dir is None else {**env, "SWEEP_RUN_DIR": str(run_dir)}


def output(command: list[str], run_dir: Path | None = None) -> list[str]:
    done = subprocess.run(command, env=environment(run_dir), capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_digits_learns_and_the_seed_decides_everything(tmp_path: Path) -> None:
    lines = output([*DIGITS, "--epochs=4", "--seed=3"])
    epochs = [EPOCH.fullmatch(line) for line in lines]
    assert [found and found.group(1, 2) for found in epochs] == [("1", "4"), ("2", "4"), ("3", "4"), ("4", "4")]
    accuracy = [float(found[4]) for found in epochs if found]
    assert accuracy[-1] > max(0.6, accuracy[0])  # chance is 0.1
    assert output([*DIGITS, "--epochs=4", "--seed=3"], tmp_path) == lines
    assert output([*DIGITS, "--epochs=1", "--seed=4"])[0] != lines[0]


def test_digits_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    command = [*DIGITS, "--epochs=60", "--seed=1"]
    whole = output(command)
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = []
        for line in process.stdout:
            first.append(line.rstrip("\n"))
            if len(first) == 20:
                process.kill()
        assert process.wait() == -signal.SIGKILL
    second = output(command, tmp_path)
    found = re.fullmatch(r"going on after epoch (\d+), from .*checkpoint\.npz", second[0])
    assert found
    done = int(found[1])
    assert 19 <= done <= len(first) < 60
    assert first == whole[: len(first)]
    assert second[1:] == whole[done:]
    assert output(command, tmp_path) == [second[0].replace(f"epoch {done},", "epoch 60,")]


def test_digits_starts_over_with_other_settings(tmp_path: Path) -> None:
    output([*DIGITS, "--epochs=1"], tmp_path)
    lines = output([*DIGITS, "--epochs=1", "--lr=0.02"], tmp_path)
    assert "made with other settings" in lines[0]
    assert lines[1:] == output([*DIGITS, "--epochs=1", "--lr=0.02"])


def test_digits_says_that_it_diverged() -> None:
    done = subprocess.run([*DIGITS, "--lr=1e80"], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "loss=nan" in done.stdout
    assert done.stderr.strip() == "the loss is nan after epoch 1: a learning rate of 1e+80 is too high"


@pytest.mark.parametrize("model", ["boosting", "forest"])
def test_wine_learns(model: str) -> None:
    lines = output([*WINE, f"model={model}", "rounds=12", "model.depth=2", "model.max_features=None"])
    assert len(lines) == 12
    found = re.fullmatch(r"\[12/12\] loss: [\d.]+  val_loss: ([\d.]+)  val_accuracy: ([\d.]+)%", lines[-1])
    assert found
    assert float(found[2]) > 80


@pytest.mark.parametrize(
    ("argument", "message"),
    [("model.dept=3", "did you mean model.depth?"), ("lr", "name=value"), ("model=net", "boosting and forest")],
)
def test_wine_refuses(argument: str, message: str) -> None:
    done = subprocess.run([*WINE, argument], env=environment(), capture_output=True, text=True, timeout=60)
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
