"""Trains models with LightGBM, XGBoost and scikit-learn, imports each with lakemill, and compares predictions.

Needs numpy, pandas, pyarrow, lightgbm, xgboost, scikit-learn, skl2onnx and onnxruntime (compared with LightGBM 4.7,
XGBoost 3.2, scikit-learn 1.9, skl2onnx 1.20 and ONNX Runtime 1.31):

    python tests/reference/imports.py target/release/lakemill

Each case is a model file, rows and the library's own predictions; `lakemill models import --check` compares. Nothing
stays behind. Exit 1 if any case differs.
"""

import pathlib
import subprocess
import sys
import tempfile
import warnings

import lightgbm as lgb
import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer, MaxAbsScaler, MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

warnings.filterwarnings("ignore")
ROWS = 1500
RNG = np.random.default_rng(3)


def numbers():
    x = RNG.normal(size=(ROWS, 6))
    x[RNG.random(x.shape) < 0.1] = np.nan
    x[:, 4] = np.where(RNG.random(ROWS) < 0.5, 0, x[:, 4])
    return x


X = numbers()
Z = np.nan_to_num(X)
BINARY = (Z[:, 0] + Z[:, 1] * Z[:, 2] > 0).astype(int)
CLASSES = np.digitize(Z[:, 0] + 0.5 * Z[:, 2], [-0.5, 0.5])
VALUE = Z[:, 0] * 3 + Z[:, 3] ** 2
COUNT = RNG.poisson(np.exp(0.3 * Z[:, 0] + 0.5))
POSITIVE = np.exp(0.3 * Z[:, 0]) * RNG.gamma(2, size=ROWS) + 0.01
SHARE = RNG.random(ROWS)
FRAME = pd.DataFrame(
    {
        "a": X[:, 0],
        "c": pd.Categorical(RNG.choice(["x", "y", "z"], ROWS), categories=["z", "y", "x"]),
        "d": pd.Categorical(RNG.choice([30, 10, 20], ROWS)),
    }
)
FRAME_BINARY = (Z[:, 0] + (FRAME.c == "y") * 2 + (FRAME.d == 20) > 0.5).astype(int)


def lightgbm_cases():
    def case(name, target, rows=X, rounds=12, train=None, **params):
        params = {"verbosity": -1, "num_leaves": 9, "min_data_in_leaf": 10, "seed": 1, **params}
        groups = [50] * (ROWS // 50) if "rank" in params["objective"] else None
        booster = lgb.train(params, lgb.Dataset(X if train is None else train, label=target, group=groups), rounds)
        return name, booster.save_model, ".txt", rows, booster.predict(rows), []

    yield case("binary", BINARY, objective="binary")
    yield case("sigmoid", BINARY, objective="binary", sigmoid=2.5)
    yield case("multiclass", CLASSES, objective="multiclass", num_class=3)
    yield case("one against the rest", CLASSES, objective="multiclassova", num_class=3, sigmoid=0.7)
    yield case("root", VALUE, objective="regression", reg_sqrt=True)
    for objective in ["regression", "regression_l1", "huber", "fair", "quantile", "mape"]:
        yield case(objective, np.abs(VALUE) + 1, objective=objective)
    yield case("poisson", COUNT, objective="poisson")
    for objective in ["gamma", "tweedie"]:
        yield case(objective, POSITIVE, objective=objective)
    for objective in ["cross_entropy", "cross_entropy_lambda"]:
        yield case(objective, SHARE, objective=objective)
    for objective in ["lambdarank", "rank_xendcg"]:
        yield case(objective, np.clip(COUNT, 0, 4), objective=objective)
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    yield case("dart", BINARY, objective="binary", boosting="dart", drop_rate=0.5)
    yield case("random forest", BINARY, objective="binary", **forest)
    yield case("random forest of classes", CLASSES, objective="multiclass", num_class=3, **forest)
    yield case("zero as missing", BINARY, objective="binary", zero_as_missing=True)
    yield case("nothing missing", BINARY, objective="binary", use_missing=False)
    yield case("one leaf", VALUE, objective="regression", min_gain_to_split=1e9)
    infinite = X.copy()
    infinite[:30, 0], infinite[30:60, 1] = np.inf, -np.inf
    yield case("infinite", BINARY, rows=infinite, objective="binary")
    codes = X.copy()
    codes[:, 5] = RNG.integers(0, 40, ROWS)
    rows = codes.copy()
    rows[:50, 5], rows[50:80, 5], rows[80:90, 5], rows[90:100, 5] = np.nan, 99, -1, 3.7
    params = {"categorical_feature": [5], "min_data_per_group": 5, "cat_smooth": 1}
    yield case("codes", (BINARY + (codes[:, 5] % 3 == 0)) > 0, rows=rows, train=codes, objective="binary", **params)
    rows = FRAME.copy()
    rows["c"] = pd.Categorical(["q"] * 20 + [None] * 20 + list(FRAME.c[40:]), categories=["z", "y", "x", "q"])
    rows["d"] = pd.Categorical([77] * 20 + [None] * 20 + list(FRAME.d[40:]))
    model = lgb.LGBMClassifier(n_estimators=10, min_data_per_group=5, cat_smooth=1, verbosity=-1)
    model = model.fit(FRAME, FRAME_BINARY).booster_
    yield "pandas categories", model.save_model, ".txt", rows, model.predict(rows), []


def xgboost_cases():
    def case(name, target, args=(), **params):
        data = xgb.DMatrix(X, label=target)
        if params["objective"].startswith("rank"):
            data.set_group([50] * (ROWS // 50))
        if params["objective"] == "survival:aft":
            data.set_float_info("label_lower_bound", POSITIVE)
            data.set_float_info("label_upper_bound", POSITIVE * 1.5)
        booster = xgb.train({"max_depth": 4, **params}, data, 8)
        for ending in [".json", ".ubj"]:
            yield f"{name} {ending}", booster.save_model, ending, X, booster.predict(xgb.DMatrix(X)), list(args)

    for objective in ["binary:logistic", "binary:logitraw", "binary:hinge", "reg:logistic"]:
        yield from case(objective, BINARY, objective=objective)
    for base in [0.2, 0.7]:
        yield from case("base score", BINARY, objective="binary:logistic", base_score=base)
        yield from case("base score of raw scores", BINARY, objective="binary:logitraw", base_score=base)
    for objective in ["reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror"]:
        yield from case(objective, np.abs(VALUE), objective=objective)
    for objective in ["count:poisson", "reg:gamma", "reg:tweedie", "survival:aft"]:
        yield from case(objective, COUNT if "poisson" in objective else POSITIVE, objective=objective, base_score=1.7)
    yield from case("cox", POSITIVE * np.where(RNG.random(ROWS) < 0.3, -1, 1), objective="survival:cox")
    for objective in ["multi:softprob", "multi:softmax"]:
        yield from case(objective, CLASSES, objective=objective, num_class=3)
    for objective in ["rank:pairwise", "rank:ndcg"]:
        yield from case(objective, np.clip(COUNT, 0, 4), objective=objective)
    yield from case("dart", CLASSES, objective="multi:softprob", num_class=3, booster="dart", rate_drop=0.5)
    yield from case("linear", CLASSES, objective="multi:softprob", num_class=3, booster="gblinear")
    parallel = {"num_parallel_tree": 3, "subsample": 0.5}
    yield from case("parallel trees", CLASSES, objective="multi:softprob", num_class=3, **parallel)
    stopped = xgb.XGBClassifier(n_estimators=60, learning_rate=0.9, early_stopping_rounds=3)
    stopped.fit(X[:1000], CLASSES[:1000], eval_set=[(X[1000:], CLASSES[1000:])], verbose=False)
    yield "best round", stopped.save_model, ".json", X, stopped.predict_proba(X), []
    every = stopped.get_booster().predict(xgb.DMatrix(X))
    yield "every round", stopped.save_model, ".json", X, every, ["--rounds", "all"]
    targets = np.column_stack([VALUE, VALUE * 2 + 1])
    for strategy in ["one_output_per_tree", "multi_output_tree"]:
        model = xgb.XGBRegressor(n_estimators=6, max_depth=3, multi_strategy=strategy).fit(X, targets)
        for target in ["0", "1"]:
            yield f"{strategy} {target}", model.save_model, ".ubj", X, model.predict(X), ["--target", target]
    rows = FRAME.copy()
    rows.loc[:20, "c"], rows.loc[20:40, "d"] = None, None
    for onehot in [1, 100]:
        model = xgb.XGBClassifier(n_estimators=8, max_depth=4, enable_categorical=True, max_cat_to_onehot=onehot)
        model.fit(FRAME, FRAME_BINARY)
        for ending in [".json", ".ubj"]:
            yield f"categories {onehot} {ending}", model.save_model, ending, rows, model.predict_proba(rows), []


def onnx_cases():
    x, missing = Z.astype(np.float32), X.astype(np.float32)
    frame = pd.DataFrame({"a": x[:, 0], "b": missing[:, 1], "c": RNG.choice(["x", "y", "z"], ROWS), "d": RNG.integers(0, 5, ROWS)})
    encoded = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["c"]),
            ("codes", OneHotEncoder(handle_unknown="ignore"), ["d"]),
        ]
    )
    ordinal = ColumnTransformer([("numbers", "passthrough", ["a"]), ("texts", OrdinalEncoder(), ["c"])])
    wide = [("X", FloatTensorType([None, 6]))]
    narrow = [
        ("a", FloatTensorType([None, 1])),
        ("b", FloatTensorType([None, 1])),
        ("c", StringTensorType([None, 1])),
        ("d", Int64TensorType([None, 1])),
    ]
    unseen = frame.copy()
    unseen.loc[:10, "c"] = "q"
    cases = [
        (LogisticRegression(), x, BINARY, wide, x),
        (LogisticRegression(), x, CLASSES, wide, x),
        (LogisticRegression(), x, np.array(["no", "yes"])[BINARY], wide, x),
        (LinearRegression(), x, VALUE, wide, x),
        (make_pipeline(StandardScaler(), Ridge()), x, VALUE, wide, x),
        (PoissonRegressor(), x, COUNT, wide, x),
        (SGDClassifier(loss="log_loss"), x, BINARY, wide, x),
        (RandomForestClassifier(10, max_depth=5), x, BINARY, wide, x),
        (RandomForestClassifier(10, max_depth=5), x, CLASSES, wide, x),
        (RandomForestRegressor(10, max_depth=5), x, VALUE, wide, x),
        (ExtraTreesClassifier(10, max_depth=5), x, BINARY, wide, x),
        (DecisionTreeClassifier(max_depth=5), x, CLASSES, wide, x),
        (DecisionTreeRegressor(max_depth=5), x, VALUE, wide, x),
        (GradientBoostingClassifier(n_estimators=10), x, BINARY, wide, x),
        (GradientBoostingClassifier(n_estimators=10), x, CLASSES, wide, x),
        (GradientBoostingRegressor(n_estimators=10), x, VALUE, wide, x),
        (make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler(), LogisticRegression()), missing, BINARY, wide, missing),
        (make_pipeline(RobustScaler(), LogisticRegression()), x, BINARY, wide, x),
        (make_pipeline(MaxAbsScaler(), Normalizer(), LogisticRegression()), x, CLASSES, wide, x),
        (make_pipeline(Binarizer(), LogisticRegression()), x, BINARY, wide, x),
        (Pipeline([("columns", encoded), ("model", LogisticRegression())]), frame, BINARY, narrow, unseen),
        (Pipeline([("columns", encoded), ("model", RandomForestClassifier(5))]), frame, CLASSES, narrow, unseen),
        (Pipeline([("columns", ordinal), ("model", RandomForestClassifier(5))]), frame[["a", "c"]], BINARY, [narrow[0], narrow[2]], frame[["a", "c"]]),
    ]
    for number, (model, train, target, types, rows) in enumerate(cases):
        model.fit(train, target)
        options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
        converted = convert_sklearn(model, initial_types=types, options=options, target_opset={"": 15, "ai.onnx.ml": 3})
        bytes_ = converted.SerializeToString()
        session = onnxruntime.InferenceSession(bytes_, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: rows}
        if isinstance(rows, pd.DataFrame):
            kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}
            feed = {i.name: rows[[i.name]].to_numpy().astype(kinds[i.type]) for i in session.get_inputs()}
        predicted = session.run(None, feed)[-1]

        def save(path, bytes_=bytes_):
            pathlib.Path(path).write_bytes(bytes_)

        yield f"{number} {type(model).__name__}", save, ".onnx", rows, predicted, []


def table(rows):
    """Rows as SQL gives them: categories as their values."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=[f"c{i}" for i in range(rows.shape[1])])
    columns = pa.Table.from_pandas(frame, preserve_index=False)
    plain = lambda column: column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    return pa.table({name: plain(columns[name]) for name in columns.column_names})


def main():
    lakemill, wrong, count = sys.argv[1], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for cases in [lightgbm_cases(), xgboost_cases(), onnx_cases()]:
            for name, save, ending, rows, predicted, args in cases:
                file, given, scores = folder / f"model{ending}", folder / "rows.parquet", folder / "scores.parquet"
                save(str(file))
                rows = table(rows)
                predicted = np.asarray(predicted, dtype=float).reshape(len(rows), -1)
                pq.write_table(rows, given)
                pq.write_table(pa.table({f"p{i}": predicted[:, i] for i in range(predicted.shape[1])}), scores)
                command = [lakemill, "models", "import", f"m{count}", file, "--home", folder / "home"]
                command += ["--features", ",".join(rows.column_names), "--tolerance", "2e-6", *args]
                command += ["--check", given, "--expected", scores]
                done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
                count += 1
                if done.returncode != 0:
                    wrong += 1
                    print(f"{name}{ending}: {done.stderr.strip()}")
    print(f"{count} models, {wrong} of them wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
