"""Train a small neural network on scikit-learn's handwritten digits: python train_digits.py --lr 0.1 --hidden 64

An ordinary training script: it knows nothing of sweep. Its flags come from python-fire, it prints one line an epoch,
and where SWEEP_RUN_DIR names a folder it keeps a checkpoint there, from which a second attempt goes on.
"""

from __future__ import annotations

import json
import math
import os
import sys
from itertools import pairwise
from pathlib import Path

import fire
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Array = NDArray[np.float64]
Params = dict[str, Array]


def train(
    lr: float = 0.01,
    hidden: int = 64,
    seed: int = 0,
    epochs: int = 200,
    batch_size: int = 32,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
) -> None:
    """Train two hidden layers of ``hidden`` units by stochastic gradient descent with momentum."""
    images, labels = load_digits(return_X_y=True)
    # The split does not depend on the seed: runs with other seeds are compared on the same images.
    x, x_val, y, y_val = train_test_split(images / 16, labels, test_size=0.2, random_state=0, stratify=labels)

    rng = np.random.default_rng(seed)
    params = initialize(rng, [x.shape[1], hidden, hidden, 10])
    velocity = {name: np.zeros_like(value) for name, value in params.items()}
    settings = {"lr": lr, "hidden": hidden, "seed": seed, "batch_size": batch_size, "momentum": momentum}
    checkpoint = Path(os.environ["SWEEP_RUN_DIR"], "checkpoint.npz") if "SWEEP_RUN_DIR" in os.environ else None
    done = restore(checkpoint, settings, params, velocity, rng) if checkpoint else 0
    if done:
        print(f"going on after epoch {done}, from {checkpoint}")

    for epoch in range(done + 1, epochs + 1):
        order = rng.permutation(len(x))
        total = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            loss, gradient = loss_and_gradient(params, distorted(x[batch], rng), y[batch])
            total += loss * len(batch)
            for name, value in params.items():
                velocity[name] = momentum * velocity[name] - lr * (gradient[name] + weight_decay * value)
                value += velocity[name]
        loss = total / len(x)
        accuracy = float(np.mean(forward(params, x_val)[-1].argmax(axis=1) == y_val))
        print(f"epoch {epoch}/{epochs} loss={loss:.4f} val_acc={accuracy:.4f}", flush=True)
        if not math.isfinite(loss):
            sys.exit(f"the loss is {loss} after epoch {epoch}: a learning rate of {lr} is too high")
        if checkpoint:
            save(checkpoint, settings, params, velocity, rng, epoch)


def initialize(rng: np.random.Generator, sizes: list[int]) -> Params:
    """Weights as He et al. (2015) scale them for rectified units, and zero biases."""
    params = {}
    for layer, (above, below) in enumerate(pairwise(sizes)):
        params[f"w{layer}"] = rng.normal(0, math.sqrt(2 / above), (above, below))
        params[f"b{layer}"] = np.zeros(below)
    return params


def forward(params: Params, x: Array) -> list[Array]:
    """The activations of every layer, the input first and the logits last."""
    layers = [x]
    for layer in range(3):
        z = layers[-1] @ params[f"w{layer}"] + params[f"b{layer}"]
        layers.append(np.maximum(z, 0) if layer < 2 else z)
    return layers


@np.errstate(over="ignore", invalid="ignore")  # a loss that runs away is reported as such, once
def loss_and_gradient(params: Params, x: Array, y: NDArray[np.int64]) -> tuple[float, Params]:
    """Mean cross-entropy over the batch, and its gradient by every parameter."""
    layers = forward(params, x)
    logits = layers[-1] - layers[-1].max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    delta = np.exp(log_p)
    delta[rows, y] -= 1
    delta /= len(y)
    gradient = {}
    for layer in (2, 1, 0):
        gradient[f"w{layer}"] = layers[layer].T @ delta
        gradient[f"b{layer}"] = delta.sum(axis=0)
        delta = (delta @ params[f"w{layer}"].T) * (layers[layer] > 0)
    return float(-log_p[rows, y].mean()), gradient


def distorted(x: Array, rng: np.random.Generator) -> Array:
    """Every image turned, stretched and moved a little, so that no image is seen twice in the same way."""
    maps = np.eye(2) + rng.normal(0, 0.1, (len(x), 2, 2))
    moves = rng.normal(0, 0.3, (len(x), 2)) + 3.5 - maps.sum(axis=2) * 3.5  # about the middle of the 8 x 8 pixels
    images = [
        ndimage.affine_transform(image, turn, move, order=1)
        for image, turn, move in zip(x.reshape(-1, 8, 8), maps, moves, strict=True)
    ]
    return np.stack(images).reshape(len(x), -1)


def save(
    path: Path, settings: dict[str, float], params: Params, velocity: Params, rng: np.random.Generator, epoch: int
) -> None:
    """Write all that the next epoch depends on, beside the checkpoint first: a kill never leaves half of one."""
    state = json.dumps({"epoch": epoch, "settings": settings, "rng": rng.bit_generator.state})
    beside = path.with_suffix(".new")
    with open(beside, "wb") as file:
        np.savez(
            file,
            state=np.array(state),
            **{f"params.{name}": value for name, value in params.items()},
            **{f"velocity.{name}": value for name, value in velocity.items()},
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def restore(path: Path, settings: dict[str, float], params: Params, velocity: Params, rng: np.random.Generator) -> int:
    """Fill in what a checkpoint of these settings holds; the number of epochs done, 0 where there is none."""
    if not path.exists():
        return 0
    with np.load(path) as saved:
        state = json.loads(saved["state"].item())
        if state["settings"] != settings:
            print(f"not used, since it was made with other settings: {path}")
            return 0
        for kind, values in (("params", params), ("velocity", velocity)):
            values.update({name: saved[f"{kind}.{name}"] for name in values})
    rng.bit_generator.state = state["rng"]
    return int(state["epoch"])


if __name__ == "__main__":
    fire.Fire(train)
