"""What logs of other makers taught: each rule on an excerpt made up for it, and what must yield nothing."""

from __future__ import annotations

import json
import textwrap

import pytest

from sweeper import metrics


def last(text: str) -> dict[str, float]:
    return metrics.parse(textwrap.dedent(text).encode()).last


EXCERPTS: dict[str, tuple[str, dict[str, float]]] = {
    "the step stands between the name and the number": (
        "Score at iteration 300 is 0.91\nScore at iteration 400 is 0.87\nTotal reward in global step 7: 21.5\n",
        {"score": 0.87, "total_reward": 21.5},
    ),
    "a heading names part and step, the values stand in cells": (
        (
            " iteration 20/ 90 | lm loss: 2.5E+00 | grad norm: 1.2 |\n"
            " validation loss at iteration 20 | lm loss value: 3.5E+00 | lm loss PPL: 3.3E+01 |\n"
        ),
        {"lm_loss": 2.5, "val_lm_loss": 3.5, "val_lm_loss_ppl": 33.0},
    ),
    "names that differ by a digit": (
        "Hits@1: 0.31\nHits@3: 0.42\nHits@10: 0.55\nhead1/loss: 0.5\nhead2/loss: 0.7\n",
        {"hits_1": 0.31, "hits_3": 0.42, "hits_10": 0.55, "head1_loss": 0.5, "head2_loss": 0.7},
    ),
    "several places after one @": ("Valid: [3/9] Step 010/070 Loss 0.4 Prec@(1,5) (71.5%, 93.5%)\n", {"prec_1": 71.5}),
    "an index before the colon": (
        "Accuracy on digit 0: 0.9\nAccuracy on digit 1: 0.8\nRecall on label (0): 0.7\nRecall on label (1): 0.6\n",
        {"digit_0_accuracy": 0.9, "digit_1_accuracy": 0.8, "label_0_recall": 0.7, "label_1_recall": 0.6},
    ),
    "the parts of the data in brackets after the metric": (
        "[CV 1/3] END ....depth=3; r2: (train=0.91, test=0.81) total time= 0.1s\n",
        {"train_r2": 0.91, "test_r2": 0.81},
    ),
    "outputs of the nets are numbered": (
        (
            "Iteration 50, loss = 0.4\n  Train net output #0: loss = 0.41 (* 1 = 0.41 loss)\n"
            "  Test net output #0: accuracy = 0.8\n  Test net output #1: loss = 0.5 (* 1 = 0.5 loss)\n"
        ),
        {"loss": 0.4, "train_loss": 0.41, "test_loss": 0.5},
    ),
    "averaged over the last so many": ("Episode 20, Avg Return (last 10): -12.5, Loss: 0.5\n", {"avg_return": -12.5}),
    "what stands in brackets tells two apart": (
        "[3/9][5/80] acc(real): 0.9 acc(fake): 0.4 D(x): 0.6\n",
        {"acc_real": 0.9, "acc_fake": 0.4, "d_x": 0.6},
    ),
    "averages of one score": ("- F-score (micro) 0.82\n- F-score (macro) 0.79\n", {"f_score_micro": 0.82}),
    "pictures before the number": ("val_f1: 🔵 0.87 (good)\ntrain_loss: 🟢 0.12 (excellent)\n", {"val_f1": 0.87}),
    "the only word of a cell": (
        "| epoch 002 | loss 3.1 | word_ins 2.25 | ppl 8.5 |\n",
        {"loss": 3.1, "word_ins": 2.25, "ppl": 8.5},
    ),
    "long names without a blank": (
        "Epoch(val) [80][299]  City/Car_3D_easy_strict: 90.25, City/Car_3D_hard_strict: 70.5\n",
        {"city_car_3d_easy_strict": 90.25, "city_car_3d_hard_strict": 70.5},
    ),
    "redraws of a bar that were glued to one line": (
        "90/99 [====>.] - ETA: 1s - loss: 0.7 - acc: 0.6 99/99 [=====] - 9s - loss: 0.6 - acc: 0.65 - val_acc: 0.5\n",
        {"loss": 0.6, "acc": 0.65, "val_acc": 0.5},
    ),
    "a block beneath an epoch": (
        "Epoch 0: 100%|██████| 25/25 [00:09<00:00]\n  G_total: 12.5\n  G_cycle: 1.25\n",
        {"g_total": 12.5, "g_cycle": 1.25},
    ),
    "a block beneath scores goes on past a heading": (
        "Dice: 0.81\n\nBest organs:\n  liver: 0.95\n  spleen: 0.91\n",
        {"dice": 0.81, "liver": 0.95, "spleen": 0.91},
    ),
    "labels of several words in a table": (
        "Class         Precision   Recall\nEdge          0.75        0.5\nEdge Ring     0.5         0.25\n",
        {"edge_precision": 0.75, "edge_ring_recall": 0.25},
    ),
    "darknet names its numbers by their place": (
        " 900: 0.51, 0.62 avg loss, 0.001 rate, 1.9 seconds, 57600 images\n",
        {"loss": 0.51, "avg_loss": 0.62},
    ),
    "one small letter before an abbreviation": ("Epoch 3 mIoU: 0.5 aAcc: 0.9 mDice: 0.7\n", {"miou": 0.5, "aacc": 0.9}),
    "a part of the data at the start of a line": (
        "Epoch 1 done - Loss: 3.5\n  Validation - Loss: 3.0\n",
        {"loss": 3.5, "val_loss": 3.0},
    ),
}


@pytest.mark.parametrize("what", EXCERPTS)
def test_excerpt(what: str) -> None:
    text, wanted = EXCERPTS[what]
    found = last(text)
    assert {name: found.get(name) for name in wanted} == wanted


NOTHING = {
    "options": "--- Options ---\nF: 2401\ndecay_factor: 0.94\nlearning_rate: 0.001\nthreshold: 0.3\n------ End\n",
    "settings of a policy": "- learning_rate: 1e-6\n- temperature: 0.8\n- top_p: 0.95\n- beta: 0.04\n",
    "an installer": "Collecting torch==1.12.0\n  Downloading torch.whl (161.8 MB)\n  --- 161.8/161.8 MB 7.1 kB/s\n",
    "an image that is built": "Step 1/8 : FROM python:3.8\n ---> 80342c69b467\nStep 2/8 : COPY . .\n ---> 3ddf00ad57\n",
    "a bar alone": "Epoch 1: 100%|████| 800/800 [02:17<00:00, 58.1it/s, v_num=0]\nUtilization: 31.00 %\n",
    "what ran out": "state: DONE\nglobal_step: 1000000\nsequence length: 256\ngradient accumulation: 4\n",
}


@pytest.mark.parametrize("what", NOTHING)
def test_no_metric(what: str) -> None:
    assert last(NOTHING[what]) == {}


def test_a_bar_does_not_hide_the_epoch_before_it() -> None:
    """A line that counts something else takes nothing from what an earlier line said of the epoch."""
    found = metrics.parse(b"Epoch 2/2 40/40 loss: 0.5\nTesting 9/9 0:00:00\n")
    assert (found.epoch, found.epochs_total) == (2, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [("hits@10", "hits_10"), ("mean absolute error", "mae"), ("mAP_50", "map50"), ("f1_score", "f1")],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert metrics.canonical(one) == metrics.canonical(other)


@pytest.mark.parametrize("what", ["a block beneath an epoch", "a block beneath scores goes on past a heading"])
def test_a_block_may_be_cut_anywhere(what: str) -> None:
    """What was said in the part that was read before counts when the rest is read."""
    data = EXCERPTS[what][0].encode()
    whole = metrics.parse(data).last
    for cut in range(len(data)):
        first = metrics.Reader()
        first.feed(data[:cut])
        second = metrics.Reader.from_json(json.loads(json.dumps(first.to_json())))
        second.feed(data[first.offset :])
        assert second.metrics().last == whole
