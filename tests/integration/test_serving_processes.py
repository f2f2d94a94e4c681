"""Decorated functions in process pools: forked, spawned, and pickled on the way."""

import pickle

import pytest
from pool_work import predict
from servers import path_with_apps, requests_of, spans_of
from support import run_script, spool_batches
from work import SHAPE

import cirron as ci

NUMBERS = range(60)


def shape_of_work():
    return ("request", (("work", SHAPE[1]),))


@pytest.mark.parametrize(
    "pool",
    [
        "concurrent.futures.ProcessPoolExecutor(3, multiprocessing.get_context('fork'))",
        "multiprocessing.get_context('fork').Pool(3)",
    ],
)
def test_forked_pool_writes_every_request_below_the_session(pool):
    script = f"""
    import concurrent.futures, multiprocessing
    import cirron as ci
    from pool_work import predict
    ci.profile()
    with ci.scope("parent"):
        with {pool} as pool:
            assert list(pool.map(predict, {NUMBERS})) == list({NUMBERS})
            getattr(pool, "close", lambda: None)()
            getattr(pool, "join", lambda: None)()
        assert predict(1000) == 1000
    """
    run_script(script, PYTHONPATH=path_with_apps())
    batches = spool_batches()
    requests = requests_of(batches)
    assert requests.keys() == {*NUMBERS, 1000}
    nodes = spans_of(batches)
    pids = {requests[n].pid for n in NUMBERS}
    assert requests[1000].pid not in pids
    for request in requests.values():
        assert request.shape == shape_of_work()
        assert nodes[request.parent_id].name == "parent"


def test_spawned_pool_writes_every_request_once():
    script = f"""
    import concurrent.futures, multiprocessing
    import cirron as ci
    from pool_work import predict_in_session
    if __name__ == "__main__":
        ci.profile()
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            assert list(pool.map(predict_in_session, {NUMBERS})) == list({NUMBERS})
    """
    run_script(script, PYTHONPATH=path_with_apps())
    requests = requests_of(spool_batches())
    assert requests.keys() == set(NUMBERS)
    assert {request.shape for request in requests.values()} == {shape_of_work()}


def test_decorated_function_travels_by_name():
    assert pickle.loads(pickle.dumps(predict)) is predict
    assert predict._cirron_config == {"threshold": 0.5}
    with ci.profile():
        assert predict(3) == 3
