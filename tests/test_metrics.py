"""Metrics out of logs: of the corpus in tests/logs, of lines, of hostile bytes, and read again as a log grows."""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sweeper import metrics, paths
from sweeper.errors import InputError
from sweeper.metrics import curve, reader, store

LOGS = Path(__file__).parent / "logs"
TRUTH: list[dict[str, Any]] = json.loads((LOGS / "logs_truth.json").read_text())


def last(text: str | bytes, **more: Any) -> dict[str, float]:
    return metrics.parse(text if isinstance(text, bytes) else text.encode(), **more).last


def equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("entry", TRUTH, ids=lambda entry: entry["file"])
def test_corpus(entry: dict[str, Any]) -> None:
    """Each log yields what a person would name in it, under that name; and nothing where there is nothing."""
    found = metrics.parse((LOGS / entry["file"]).read_bytes())
    for name, metric in entry["metrics"].items():
        assert name in found.series, f"{name} is missing from {list(found.series)}"
        series = found.series[name]
        assert equal(series.last, metric["last"]), name
        if "count" in metric:
            assert series.count == metric["count"], name
            assert len(series.points) == metric["count"] or series.count > curve.POINTS
    if not entry["metrics"]:
        assert found.series == {}
    if entry["epoch"] is not None:
        assert found.epoch == entry["epoch"]
    likeliest = metrics.likeliest(found.series)
    assert (likeliest[0] if likeliest else None) == entry["pick"]


def test_corpus_is_large_and_small_enough() -> None:
    assert len(TRUTH) >= 25
    assert all((LOGS / entry["file"]).stat().st_size < 100_000 for entry in TRUTH)
    assert {path.name for path in LOGS.glob("*.log")} == {entry["file"] for entry in TRUTH}


LINES = {
    "epoch: 7,  loss is: 0.157, acc is: 0.945": {"loss": 0.157, "acc": 0.945},
    "acc|logloss = 0.78|0.467": {"acc": 0.78, "logloss": 0.467},
    "train loss after 8 epochs: 0.0078": {"train_loss": 0.0078},
    "Accuracy of the network on the 10000 test images: 98 %": {"accuracy": 98},
    "Accuracy on the test set: 0.93": {"test_accuracy": 0.93},
    "Epoch [170/500], Validation Loss: 0.0020, Validation L1: 0.26": {"val_loss": 0.002, "val_l1": 0.26},
    "Output 245: Average over 100 episodes - Reward: 1.0": {"reward": 1.0},
    "Overall: Average Reward: 0.938": {"overall_average_reward": 0.938},
    "Epoch 400 loss 0.8154 | train 3.0s | Acc 83.91% | infer 5.5s": {"loss": 0.8154, "acc": 83.91},
    "Test set: Average loss: 0.05, Accuracy: 9830/10000 (98%)": {"test_loss": 0.05, "test_accuracy": 98},
    "Accuracy: 9830/10000": {"accuracy": 0.983},
    "Train: loss 0.5 acc 0.9 | Val: loss 0.6 acc 0.8": {
        "train_loss": 0.5,
        "train_acc": 0.9,
        "val_loss": 0.6,
        "val_acc": 0.8,
    },
    "[53]\ttraining's binary_logloss: 0.65\tvalid_1's auc: 0.9": {"train_binary_logloss": 0.65, "valid_1_auc": 0.9},
    "loss: tensor(0.5432, device='cuda:0', grad_fn=<NllLossBackward>)": {"loss": 0.5432},
    "loss: [0.25]": {"loss": 0.25},
    "RF Train accuracy: 0.8": {"train_accuracy": 0.8},
    "RF Train accuracy: 0.8\nSVM Train accuracy: 0.9": {"rf_train_accuracy": 0.8, "svm_train_accuracy": 0.9},
    "loss: nan, acc: -inf": {"loss": math.nan, "acc": -math.inf},
    "loss = 1.5e-03": {"loss": 0.0015},
    "mAP@0.5: 0.61": {"map_0_5": 0.61},
    "Top 1 accuracy: 76.1, Top 5 accuracy: 92.9": {"top_1_accuracy": 76.1, "top_5_accuracy": 92.9},
    "val_loss=1,234.5": {"val_loss": 1234.5},
    "I0725 16:19:10.315041 125689722461056 train.py:148] epoch: 10, train_loss: 0.0075": {"train_loss": 0.0075},
    "PSNR (dB): 30.1": {"psnr": 30.1},
    "Epoch #150: test_reward: -35.0 ± 0.5, best_reward: -2.0 ± 0.1 in #13": {"test_reward": -35.0, "best_reward": -2.0},
    "\x1b[32mloss\x1b[0m: \x1b[1m0.5\x1b[0m": {"loss": 0.5},
    # and what are no metrics
    "2026-01-09 21:14:02 epoch took 12.5s, eta 0:12:03, 3.2 it/s": {},
    "learning_rate: 0.001": {},
    "GPU memory: 10.2 GB, util: 97%": {},
    "Total params: 29,018": {},
    "params: {'lr': 0.1, 'loss_weight': 0.5, 'score': 3.0}": {},
    "Namespace(lr=0.1, dropout=0.5, loss=0.3)": {},
    "model v1.2.3 with 12.5M parameters, size: 44.7 MB": {},
    "Downloaded 3.5/12.0 MB (29%) at 8.1 MB/s": {},
    "Using torch 2.13.0 and CUDA 12.4": {},
    "Errno 111: connection refused": {},
    "Seed: 42": {},
}


@pytest.mark.parametrize(("line", "wanted"), LINES.items(), ids=list(LINES))
def test_lines(line: str, wanted: dict[str, float]) -> None:
    found = last(line + "\r\n")
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert equal(found[name], value), name


def test_settings_over_many_lines_are_no_metrics() -> None:
    text = "SGDClassifier(alpha=0.0001, average=False,\n       l1_ratio=0.15, loss='log',\n       power_t=0.5)\n"
    assert last(text + "loss: 0.25\n") == {"loss": 0.25}


def test_a_learning_rate_counts_only_if_it_changes() -> None:
    same = "".join(f"epoch {n} loss: {1 / n:.3f} lr: 0.1\n" for n in range(1, 5))
    falling = "".join(f"epoch {n} loss: {1 / n:.3f} lr: {0.1 / n:.4f}\n" for n in range(1, 5))
    assert set(last(same)) == {"loss"}
    assert set(last(falling)) == {"loss", "lr"}


def test_what_restates_a_parameter_is_no_metric() -> None:
    text = "".join(f"epoch {n} loss: {1 / n:.3f} focal_loss_gain: 0.25\n" for n in range(1, 5))
    assert set(last(text)) == {"loss", "focal_loss_gain"}
    assert set(last(text, params={"focal_loss_gain": 0.25})) == {"loss"}
    assert set(last(text, params={"focal_loss_gain": 0.5})) == {"loss", "focal_loss_gain"}


def test_the_same_word_under_headings_comes_apart() -> None:
    text = "".join(
        f"epoch: {n}, loss: {1 / n}\ntesting in eval mode...\nepoch: {n}, loss: {2 / n}\nNow continue training\n"
        for n in range(1, 4)
    )
    found = metrics.parse(text.encode())
    assert found.series["test_loss"].last == 2 / 3
    assert {series.count for series in found.series.values()} <= {1, 2, 3}


def test_steps() -> None:
    """Epochs where the line or one before it names them, a fraction within an epoch, else a running index."""
    text = "Epoch 1/3\nloss: 0.5\nEpoch 2/3\nloss: 0.4\n"
    assert metrics.parse(text.encode()).series["loss"].points == [(1, 0.5), (2, 0.4)]
    text = "Train Epoch: 1 [0/100 (0%)] Loss: 0.5\nTrain Epoch: 1 [50/100 (50%)] Loss: 0.4\n"
    series = metrics.parse(text.encode()).series["train_loss"]
    assert (series.points, series.step_name) == ([(0.0, 0.5), (0.5, 0.4)], "epoch")
    series = metrics.parse(b"loss: 0.5\nloss: 0.25\n").series["loss"]
    assert (series.points, series.step_name) == ([(0, 0.5), (1, 0.25)], "index")
    found = metrics.parse(b"step 100: loss 0.5\nstep 200: loss 0.25\n")
    assert (found.series["loss"].points, found.step) == ([(100, 0.5), (200, 0.25)], 200)


def test_steps_of_a_table_hold_for_the_rows_above() -> None:
    series = metrics.parse((LOGS / "sb3_ppo.log").read_bytes()).series["ep_rew_mean"]
    assert [step for step, _ in series.points] == [256, 512, 768, 1024]


def test_best() -> None:
    found = metrics.parse(b"".join(b"epoch %d val_acc: %.1f\n" % pair for pair in [(1, 0.5), (2, 0.9), (3, 0.7)]))
    series = found.series["val_acc"]
    assert (series.best(), series.best_step(), series.best("min"), series.last) == (0.9, 2, 0.5, 0.7)
    assert (series.min, series.max, series.last_step) == (0.5, 0.9, 3)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        *[
            (name, "min")
            for name in ("loss", "val_loss", "rmse", "wer", "perplexity", "fid", "log_loss", "mlogloss", "merror")
        ],
        *[
            (name, "max")
            for name in ("acc", "val_acc", "f1", "auc", "map50_95", "bleu", "reward", "r2", "ep_rew_mean", "psnr")
        ],
        *[(name, "min") for name in ("error_rate", "val_loss_epoch", "l2", "verlust", "训练损失")],
        *[(name, "max") for name in ("success_rate", "accuracy_top1", "测试准确率", "neg_mean_squared_error")],
        *[(name, None) for name in ("learning_rate", "foo", "norm", "value")],
    ],
)
def test_direction(name: str, way: str | None) -> None:
    assert metrics.direction(name) == way


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["loss", "accuracy", "val_loss", "val_accuracy"], ("val_accuracy", "max")),
        (["train_loss", "val_loss"], ("val_loss", "min")),
        (["train_loss", "test_loss", "test_acc"], ("test_acc", "max")),
        (["train_loss", "valid_loss", "accuracy"], ("accuracy", "max")),
        (["loss", "value_loss", "ep_rew_mean"], ("ep_rew_mean", "max")),
        (["train_acc", "val_loss"], ("val_loss", "min")),
        (["learning_rate", "norm"], None),
        ([], None),
    ],
)
def test_likeliest(names: list[str], wanted: tuple[str, str] | None) -> None:
    assert metrics.likeliest(names) == wanted


# -- hostile bytes


def test_binary_rubbish() -> None:
    chance = random.Random(0)
    found = metrics.parse(b"loss: 0.5\n" + chance.randbytes(500_000) + b"\nloss: 0.25\n")
    assert found.series["loss"].last == 0.25


def test_a_very_long_line_is_survived_in_little_memory() -> None:
    size = 20_000_000
    piece = b"loss: 0.1 " * 10_000
    reading = metrics.Reader()
    reading.feed(b"loss: 0.5\n")
    tracemalloc.start()
    for _ in range(size // len(piece)):
        reading.feed(piece)
    reading.feed(b"\nloss: 0.25\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.metrics().last == {"loss": 0.25}
    assert reading.metrics().series["loss"].count == 2
    assert peak < 10_000_000


def test_memory_does_not_grow_with_the_log() -> None:
    """A log of 2 GB, scaled down: what is kept is bounded, and exact where it must be."""
    reading = metrics.Reader()
    tracemalloc.start()
    peaks = []
    for block in range(4):
        lines = [
            b"step %d loss: %.6f\r\n" % (n, 1000 - n / 100) for n in range(block * 25_000, block * 25_000 + 25_000)
        ]
        data = b"".join(lines)
        tracemalloc.reset_peak()
        reading.feed(data)
        peaks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    series = reading.metrics().series["loss"]
    assert (series.count, series.max, series.min, series.last_step) == (100_000, 1000.0, 0.01, 99_999)
    assert curve.POINTS / 2 <= len(series.points) <= curve.POINTS + 1
    assert series.points[-1] == (99_999, 0.01)
    assert peaks[-1] < peaks[0] + 3_000_000


def test_a_bar_that_is_never_done_is_seen_and_does_not_grow() -> None:
    reading = metrics.Reader()
    for step in range(20_000):
        reading.feed(
            b"\r%3d%%|###       | %d/20000 [00:01<00:10, 9.00it/s, loss=%.4f]" % (step // 200, step, 1 / (step + 1))
        )
    found = reading.metrics()
    assert found.series["loss"].last == pytest.approx(1 / 19_999, abs=1e-4)
    assert len(reading.pending) <= 1 << 20


def test_words_that_only_look_like_numbers() -> None:
    assert last("information: inference nano\nloss: info\n") == {}


def test_a_half_line_waits() -> None:
    reading = metrics.Reader()
    reading.feed(b"loss: 0.5\nloss: 0.2")
    assert reading.metrics().last == {"loss": 0.5}
    reading.feed(b"5\n")
    assert reading.metrics().last == {"loss": 0.25}


def test_free_text_is_not_slow() -> None:
    """Text that never repeats itself, with numbers in it: minutes would mean that each line is parsed."""
    chance = random.Random(0)
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "lazy",
        "dogs",
        "while",
        "somebody",
        "writes",
        "about",
        "people",
        "and",
        "places",
    ]
    lines = [
        f"{' '.join(chance.choices(words, k=12))} {chance.randint(0, 999)} {chance.choice(words)}"
        for _ in range(20_000)
    ]
    start = time.process_time()
    assert last("\n".join(lines)) == {}
    assert time.process_time() - start < 20


# -- a run's folder


@pytest.fixture
def run(tmp_path: Path) -> paths.RunDir:
    return paths.RunDir(tmp_path)


def counts(found: metrics.Metrics) -> dict[str, int]:
    return {name: series.count for name, series in found.series.items()}


def test_no_log_no_metrics(run: paths.RunDir) -> None:
    assert metrics.read(run).series == {}


def test_only_what_follows_the_last_whole_block_is_read_again(
    run: paths.RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK", 64)
    run.log.write_bytes(b"Epoch 1/9\n" + b"loss: 0.5\n" * 10 + b"Epoch 2/9\n")
    assert counts(metrics.read(run)) == {"loss": 10}
    fed: list[bytes] = []
    feed = metrics.Reader.feed
    monkeypatch.setattr(metrics.Reader, "feed", lambda self, data: (fed.append(data), feed(self, data))[1])
    with open(run.log, "ab") as file:
        file.write(b"loss: 0.4\nval_lo")
    found = metrics.read(run)
    assert (found.last, found.series["loss"].count) == ({"loss": 0.4}, 11)
    assert (found.epoch, found.epochs_total) == (2, 9)
    assert fed == [b"loss: 0.5\n" * 4 + b"Epoch 2/9\nloss: 0.4\nval_lo"]
    with open(run.log, "ab") as file:
        file.write(b"ss: 0.7\n")
    assert metrics.read(run).last == {"loss": 0.4, "val_loss": 0.7}
    fed.clear()
    assert metrics.read(run).last == {"loss": 0.4, "val_loss": 0.7}
    assert fed == []


def test_the_cache_says_what_reading_anew_says(run: paths.RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus log written piece by piece, read each time, and read at once."""
    monkeypatch.setattr(reader, "BLOCK", 500)
    for name in ("keras", "huggingface", "sb3_dqn", "torch_mnist", "skorch"):
        data = (LOGS / f"{name}.log").read_bytes()
        run.metrics_cache.unlink(missing_ok=True)
        run.log.write_bytes(b"")
        for start in range(0, len(data), len(data) // 5 + 1):
            with open(run.log, "ab") as file:
                file.write(data[start : start + len(data) // 5 + 1])
            metrics.read(run)
        again = metrics.read(run)
        whole = metrics.parse(data)
        assert again.last == whole.last
        assert counts(again) == counts(whole)
        for key, series in whole.series.items():
            assert again.series[key].points == series.points, (name, key)


def test_another_log_is_read_anew(run: paths.RunDir) -> None:
    run.log.write_bytes(b"loss: 0.5\nacc: 0.1\n")
    metrics.read(run)
    run.log.write_bytes(b"loss: 0.3\n")  # shorter
    assert metrics.read(run).last == {"loss": 0.3}
    run.log.write_bytes(b"cost: 0.9\ncost: 0.8\n")  # longer, and another
    assert metrics.read(run).last == {"cost": 0.8}


@pytest.mark.parametrize("rubbish", [b"", b"{", b"null\n", b"[]\n", b'{"mark": 1}\n', b"\xff\xfe\n"])
def test_a_damaged_cache_is_ignored(run: paths.RunDir, rubbish: bytes) -> None:
    run.log.write_bytes(b"loss: 0.5\n")
    metrics.read(run)
    run.metrics_cache.write_bytes(rubbish)
    assert metrics.read(run).last == {"loss": 0.5}


def test_a_cache_whose_second_half_is_damaged(run: paths.RunDir) -> None:
    run.log.write_bytes(b"loss: 0.5\nloss: 0.4\n")
    metrics.read(run)
    head = run.metrics_cache.read_bytes().split(b"\n")[0]
    run.metrics_cache.write_bytes(head + b"\n{}\n")
    assert metrics.read(run).series["loss"].points == [(0, 0.5), (1, 0.4)]
    run.metrics_cache.write_bytes(head + b"\n{}\n")
    with open(run.log, "ab") as file:
        file.write(b"loss: 0.3\n")
    assert counts(metrics.read(run)) == {"loss": 3}


def test_a_newer_version_ignores_the_cache(run: paths.RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.log.write_bytes(b"loss: 0.5\n")
    metrics.read(run)
    run.metrics_cache.write_text(run.metrics_cache.read_text().replace('"loss"', '"lass"'))
    assert set(metrics.read(run).series) == {"lass"}  # it is trusted ...
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert set(metrics.read(run).series) == {"loss"}  # ... by its own version alone


def test_a_folder_that_cannot_be_written(run: paths.RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(paths, "replace", refuse)
    run.log.write_bytes(b"loss: 0.5\n")
    found = metrics.read(run)
    assert (found.last, found.series["loss"].points) == ({"loss": 0.5}, [(0, 0.5)])
    assert not run.metrics_cache.exists()


def test_own_patterns_add_and_override(run: paths.RunDir) -> None:
    run.log.write_bytes(b"quality now 3.5\nacc: 0.5\nquality now 4.5\nacc: 0.6 (0.9)\n")
    assert "quality" not in metrics.read(run).series
    found = metrics.read(run, patterns={"quality": r"quality now ([0-9.]+)", "acc": r"\(([0-9.]+)\)"})
    assert found.series["quality"].points == [(0, 3.5), (1, 4.5)]
    assert found.last["acc"] == 0.9
    assert metrics.read(run).last["acc"] == 0.6  # the cache is of one set of patterns


def test_a_pattern_that_is_none(run: paths.RunDir) -> None:
    with pytest.raises(InputError, match=r"acc.*no regular expression"):
        metrics.read(run, patterns={"acc": "acc=("})


def test_metrics_jsonl(run: paths.RunDir) -> None:
    run.log.write_bytes(b"epoch 1 val_acc: 0.5\n")
    run.metrics.write_text(
        '{"step": 10, "val_acc": 0.55, "extra": 3}\nrubbish\n{"step": 20, "val": {"f1": NaN}, "ok": true}\n'
    )
    found = metrics.read(run)
    assert found.series["val_acc"].points == [(10, 0.55)]  # what was written for machines wins
    assert found.last["extra"] == 3
    assert math.isnan(found.last["val_f1"])
    assert "ok" not in found.series
    with open(run.metrics, "a") as file:
        file.write('{"step": 30, "val_acc": 0.6}\n')
    assert metrics.read(run).series["val_acc"].points == [(10, 0.55), (30, 0.6)]


def event(step: int, tag: str, value: float, when: float = 1.0) -> bytes:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    scalar = field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
    data = b"\x09" + struct.pack("<d", when) + b"\x10" + bytes([step]) + field(5, field(1, scalar))
    return struct.pack("<QI", len(data), 0) + data + b"\0\0\0\0"


def test_event_files(run: paths.RunDir) -> None:
    folder = run.path / "tb" / "version_0"
    folder.mkdir(parents=True)
    file = folder / "events.out.tfevents.1.host"
    file.write_bytes(event(1, "val/acc", 0.5) + event(2, "val/acc", 0.75) + event(3, "val/acc", 1.0)[:-9])
    found = metrics.read(run)
    assert found.series["val_acc"].points == [(1, 0.5), (2, 0.75)]
    assert found.series["val_acc"].step_name == "step"
    file.write_bytes(event(1, "val/acc", 0.5) + event(2, "val/acc", 0.75) + event(3, "val/acc", 1.0))
    assert metrics.read(run).series["val_acc"].points[-1] == (3, 1.0)


def test_event_files_of_several_attempts_make_one_curve(run: paths.RunDir) -> None:
    (run.path / "events.out.tfevents.1.host").write_bytes(event(1, "acc", 0.5, 10.0) + event(2, "acc", 0.9, 11.0))
    (run.path / "events.out.tfevents.2.host").write_bytes(event(3, "acc", 0.7, 12.0))
    series = metrics.read(run).series["acc"]
    assert (series.points, series.last, series.max, series.count) == ([(1, 0.5), (2, 0.9), (3, 0.7)], 0.7, 0.9, 3)


def test_the_last_line_of_a_run_that_ended_counts_without_its_newline(run: paths.RunDir) -> None:
    run.attempt(1).write_text(
        json.dumps(
            {
                "number": 1,
                "pid": 1,
                "start_ticks": 1,
                "host": "h",
                "boot_id": "b",
                "gpus": [],
                "log_offset": 0,
                "started": 1.0,
            }
        )
    )
    run.log.write_bytes(b"loss: 0.5\naccuracy: 0.9")
    assert metrics.read(run).last == {"loss": 0.5}
    run.outcome(1).write_text(
        json.dumps(
            {
                "outcome": "done",
                "attempt": 1,
                "exit_code": 0,
                "signal": None,
                "reason": "",
                "started": 1.0,
                "ended": 2.0,
                "gpus": [],
                "host": "h",
                "log_offset": 0,
                "log_end": 23,
            }
        )
    )
    assert metrics.read(run).last == {"loss": 0.5, "accuracy": 0.9}


def test_tail(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"".join(b"Epoch %d/5000 loss: %.4f\r\n" % (n, 1 / n) for n in range(1, 4000)))
    found = metrics.tail(log)
    assert (found.epoch, found.epochs_total, found.last["loss"]) == (3999, 5000, 0.0003)
    with open(log, "ab") as file:
        file.write(b"\rEpoch 4000:  10%|#         | 1/10 [00:01<00:10, 1.0it/s, loss=0.125]")
    found = metrics.tail(log)
    assert (found.epoch, found.last["loss"]) == (4000, 0.125)


def test_import_is_quick_and_light() -> None:
    code = "import sys; before = set(sys.modules); import sweeper.metrics; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=LOGS.parent.parent
    )
    assert not {"pandas", "numpy", "rich", "yaml", "asyncio"} & set(done.stdout.split())
