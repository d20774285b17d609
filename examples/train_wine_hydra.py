"""Grow trees on scikit-learn's wine data: python train_wine_hydra.py model=boosting lr=0.1 model.depth=3

Its arguments are written as Hydra takes them, which a sweep file says by ``args: "{name}={value}"``. Hydra itself is
not needed: the few lines that read them stand below.
"""

from __future__ import annotations

import ast
import sys
from difflib import get_close_matches
from typing import Any

from sklearn.datasets import load_wine
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

DEFAULTS: dict[str, Any] = {
    "model": "boosting",  # or forest
    "model.depth": 3,
    "model.max_features": None,
    "lr": 0.1,  # of boosting
    "rounds": 40,
    "seed": 0,
}


def configuration(arguments: list[str]) -> dict[str, Any]:
    """The defaults, with each ``name=value`` of the command line put in place."""
    config = dict(DEFAULTS)
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            sys.exit(f"{argument!r}: arguments are written name=value")
        if name not in config:
            near = get_close_matches(name, config, 1)
            sys.exit(f"no setting is called {name!r}; " + (f"did you mean {near[0]}?" if near else ", ".join(config)))
        config[name] = parsed(text)
    return config


def parsed(text: str) -> Any:
    """A number, true, false or null as what it is, and anything else as text."""
    words = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    config = configuration(sys.argv[1:])
    x, y = load_wine(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    options = {
        "max_depth": config["model.depth"],
        "max_features": config["model.max_features"],
        "random_state": config["seed"],
        "warm_start": True,  # each call of fit adds trees to those that stand
    }
    if config["model"] == "boosting":
        model = GradientBoostingClassifier(learning_rate=config["lr"], subsample=0.8, **options)
    elif config["model"] == "forest":
        model = RandomForestClassifier(**options)
    else:
        sys.exit(f"model={config['model']}: boosting and forest are the models there are")

    for done in range(1, config["rounds"] + 1):
        model.set_params(n_estimators=done)
        model.fit(x, y)
        loss = log_loss(y, model.predict_proba(x))
        val_loss = log_loss(y_val, model.predict_proba(x_val))
        accuracy = model.score(x_val, y_val)
        print(
            f"[{done}/{config['rounds']}] loss: {loss:.4f}  val_loss: {val_loss:.4f}  val_accuracy: {accuracy:.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
