"""Scoring with a LightGBM model as people write it today: Polars, Booster.predict, Delta and LMDB.

usage: imported_peer.py MODEL.txt TABLE.parquet OUT      needs: polars numpy lightgbm deltalake lmdb
Writes OUT/predictions (Delta) and OUT/lookup (LMDB, a JSON value for each id), as `lakemill score` does. Prints the
seconds of each step.
"""
import json, pathlib, sys, time
import lightgbm as lgb, lmdb, polars as pl
from deltalake import write_deltalake

model, table, out = sys.argv[1:4]
out = pathlib.Path(out); out.mkdir(parents=True, exist_ok=True)
steps = {}; clock = time.perf_counter()
def step(name):
    global clock
    steps[name] = round(time.perf_counter() - clock, 2); clock = time.perf_counter()

booster = lgb.Booster(model_file=model)
rows = pl.read_parquet(table)
x = rows.select(booster.feature_name()).to_numpy(); step("read")
score = booster.predict(x); step("predict")
predictions = rows.select("id").with_columns(
    score=pl.Series(score), prediction=pl.Series((score >= 0.5).astype("int32")),
    model_version=pl.lit(1, pl.Int64), run_id=pl.lit("run"), interval=pl.lit("2024-01-01"))
write_deltalake(str(out / "predictions"), predictions.to_arrow(), partition_by=["interval"]); step("delta")
pairs = sorted((str(key).encode(), json.dumps({"score": own, "prediction": kind}).encode())
               for key, own, kind in zip(*(predictions[name].to_list() for name in ("id", "score", "prediction"))))
env = lmdb.open(str(out / "lookup"), map_size=1 << 32)
with env.begin(write=True) as txn:
    txn.cursor().putmulti(pairs, append=True)
env.close(); step("lookup")
print(json.dumps(steps))
