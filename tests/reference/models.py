"""Writes models.json: a small data set and what scikit-learn learns from it.

Run with scikit-learn 1.9: python tests/reference/models.py
The tests of `models` fit the same rows and compare. Linear models stand behind a StandardScaler, as ours
do; their coefficients are given for the features as they are. Numbers of randomised models are means
over seeds.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

SEEDS = range(10)


def data(rng, rows):
    x = np.column_stack(
        [
            rng.normal(size=rows),
            100 + 20 * rng.normal(size=rows),
            np.exp(rng.normal(size=rows)),
            (rng.random(rows) < 0.3).astype(float),
            rng.integers(0, 5, rows).astype(float),
            1e-3 * rng.normal(size=rows),
        ]
    ).round(7)
    score = x[:, 0] - 0.03 * (x[:, 1] - 100) + 0.5 * np.log(x[:, 2]) + x[:, 3] * (x[:, 4] > 2) + 400 * x[:, 5]
    binary = (score + rng.logistic(size=rows) > 1.5).astype(float)
    multiclass = np.digitize(score + rng.logistic(size=rows), [-0.5, 1.0]).astype(float)
    regression = (3 * score + rng.normal(size=rows)).round(6)
    weights = rng.choice([0.5, 1.0, 2.0, 3.0], size=rows)
    return {"x": x, "binary": binary, "multiclass": multiclass, "regression": regression, "weights": weights}


def scaled(model, x, y, weights=None):
    scaler = StandardScaler().fit(x, sample_weight=weights)
    model.fit(scaler.transform(x), y, sample_weight=weights)
    coefficients = np.atleast_2d(model.coef_) / scaler.scale_
    intercepts = np.atleast_1d(model.intercept_) - coefficients @ scaler.mean_
    return scaler, {"coefficients": coefficients.tolist(), "intercepts": intercepts.tolist()}


def logistic(train, test, label, weights=None):
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10000)
    scaler, numbers = scaled(model, train["x"], train[label], weights)
    shares = model.predict_proba(scaler.transform(test["x"]))
    return numbers | {"predictions": shares[:40, 1].tolist() if label == "binary" else shares[:40].ravel().tolist()}


def classifier(make, train, test, weights=None):
    fits = [make(seed).fit(train["x"], train["binary"], sample_weight=weights) for seed in SEEDS]
    shares = [fit.predict_proba(test["x"])[:, 1] for fit in fits]
    several = [make(seed).fit(train["x"], train["multiclass"], sample_weight=weights) for seed in SEEDS]
    return {
        "roc_auc": float(np.mean([roc_auc_score(test["binary"], share) for share in shares])),
        "average_precision": float(np.mean([average_precision_score(test["binary"], share) for share in shares])),
        "mean_prediction": float(np.mean(shares)),
        "log_loss": float(np.mean([log_loss(test["multiclass"], fit.predict_proba(test["x"])) for fit in several])),
        "predictions": [float(share) for share in shares[0][:200]],
    }


def regressor(make, train, test):
    fits = [make(seed).fit(train["x"], train["regression"]) for seed in SEEDS]
    return {"r2": float(np.mean([r2_score(test["regression"], fit.predict(test["x"])) for fit in fits]))}


def main():
    rng = np.random.default_rng(20260601)
    train, test = data(rng, 500), data(rng, 500)
    weights = train["weights"]
    tree = lambda seed: DecisionTreeClassifier(max_depth=4, min_samples_leaf=10, random_state=seed)
    forest = lambda seed: RandomForestClassifier(100, min_samples_leaf=3, random_state=seed, n_jobs=1)
    extra = lambda seed: ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed, n_jobs=1)
    net = lambda: ElasticNet(alpha=0.2, l1_ratio=0.6, tol=1e-12, max_iter=100000)
    found = {
        "logistic_regression": logistic(train, test, "binary"),
        "logistic_regression_weighted": logistic(train, test, "binary", weights),
        "logistic_regression_multiclass": logistic(train, test, "multiclass"),
        "logistic_regression_multiclass_weighted": logistic(train, test, "multiclass", weights),
        "linear_regression": scaled(LinearRegression(), train["x"], train["regression"])[1],
        "linear_regression_weighted": scaled(LinearRegression(), train["x"], train["regression"], weights)[1],
        "elastic_net": scaled(net(), train["x"], train["regression"])[1],
        "elastic_net_weighted": scaled(net(), train["x"], train["regression"], weights)[1],
        "decision_tree": classifier(tree, train, test),
        "random_forest": classifier(forest, train, test),
        "random_forest_weighted": classifier(forest, train, test, np.where(train["binary"] == 1, 8.0, 1.0)),
        "extra_trees": classifier(extra, train, test),
        "extra_trees_weighted": classifier(extra, train, test, np.where(train["binary"] == 1, 8.0, 1.0)),
        "random_forest_regression": regressor(lambda seed: RandomForestRegressor(100, random_state=seed), train, test),
        "extra_trees_regression": regressor(lambda seed: ExtraTreesRegressor(100, random_state=seed), train, test),
    }
    store = lambda part: {name: values.T.tolist() if name == "x" else values.tolist() for name, values in part.items()}
    document = {"scikit_learn": sklearn.__version__, "train": store(train), "test": store(test), "found": found}
    target = pathlib.Path(__file__).with_name("models.json")
    target.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    for name, numbers in found.items():
        print(name, {key: value for key, value in numbers.items() if key not in ("coefficients", "predictions")})


if __name__ == "__main__":
    main()
