"""Token counts of `transformers`: what `GenerationMixin.generate` read and made in a request.

Shapes are free to read, values of a CUDA tensor are not: that would wait for the device. So
padding and what follows the end of a sequence are left out on the CPU only.
"""

from __future__ import annotations

import contextlib
import functools
import threading

from cirron import _core
from cirron.hooks.imports import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType
    from typing import Any

    from cirron.hooks.imports import Waiting

_MODULE = "transformers.generation.utils"

_waiting: Waiting | None = None
_patched: tuple[Any, Callable[..., Any]] | None = None  # the class and our function on it
_thread = threading.local()  # `inside`: in a call that is counted when it returns


def install() -> None:
    """Counts the tokens of each `generate` in a request, once `transformers` is imported."""
    global _waiting
    if _waiting is None:
        _waiting = when_imported(_MODULE, _patch)


def uninstall() -> None:
    """Undoes `install`; a patch that somebody laid over ours stays."""
    global _waiting, _patched
    if _waiting is not None:
        _waiting.cancel()
        _waiting = None
    if _patched is not None:
        owner, ours = _patched
        _patched = None
        if owner.__dict__.get("generate") is ours:
            owner.generate = ours.__wrapped__


def _patch(module: ModuleType) -> None:
    global _patched
    owner = module.GenerationMixin
    original = owner.generate

    @functools.wraps(original)
    def generate(model: Any, /, *args: Any, **kwargs: Any) -> Any:
        notes = None if getattr(_thread, "inside", False) else _core.request_notes()
        if notes is None:
            return original(model, *args, **kwargs)
        _thread.inside = True  # a draft model's calls are part of this one
        try:
            output = original(model, *args, **kwargs)
        finally:
            _thread.inside = False
        with contextlib.suppress(Exception):  # a model of another kind: rather no counts
            _add(notes, _count(model, args, kwargs, output))
        return output

    owner.generate = generate
    _patched = owner, generate


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
