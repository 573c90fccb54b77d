"""Writes metrics.json: small sets of predictions and what scikit-learn says about them.

Run with scikit-learn 1.9: python tests/reference/metrics.py
Scores are rounded so that many are equal, and some probabilities are exactly 0 and 1. Metrics that
scikit-learn has not are computed here in the plainest way.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn import metrics as m

THRESHOLD, AT_PRECISION, K_PER_DAY = 0.5, 0.8, 5


def recall_at_precision(y, score, w):
    precision, recall, _ = m.precision_recall_curve(y, score, sample_weight=w)
    return float(recall[precision >= AT_PRECISION].max())


def precision_at_k(y, score, days):
    """As the handbook's card_precision_top_k, with rows instead of cards and days as short as they are."""
    by_day = []
    for day in np.unique(days):
        rows = np.flatnonzero(days == day)
        best = rows[np.argsort(-score[rows], kind="stable")][:K_PER_DAY]
        by_day.append(y[best].mean())
    return float(np.mean(by_day))


def classes(y, guess, w, average):
    options = {"sample_weight": w, "average": average, "zero_division": 0}
    return {
        "accuracy": float(m.accuracy_score(y, guess, sample_weight=w)),
        "precision": float(m.precision_score(y, guess, **options)),
        "recall": float(m.recall_score(y, guess, **options)),
        "f1": float(m.f1_score(y, guess, **options)),
    }


def binary(rng, rows=120):
    y = (rng.random(rows) < 0.3).astype(float)
    score = np.clip(0.35 + 0.35 * (y - 0.4) + 0.3 * rng.normal(size=rows), 0, 1).round(2)
    days = rng.integers(17700, 17708, rows)
    days[:3] = 17720  # a day with fewer rows than k
    weights = rng.choice([0.0, 0.5, 1.0, 2.0, 3.5], size=rows)

    def numbers(w):
        guess = (score >= THRESHOLD).astype(float)
        values = {
            "roc_auc": float(m.roc_auc_score(y, score, sample_weight=w)),
            "average_precision": float(m.average_precision_score(y, score, sample_weight=w)),
            "recall_at_precision": recall_at_precision(y, score, w),
            "log_loss": float(m.log_loss(y, score, sample_weight=w)),
            "brier": float(m.brier_score_loss(y, score, sample_weight=w)),
        } | classes(y, guess, w, "binary")
        if w is None:
            values["precision_at_k"] = precision_at_k(y, score, days)
        return {"values": values, "confusion": m.confusion_matrix(y, guess, sample_weight=w).tolist()}

    return {
        "labels": y.tolist(),
        "outputs": score.tolist(),
        "weights": weights.tolist(),
        "days": days.tolist(),
        "plain": numbers(None),
        "weighted": numbers(weights),
    }


def multiclass(rng, rows=90, k=4):
    y = rng.choice(k, size=rows, p=[0.5, 0.3, 0.15, 0.05])
    raw = np.exp(rng.normal(size=(rows, k)) + 1.2 * np.eye(k)[y])
    # Multiples of 1/16 with a sum of exactly 1: ties within and between rows.
    share = np.floor(raw / raw.sum(axis=1, keepdims=True) * 16) / 16
    share[:, 0] += 1 - share.sum(axis=1)
    weights = rng.choice([0.5, 1.0, 2.0], size=rows)

    def numbers(w):
        hot = np.eye(k)[y]
        guess = share.argmax(axis=1)
        one_against_rest = {"average": "macro", "sample_weight": w}
        values = {
            "roc_auc": float(m.roc_auc_score(y, share, multi_class="ovr", **one_against_rest)),
            "average_precision": float(m.average_precision_score(hot, share, **one_against_rest)),
            "log_loss": float(m.log_loss(y, share, sample_weight=w)),
            "brier": float(m.brier_score_loss(y, share, sample_weight=w)),
        } | classes(y, guess, w, "macro")
        return {"values": values, "confusion": m.confusion_matrix(y, guess, sample_weight=w).tolist()}

    return {
        "classes": k,
        "labels": y.tolist(),
        "outputs": share.ravel().tolist(),
        "weights": weights.tolist(),
        "plain": numbers(None),
        "weighted": numbers(weights),
    }


def regression(rng, rows=60):
    y = (100 + 15 * rng.normal(size=rows)).round(3)
    value = (y + 6 * rng.normal(size=rows)).round(3)
    weights = rng.choice([0.5, 1.0, 2.0], size=rows)

    def numbers(w):
        values = {
            "rmse": float(m.root_mean_squared_error(y, value, sample_weight=w)),
            "mae": float(m.mean_absolute_error(y, value, sample_weight=w)),
            "r2": float(m.r2_score(y, value, sample_weight=w)),
        }
        return {"values": values}

    return {
        "labels": y.tolist(),
        "outputs": value.tolist(),
        "weights": weights.tolist(),
        "plain": numbers(None),
        "weighted": numbers(weights),
    }


def main():
    rng = np.random.default_rng(20180613)
    numbers = {
        "scikit_learn": sklearn.__version__,
        "options": {"threshold": THRESHOLD, "at_precision": AT_PRECISION, "k_per_day": K_PER_DAY},
        "binary": binary(rng),
        "multiclass": multiclass(rng),
        "regression": regression(rng),
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(numbers, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
