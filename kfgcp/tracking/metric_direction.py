"""Guess from the name of a metric whether lower or higher values are better. Pure."""

from __future__ import annotations

import re
from typing import Final

from kfgcp.model import Direction

# fmt: off
MINIMIZED_WORDS: Final = frozenset({
    "brier", "cer", "distance", "divergence", "duration", "err", "error", "errors", "fnr", "fpr",
    "latency", "logloss", "loss", "losses", "mae", "mape", "mse", "msle", "perplexity", "rmse",
    "rmsle", "seconds", "smape", "wer",
})
MAXIMIZED_WORDS: Final = frozenset({
    "acc", "accuracy", "auc", "auprc", "auroc", "bleu", "dice", "f1", "f2", "fbeta", "iou",
    "jaccard", "kappa", "likelihood", "map", "mcc", "mrr", "ndcg", "precision", "r2", "recall",
    "roc", "rouge", "sensitivity", "silhouette", "specificity", "throughput", "tnr", "tpr",
})
# fmt: on

# With this prefix scikit-learn turns a loss into a score: `neg_mean_squared_error`.
NEGATING_WORDS: Final = frozenset({"neg", "negative"})

# Words of snake_case, kebab-case, paths and camelCase. Digits belong to the letters before them:
# "f1", "R2".
_WORD: Final = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*(?![a-z])|\d+")


def guess_direction(name: str) -> Direction | None:
    """Return which values of a metric are better, or None when its name does not say so.

    A name with words of both kinds does not say which values are better.

    Example:
        >>> guess_direction("evaluate/val_loss")
        <Direction.MINIMIZE: 'minimize'>
        >>> guess_direction("neg_mean_squared_error")
        <Direction.MAXIMIZE: 'maximize'>
        >>> guess_direction("neg_log_likelihood")
        <Direction.MINIMIZE: 'minimize'>
        >>> guess_direction("rows") is None
        True
    """
    words = {word.lower() for word in _WORD.findall(name)}
    has_minimized_word = bool(words & MINIMIZED_WORDS)
    has_maximized_word = bool(words & MAXIMIZED_WORDS)
    if has_minimized_word == has_maximized_word:
        return None
    # A negation turns both ways: "neg_mean_squared_error" is a score, "neg_log_likelihood" a loss.
    is_negated = bool(words & NEGATING_WORDS)
    if has_minimized_word != is_negated:
        return Direction.MINIMIZE
    return Direction.MAXIMIZE
