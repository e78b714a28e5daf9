"""Whether the lower or the higher value of a metric is the better one, by the words in its name.
Pure."""

from __future__ import annotations

import re
from typing import Final

from kfgcp.model import Direction

LOWER: Final = {
    *(
        "loss",
        "losses",
        "logloss",
        "error",
        "errors",
        "err",
        "mse",
        "rmse",
        "msle",
        "rmsle",
        "mae",
        "mape",
        "smape",
    ),
    *(
        "perplexity",
        "wer",
        "cer",
        "fpr",
        "fnr",
        "latency",
        "duration",
        "seconds",
        "brier",
        "divergence",
        "distance",
    ),
}
HIGHER: Final = {
    *(
        "accuracy",
        "acc",
        "auc",
        "auroc",
        "auprc",
        "roc",
        "f1",
        "f2",
        "fbeta",
        "precision",
        "recall",
        "sensitivity",
    ),
    *(
        "specificity",
        "tpr",
        "tnr",
        "r2",
        "map",
        "ndcg",
        "mrr",
        "bleu",
        "rouge",
        "iou",
        "dice",
        "jaccard",
        "kappa",
    ),
    *("mcc", "silhouette", "likelihood", "throughput"),
}
_TURNS_ROUND: Final = {"neg", "negative"}
"""As in the names of scikit-learn: `neg_mean_squared_error`."""


def guess_direction(name: str) -> Direction | None:
    """Return which value of a metric is better, None when its name has no such word, or words for
    both."""
    words = re.findall(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*(?![a-z])|\d+", name)
    found = {word.lower() for word in words}
    lower, higher = bool(found & LOWER), bool(found & HIGHER)
    if lower is higher:
        return None
    return Direction.MINIMIZE if lower is not bool(found & _TURNS_ROUND) else Direction.MAXIMIZE
