"""A model for each segment as people fit them today: a loop over the groups of a table.

usage: segments_peer.py TABLE.parquet OUT train|score lightgbm|logistic      needs: polars numpy lightgbm scikit-learn
The table has the columns region, day (0: to fit on, 1: to measure on), f0.., y. `train` fits on day 0, pickles the models
under OUT and prints the AUC of day 1; `score` predicts day 0 with the pickled models and writes OUT/scores.parquet.
LightGBM gets one thread: with more it is slower on so few rows.
"""
import pathlib, pickle, sys
import numpy as np, polars as pl

table, out, what, kind = sys.argv[1:5]
out = pathlib.Path(out); out.mkdir(parents=True, exist_ok=True)
rows = pl.read_parquet(table)
features = [name for name in rows.columns if name.startswith("f")]

def model():
    if kind == "lightgbm":
        import lightgbm
        return lightgbm.LGBMClassifier(n_estimators=100, num_leaves=31, learning_rate=0.1, n_jobs=1, verbose=-1)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    return make_pipeline(StandardScaler(), LogisticRegression())

def groups(day):
    for (region,), part in rows.filter(pl.col("day") == day).partition_by("region", as_dict=True).items():
        yield region, part

if what == "train":
    models = {}
    for region, part in groups(0):
        models[region] = model().fit(part.select(features).to_numpy(), part["y"].to_numpy())
    pickle.dump(models, open(out / "models.pickle", "wb"))
    scores, labels = [], []
    for region, part in groups(1):
        scores.append(models[region].predict_proba(part.select(features).to_numpy())[:, 1]); labels.append(part["y"].to_numpy())
    from sklearn.metrics import roc_auc_score
    print(f"auc={roc_auc_score(np.concatenate(labels), np.concatenate(scores)):.4f}")
else:
    models = pickle.load(open(out / "models.pickle", "rb"))
    parts = []
    for region, part in groups(0):
        score = models[region].predict_proba(part.select(features).to_numpy())[:, 1]
        parts.append(part.select("id").with_columns(score=pl.Series(score)))
    pl.concat(parts).write_parquet(out / "scores.parquet")
