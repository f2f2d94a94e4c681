"""Token counts of `generate`, with real models of transformers, built small and untrained."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import roots, run_script
from transformers import (
    AsyncTextIteratorStreamer,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    GenerationMixin,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    TextIteratorStreamer,
    TextStreamer,
)

import cirron as ci
from cirron import _core
from cirron.serving import generation

WORDS = 64
END = 1


@pytest.fixture(autouse=True)
def hooked() -> Iterator[None]:
    generation.install()
    yield
    generation.uninstall()


@pytest.fixture
def notes() -> Iterator[dict[str, Any]]:
    """What an open request has been told."""
    request = _core.open_request()
    found = _core.request_notes()
    assert found is not None
    yield found
    _core.finish_request(request, None, False)


@pytest.fixture(scope="module")
def llama() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=2,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def gpt2() -> Any:
    config = GPT2Config(
        vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, bos_token_id=END, eos_token_id=END
    )
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def t5() -> Any:
    config = T5Config(
        vocab_size=WORDS, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def ids(rows: int = 1, columns: int = 5) -> Any:
    return torch.randint(5, WORDS, (rows, columns), generator=torch.Generator().manual_seed(7))


def made(given: int, made: int) -> dict[str, Any]:
    return {"input_tokens": given, "output_tokens": made, "source": "transformers"}


class Script:
    """A logits processor that makes each row say its tokens, then 9 for ever."""

    def __init__(self, *rows: list[int], start: int) -> None:
        self.rows = rows
        self.start = start

    def __call__(self, so_far: Any, scores: Any) -> Any:
        at = so_far.shape[1] - self.start
        scores = torch.full_like(scores, -1e9)
        for row, tokens in enumerate(self.rows):
            scores[row, tokens[at] if at < len(tokens) else 9] = 0.0
        return scores


def test_new_tokens_of_a_decoder_are_counted_without_its_prompt(llama: Any, notes: Any) -> None:
    output = llama.generate(ids(), max_new_tokens=8, do_sample=False)
    assert output.shape == (1, 13)
    assert notes == made(5, 8)


@pytest.mark.parametrize("how", ["inputs", "input_ids"])
def test_a_prompt_counts_by_any_name(llama: Any, notes: Any, how: str) -> None:
    llama.generate(**{how: ids(2, 3)}, max_new_tokens=4, do_sample=False)
    assert notes == made(6, 8)


def test_embeddings_count_as_the_tokens_they_stand_for(llama: Any, notes: Any) -> None:
    embeddings = llama.get_input_embeddings()(ids(2, 6)).detach()
    llama.generate(inputs_embeds=embeddings, max_new_tokens=3, do_sample=False)
    assert notes == made(12, 6)


def test_embeddings_beside_ids_are_what_was_read(llama: Any, notes: Any) -> None:
    embeddings = llama.get_input_embeddings()(ids(1, 6)).detach()
    output = llama.generate(ids(1, 6), inputs_embeds=embeddings, max_new_tokens=3, do_sample=False)
    assert output.shape == (1, 9)
    assert notes == made(6, 3)


def test_a_call_without_a_prompt_has_made_all_but_the_first_token(llama: Any, notes: Any) -> None:
    output = llama.generate(max_new_tokens=4, do_sample=False)
    assert output.shape == (1, 5)
    assert notes == {"output_tokens": 4, "source": "transformers"}


def test_padding_of_a_batch_is_not_counted(llama: Any, notes: Any) -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    llama.generate(ids(2), attention_mask=mask, max_new_tokens=2, do_sample=False)
    assert notes == made(8, 4)


def test_a_row_ends_with_its_first_end_token(llama: Any, notes: Any) -> None:
    script = Script([9, END], [9, 9, 9, 3], [9, 9, 9, 9, END], start=5)
    output = llama.generate(
        ids(3), max_new_tokens=6, do_sample=False, eos_token_id=[END, 3], logits_processor=[script]
    )
    assert output.shape == (3, 10)
    assert notes == made(15, 2 + 4 + 5)


def test_the_end_token_comes_from_the_config_that_was_given(llama: Any, notes: Any) -> None:
    script = Script([9, END], [9, 9, 9], start=5)
    config = GenerationConfig(max_new_tokens=3, eos_token_id=END, pad_token_id=0)
    llama.generate(ids(2), config, [script])
    assert notes == made(10, 2 + 3)


def test_rows_that_a_stop_string_ends_are_counted_without_their_padding(
    llama: Any, notes: Any
) -> None:
    def stops(so_far: Any, scores: Any, **_: Any) -> Any:
        return so_far[:, -1] == 8

    script = Script([9, 8], [9, 9, 9, 8], start=5)
    llama.generate(
        ids(2),
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=END,
        logits_processor=[script],
        stopping_criteria=[stops],
    )
    assert notes == made(10, 2 + 4)


def test_a_model_that_pads_with_its_end_token_is_counted_right(gpt2: Any, notes: Any) -> None:
    script = Script([9, END], [9, 9, 9, END], start=4)
    gpt2.generate(ids(2, 4), max_new_tokens=6, do_sample=False, logits_processor=[script])
    assert notes == made(8, 2 + 4)


def test_each_returned_sequence_counts(llama: Any, notes: Any) -> None:
    output = llama.generate(ids(2), max_new_tokens=3, do_sample=True, num_return_sequences=3)
    assert output.shape == (6, 8)
    assert notes == made(10, 18)


@pytest.mark.parametrize("returned", [1, 2])
def test_beams_count_as_what_they_return(llama: Any, notes: Any, returned: int) -> None:
    llama.generate(
        ids(2), max_new_tokens=3, do_sample=False, num_beams=3, num_return_sequences=returned
    )
    assert notes == made(10, 6 * returned)


def test_an_output_in_a_dict_counts_the_same(llama: Any, notes: Any) -> None:
    output = llama.generate(
        ids(), max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    assert len(output.scores) == 3
    assert notes == made(5, 3)


@pytest.mark.parametrize("how", ["inputs", "input_ids", "inputs_embeds"])
def test_an_encoder_decoder_is_counted_without_its_start_token(
    t5: Any, notes: Any, how: str
) -> None:
    given = t5.get_input_embeddings()(ids(2, 7)).detach() if how == "inputs_embeds" else ids(2, 7)
    script = Script([9], [8], start=1)  # no padding
    output = t5.generate(**{how: given}, max_new_tokens=4, num_beams=1, logits_processor=[script])
    assert output.shape == (2, 5)
    assert notes == made(14, 8)


def test_what_a_decoder_was_given_is_not_counted_as_made(t5: Any, notes: Any) -> None:
    script = Script([9, 9, 9], start=3)
    started = torch.tensor([[0, 20, 21]])
    t5.generate(
        ids(), decoder_input_ids=started, max_new_tokens=3, do_sample=False,
        logits_processor=[script],
    )  # fmt: skip
    assert notes == made(5, 3)
    notes.clear()
    script.start = 3  # the start token in front of two
    t5.generate(
        ids(), decoder_input_ids=started[:, 1:], max_new_tokens=3, do_sample=False,
        logits_processor=[script],
    )  # fmt: skip
    assert notes == made(5, 3)


def test_a_decoder_that_starts_with_the_end_token_is_counted_right(notes: Any) -> None:
    config = BartConfig(
        vocab_size=WORDS, d_model=16, encoder_layers=1, decoder_layers=1, pad_token_id=0,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, bos_token_id=2, eos_token_id=END, decoder_start_token_id=END,
        forced_eos_token_id=None,
    )  # fmt: skip
    script = Script([9, 9, END], start=1)
    BartForConditionalGeneration(config).eval().generate(
        ids(), max_new_tokens=6, num_beams=1, do_sample=False, logits_processor=[script]
    )
    assert notes == made(5, 3)


def test_a_draft_model_counts_once(llama: Any, notes: Any) -> None:
    output = llama.generate(ids(), assistant_model=llama, max_new_tokens=6, do_sample=False)
    assert notes == made(5, output.shape[1] - 5)


def test_a_subclass_that_calls_super_counts_once(llama: Any, notes: Any) -> None:
    class Remote(LlamaForCausalLM):
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            return super().generate(*args, **kwargs)

    Remote(llama.config).eval().generate(ids(), max_new_tokens=2, do_sample=False)
    assert notes == made(5, 2)


def test_calls_of_one_request_add_up(llama: Any, notes: Any) -> None:
    for _ in range(3):
        llama.generate(ids(), max_new_tokens=2, do_sample=False)
    assert notes == made(15, 6)


def test_calls_in_threads_of_one_request_add_up(llama: Any, notes: Any) -> None:
    def serve() -> None:
        llama.generate(ids(), max_new_tokens=2, do_sample=False)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(serve,)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes == made(20, 8)


def test_a_call_outside_a_request_is_only_passed_on(llama: Any) -> None:
    with ci.profile(output="none", frameworks=["transformers"]):
        assert llama.generate(ids(), max_new_tokens=2, do_sample=False).shape == (1, 7)
        assert roots() == []


def test_an_error_reaches_the_caller_and_the_next_call_counts(llama: Any, notes: Any) -> None:
    def fail(so_far: Any, scores: Any) -> Any:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        llama.generate(ids(), max_new_tokens=2, do_sample=False, logits_processor=[fail])
    assert notes == {}
    llama.generate(ids(), max_new_tokens=2, do_sample=False)
    assert notes == made(5, 2)


def test_an_output_that_cannot_be_counted_is_returned_unmarked(llama: Any, notes: Any) -> None:
    def recipe(model: Any, input_ids: Any, **_: Any) -> Any:
        return {"audio": input_ids}

    output = llama.generate(ids(), max_new_tokens=2, custom_generate=recipe)
    assert list(output) == ["audio"]
    assert notes == {}


def marks(node: dict[str, Any]) -> dict[str, Any]:
    return {m["name"]: m["value"] for m in node["marks"] if m["name"] != "cirron.overhead_ns"}


def test_tokens_are_marked_on_the_request_that_generates(llama: Any) -> None:
    @ci.inference
    def serve(rows: int) -> Any:
        with ci.scope("model"):
            return llama.generate(ids(rows), max_new_tokens=3, do_sample=False)

    @ci.inference
    async def serve_async(rows: int) -> Any:
        return await asyncio.to_thread(serve.__wrapped__, rows)

    async def serve_many() -> None:
        await asyncio.gather(serve_async(1), serve_async(2))

    with ci.profile(output="none", frameworks=["transformers"]):
        assert serve(3).shape == (3, 8)
        asyncio.run(serve_many())
        found = sorted(roots(), key=lambda node: marks(node)["input_tokens"])
    assert [marks(node) for node in found] == [
        {"input_tokens": 5 * rows, "output_tokens": 3 * rows} for rows in (1, 2, 3)
    ]
    for node in found:
        assert {mark["attrs"].get("source") for mark in node["marks"]} <= {"transformers", None}
        assert [child["name"] for child in node["children"]] == ["model"]
        assert marks(node["children"][0]) == {}


def test_usage_of_the_result_beats_what_was_counted(llama: Any) -> None:
    @ci.inference
    def serve() -> Any:
        llama.generate(ids(), max_new_tokens=3, do_sample=False)
        return {"usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}

    with ci.profile(output="none", frameworks=["transformers"]):
        serve()
        found = roots()
    assert marks(found[0])["output_tokens"] == 2


def test_tokens_of_a_stream_that_generates_are_no_chunks(llama: Any) -> None:
    @ci.inference
    def serve() -> Iterator[str]:
        for row in llama.generate(ids(2), max_new_tokens=6, do_sample=False):
            yield str(row.tolist())

    with ci.profile(output="none", frameworks=["transformers"]):
        assert len(list(serve())) == 2
        found = roots()
    assert marks(found[0])["output_tokens"] == 12


class Digits:
    """A tokenizer that writes each token as a number."""

    def decode(self, tokens: Any, **_: Any) -> str:
        return "".join(f"{int(token)} " for token in tokens)


@pytest.mark.parametrize("returned", [False, True])
def test_tokens_that_a_thread_generates_for_a_streamer_are_marked(
    llama: Any, returned: bool
) -> None:
    def start() -> Any:
        streamer = TextIteratorStreamer(Digits(), skip_prompt=True)
        script = Script([9, 9, 9, END], start=5)
        options = {
            "max_new_tokens": 8, "do_sample": False, "eos_token_id": END,
            "logits_processor": [script], "streamer": streamer,
        }  # fmt: skip
        threading.Thread(target=llama.generate, args=(ids(),), kwargs=options).start()
        return streamer

    @ci.inference
    def generator() -> Iterator[str]:
        yield from start()

    with ci.profile(output="none", frameworks=["transformers"]):
        text = "".join(ci.inference(start)() if returned else generator())
        found = roots()
    assert text.split() == ["9", "9", "9", str(END)]
    assert [node["name"] for node in found] == ["request"]
    assert marks(found[0])["input_tokens"] == 5
    assert marks(found[0])["output_tokens"] == 4
    assert "stream_completed" not in found[0]["attrs"]


def test_tokens_that_an_executor_generates_for_an_async_streamer_are_marked(llama: Any) -> None:
    @ci.inference
    async def serve() -> Any:
        streamer = AsyncTextIteratorStreamer(Digits(), skip_prompt=True)
        generating = asyncio.get_running_loop().run_in_executor(
            None,
            lambda: llama.generate(ids(), max_new_tokens=6, do_sample=False, streamer=streamer),
        )
        async for text in streamer:
            yield text
        await generating

    async def read() -> str:
        return "".join([text async for text in serve()])

    with ci.profile(output="none", frameworks=["transformers"]):
        assert len(asyncio.run(read()).split()) == 6
        found = roots()
    assert marks(found[0])["input_tokens"] == 5
    assert marks(found[0])["output_tokens"] == 6


def test_a_streamer_that_fails_or_was_made_elsewhere_is_as_before(llama: Any) -> None:
    class Failing(TextStreamer):
        def end(self) -> None:
            raise OSError("gone")

    streamer = Failing(Digits())
    with pytest.raises(OSError, match="gone"):
        llama.generate(ids(), max_new_tokens=2, do_sample=False, streamer=streamer)

    @ci.inference
    def serve() -> None:
        llama.generate(ids(), max_new_tokens=2, do_sample=False, streamer=streamer)

    with (
        ci.profile(output="none", frameworks=["transformers"]),
        pytest.raises(OSError, match="gone"),
    ):
        serve()


def test_no_value_of_another_device_is_read() -> None:
    class Values(torch.Tensor):
        """Says that it lies on a GPU, and fails when its values are asked for."""

        @property
        def device(self) -> Any:
            return torch.device("cuda", 0)

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func.__name__ not in ("__get__", "is_floating_point", "dim"):
                raise AssertionError(f"{func.__name__} may wait for the device")
            return super().__torch_function__(func, types, args, kwargs or {})

    class Model:
        config = SimpleNamespace(is_encoder_decoder=False)

        generation_config = GenerationConfig(eos_token_id=END)

    on_device = torch.ones(2, 3, dtype=torch.long).as_subclass(Values)
    output = torch.ones(2, 8, dtype=torch.long).as_subclass(Values)
    counts = generation._count(Model(), (on_device,), {"attention_mask": on_device}, output)
    assert counts == {"input_tokens": 6, "output_tokens": 10}


def test_the_method_keeps_its_name_signature_and_decorator(llama: Any) -> None:
    patched = GenerationMixin.generate
    generation.uninstall()
    original = GenerationMixin.generate
    assert patched is not original
    assert patched.__wrapped__ is original
    assert patched.__qualname__ == original.__qualname__ == "GenerationMixin.generate"
    assert inspect.signature(patched) == inspect.signature(original)
    generation.install()
    seen = []
    llama.generate(
        ids(),
        max_new_tokens=1,
        do_sample=False,
        logits_processor=[lambda so_far, scores: seen.append(torch.is_grad_enabled()) or scores],
    )
    assert seen == [False]


def test_install_and_uninstall_may_be_called_twice() -> None:
    generation.install()
    patched = GenerationMixin.generate
    generation.install()
    assert GenerationMixin.generate is patched
    generation.uninstall()
    generation.uninstall()
    assert GenerationMixin.generate is patched.__wrapped__


def test_a_patch_of_somebody_else_over_ours_stays() -> None:
    ours = GenerationMixin.generate

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    GenerationMixin.generate = theirs
    try:
        generation.uninstall()
        assert GenerationMixin.generate is theirs
    finally:
        GenerationMixin.generate = ours.__wrapped__


def test_transformers_that_is_imported_later_is_counted_too() -> None:
    run_script("""
        import sys
        from cirron.serving import generation

        generation.install()
        assert "transformers" not in sys.modules and "torch" not in sys.modules
        import transformers
        assert "transformers.generation.utils" not in sys.modules  # it is lazy
        from transformers import GenerationMixin
        assert GenerationMixin.generate.__module__ == "transformers.generation.utils"
        assert GenerationMixin.generate.__code__.co_filename == generation.__file__
        from transformers import TextStreamer
        assert TextStreamer.__init__.__code__.co_filename == generation.__file__
        generation.uninstall()
        assert GenerationMixin.generate.__code__.co_filename != generation.__file__
        assert TextStreamer.__init__.__code__.co_filename != generation.__file__
    """)


def test_shutdown_restores_generate_and_the_next_session_hooks_it_again() -> None:
    run_script(
        """
        from transformers.generation.utils import GenerationMixin
        import cirron as ci

        original = GenerationMixin.generate
        ci.inference(len)
        assert GenerationMixin.generate is not original
        for frameworks, hooked in ((None, True), ([], False), (["transformers"], True)):
            ci.profile(output="none", frameworks=frameworks)
            assert (GenerationMixin.generate is not original) == hooked, frameworks
            ci.inference(len)
            assert (GenerationMixin.generate is not original) == hooked, frameworks
            ci.shutdown()
            assert GenerationMixin.generate is original
        """
    )
