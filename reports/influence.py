"""Influence functions: what each item contributes to a score that is not a mean over items.

A score is replaced by `score + mean(influence)` to first order, so that Spearman, average precision and F1 are treated like
accuracies: paired by item, with the same variance components. Every function returns one value per item, in the unit of the
score, with mean zero; ties are handled by mid-ranks or by blocks of equal scores. Tested against the full bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def of_mean(values: Array) -> Array:
    """A mean over items."""
    return np.asarray(values - values.mean())


def _mid_distribution(values: Array) -> Array:
    """P(X < x) + P(X = x) / 2 at every item."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, "left")
    return np.asarray((below + np.searchsorted(ordered, values, "right")) / (2 * len(values)))


def _tail_mean(values: Array, of: Array) -> Array:
    """E[(1{x < X} + 1{x = X} / 2) * of] at every item's x."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    from_left = np.concatenate(([0.0], np.cumsum(of[order])))
    total = from_left[-1]
    beyond = total - from_left[np.searchsorted(ordered, values, "right")]
    not_below = total - from_left[np.searchsorted(ordered, values, "left")]
    return np.asarray((beyond + not_below) / (2 * len(values)))


def of_spearman(x: Array, y: Array) -> Array:
    """Spearman's rho as the correlation of mid-ranks; raises ZeroDivisionError where one side is constant."""
    u, v = _mid_distribution(x) - 0.5, _mid_distribution(y) - 0.5
    cov, var_u, var_v = float(np.mean(u * v)), float(np.mean(u * u)), float(np.mean(v * v))
    if var_u == 0 or var_v == 0:
        raise ZeroDivisionError("Spearman's rho of a constant has no value, so no influence")
    on_cov = u * v - cov + (_tail_mean(x, v) - cov) + (_tail_mean(y, u) - cov)
    on_u = u * u - var_u + 2 * (_tail_mean(x, u) - var_u)
    on_v = v * v - var_v + 2 * (_tail_mean(y, v) - var_v)
    rho = cov / np.sqrt(var_u * var_v)
    influence = on_cov / np.sqrt(var_u * var_v) - rho / 2 * (on_u / var_u + on_v / var_v)
    return np.asarray(influence - influence.mean())


def of_average_precision(scores: Array, gold: Array) -> Array:
    """Average precision as scikit-learn defines it (equal scores form one threshold); gold is 0 or 1."""
    n = len(scores)
    order = np.argsort(-scores, kind="stable")
    ordered, labels = scores[order], gold[order]
    last_equal = np.searchsorted(-ordered, -ordered, "right") - 1
    true_above, all_above = np.cumsum(labels)[last_equal], last_equal + 1.0
    precision = true_above / all_above
    positive = float(labels.mean())
    numerator = float(np.mean(labels * precision))
    # What an item at score s adds to the precision at each threshold t <= s: (y - precision(t)) / share(t).
    share = all_above / n
    first_equal = np.searchsorted(-ordered, -ordered, "left")
    given, taken = labels / share, labels * precision / share
    below_given = (np.concatenate((np.cumsum(given[::-1])[::-1], [0.0])))[first_equal] / n
    below_taken = (np.concatenate((np.cumsum(taken[::-1])[::-1], [0.0])))[first_equal] / n
    on_numerator = labels * precision - numerator + labels * below_given - below_taken
    ordered_influence = (on_numerator - numerator / positive * (labels - positive)) / positive
    influence = np.empty(n)
    influence[order] = ordered_influence
    return np.asarray(influence - influence.mean())


def of_weighted_f1(gold: Array, predicted: Array) -> Array:
    """F1 per class, averaged with the classes' support as weights (bitext mining: every row its own class)."""
    return _of_f1(gold, predicted, by_support=True)


def of_macro_f1(gold: Array, predicted: Array) -> Array:
    """F1 per class, averaged over classes."""
    return _of_f1(gold, predicted, by_support=False)


def _of_f1(gold: Array, predicted: Array, *, by_support: bool) -> Array:
    n = len(gold)
    classes, codes = np.unique(np.concatenate((gold, predicted)), return_inverse=True)
    g, p = codes[:n], codes[n:]
    share_gold, share_predicted = np.bincount(g, minlength=len(classes)) / n, np.bincount(p, minlength=len(classes)) / n
    hit = (g == p).astype(np.float64)
    true = np.bincount(g, weights=hit, minlength=len(classes)) / n
    both = share_gold + share_predicted
    weight = share_gold if by_support else np.full(len(classes), 1 / len(classes))
    slope = -2 * weight * true / both**2  # per unit of either share
    influence = slope[g] + slope[p] + hit * (2 * weight / both)[g]
    if by_support:
        influence = influence + (2 * true / both)[g]
    return np.asarray(influence - influence.mean())
