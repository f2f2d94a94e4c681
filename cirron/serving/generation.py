"""Token counts of `transformers`: what `GenerationMixin.generate` read and made in a request.

Shapes are free to read, values of a CUDA tensor are not: that would wait for the device. So
padding and what follows the end of a sequence are left out on the CPU only.

A model that streams generates in a thread of its own, which knows nothing of the request
that started it. The streamer that it feeds does: it was made in the request.
"""

from __future__ import annotations

import contextlib
import functools
import threading

from cirron import _core
from cirron.hooks.imports import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType
    from typing import Any

    from cirron.hooks.imports import Waiting

_NOTES = "_cirron_request_notes"  # on a streamer: of the request that it was made in

_waiting: list[Waiting] = []
_patched: list[tuple[Any, str, Any]] = []  # a class, a method's name, our function in its place
_thread = threading.local()  # `inside`: in a call that is counted when it returns


def install() -> None:
    """Counts the tokens of each `generate` in a request, once `transformers` is imported."""
    if not _waiting:
        _waiting.append(when_imported("transformers.generation.utils", _patch_generate))
        _waiting.append(when_imported("transformers.generation.streamers", _patch_streamer))


def uninstall() -> None:
    """Undoes `install`; a patch that somebody laid over ours stays."""
    while _waiting:
        _waiting.pop().cancel()
    while _patched:
        owner, name, ours = _patched.pop()
        if owner.__dict__.get(name) is ours:
            setattr(owner, name, ours.__wrapped__)


def _replace(owner: Any, name: str, ours: Any) -> None:
    setattr(owner, name, ours)
    _patched.append((owner, name, ours))


def _patch_generate(module: ModuleType) -> None:
    original = module.GenerationMixin.generate

    @functools.wraps(original)
    def generate(model: Any, /, *args: Any, **kwargs: Any) -> Any:
        streamer = kwargs.get("streamer")
        notes = _notes(streamer)
        if notes is None:
            return original(model, *args, **kwargs)
        if streamer is not None:
            kwargs["streamer"] = streamer = _HeldEnd(streamer)
        _thread.inside = True  # a draft model's calls are part of this one
        try:
            output = original(model, *args, **kwargs)
            with contextlib.suppress(Exception):  # a model of another kind: rather no counts
                _add(notes, _count(model, args, kwargs, output))
        finally:
            _thread.inside = False
            if streamer is not None:
                streamer.release()
        return output

    _replace(module.GenerationMixin, "generate", generate)


def _patch_streamer(module: ModuleType) -> None:
    original = module.TextStreamer.__init__  # which the iterators of text call too

    @functools.wraps(original)
    def init(streamer: Any, /, *args: Any, **kwargs: Any) -> None:
        original(streamer, *args, **kwargs)
        notes = _core.request_notes()
        if notes is not None:
            with contextlib.suppress(Exception):
                setattr(streamer, _NOTES, notes)

    _replace(module.TextStreamer, "__init__", init)


def _notes(streamer: Any) -> dict[str, Any] | None:
    """Returns where to add the counts of a call; None where it isn't counted."""
    if getattr(_thread, "inside", False):
        return None
    notes = _core.request_notes()
    if notes is None and streamer is not None:
        notes = getattr(streamer, "__dict__", {}).get(_NOTES)
    return notes


class _HeldEnd:
    """A streamer that tells of its end when the tokens are counted: that ends the request."""

    def __init__(self, streamer: Any) -> None:
        self._streamer = streamer
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._streamer, name)

    def put(self, value: Any) -> None:
        self._streamer.put(value)

    def end(self) -> None:
        self._ended = True

    def release(self) -> None:
        if self._ended:
            self._streamer.end()


def _add(notes: dict[str, Any], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        notes.setdefault(name, 0)
        notes[name] += count  # no call in between: another thread may add to this request
    notes["source"] = "transformers"


def _count(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> dict[str, int]:
    """Counts the tokens that one call of `generate` read, where they are tokens, and made."""
    ids = args[0] if args else kwargs.get("inputs")
    if ids is None:
        ids = kwargs.get("input_ids")
    embeddings = kwargs.get("inputs_embeds")
    sequences = getattr(output, "sequences", output)
    if model.config.is_encoder_decoder:
        start = _width_of_decoder_start(kwargs.get("decoder_input_ids"), sequences)
    elif ids is not None:
        start = ids.shape[1]
    else:
        start = 0 if embeddings is not None else 1  # `generate` begins with a token of its own
    counts = {"output_tokens": _count_new(sequences, start, *_end_tokens(model, args, kwargs))}
    if embeddings is not None or (
        ids is not None and len(ids.shape) == 2 and not ids.is_floating_point()
    ):
        read = ids if embeddings is None else embeddings
        counts["input_tokens"] = _count_read(read, kwargs.get("attention_mask"))
    return counts


def _count_read(inputs: Any, mask: Any) -> int:
    if mask is not None and mask.device.type == "cpu" and len(mask.shape) == 2:
        return int(mask.count_nonzero())
    return int(inputs.shape[0] * inputs.shape[1])


def _width_of_decoder_start(given: Any, sequences: Any) -> int:
    """Returns how many columns the decoder began with: its start token, or what it was given."""
    if given is None:
        return 1
    width: int = given.shape[1]
    if given.device.type == sequences.device.type == "cpu" and given[0, 0] != sequences[0, 0]:
        width += 1  # `generate` has put the start token in front
    return width


def _end_tokens(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[int], int | None]:
    """Returns the tokens that end a sequence, and the one that fills it up."""
    config = args[1] if len(args) > 1 else kwargs.get("generation_config")

    def setting(name: str) -> Any:
        value = kwargs.get(name)
        if value is None:
            value = getattr(config, name, None)
        return getattr(model.generation_config, name, None) if value is None else value

    ends = setting("eos_token_id")
    if hasattr(ends, "tolist"):
        ends = ends.tolist() if ends.device.type == "cpu" else None
    if ends is None:
        ends = []
    return list(ends) if isinstance(ends, (list, tuple)) else [ends], setting("pad_token_id")


def _count_new(sequences: Any, start: int, ends: list[int], pad: int | None) -> int:
    rows, columns = sequences.shape
    if columns < start:
        raise ValueError("the output is not what was read and what was made")
    if sequences.device.type != "cpu":
        return int(rows * (columns - start))
    return sum(_length(row, ends, pad) for row in sequences[:, start:].tolist())


def _length(row: list[int], ends: list[int], pad: int | None) -> int:
    """Returns how many tokens a row holds, the one that ends it among them."""
    first_ends = [row.index(end) for end in ends if end in row]
    if first_ends:
        return min(first_ends) + 1
    length = len(row)
    while length and row[length - 1] == pad:
        length -= 1
    return length
