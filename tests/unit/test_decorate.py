"""`@ci.scope("name")`: the same function, every call in a scope of its own."""

import asyncio
import functools
import inspect

import pytest
from support import depth, roots

import cirron as ci


@pytest.fixture(autouse=True)
def session():
    with ci.profile(output="none"):
        yield


def test_every_call_is_a_span_of_its_own():
    @ci.scope("work", 3, batch=8)
    def work(x, *, y):
        """Adds."""
        ci.mark("x", x)
        return x + y

    assert work(1, y=2) == 3
    assert work(2, y=2) == 4
    first, second = roots()
    assert first["id"] != second["id"]
    assert [(n["name"], n["index"], n["attrs"]) for n in (first, second)] == [
        ("work", 3, {"batch": 8})
    ] * 2
    assert [n["marks"][0]["value"] for n in (first, second)] == [1, 2]


def test_function_keeps_name_signature_and_docstring():
    @ci.scope("work")
    def work(x: int, *, y: str = "a") -> bool:
        """Works."""

    assert (work.__name__, work.__doc__, work.__module__) == ("work", "Works.", __name__)
    assert str(inspect.signature(work)) == "(x: int, *, y: str = 'a') -> bool"


def test_recursion_nests():
    @ci.scope("factorial")
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    assert factorial(3) == 6
    (node,) = roots()
    for _ in range(3):
        (node,) = node["children"]


def test_exception_propagates_and_is_an_attribute():
    @ci.scope("work")
    def work():
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        work()
    assert roots()[0]["attrs"] == {"error": "ValueError: bad"}


def test_methods_of_every_kind():
    class Model:
        @ci.scope("forward")
        def forward(self, x):
            return self, x

        @classmethod
        @ci.scope("build")
        def build(cls):
            return cls

        @ci.scope("outside")
        @classmethod
        def outside(cls):
            return cls

        @staticmethod
        @ci.scope("static")
        def static(x):
            return x

        @ci.scope("over_static")
        @staticmethod
        def over_static(x):
            return x

    model = Model()
    assert model.forward(1) == (model, 1)
    assert model.build() is model.outside() is Model
    assert model.static(1) == model.over_static(1) == Model.over_static(1) == 1
    assert [n["name"] for n in roots()] == [
        "forward", "build", "outside", "static", "over_static", "over_static",
    ]  # fmt: skip


def test_coroutine_function_stays_one_and_tasks_do_not_mix():
    @ci.scope("fetch")
    async def fetch(n):
        await asyncio.sleep(0)
        with ci.scope("inner", n):
            await asyncio.sleep(0)
        return n

    assert inspect.iscoroutinefunction(fetch)

    async def main():
        return await asyncio.gather(*map(fetch, range(5)))

    assert asyncio.run(main()) == list(range(5))
    assert [[c["name"] for c in n["children"]] for n in roots()] == [["inner"]] * 5


def test_object_with_an_async_call_is_a_coroutine_function():
    class Service:
        async def __call__(self, x):
            await asyncio.sleep(0.01)
            return x

    serve = ci.scope("serve")(Service())
    assert asyncio.run(serve(4)) == 4
    assert roots()[0]["wall_us"] > 9_000


def test_partial_and_builtin_functions():
    assert ci.scope("p")(functools.partial(pow, 2))(5) == 32
    assert ci.scope("len")(len)([1]) == 1
    assert [n["name"] for n in roots()] == ["p", "len"]


def test_generator_records_from_first_item_to_exhaustion():
    @ci.scope("stream")
    def stream(n):
        yield from range(n)
        return "end"

    assert inspect.isgeneratorfunction(stream)
    generator = stream(2)
    assert depth() == 0
    assert next(generator) == 0
    assert depth() == 1
    assert next(generator) == 1
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "end"
    assert depth() == 0
    assert [n["name"] for n in roots()] == ["stream"]


def echo():
    received = []
    try:
        while True:
            try:
                received.append((yield len(received)))
            except KeyError as error:
                received.append(error)
    finally:
        received.append("closed")
        echo.received = received


def test_generator_keeps_send_throw_and_close():
    generator = ci.scope("echo")(echo)()
    assert next(generator) == 0
    assert generator.send("a") == 1
    error = KeyError("k")
    assert generator.throw(error) == 2
    generator.close()
    assert echo.received == ["a", error, "closed"]
    (node,) = roots()
    assert node["attrs"] == {}


def test_generator_that_raises_has_the_error():
    @ci.scope("stream")
    def stream():
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(stream())
    assert roots()[0]["attrs"] == {"error": "ValueError: broken"}


def test_dropped_generator_closes_its_scope():
    @ci.scope("stream")
    def stream():
        yield 1
        yield 2

    for _ in stream():
        break
    assert depth() == 0
    assert roots()[0]["attrs"] == {}


async def aecho():
    received = []
    try:
        while True:
            try:
                received.append((yield len(received)))
                await asyncio.sleep(0)
            except KeyError as error:
                received.append(error)
    finally:
        await asyncio.sleep(0)
        received.append("closed")
        aecho.received = received


def test_async_generator_keeps_asend_athrow_and_aclose():
    decorated = ci.scope("aecho")(aecho)
    assert inspect.isasyncgenfunction(decorated)
    error = KeyError("k")

    async def main():
        generator = decorated()
        assert await anext(generator) == 0
        assert await generator.asend("a") == 1
        assert await generator.athrow(error) == 2
        await generator.aclose()

    asyncio.run(main())
    assert aecho.received == ["a", error, "closed"]
    (node,) = roots()
    assert node["attrs"] == {}


def test_async_generator_runs_to_its_end():
    @ci.scope("stream")
    async def stream(n):
        for i in range(n):
            await asyncio.sleep(0)
            with ci.scope("chunk", i):
                pass
            yield i

    async def main():
        return [i async for i in stream(3)]

    assert asyncio.run(main()) == [0, 1, 2]
    (node,) = roots()
    assert [c["index"] for c in node["children"]] == [0, 1, 2]


def test_async_generator_that_raises_has_the_error():
    @ci.scope("stream")
    async def stream():
        yield 1
        raise ValueError("broken")

    async def main():
        async for _ in stream():
            pass

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(main())
    assert roots()[0]["attrs"] == {"error": "ValueError: broken"}


def test_exception_thrown_into_an_async_generator_comes_back():
    @ci.scope("stream")
    async def stream():
        yield 1

    async def main():
        generator = stream()
        await anext(generator)
        await generator.athrow(LookupError("out"))

    with pytest.raises(LookupError, match="out"):
        asyncio.run(main())
    assert roots()[0]["attrs"] == {"error": "LookupError: out"}


def test_async_generator_left_early_closes_its_scope():
    finished = []

    @ci.scope("stream")
    async def stream():
        try:
            yield 1
            yield 2
        finally:
            finished.append(True)

    async def main():
        async for _ in stream():
            break
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert finished == [True]
    assert [n["name"] for n in roots()] == ["stream"]


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="int"):
        ci.scope("work")(3)


def test_decorated_before_the_session_records_in_it():
    ci.shutdown()

    @ci.scope("early")
    def early():
        pass

    with ci.profile(output="none"):
        early()
        assert [n["name"] for n in roots()] == ["early"]
