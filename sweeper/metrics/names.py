"""Names of metrics: how they are spelled, which way is better, and which one a person would optimise."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sweeper.metrics.vocabulary import CAMEL, DOWN, UP, kind, remembered, split_of, words, words_of

_PROSE = {"validation": "val", "validating": "val", "training": "train", "testing": "test", "evaluation": "eval"}
_DROP = frozenset(("the", "a", "an", "our", "this", "that", "current", "its", "and", "is", "was", "at", "set"))
_JOINED = re.compile(r"(?<=[a-zA-Z])()[_@-](\d)")  # map_50, hits@1
_PHRASES = tuple(
    (re.compile(rf"(?i)(?<![a-z]){long.replace(' ', '[_ ]')}(?![a-z])"), short)
    for long, short in (
        ("root mean squared? error", "rmse"),
        ("mean squared? error", "mse"),
        ("mean absolute error", "mae"),
        ("mean absolute percentage error", "mape"),
        ("mean average precision", "map"),
        ("mean reciprocal rank", "mrr"),
        ("area under(?: the)?(?: roc)? curve", "auc"),
        ("word error rate", "wer"),
        ("mean iou", "miou"),
    )
)
_NON_WORD = re.compile(r"[^\w]+")


@remembered
def normalise(text: str) -> str:
    """The one spelling of a metric's name: lower case, words joined by ``_``.

    What a script prints as an identifier stays that (``valid_loss``, ``train/loss`` -> ``train_loss``); in prose,
    "Validation Loss" is ``val_loss`` and "Training accuracy" is ``train_accuracy``.
    """
    text = text.strip(" \t\"'`*#_:.-").replace("'s ", " ").replace("R^2", "r2").replace("R²", "r2").replace("²", "2")
    prose = " " in text
    name = _NON_WORD.sub("_", CAMEL.sub("_", text)).strip("_").lower()
    if prose:
        parts = [_PROSE.get(part, part) for part in name.split("_") if part not in _DROP]
        name = "_".join(part for part in parts if part)
    return name


def canonical(name: str) -> tuple[str, ...]:
    """``name`` as words for comparison: the usual abbreviations spelled one way, the order of words left aside."""
    short = {
        "accuracy": "acc",
        "average": "avg",
        "mean": "avg",
        "error": "err",
        "precision": "prec",
        "learning": "lr",
        "rewards": "reward",
        "rew": "reward",
        "losses": "loss",
        "perplexity": "ppl",
        "scores": "score",
        "f": "f1",
        "fscore": "f1",
        "f1score": "f1",
    }
    for long, abbreviated in _PHRASES:
        name = long.sub(abbreviated, name)
    parts = [split_of(word) or short.get(word, word) for word in words(_JOINED.sub(r"\1\2", name))]
    if "lr" in parts and "rate" in parts:
        parts.remove("rate")
    if "f1" in parts and "score" in parts:
        parts.remove("score")
    return tuple(sorted(parts))


@remembered
def direction(name: str) -> str | None:
    """``'max'`` or ``'min'``: which way a metric of this name is better; None where its name does not say."""
    parts = words(name)
    joined = "".join(parts)
    if parts and parts[-1] in ("rate", "ratio") and len(parts) > 1:
        if parts[-2] in ("success", "win", "hit", "pass", "solve", "recall", "acceptance", "detection"):
            return "max"
        return "min" if parts[-2] in ("error", "fail", "failure", "wer", "cer", "misclassification") else None
    if ("log" in parts and "likelihood" in parts) or joined in ("roc", "elbo"):
        return "min" if "negative" in parts or "neg" in parts or "nll" in parts else "max"
    if any(part in ("neg", "negative") for part in parts) and any(part in DOWN for part in parts):
        return "max"
    for part in reversed(parts):
        bare = part.rstrip("0123456789") or part
        for word in (part, bare):
            if word in DOWN or word.endswith(("loss", "error", "perplexity", "entropy")):
                return "min"
            if word in UP or word.endswith(("accuracy", "reward", "score")):
                return "max"
        for prefix in ("train", "valid", "val", "test", "avg", "mean"):
            if bare.startswith(prefix):
                if bare[len(prefix) :] in DOWN:
                    return "min"
                if bare[len(prefix) :] in UP:
                    return "max"
    for text in DOWN:
        if not text.isascii() and text in joined:
            return "min"
    for text in UP:
        if not text.isascii() and text in joined:
            return "max"
    return "min" if joined in ("l1", "l2") or parts[-1:] in (("l1",), ("l2",)) else None


# What a person optimises, best first: what is measured on the validation part before the test part, and a score that
# people speak of (accuracy) before the loss that stands for it.
_PART_RANK = {"val": 0, "eval": 0, "test": 1, None: 2, "train": 4}
_AUXILIARY = words_of(
    """entropy kl kld approx policy value critic actor gradient grad norm gnorm clip fraction explained variance box cls
    dfl obj aux reg l1 l2 smoothed step td component weighted macro micro running best lr std precision recall prec
    sensitivity specificity top5 kappa len length"""
)


def likeliest(metrics: Iterable[str]) -> tuple[str, str] | None:
    """Which of ``metrics`` a person would optimise, and whether ``'max'`` or ``'min'``; None where no name says.

    Validation before test before training; accuracy and its like before a loss; plain names before compounds.
    """
    best: tuple[tuple[int, ...], str, str] | None = None
    metrics = list(metrics)
    # Where the training's own are called so, a score without more is not of the training.
    told = any(split_of(word) == "train" for name in metrics for word in words(name))
    for place, name in enumerate(metrics):
        way = direction(name)
        if way is None or kind(name) != "strong":
            continue
        parts = words(name)
        splits = [split for split in map(split_of, parts) if split]
        part = splits[0] if splits else None
        auxiliary = sum(word in _AUXILIARY for word in parts)
        down = 1 if way == "min" else 0
        rank = (_PART_RANK[part], min(auxiliary, 1), down, auxiliary, len(parts), place)
        if part is None and told and way == "max" and not auxiliary:
            rank = (0, *rank[1:])
        if part is None and auxiliary and "loss" in parts:
            rank = (3, *rank[1:])
        if best is None or rank < best[0]:
            best = (rank, name, way)
    return None if best is None else (best[1], best[2])
