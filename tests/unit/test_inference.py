"""`@ci.inference`: each call a request with a tree of its own, and the function as it was."""

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import uuid
import weakref

import pytest
from support import depth, roots

import cirron as ci


@pytest.fixture(autouse=True)
def session():
    with ci.profile(output="none"):
        yield


def marks(node):
    return {m["name"]: m["value"] for m in node["marks"] if m["name"] != "cirron.overhead_ns"}


# ---- the function


def test_each_call_is_a_request_with_an_id_of_its_own():
    @ci.inference
    def predict(x):
        with ci.scope("model"):
            ci.mark("x", x)
        return x * 2

    assert [predict(1), predict(2)] == [2, 4]
    first, second = roots()
    assert first["name"] == second["name"] == "request"
    ids = [uuid.UUID(node["attrs"]["request_id"]) for node in (first, second)]
    assert ids[0] != ids[1]
    assert {(one.version, one.variant) for one in ids} == {(4, uuid.RFC_4122)}
    assert [node["children"][0]["marks"][0]["value"] for node in (first, second)] == [1, 2]


def test_function_keeps_name_signature_annotations_and_docstring():
    @ci.inference(config={"threshold": 0.5})
    def predict(x: int, *, y: str = "a") -> bool:
        """Predicts."""

    assert (predict.__name__, predict.__doc__, predict.__module__) == (
        "predict", "Predicts.", __name__,
    )  # fmt: skip
    assert str(inspect.signature(predict)) == "(x: int, *, y: str = 'a') -> bool"
    assert predict.__annotations__ == {"x": int, "y": str, "return": bool}
    assert predict._cirron_config == {"threshold": 0.5}


def test_config_is_the_dict_that_was_given_and_none_without():
    config = {"a": 1}
    assert ci.inference(len, config=config)._cirron_config is config
    assert ci.inference(len)._cirron_config is None


def test_methods_of_every_kind_partials_and_callable_objects():
    class Model:
        @ci.inference
        def predict(self, x):
            return self, x

        @ci.inference
        @classmethod
        def outside(cls):
            return cls.__name__

        @classmethod
        @ci.inference
        def inside(cls):
            return cls.__name__

        @ci.inference(config={"a": 1})
        @staticmethod
        def static(x):
            return x

        def __call__(self, x):
            return x + 1

    model = Model()
    assert model.predict(1) == (model, 1)
    assert Model.outside() == model.inside() == "Model"
    assert model.static(3) == 3
    assert model.static._cirron_config == {"a": 1}
    assert ci.inference(model)(1) == 2
    assert ci.inference(functools.partial(pow, 2))(5) == 32
    assert [node["name"] for node in roots()] == ["request"] * 6


def test_kinds_are_kept():
    def function(): ...
    async def coroutine(): ...
    def generator():
        yield

    async def async_generator():
        yield

    for fn in (function, coroutine, generator, async_generator):
        wrapped = ci.inference(fn)
        for kind in (
            inspect.isfunction, inspect.iscoroutinefunction,
            inspect.isgeneratorfunction, inspect.isasyncgenfunction,
        ):  # fmt: skip
            assert kind(wrapped) == kind(fn), (fn, kind)
    assert inspect.iscoroutinefunction(ci.inference(functools.partial(coroutine)))


@pytest.mark.parametrize("fn", [1, "predict", None])
def test_what_is_no_function_is_a_type_error(fn):
    with pytest.raises(TypeError):
        ci.inference()(fn)


def test_config_that_is_no_mapping_is_a_type_error():
    with pytest.raises(TypeError, match="config must be a dict"):
        ci.inference(len, config=["a"])


def test_error_propagates_and_is_the_requests():
    @ci.inference
    def predict():
        raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input") as caught:
        predict()
    assert caught.value.__context__ is None
    assert roots()[0]["attrs"]["error"] == "ValueError: bad input"


def test_cancelled_request_closes_with_the_error():
    @ci.inference
    async def predict():
        with ci.scope("wait"):
            await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(predict())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (node,) = roots()
    assert node["attrs"]["error"] == "CancelledError"
    assert node["children"][0]["attrs"]["error"] == "CancelledError"


def test_request_in_a_scope_or_another_request_is_its_child():
    inner = ci.inference(lambda: None)
    outer = ci.inference(inner)
    with ci.scope("batch"):
        outer()
    (batch,) = roots()
    (request,) = batch["children"]
    (nested,) = request["children"]
    assert (request["name"], nested["name"]) == ("request", "request")


def test_tasks_and_threads_of_a_request_are_in_its_tree():
    def work():
        with ci.scope("thread"):
            pass

    async def task():
        with ci.scope("task"):
            await asyncio.sleep(0)

    @ci.inference
    async def predict():
        await asyncio.gather(asyncio.create_task(task()), asyncio.to_thread(work))

    asyncio.run(predict())
    (node,) = roots()
    assert {child["name"] for child in node["children"]} == {"thread", "task"}


def test_work_that_outlives_its_request_goes_to_the_nearest_open_ancestor():
    async def main():
        go_on = asyncio.Event()

        async def background():
            await go_on.wait()
            with ci.scope("late"):
                pass

        @ci.inference
        async def predict():
            return asyncio.create_task(background())

        with ci.scope("server"):
            task = await predict()
            go_on.set()
            await task

    asyncio.run(main())
    (server,) = roots()
    assert [child["name"] for child in server["children"]] == ["request", "late"]


def test_context_variables_of_the_user_behave_as_without_us():
    variable = contextvars.ContextVar("variable", default="unset")

    @ci.inference
    def predict():
        variable.set("by predict")

    predict()
    assert variable.get() == "by predict"


def test_disabled_nothing_is_recorded_and_streams_are_themselves():
    source = iter([1, 2])
    predict = ci.inference(lambda: source)
    ci.shutdown()
    with ci.profile(enabled=False):
        assert predict() is source
    assert [node["name"] for node in roots()] == ["cirron.session"]


def test_result_is_not_kept_alive():
    class Result:
        pass

    predict = ci.inference(Result)
    reference = weakref.ref(predict())
    gc.collect()
    assert reference() is None


def test_usage_of_a_result_is_marked():
    response = {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    predict = ci.inference(lambda: response)
    assert predict() is response
    (node,) = roots()
    assert marks(node) == {
        "prompt_tokens": 3, "completion_tokens": 4,
        "input_tokens": 3, "output_tokens": 4, "total_tokens": 7,
    }  # fmt: skip
    of_tokens = [m for m in node["marks"] if m["name"].endswith("tokens")]
    assert {(m["kind"], m["attrs"]["source"]) for m in of_tokens} == {("summary", "openai")}


# ---- streams


def words(n=3):
    for i in range(n):
        with ci.scope("token", i):
            pass
        yield f"word{i} "
    return "done"


async def async_words(n=3):
    for i in range(n):
        with ci.scope("token", i):
            await asyncio.sleep(0)
        yield f"word{i} "


class Cursor:
    """An iterator with an interface of its own."""

    def __init__(self, items):
        self.items = iter(items)
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __len__(self):
        return 42

    def close(self):
        self.closed = True


async def collect(stream):
    return [item async for item in stream]


def test_generator_function_records_from_its_first_item():
    stream = ci.inference(words)
    generator = stream()
    assert roots() == []
    assert next(generator) == "word0 "
    assert depth() == 0, "between items the consumer is not in the request"
    assert list(generator) == ["word1 ", "word2 "]
    (node,) = roots()
    assert [child["name"] for child in node["children"]] == ["token"] * 3
    assert "stream_completed" not in node["attrs"]
    values = marks(node)
    assert values["output_tokens"] == 3
    assert 0 < values["time_to_first_token_ms"] <= values["request_duration_ms"]
    assert values["tokens_per_second"] > 0
    assert values["inter_token_latency_ms"] > 0
    by_name = {m["name"]: m for m in node["marks"]}
    assert by_name["output_tokens"]["attrs"] == {"source": "stream"}
    latency = by_name["inter_token_latency_ms"]
    assert latency["attrs"]["max_ms"] >= latency["value"]


def test_generator_that_is_never_started_is_no_request():
    ci.inference(words)()
    gc.collect()
    assert roots() == []


def test_generator_keeps_its_return_value_send_and_throw():
    def echo():
        got = []
        while len(got) < 2:
            try:
                got.append((yield len(got)))
            except KeyError as error:
                got.append(error)
        return got

    error = KeyError("k")
    generator = ci.inference(echo)()
    assert next(generator) == 0
    assert generator.send("a") == 1
    with pytest.raises(StopIteration) as stop:
        generator.throw(error)
    assert stop.value.value == ["a", error]
    assert "stream_completed" not in roots()[0]["attrs"]


@pytest.mark.parametrize("returned", [False, True])
def test_stream_that_is_left_early_closes_without_error(returned):
    stream = ci.inference((lambda: words(9)) if returned else words)
    for _ in stream():
        break
    gc.collect()
    (node,) = roots()
    assert node["attrs"].keys() == {"request_id", "stream_completed"}
    assert node["attrs"]["stream_completed"] is False
    assert marks(node)["output_tokens"] == 1


@pytest.mark.parametrize("returned", [False, True])
def test_stream_that_fails_has_the_error(returned):
    def broken():
        yield 1
        raise ValueError("broken")

    stream = ci.inference((lambda: broken()) if returned else broken)
    with pytest.raises(ValueError, match="broken"):
        list(stream())
    attrs = roots()[0]["attrs"]
    assert attrs["error"] == "ValueError: broken"
    assert attrs["stream_completed"] is False


@pytest.mark.parametrize("returned", [False, True])
def test_async_stream_is_recorded_like_a_sync_one(returned):
    stream = ci.inference((lambda: async_words()) if returned else async_words)
    assert asyncio.run(collect(stream())) == ["word0 ", "word1 ", "word2 "]
    (node,) = roots()
    assert [child["name"] for child in node["children"]] == ["token"] * 3
    assert marks(node)["output_tokens"] == 3
    assert "stream_completed" not in node["attrs"]


@pytest.mark.parametrize("returned", [False, True])
def test_async_stream_that_is_cancelled_has_the_error(returned):
    async def stuck():
        yield 1
        await asyncio.sleep(60)

    stream = ci.inference((lambda: stuck()) if returned else stuck)

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await collect(stream())

    asyncio.run(main())
    attrs = roots()[0]["attrs"]
    assert attrs["error"] == "CancelledError"
    assert attrs["stream_completed"] is False


@pytest.mark.parametrize("returned", [False, True])
def test_async_stream_that_is_closed_early_has_no_error(returned):
    closed = []

    async def source():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    stream = ci.inference((lambda: source()) if returned else source)

    async def main():
        generator = stream()
        async for _ in generator:
            break
        await generator.aclose()

    asyncio.run(main())
    assert closed == [True]
    attrs = roots()[0]["attrs"]
    assert attrs["stream_completed"] is False
    assert "error" not in attrs


def test_async_generator_keeps_asend_and_athrow():
    async def echo():
        got = []
        while len(got) < 2:
            try:
                got.append((yield len(got)))
            except KeyError as error:
                got.append(error)
        yield got

    error = KeyError("k")
    for stream in (ci.inference(echo), ci.inference(lambda: echo())):

        async def main(stream=stream):
            generator = stream()
            first = await generator.__anext__()
            second = await generator.asend("a")
            third = await generator.athrow(error)
            return [first, second, third]

        assert asyncio.run(main()) == [0, 1, ["a", error]]


def test_steps_in_other_threads_and_contexts_are_in_the_request():
    """As Starlette iterates a sync generator: each step in a thread, in a copied context."""

    @ci.inference
    def stream():
        for i in range(3):
            with ci.scope("token", i):
                yield i

    async def main():
        generator = stream()
        while await asyncio.to_thread(next, generator, None) is not None:
            with ci.scope("send"):
                pass

    asyncio.run(main())
    request = next(node for node in roots() if node["name"] == "request")
    assert [child["index"] for child in request["children"]] == [0, 1, 2]
    assert [node["name"] for node in roots()].count("send") == 3


def test_streams_that_take_turns_keep_their_trees_apart():
    def stream(n):
        with ci.scope("outer", n):
            for i in range(3):
                with ci.scope("inner", 10 * n + i):
                    yield i

    ours = ci.inference(stream)
    for _ in zip(ours(1), ours(2), strict=True):
        assert depth() == 0
    for node in roots():
        (outer,) = node["children"]
        n = outer["index"]
        assert [child["index"] for child in outer["children"]] == [10 * n + i for i in range(3)]


def test_returned_stream_keeps_its_class_and_interface():
    cursor = Cursor("abc")
    stand_in = ci.inference(lambda: cursor)()
    assert isinstance(stand_in, Cursor)
    assert len(stand_in) == 42
    stand_in.note = "kept"
    assert cursor.note == "kept"
    with stand_in as entered:
        assert entered is stand_in
        assert next(entered) == "a"
        assert roots() == []
    assert cursor.closed
    assert stand_in.closed
    (node,) = roots()
    assert node["attrs"]["stream_completed"] is False
    assert not hasattr(stand_in, "send")
    with pytest.raises(TypeError):
        stand_in["no such interface"]


def test_returned_generators_pass_for_generators():
    generator = ci.inference(lambda: words())()
    assert inspect.isgenerator(generator)
    assert not hasattr(generator, "__aiter__")
    async_generator = ci.inference(lambda: async_words())()
    assert inspect.isasyncgen(async_generator)
    assert not hasattr(async_generator, "__iter__")
    list(generator)
    asyncio.run(collect(async_generator))


def test_iterator_whose_iter_is_another_records_once():
    class Stream(Cursor):
        def __iter__(self):
            return (item for item in self.items)

    stand_in = ci.inference(lambda: Stream("ab"))()
    assert list(stand_in) == ["a", "b"]
    (node,) = roots()
    assert marks(node)["output_tokens"] == 2


def test_iterator_in_an_attribute_of_a_stream_is_recorded():
    class Message(Cursor):
        def __init__(self, items):
            super().__init__(items)
            self.text_stream = (item.upper() for item in self.items)

    stand_in = ci.inference(lambda: Message("ab"))()
    assert list(stand_in.text_stream) == ["A", "B"]
    (node,) = roots()
    assert marks(node)["output_tokens"] == 2
    assert "stream_completed" not in node["attrs"]


def test_body_of_a_tuple_is_recorded():
    body, headers = ci.inference(lambda: (words(), {"x": "y"}))()
    assert headers == {"x": "y"}
    assert len(list(body)) == 3
    assert marks(roots()[0])["output_tokens"] == 3


def test_open_file_is_no_stream(tmp_path):
    path = tmp_path / "file"
    path.write_text("a\nb\n")
    with open(path) as file:
        assert ci.inference(lambda: file)() is file
    assert marks(roots()[0]) == {}


def test_usage_beats_the_count_of_items():
    last = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 40}}
    stream = ci.inference(lambda: iter([{"choices": [1]}, {"choices": [2]}, last]))
    assert list(stream())[-1] is last
    (node,) = roots()
    values = marks(node)
    assert (values["input_tokens"], values["output_tokens"]) == (5, 40)
    names = [m["name"] for m in node["marks"]]
    assert len(names) == len(set(names)), "one mark a name"


@pytest.mark.parametrize("encode", [str, str.encode])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_usage_is_found_in_events_however_they_are_cut(encode, size):
    text = (
        'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
        'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":30}}\n\n'
        "data: [DONE]\n\n"
    )
    chunks = [encode(text[i : i + size]) for i in range(0, len(text), size)]
    if size == 1:
        chunks[0:5] = [encode("data:")]  # how a stream begins tells what it is
    assert list(ci.inference(lambda: iter(chunks))()) == chunks
    values = marks(roots()[0])
    assert (values["input_tokens"], values["output_tokens"]) == (2, 30)


def test_plain_text_about_usage_is_only_text():
    chunks = ['{"usage"', ": 1} is how", " usage looks\n"]
    assert list(ci.inference(lambda: iter(["Well, ", *chunks]))()) == ["Well, ", *chunks]
    assert marks(roots()[0])["output_tokens"] == 4


def test_chunk_timing_marks_each_item():
    @ci.inference(config={"stream_chunk_timing": True})
    def stream():
        yield from words()

    list(stream())
    points = [m for m in roots()[0]["marks"] if m["name"] == "chunk_ms"]
    assert len(points) == 3
    values = [m["value"] for m in points]
    assert values == sorted(values)
    assert {m["kind"] for m in points} == {"point"}


def test_items_are_neither_copied_nor_kept():
    class Item:
        pass

    stream = ci.inference(lambda: (Item() for _ in range(3)))()
    references = [weakref.ref(item) for item in stream]
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_stream_and_its_record_are_collected():
    class Source(Cursor):
        pass

    source = Source("abc")
    stand_in = ci.inference(lambda given: given)(source)
    next(stand_in)
    source.cycle = stand_in
    reference = weakref.ref(source)
    del source, stand_in
    gc.collect()
    assert reference() is None
    assert roots()[0]["attrs"]["stream_completed"] is False


def test_requests_in_threads_do_not_mix():
    @ci.inference
    def predict(n):
        with ci.scope("model", n):
            ci.mark("n", n)
        return n

    threads = [
        threading.Thread(target=lambda start=start: [predict(start + i) for i in range(200)])
        for start in range(0, 800, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = set()
    for node in roots():
        (child,) = node["children"]
        assert child["marks"][0]["value"] == child["index"]
        seen.add(child["index"])
    assert seen == set(range(800))
