"""Who is whose parent, whatever runs the code: threads, tasks, generators, contexts."""

import asyncio
import concurrent.futures
import contextvars
import gc
import sys
import threading

import pytest
import trio
from support import run_script

import cirron as ci


@pytest.fixture(autouse=True)
def session():
    with ci.profile(output="none"):
        root = ci.trace(format="dict")["session"]["id"]
        yield root


def child_of(parent):
    with ci.scope("child") as s:
        pass
    return s.parent_id == parent


def in_thread(fn, *args):
    result = []
    thread = threading.Thread(target=lambda: result.append(fn(*args)))
    thread.start()
    thread.join()
    return result[0]


def test_plain_thread_starts_at_the_session_root(session):
    with ci.scope("main"):
        assert in_thread(child_of, session)


def test_threads_do_not_see_each_others_scopes(session):
    barrier = threading.Barrier(4)
    wrong = []

    def work():
        for _ in range(200):
            with ci.scope("outer") as outer:
                if barrier.n_waiting >= 0:
                    pass
                if outer.parent_id != session or not child_of(outer.id):
                    wrong.append(outer.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_task_belongs_to_the_scope_it_was_made_in():
    async def main():
        async def child(parent):
            with ci.scope("c") as c:
                await asyncio.sleep(0)
                return c.parent_id == parent.id and child_of(c.id)

        with ci.scope("a") as a:
            task = asyncio.create_task(child(a))
            with ci.scope("b") as b:
                siblings = [asyncio.create_task(child(b)) for _ in range(3)]
                assert await task
                assert all(await asyncio.gather(*siblings))
                async with asyncio.TaskGroup() as group:
                    grouped = group.create_task(child(b))
                assert grouped.result()
            assert child_of(a.id)

    asyncio.run(main())


def test_task_outliving_its_scope_falls_to_the_nearest_open_ancestor():
    async def main():
        gate = asyncio.Event()

        async def late():
            await gate.wait()
            with ci.scope("late") as s:
                return s.parent_id

        with ci.scope("outer") as outer:
            with ci.scope("inner"):
                task = asyncio.create_task(late())
                await asyncio.sleep(0)
            gate.set()
            assert await task == outer.id

    asyncio.run(main())


def test_to_thread_belongs_to_its_caller():
    async def main():
        with ci.scope("a") as a:
            assert await asyncio.to_thread(child_of, a.id)

    asyncio.run(main())


def test_call_soon_belongs_to_its_caller_and_leaks_nothing():
    async def main():
        left_open = []
        seen = []

        def callback():
            s = ci.scope("left_open").__enter__()
            left_open.append(s)
            seen.append(s.parent_id)
            asyncio.get_running_loop().call_soon(lambda: seen.append(child_of(s.id)))

        with ci.scope("a") as a:
            asyncio.get_running_loop().call_soon(callback)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert seen == [a.id, True]
            assert child_of(a.id)
        left_open[0].__exit__(None, None, None)

    asyncio.run(main())


def test_cancelled_task_closes_its_scopes_with_an_error():
    scopes = []

    async def main():
        async def child():
            with ci.scope("cancelled") as s:
                scopes.append(s)
                await asyncio.sleep(60)

        with ci.scope("a") as a:
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert child_of(a.id)

    asyncio.run(main())
    assert scopes[0].end_ns is not None
    assert scopes[0].attrs["error"] == "CancelledError"


def test_async_generator_finished_late_by_the_loop_disturbs_nobody():
    async def main():
        async def numbers():
            with ci.scope("agen"):
                for i in range(3):
                    yield i

        async def consume(keep):
            generator = numbers()
            await anext(generator)
            keep.append(generator)

        with ci.scope("root") as root:
            keep = []
            await asyncio.create_task(consume(keep))
            keep.clear()
            gc.collect()
            await asyncio.sleep(0)
            assert child_of(root.id)

    asyncio.run(main())


def test_trio_tasks_belong_to_the_scope_they_were_started_in():
    async def main():
        async def child(parent, results):
            with ci.scope("c") as c:
                await trio.sleep(0)
                results.append(c.parent_id == parent.id and child_of(c.id))

        results = []
        with ci.scope("root") as root:
            async with trio.open_nursery() as nursery:
                with ci.scope("a") as a:
                    nursery.start_soon(child, a, results)
                    with ci.scope("b") as b:
                        nursery.start_soon(child, b, results)
                        nursery.start_soon(child, b, results)
                        await trio.sleep(0.01)
            results.append(await trio.to_thread.run_sync(child_of, root.id))
        assert results == [True] * 4

    trio.run(main)


def test_gevent_greenlets_start_at_the_session_root():
    script = """
    from gevent import monkey; monkey.patch_all()
    import gevent, gevent.pool, threading
    import cirron as ci
    ci.profile(output="none")
    root = ci.trace(format="dict")["session"]["id"]
    def child():
        with ci.scope("c") as c:
            gevent.sleep(0)
            with ci.scope("d") as d:
                gevent.sleep(0)
            return c.parent_id == root and d.parent_id == c.id
    with ci.scope("a") as a:
        jobs = [gevent.spawn(child) for _ in range(3)] + [gevent.pool.Pool(2).spawn(child)]
        results = []
        thread = threading.Thread(target=lambda: results.append(child()))
        thread.start()
        gevent.joinall(jobs)
        thread.join()
        assert [j.value for j in jobs] + results == [True] * 5, [j.value for j in jobs]
        with ci.scope("z") as z:
            assert z.parent_id == a.id
    print("right")
    """
    assert run_script(script).stdout.strip() == "right"


def test_generator_holds_its_scope_open_across_yields(session):
    def numbers():
        with ci.scope("g") as g:
            yield g

    generator = numbers()
    g = next(generator)
    with ci.scope("x") as x:
        assert x.parent_id == g.id
        generator.close()
        assert child_of(x.id)
    assert child_of(session)


def test_generator_finished_on_another_thread_disturbs_nobody(session):
    def numbers():
        with ci.scope("g"):
            yield 1

    generator = numbers()
    next(generator)
    holder = [generator]
    del generator
    in_thread(holder.clear)
    gc.collect()
    assert child_of(session)


def test_copied_context_keeps_its_own_scopes(session):
    with ci.scope("a") as a:
        context = contextvars.copy_context()
        with ci.scope("b") as b:
            left_open = context.run(lambda: ci.scope("in_context").__enter__())
            assert left_open.parent_id == a.id
            assert child_of(b.id)
            assert context.run(child_of, left_open.id)
            left_open.__exit__(None, None, None)
            assert context.run(child_of, a.id)


def test_executor_sees_nothing_unless_given_the_context(session):
    with ci.scope("a") as a, concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(child_of, session).result()
        assert pool.submit(contextvars.copy_context().run, child_of, a.id).result()


def test_only_our_own_context_variable_is_touched():
    variable = contextvars.ContextVar("users", default=0)
    with ci.scope("a"):
        variable.set(1)
        before = set(contextvars.copy_context())
        with ci.scope("b"):
            pass
        assert set(contextvars.copy_context()) == before
    assert variable.get() == 1


def test_memory_of_closed_scopes_is_given_back_by_long_lived_contexts():
    """A context that is kept (a task that waits for ever) keeps no user object."""

    class Thing:
        count = 0

        def __init__(self):
            Thing.count += 1

        def __del__(self):
            Thing.count -= 1

    contexts = []
    for _ in range(100):
        with ci.scope("s", thing=Thing()):
            contexts.append(contextvars.copy_context())
    gc.collect()
    assert Thing.count == 0


def test_collector_inside_a_scope_with_finalisers_that_set_variables():
    """On 3.11 a collection inside ContextVar.set may crash; ours must not."""
    script = """
    import contextvars, faulthandler, gc, random
    import cirron as ci
    faulthandler.enable()
    ci.profile(output="none")
    variables = [contextvars.ContextVar(f"v{i}") for i in range(8)]
    for v in variables: v.set(object())
    class Cycle:
        def __init__(self): self.me = self
        def __del__(self):
            for v in variables: v.set(object())
            with ci.scope("finaliser"): pass
    random.seed(1)
    def provoke():
        gc.disable(); Cycle(); gc.enable()
        gc.set_threshold(gc.get_count()[0] + random.randrange(1, 8))
    for i in range(20000):
        provoke()
        with ci.scope("a"):
            provoke()
            with ci.scope("b"): pass
    print("survived")
    """
    assert run_script(script, PYTHONMALLOC="debug").stdout.strip() == "survived"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks_belong_to_the_scope_they_were_made_in():
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

        async def child():
            with ci.scope("c") as c:
                await asyncio.sleep(0)
            return c.parent_id

        with ci.scope("a") as a:
            assert await asyncio.create_task(child()) == a.id
            assert child_of(a.id)

    asyncio.run(main())
