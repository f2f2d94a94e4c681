"""`ci.wrap`: estimators whose methods are spans, and which are what they were otherwise."""

import copy
import gc
import io
import pickle
import threading
import weakref

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted, has_fit_parameter
from support import roots, run_script

import cirron as ci

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True)
def session():
    with ci.profile(output="none"):
        yield


def tree(nodes=None):
    """The trace as nested lists: "step:Estimator.method", followed by its children if any."""
    shape = []
    for node in roots() if nodes is None else nodes:
        step = node["attrs"].get("step")
        prefix = f"{step}:" if step is not None else ""
        shape.append(f"{prefix}{node['attrs'].get('estimator')}.{node['name']}")
        if node["children"]:
            shape.append(tree(node["children"]))
    return shape


def spans(nodes=None):
    for node in roots() if nodes is None else nodes:
        yield node
        yield from spans(node["children"])


def count(name):
    return sum(node["name"] == name for node in spans())


# ---- what is recorded


def test_calls_are_spans_with_the_estimator_and_the_shape():
    model = ci.wrap(LogisticRegression())
    model.fit(X, Y)
    model.predict_proba(X=X[:7])
    model.score(X.tolist(), Y)
    assert [(node["name"], node["attrs"]) for node in roots()] == [
        ("fit", {"estimator": "LogisticRegression", "samples": 60, "features": 3}),
        ("predict_proba", {"estimator": "LogisticRegression", "samples": 7, "features": 3}),
        ("score", {"estimator": "LogisticRegression", "samples": 60}),
    ]


def test_method_that_an_estimator_calls_on_itself_is_no_span():
    ci.wrap(StandardScaler()).fit_transform(X)
    ci.wrap(LogisticRegression()).fit(X, Y).predict(X)
    assert tree() == [
        "StandardScaler.fit_transform",
        "LogisticRegression.fit",
        "LogisticRegression.predict",
    ]


def test_call_that_raises_carries_the_error():
    model = ci.wrap(LogisticRegression())
    with pytest.raises(NotFittedError):
        model.predict(X)
    (node,) = roots()
    assert node["attrs"]["error"].startswith("NotFittedError: ")
    model.fit(X, Y)
    assert len(roots()) == 2


def test_steps_of_a_pipeline_are_its_children():
    pipeline = ci.wrap(
        Pipeline([("scale", StandardScaler()), ("skip", "passthrough"), ("svc", SVC())])
    )
    pipeline.fit(X, Y)
    pipeline.predict(X)
    pipeline.score(X, Y)
    assert tree() == [
        "Pipeline.fit",
        ["scale:StandardScaler.fit_transform", "svc:SVC.fit"],
        "Pipeline.predict",
        ["scale:StandardScaler.transform", "svc:SVC.predict"],
        "Pipeline.score",
        ["scale:StandardScaler.transform", "svc:SVC.score"],
    ]


def test_transformers_of_columns_and_unions_are_children():
    columns = ColumnTransformer([("a", StandardScaler(), [0]), ("b", MinMaxScaler(), [1, 2])])
    union = FeatureUnion([("pca", PCA(1)), ("columns", columns)])
    ci.wrap(union).fit_transform(X)
    union.transform(X)
    assert tree() == [
        "FeatureUnion.fit_transform",
        [
            "pca:PCA.fit_transform",
            "columns:ColumnTransformer.fit_transform",
            ["a:StandardScaler.fit_transform", "b:MinMaxScaler.fit_transform"],
        ],
        "FeatureUnion.transform",
        [
            "pca:PCA.transform",
            "columns:ColumnTransformer.transform",
            ["a:StandardScaler.transform", "b:MinMaxScaler.transform"],
        ],
    ]


def test_search_shows_each_candidate():
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [1, 2]}, cv=2)
    ci.wrap(search).fit(X, Y)
    (fit,) = roots()
    names = [child["name"] for child in fit["children"]]
    assert names == ["fit", "score"] * 4 + ["fit"]
    assert tree(fit["children"][:1]) == [
        "estimator:Pipeline.fit",
        ["standardscaler:StandardScaler.fit_transform", "svc:SVC.fit"],
    ]
    search.predict(X)
    assert tree(roots()[1:]) == [
        "GridSearchCV.predict",
        [
            "estimator:Pipeline.predict",
            ["standardscaler:StandardScaler.transform", "svc:SVC.predict"],
        ],
    ]


def test_estimators_among_the_candidates_of_a_search_are_wrapped():
    pipeline = Pipeline([("model", SVC())])
    search = GridSearchCV(pipeline, {"model": [LogisticRegression(), SVC()]}, cv=2, refit=False)
    ci.wrap(search).fit(X, Y)
    fits = [node["attrs"]["estimator"] for node in spans() if node["attrs"].get("step") == "model"]
    assert fits.count("LogisticRegression") == fits.count("SVC") == 4  # fit and score, 2 folds


def test_meta_estimators_show_their_members():
    members = [("lr", LogisticRegression()), ("svc", SVC())]
    ci.wrap(VotingClassifier(members)).fit(X, Y)
    assert tree() == ["VotingClassifier.fit", ["lr:LogisticRegression.fit", "svc:SVC.fit"]]
    ci.wrap(BaggingClassifier(SVC(), n_estimators=3)).fit(X, Y)
    assert tree(roots()[1:]) == ["BaggingClassifier.fit", ["estimator:SVC.fit"] * 3]
    ci.wrap(StackingClassifier(members, cv=2)).fit(X, Y)
    assert count("fit") > 5


def test_step_set_later_is_wrapped_at_the_next_fit():
    pipeline = ci.wrap(Pipeline([("model", SVC())])).set_params(model=LogisticRegression())
    pipeline.fit(X, Y)
    assert tree() == ["Pipeline.fit", ["model:LogisticRegression.fit"]]


def test_cross_validation_records_each_fold():
    cross_val_score(ci.wrap(LogisticRegression()), X, Y, cv=3)
    assert tree() == ["LogisticRegression.fit", "LogisticRegression.score"] * 3


@pytest.mark.parametrize("wrapped", [False, True])
def test_threads_of_joblib_record_each_call_once(wrapped):
    search = GridSearchCV(SVC(), {"C": [1, 2, 3]}, cv=2, n_jobs=2)
    with joblib.parallel_backend("threading", n_jobs=2):
        (ci.wrap(search) if wrapped else search).fit(X, Y)
    assert (count("fit"), count("score")) == ((1 + 6 + 1, 6) if wrapped else (0, 0))


def test_processes_of_joblib_record_nothing_and_the_search_works():
    """In a process of its own, because loky's workers outlive the search."""
    done = run_script("""
    import warnings
    import cirron as ci, numpy as np
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    plain = GridSearchCV(SVC(), {"C": [1, 2]}, cv=2).fit(X, y)
    ci.profile()
    search = ci.wrap(GridSearchCV(SVC(), {"C": [1, 2]}, cv=2, n_jobs=2)).fit(X, y)
    assert (search.cv_results_["mean_test_score"] == plain.cv_results_["mean_test_score"]).all()
    (fit,) = ci.trace(format="dict")["roots"]
    assert [child["name"] for child in fit["children"]] == ["fit"], fit  # of the best one
    ci.flush()
    from pathlib import Path
    spool = "".join(file.read_text() for file in Path(".cirron/spool").iterdir())
    assert spool.count('"name":"fit"') == 2, spool
    assert len(cross_val_score(search, X, y, cv=2, n_jobs=2)) == 2
    """)
    assert done.returncode == 0


def test_wrapped_without_a_session_is_shown_by_trace():
    ci.shutdown()
    model = ci.wrap(LogisticRegression())
    model.fit(X, Y)
    assert tree()[-1:] == ["LogisticRegression.fit"]
    with ci.profile(output="none"):
        pass
    assert type(model) is LogisticRegression


def test_method_of_the_object_itself_comes_first():
    class Sixty(BaseEstimator):
        def fit(self, X):
            return self

        def transform(self, X):
            return X

    estimator = Sixty()
    estimator.transform = lambda X: 60
    ci.wrap(estimator)
    assert estimator.transform(X) == 60
    assert estimator.fit(X) is estimator
    assert tree() == ["Sixty.fit"]


# ---- what stays as it was


def test_wrap_returns_the_same_object_and_a_second_call_changes_nothing():
    model = LogisticRegression()
    assert ci.wrap(model) is model
    before = type(model)
    assert ci.Cirron().wrap(ci.wrap(model)) is model
    assert type(model) is before
    model.fit(X, Y)
    assert tree() == ["LogisticRegression.fit"]


def test_only_the_instance_is_wrapped():
    methods = dict(vars(LogisticRegression))
    ci.wrap(LogisticRegression())
    assert dict(vars(LogisticRegression)) == methods
    LogisticRegression().fit(X, Y)
    assert roots() == []


def test_class_attributes_and_looks_stay():
    plain = Pipeline([("scale", StandardScaler()), ("svc", SVC(C=3))])
    wrapped = ci.wrap(clone(plain))
    assert isinstance(wrapped, Pipeline)
    assert wrapped.__class__ is Pipeline
    assert type(wrapped).__name__ == "Pipeline"
    assert type(wrapped).__module__ == Pipeline.__module__
    assert vars(wrapped).keys() == vars(plain).keys()
    assert repr(wrapped) == repr(plain)
    assert "StandardScaler" in wrapped._repr_html_()
    assert repr(wrapped.get_params()) == repr(plain.get_params())
    assert repr(wrapped.__sklearn_tags__()) == repr(plain.__sklearn_tags__())
    assert is_classifier(wrapped)
    assert has_fit_parameter(wrapped.named_steps["svc"], "sample_weight")
    assert wrapped.fit.__doc__ == plain.fit.__doc__
    assert (wrapped.fit.__self__, wrapped.fit.__name__) == (wrapped, "fit")


def test_fitted_state_is_seen():
    model = ci.wrap(LogisticRegression())
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert model.fit(X, Y) is model
    check_is_fitted(model)
    assert vars(model).keys() == vars(LogisticRegression().fit(X, Y)).keys()


def test_results_are_the_same():
    def results(estimator):
        estimator.fit(X, Y)
        return [estimator.predict(X), estimator.predict_proba(X), estimator.score(X, Y)]

    def make():
        return make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))

    for plain, wrapped in zip(results(make()), results(ci.wrap(make())), strict=True):
        assert np.array_equal(plain, wrapped)


def test_set_output_gives_frames():
    pd = pytest.importorskip("pandas")
    scaler = ci.wrap(StandardScaler()).set_output(transform="pandas")
    frame = scaler.fit_transform(pd.DataFrame(X, columns=list("abc")))
    assert list(frame.columns) == ["a", "b", "c"]
    assert roots()[0]["attrs"]["features"] == 3


def test_set_output_stays_unavailable_where_it_was():
    class Plain(StandardScaler, auto_wrap_output_keys=None):
        pass

    assert hasattr(ci.wrap(Plain()), "set_output") == hasattr(Plain(), "set_output") == False  # noqa: E712


def test_conditional_methods_come_and_go_with_the_parameters():
    search = ci.wrap(GridSearchCV(LogisticRegression(), {"C": [1]}))
    assert hasattr(search, "predict_proba")
    assert not hasattr(search, "transform")
    search.set_params(estimator=SVC())
    assert not hasattr(search, "predict_proba")
    with pytest.raises(AttributeError):
        search.predict_proba(X)


def test_clone_is_wrapped_unfitted_and_apart():
    model = ci.wrap(LogisticRegression(C=3)).fit(X, Y)
    copied = clone(model)
    assert copied is not model
    assert copied.get_params() == model.get_params()
    assert not hasattr(copied, "coef_")
    copied.fit(X, Y)
    assert tree() == ["LogisticRegression.fit"] * 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_holds_a_plain_estimator(protocol):
    model = ci.wrap(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, Y)
    pickled = pickle.dumps(model, protocol)
    assert b"cirron" not in pickled
    read = pickle.loads(pickled)
    assert type(read) is Pipeline
    assert [type(step) for _, step in read.steps] == [StandardScaler, LogisticRegression]
    assert np.array_equal(read.predict(X), model.predict(X))


def test_pickle_and_hash_are_those_of_an_unwrapped_estimator():
    plain, wrapped = LogisticRegression().fit(X, Y), ci.wrap(LogisticRegression()).fit(X, Y)
    assert pickle.dumps(wrapped) == pickle.dumps(plain)
    assert joblib.hash(wrapped) == joblib.hash(plain)


def test_joblib_dump_and_copies_are_plain():
    model = ci.wrap(LogisticRegression()).fit(X, Y)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    for copied in (joblib.load(file), copy.copy(model), copy.deepcopy(model)):
        assert type(copied) is LogisticRegression
        assert np.array_equal(copied.coef_, model.coef_)


def test_bound_method_of_a_wrapped_estimator_pickles():
    predict = pickle.loads(pickle.dumps(ci.wrap(LogisticRegression()).fit(X, Y).predict))
    assert type(predict.__self__) is LogisticRegression
    assert predict(X).shape == (60,)


def test_memory_of_a_pipeline_finds_what_it_cached(tmp_path):
    steps = [("scale", StandardScaler()), ("svc", SVC())]
    Pipeline(steps, memory=str(tmp_path)).fit(X, Y)
    wrapped = ci.wrap(Pipeline(steps, memory=str(tmp_path))).fit(X, Y)
    assert wrapped.predict(X).shape == (60,)
    assert tree()[:2] == ["Pipeline.fit", ["svc:SVC.fit"]]


# ---- the end


def test_shutdown_restores_what_was_wrapped():
    pipeline = ci.wrap(make_pipeline(StandardScaler(), LogisticRegression()))
    copied = clone(pipeline)
    fit = pipeline.fit
    ci.shutdown()
    for estimator in (pipeline, copied):
        assert type(estimator) is Pipeline
        assert [type(step) for _, step in estimator.steps] == [StandardScaler, LogisticRegression]
    assert pipeline.fit.__func__ is Pipeline.fit
    assert fit(X, Y) is pipeline  # the method that was taken before works too
    with ci.profile(output="none"):
        pipeline.predict(X)
        assert roots() == []
        ci.wrap(pipeline).predict(X)
        assert len(roots()) == 1


def test_shutdown_during_a_call_lets_it_end():
    class Ends(BaseEstimator):
        def fit(self, X):
            ci.shutdown()
            return self

    model = ci.wrap(Ends())
    assert model.fit(X) is model
    assert type(model) is Ends


def test_nothing_keeps_an_estimator_alive():
    model = ci.wrap(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, Y)
    references = [weakref.ref(model), weakref.ref(model.steps[0][1])]
    del model
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_class_made_in_a_function_is_not_kept_alive():
    def make():
        class Local(BaseEstimator):
            def fit(self, X):
                return self

        ci.wrap(Local()).fit(X)
        return weakref.ref(Local)

    reference = make()
    gc.collect()  # our subclass of it
    gc.collect()
    assert reference() is None


def test_threads_that_share_an_estimator_each_have_their_spans():
    model = ci.wrap(LogisticRegression()).fit(X, Y)
    threads = [threading.Thread(target=lambda: [model.predict(X) for _ in range(20)]) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count("predict") == 40


# ---- wrong use


class Slotted:
    __slots__ = ("__weakref__",)

    def fit(self, X):
        return self


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (3, "fit method, not 'int'"),
        (None, "fit method, not 'NoneType'"),
        (LogisticRegression, r"ci\.wrap\(LogisticRegression\(\)\)"),
        (Slotted(), "'Slotted' objects can't be wrapped"),
    ],
)
def test_wrong_argument_is_a_type_error_with_a_hint(wrong, hint):
    with pytest.raises(TypeError, match=hint):
        ci.wrap(wrong)


def test_broken_parameters_cost_nothing():
    class Broken(BaseEstimator):
        def get_params(self, deep=True):
            raise RuntimeError("no parameters")

        @property
        def shape(self):
            raise RuntimeError("no shape")

        def fit(self, X):
            return self

    model = ci.wrap(Broken())
    assert model.fit(model) is model
    assert tree() == ["Broken.fit"]
