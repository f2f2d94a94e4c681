"""Streams of any shape: the caller gets what it would have got without us."""

import asyncio
import collections.abc
import types
from collections import UserDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import roots, run_script

import cirron as ci
from cirron import _core


@pytest.fixture(autouse=True)
def session():
    with ci.profile(output="none"):
        yield


class Hostile:
    """Raises whatever it is asked."""

    def __getattr__(self, name):
        raise RuntimeError(name)


class HostileDict(dict):
    def __getitem__(self, key):
        raise OSError(key)

    def get(self, key, default=None):
        raise OSError(key)


class Interruption(BaseException):
    pass


def counts():
    bad = st.sampled_from([-1, "12", True, 1.5, float("nan"), 2**80, None, [], Hostile()])
    return st.one_of(st.integers(0, 10_000), bad)


def usages():
    names = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")
    fields = st.dictionaries(st.sampled_from(names), counts())
    return st.one_of(
        fields,
        fields.map(lambda f: types.SimpleNamespace(**f)),
        fields.map(UserDict),
        fields.map(HostileDict),
        st.sampled_from([None, 3, "usage", Hostile(), object()]),
    )


def holders():
    def hold(usage, where, as_object):
        held = {"usage": usage} if where is None else {where: {"usage": usage}, "type": "t"}
        return types.SimpleNamespace(**held) if as_object else held

    places = st.sampled_from([None, "message", "response"])
    return st.builds(hold, usages(), places, st.booleans())


def items():
    return st.one_of(
        holders(),
        st.none(),
        st.integers(),
        st.text(),
        st.binary(),
        st.sampled_from(['data: {"usage": ', '{"prompt_tokens": 1}}\n\n', b'data: {"usage":{}}\n']),
        st.binary().map(bytearray),
        st.lists(st.integers()),
        st.tuples(st.integers()),
        st.builds(Hostile),
        st.builds(object),
    )


class Endless:
    """An iterator with no method but the one it needs."""

    def __init__(self, given, error):
        self.given = list(given)
        self.error = error

    def __iter__(self):
        return self

    def __next__(self):
        if self.given:
            return self.given.pop(0)
        raise self.error


class AsyncEndless(Endless):
    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        return Endless.__next__(self)

    __iter__ = __next__ = None


ERRORS = [None, ValueError("broken"), Interruption("stop"), GeneratorExit(), KeyError("k")]


def drain(stream):
    """The items, and what ended them."""
    got = []
    try:
        for item in stream:
            got.append(item)
    except BaseException as error:
        return got, error
    return got, None


async def drain_async(stream):
    got = []
    try:
        async for item in stream:
            got.append(item)
    except BaseException as error:
        return got, error
    return got, None


def same(left, right):
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


@given(st.lists(items(), max_size=6), st.sampled_from(ERRORS), st.booleans())
def test_caller_gets_the_same_items_and_the_same_end(given_items, error, timed):
    def generate():
        yield from given_items
        if error is not None:
            raise error

    config = {"stream_chunk_timing": timed}
    for stream in (
        ci.inference(generate, config=config)(),
        ci.inference(lambda: generate(), config=config)(),
        ci.inference(lambda: Endless(given_items, error or StopIteration()), config=config)(),
    ):
        got, raised = drain(stream)
        assert same(got, given_items)
        assert raised is error


@given(st.lists(items(), max_size=6), st.sampled_from(ERRORS))
def test_async_caller_gets_the_same_items_and_the_same_end(given_items, error):
    async def generate():
        for item in given_items:
            yield item
        if error is not None:
            raise error

    ended = error or StopAsyncIteration()
    for stream in (
        ci.inference(generate)(),
        ci.inference(lambda: generate())(),
        ci.inference(lambda: AsyncEndless(given_items, ended))(),
    ):
        drained = drain_async(stream)
        try:
            while True:
                drained.send(None)
        except StopIteration as stop:
            got, raised = stop.value
        assert same(got, given_items)
        assert raised is error


@given(st.one_of(holders(), items()))
def test_caller_gets_the_very_result(result):
    assert ci.inference(lambda: result)() is result


@given(st.lists(st.sampled_from(["next", "send", "throw", "close"]), max_size=8))
def test_generator_answers_as_the_bare_one(calls):
    def generate():
        n = 0
        while n < 4:
            try:
                n += 1
                yield n
            except KeyError:
                n += 2

    def play(generator):
        answers = []
        for call in calls:
            try:
                if call == "next":
                    answers.append(next(generator))
                elif call == "send":
                    answers.append(generator.send(1 if answers else None))
                elif call == "throw":
                    answers.append(generator.throw(KeyError("k")))
                else:
                    answers.append(generator.close())
            except BaseException as error:
                answers.append(repr(error))
        return answers

    bare = play(generate())
    assert play(ci.inference(generate)()) == bare
    assert play(ci.inference(lambda: generate())()) == bare


CALLS = st.sampled_from(["__anext__", "asend", "athrow", "aclose"])
TURNS = st.builds(
    lambda turns, last: [*turns, last],
    st.lists(st.sampled_from(["send", "throw"]), max_size=2),
    st.sampled_from(["send", "throw", "close"]),
)


@given(st.lists(st.tuples(CALLS, TURNS), max_size=6))
def test_async_generator_answers_as_the_bare_one(calls):
    @types.coroutine
    def pause():
        return (yield "paused")

    async def generate():
        n = 0
        while n < 6:
            try:
                n += 1
                await pause()
                yield (n, n)
            except KeyError:
                n += 2

    class Iterator:
        """The same as no generator: its awaitables are coroutines."""

        def __init__(self):
            self.source = generate()

        def __aiter__(self):
            return self

        async def __anext__(self):
            return await self.source.__anext__()

        async def asend(self, value):
            return await self.source.asend(value)

        async def athrow(self, error):
            return await self.source.athrow(error)

        async def aclose(self):
            return await self.source.aclose()

    def play(source):
        answers = []
        for call, turns in calls:
            args = {"asend": (1 if answers else None,), "athrow": (KeyError("k"),)}.get(call, ())
            step = getattr(source, call)(*args)
            for turn in turns:
                args = {"send": (None,), "throw": (KeyError("t"),)}.get(turn, ())
                try:
                    answers.append(getattr(step, turn)(*args))
                except StopIteration as stop:
                    answers.append(("returned", stop.value))
                    break
                except BaseException as error:
                    answers.append(repr(error))
                    break
        return answers

    for source in (generate, Iterator):
        assert play(ci.inference(lambda source=source: source())()) == play(source())


@pytest.mark.parametrize(
    ("error", "told"),
    [(StopAsyncIteration(), set()), (ValueError("broken"), {"error", "stream_completed"})],
)
def test_request_ends_where_the_source_fails_to_make_an_awaitable(error, told):
    class Source:
        def __aiter__(self):
            return self

        def __anext__(self):
            raise error

    drained = drain_async(ci.inference(Source)())
    with pytest.raises(StopIteration):
        drained.send(None)
    assert roots()[0]["attrs"].keys() == {"request_id"} | told


class Waits:
    """An awaitable whose iterator has nothing but the one method it needs."""

    def __await__(self):
        return iter(["paused", "paused"])


class Fails:
    def __await__(self):
        raise ValueError("at once")


@types.coroutine
def marked():
    yield "paused"
    return 1


async def coroutine():
    return await marked()


@pytest.mark.parametrize("turn", ["send", "throw", "close"])
@pytest.mark.parametrize("awaitable", [Waits, Fails, marked, coroutine])
def test_any_awaitable_is_awaited_as_without_us(awaitable, turn):
    class Source:
        def __aiter__(self):
            return self

        def __anext__(self):
            return awaitable()

    def play(source):
        async def take():
            return await source.__anext__()

        answers = []
        taking = take()
        arguments = {"send": [None], "throw": [KeyError()], "close": []}[turn]
        for call, *args in ("send", None), (turn, *arguments):
            try:
                answers.append(getattr(taking, call)(*args))
            except BaseException as error:
                answers.append(repr(error))
        return answers

    assert play(ci.inference(Source)()) == play(Source())


def test_usage_that_raises_costs_the_marks_alone():
    class Result:
        @property
        def usage(self):
            raise RuntimeError("lazy")

    result = Result()
    assert ci.inference(lambda: result)() is result
    (node,) = roots()
    assert node["attrs"].keys() == {"request_id"}


def test_negative_and_string_counts_are_left_out():
    usage = {"prompt_tokens": -3, "completion_tokens": "12", "total_tokens": 9}
    ci.inference(lambda: {"usage": usage})()
    names = {m["name"] for m in roots()[0]["marks"]}
    assert "total_tokens" in names
    assert not names & {"prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"}


def test_stand_ins_are_iterators_of_their_kind_alone():
    sync = ci.inference(lambda: Endless([], StopIteration()))()
    assert isinstance(sync, collections.abc.Iterator)
    assert not isinstance(sync, collections.abc.AsyncIterator)
    asynchronous = ci.inference(lambda: AsyncEndless([], StopAsyncIteration()))()
    assert isinstance(asynchronous, collections.abc.AsyncIterator)


def test_rows_that_load_on_access_are_not_asked_for_more_than_usage():
    asked = []

    class Row:
        def __getattr__(self, name):
            asked.append(name)
            raise AttributeError(name)

    list(ci.inference(lambda: iter([Row(), Row()]))())
    assert set(asked) <= {"usage", "type"}


def test_iterator_that_goes_on_after_an_error_is_left_to():
    class Flaky(Endless):
        def __next__(self):
            item = super().__next__()
            if isinstance(item, Exception):
                raise item
            return item

    stream = ci.inference(lambda: Flaky([1, TimeoutError("slow"), 2], StopIteration()))()
    assert next(stream) == 1
    with pytest.raises(TimeoutError):
        next(stream)
    assert list(stream) == [2]
    assert roots()[0]["attrs"]["error"] == "TimeoutError: slow"


def test_a_stream_ends_its_request_though_its_marks_find_no_memory():
    class Record(_core.StreamSpan):
        def end(self, completed, error):
            raise MemoryError

    assert list(_core.Stream(iter("ab"), Record(_core.open_request(), False))) == ["a", "b"]
    ci.flush()
    assert [root["name"] for root in roots()] == ["request"]


def test_calls_at_the_interpreters_end_are_the_users_own():
    """Finalisers run when modules are gone; what they call answers as ever."""
    result = run_script("""
        import sys
        import cirron as ci

        @ci.inference
        def predict(x):
            return [x]

        @ci.inference
        def stream():
            yield 1
            yield 2

        @ci.inference
        def returned():
            return iter([{"usage": {"prompt_tokens": 1}}, 2])

        class Late:
            def __init__(self):
                self.predict, self.stream, self.returned = predict, stream, returned
                self.half = stream()
                next(self.half)

            def __del__(self, write=sys.stdout.write):
                write(f"{self.predict(1)} {list(self.stream())} {list(self.returned())[1:]} ")
                write(f"{list(self.half)}")

        ci.profile(output="none")
        late = Late()
        late.cycle = late
        sys.modules["late"] = late
    """)
    assert result.stdout == "[1] [1, 2] [2] [2]"
    assert result.stderr == ""


def test_no_call_leaks():
    """Memory of thousands of requests and streams of every kind is back where it was."""
    result = run_script("""
        import asyncio, gc, tracemalloc
        import cirron as ci

        ci.profile(output="none", config={"trace_buffer_max_spans": 10})

        async def items():
            for i in range(3):
                await asyncio.sleep(0)
                yield {"usage": {"prompt_tokens": i}}

        def words():
            yield "data: {}\\n\\n"
            yield b"b"

        functions = [
            ci.inference(lambda: None), ci.inference(lambda: {"usage": {"prompt_tokens": 1}}),
            ci.inference(words), ci.inference(lambda: words()), ci.inference(lambda: (words(), 1)),
        ]
        async_functions = [ci.inference(items), ci.inference(lambda: items())]

        @ci.inference
        def failing():
            raise ValueError("bad")

        async def main():
            for _ in range(200):
                for fn in functions:
                    result = fn()
                    for part in result if isinstance(result, tuple) else (result,):
                        if hasattr(part, "__next__"):
                            list(part)
                for fn in async_functions:
                    async for _ in fn():
                        pass
                    stream = fn()
                    await stream.__anext__()
                    await stream.aclose()
                try:
                    failing()
                except ValueError:
                    pass

        asyncio.run(main())
        ci.flush()
        gc.collect()
        objects = len(gc.get_objects())
        tracemalloc.start()
        asyncio.run(main())
        ci.flush()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        asyncio.run(main())
        ci.flush()
        gc.collect()
        print(tracemalloc.get_traced_memory()[0] - size, len(gc.get_objects()) - objects)
    """)
    size, objects = map(int, result.stdout.split())
    assert size < 20_000
    assert objects < 50
