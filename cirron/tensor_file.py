"""Safetensors files: what is in them, single values out of them, and files of one tensor.

Nothing is loaded whole: the header is read and checked by `_core`, values are read where
it says, and copies go through in pieces.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Self

from cirron._core import read_safetensors

Value = int | float | bool

# What struct calls the types; BF16 is the upper half of a float32.
_FORMATS = {
    "F64": "d",
    "F32": "f",
    "F16": "e",
    "BF16": "H",
    "I64": "q",
    "I32": "i",
    "I16": "h",
    "I8": "b",
    "U64": "Q",
    "U32": "I",
    "U16": "H",
    "U8": "B",
    "BOOL": "?",
}

_NUMPY_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}

_PIECE_BYTES = 1 << 20
_HEADER_ALIGNMENT = 8
_LONGEST_NAME = 200


def dtype_name(numpy_name: str) -> str:
    """Returns safetensors' name of a type that NumPy calls `numpy_name`, such as `F32`.

    A name that is unknown stays as it is.
    """
    return _NUMPY_NAMES.get(numpy_name, numpy_name)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in its file."""

    name: str
    dtype: str
    """As safetensors calls it."""
    shape: tuple[int, ...]
    begin: int
    """Its first byte, counted from the start of the file."""
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return self.end - self.begin

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def readable(self) -> bool:
        """Whether `TensorFile.values` knows the type."""
        return self.dtype in _FORMATS


class TensorFile:
    """An open safetensors file.

    Args:
        path: the file.

    Raises:
        OSError: it can't be opened or read.
        ValueError: it is no valid safetensors file; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A pipe of that name must not make the reader wait.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        self._file = os.open(path, flags)
        try:
            found = [Tensor(*fields) for fields in read_safetensors(self._file)]
            self.size = os.fstat(self._file).st_size
        except BaseException:
            os.close(self._file)
            raise
        self.tensors = {tensor.name: tensor for tensor in found}
        """By name, in the order of their bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def values(self, tensor: Tensor, start: int, stop: int) -> list[Value]:
        """Returns the values from `start` to before `stop`, in row-major order.

        F16 and BF16 come as the float32 that they mean, integers exactly. Only the bytes
        of these values are read.

        Args:
            tensor: one of this file that is `readable`.
            start: the first value's number, within the tensor.
            stop: the number after the last one's, within the tensor.

        Raises:
            OSError: the file can't be read.
            ValueError: it has shrunk since it was opened.
        """
        format_ = _FORMATS[tensor.dtype]
        width = struct.calcsize(f"<{format_}")
        data = self._read(tensor.begin + start * width, (stop - start) * width)
        numbers = struct.unpack(f"<{stop - start}{format_}", data)
        if tensor.dtype == "BF16":
            bits = struct.pack(f"<{len(numbers)}I", *(number << 16 for number in numbers))
            numbers = struct.unpack(f"<{len(numbers)}f", bits)
        return list(numbers)

    def write_tensor(
        self, tensor: Tensor, name: str, path: Path, advance: Callable[[int], None]
    ) -> int:
        """Writes a file that holds the tensor alone, under `name`, and returns its size.

        Args:
            tensor: one of this file.
            name: its key in the new file.
            path: the new file; one that is there is replaced once the new one is whole.
            advance: is told of bytes as they are written.

        Raises:
            OSError: reading or writing failed.
            ValueError: the file has shrunk since it was opened.
        """
        about = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [0, tensor.nbytes],
        }
        header = json.dumps({name: about}, separators=(",", ":")).encode()
        header += b" " * (-len(header) % _HEADER_ALIGNMENT)
        with replacing(path) as out:
            out.write(struct.pack("<Q", len(header)) + header)
            self._copy(tensor.begin, tensor.end, out, advance)
            return out.tell()

    def copy(self, path: Path, advance: Callable[[int], None]) -> int:
        """Writes a copy of the whole file, as `write_tensor` does, and returns its size."""
        with replacing(path) as out:
            self._copy(0, self.size, out, advance)
            return out.tell()

    def _copy(self, begin: int, end: int, out: IO[bytes], advance: Callable[[int], None]) -> None:
        while begin < end:
            piece = self._read(begin, min(_PIECE_BYTES, end - begin))
            out.write(piece)
            begin += len(piece)
            advance(len(piece))

    def _read(self, offset: int, count: int) -> bytes:
        pieces = []
        while count > 0:
            piece = os.pread(self._file, count, offset)
            if not piece:
                raise ValueError("the file has shrunk while it was read")
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return b"".join(pieces)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a new file that takes the name `path` when the block ends without an exception.

    Until then, and for ever when it fails, what has that name stays as it is.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:_LONGEST_NAME]}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as out:
            yield out
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
