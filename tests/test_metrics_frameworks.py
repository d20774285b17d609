"""What frameworks' own example scripts print: the report shows beside the winner what a person would look at next."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_sweep import FakeRun, write_sweep

from sweeper import metrics, results
from sweeper.cli import reporting


def ignite(*epochs: tuple[float, float, float, float]) -> str:
    """What the MNIST example of PyTorch-Ignite prints for an epoch, between the redraws of its bar."""
    return "".join(
        f"ITERATION - loss: 0.{epoch}7:  96%|#########5| 90/94 [00:29<00:00, 18.66it/s]\r"
        f"2026-11-21 04:34:34,800 evaluator INFO: Epoch[1] Complete. Time taken: 00:00:00.998\n"
        f"Training Results - Epoch: {epoch} Avg accuracy: {train:.2f} Avg loss: {train_loss:.2f}\n"
        f"Validation Results - Epoch: {epoch} Avg accuracy: {val:.2f} Avg loss: {val_loss:.2f}\n"
        for epoch, (train, train_loss, val, val_loss) in enumerate(epochs, 1)
    )


def zoo(*evaluations: tuple[int, float, float]) -> str:
    """What RL Baselines3 Zoo prints: the callback's line, and the table of the learner."""
    return "".join(
        f"Eval num_timesteps={steps}, episode_reward={reward:.2f} +/- 10.34\n"
        f"Episode length: {reward:.2f} +/- 10.34\n"
        "--------------------------------------\n"
        "| rollout/             |             |\n"
        f"|    ep_rew_mean       | {rollout:<11} |\n"
        "| time/                |             |\n"
        "|    fps               | 233         |\n"
        f"|    total_timesteps   | {steps:<11} |\n"
        "| train/               |             |\n"
        "|    approx_kl         | 0.000138970 |\n"
        "|    entropy_loss      | -0.668      |\n"
        f"|    loss              | {5 + reward / 100:<11.3g} |\n"
        "--------------------------------------\n"
        for steps, reward, rollout in evaluations
    )


def reported(folder: Path, *logs: str) -> results.Report:
    write_sweep(folder, [FakeRun({"lr": 10.0**-place}, log) for place, log in enumerate(logs)])
    return results.collect(results.from_folders(folder))


def test_the_validation_loss_is_shown_beside_the_validation_accuracy(tmp_path: Path) -> None:
    low = ignite((0.76, 0.90, 0.71, 0.98), (0.83, 0.60, 0.80, 0.68))
    high = ignite((0.87, 0.45, 0.85, 0.52), (0.94, 0.24, 0.92, 0.30))
    report = reported(tmp_path / "mnist", low, high)
    assert report.target is not None
    assert report.target.name == "val_accuracy"
    assert report.value(report.runs[1]) == 0.92
    assert report.runs[1].metrics["val_accuracy"].last == 0.92
    assert report.metric_names[:2] == ("val_accuracy", "val_loss")
    table = str(results.render(report))
    assert "val_loss" in table
    assert "train_loss" not in table


def test_the_reward_is_shown_and_no_inner_sign_of_the_learner(tmp_path: Path) -> None:
    slow = zoo((3000, 66.0, 42.9), (6000, 67.0, 44.1))
    fast = zoo((3000, 93.33, 50), (6000, 431.33, 106))
    report = reported(tmp_path / "cartpole", slow, fast)
    assert report.target is not None
    assert report.target.name == "eval_episode_reward"
    assert report.value(report.runs[1]) == 431.33
    assert report.metric_names.index("ep_rew_mean") < report.metric_names.index("approx_kl")
    table = str(results.render(report))
    assert "ep_rew_mean" in table
    assert "approx_kl" not in table


def test_a_single_metric_is_called_the_only_one(tmp_path: Path) -> None:
    report = reported(tmp_path / "lone", "test_loss: 2.3\n", "test_loss: 2.2\n")
    table = " ".join(str(results.render(report)).split())
    assert "test_loss (minimum) was picked as the only metric in the logs" in table


@pytest.mark.parametrize(("where", "kept"), [("", True), ("lr == 1", False)])
def test_the_page_of_the_command_line_heeds_where(tmp_path: Path, where: str, kept: bool) -> None:
    folder = tmp_path / "runs" / "lone"
    reported(folder, "test_loss: 2.31415\n", "test_loss: 2.27182\n")
    (folder / "sweep.yaml").write_text("command: python train.py\ngrid: {lr: [1, 0.1]}\n")
    page = tmp_path / "page.html"
    status = reporting.report(
        [str(folder)],
        None,
        maximize=None,
        minimize=None,
        last=False,
        columns=(),
        where=where,
        sort=(),
        top=None,
        format="html",
        output=str(page),
        show=False,
    )
    assert status == 0
    text = page.read_text()
    assert "2.31415" in text
    assert ("2.27182" in text) is kept


def test_a_bar_beneath_a_line_that_counts_iterations_belongs_to_that_iteration() -> None:
    """As in Keras' own addition_rnn.py, which calls ``fit(epochs=1)`` in a loop and prints the loop's count."""
    log = "".join(
        f"\nIteration {count}\n"
        f"1407/1407 - 7s 5ms/step - loss: 1.{9 - count} - val_accuracy: 0.{count}137\n"
        "1/1 - 0s 20ms/step\n"
        for count in (1, 2, 3)
    )
    series = metrics.parse(log.encode()).series
    assert list(series["val_accuracy"].points) == [(1.0, 0.1137), (2.0, 0.2137), (3.0, 0.3137)]
    assert list(series["loss"].points) == [(1.0, 1.8), (2.0, 1.7), (3.0, 1.6)]
