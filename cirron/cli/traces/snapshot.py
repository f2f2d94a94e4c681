"""`cirron traces snapshot`: what is known of one span's tensors, down to their values."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cirron.cli import output
from cirron.cli.output import Look
from cirron.cli.traces import sessions as traces
from cirron.cli.traces import snapshot_records as records
from cirron.cli.traces.snapshot_export import Exported, export_blobs, export_tensor
from cirron.cli.traces.snapshot_records import Histogram, Record, SnapshotSpan
from cirron.tensor_file import Tensor, TensorFile, Value

_WEIGHTS = "weights.safetensors"
_GRADIENTS = "gradients.safetensors"
_GRAD = ".grad"
_MOST_NAMES = 100
_EXACT_IN_JSON = ("I64", "U64")

_RECORD_COLUMNS = (
    output.Column("TENSOR", fold=True),
    output.Column("DTYPE"),
    output.Column("SHAPE"),
    output.Column("MEAN", right=True),
    output.Column("STD", right=True),
    output.Column("NORM", right=True),
    output.Column("MODE"),
)

_FILE_COLUMNS = (
    output.Column("NAME", fold=True),
    output.Column("DTYPE"),
    output.Column("SHAPE"),
    output.Column("BYTES", right=True),
)

_EXAMPLES = """\b
Examples:
  cirron traces snapshot f9480382
  cirron traces snapshot f9480382 2.weight
  cirron traces snapshot f9480382 2.weight --preview 10 --tail 10
  cirron traces snapshot f9480382 2.weight --export ./my-2weight.safetensors
  cirron traces snapshot f9480382 --export ./out/
"""


@dataclass(frozen=True, slots=True)
class _Focus:
    """One tensor, as its record and a file have it."""

    name: str
    record: Record | None
    file: TensorFile | None = None
    tensor: Tensor | None = None


@click.command(epilog=_EXAMPLES)
@click.argument("span_id", metavar="<spanId>")
@click.argument("tensor_name", metavar="[<tensorName>]", required=False)
@traces.spool_option
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    metavar="<path>",
    help="Read this safetensors file, not those of the span's snapshot directory.",
)
@click.option(
    "--preview",
    type=click.IntRange(min=1),
    metavar="<n>",
    help="Print the tensor's first N values.",
)
@click.option(
    "--tail", type=click.IntRange(min=1), metavar="<n>", help="Print the tensor's last N values."
)
@click.option(
    "--export",
    "destination",
    metavar="<path>",
    help="Write the tensor to a file of its own; without a tensor, copy the span's files.",
)
@traces.json_option
@click.option("--no-color", is_flag=True, help="Print without colour.")
def snapshot(
    span_id: str,
    tensor_name: str | None,
    spool: Path,
    path: Path | None,
    preview: int | None,
    tail: int | None,
    destination: str | None,
    as_json: bool,
    no_color: bool,
) -> None:
    """Inspect one span's snapshots: statistics, histogram, values."""
    if tensor_name is None and (preview is not None or tail is not None):
        option = "--preview" if preview is not None else "--tail"
        raise click.UsageError(f"{option} needs the name of a tensor after <spanId>.")
    if destination == "":
        raise click.UsageError("--export needs a path.")
    found = traces.read(spool)
    span = records.find(found, records.spans_with_records(found), span_id, on_disk=True)
    with ExitStack() as open_files:
        files = _open(found.directory, span, path, open_files)
        if tensor_name is None:
            exported = _export_all(found.directory, span, files, destination)
            _warn_of_differences(span, files, narrowed=path is not None)
            if as_json:
                document = _summary_json(found.directory, span, files)
            else:
                _print_summary(span, files, path, no_color)
        else:
            needed = preview is not None or tail is not None or destination is not None
            focus = _focus(found.directory, span, files, path, tensor_name, needed)
            exported = []
            if focus.file is not None and focus.tensor is not None and destination is not None:
                exported = export_tensor(focus.file, focus.tensor, tensor_name, destination)
            first, last = _values(focus, preview, tail)
            if as_json:
                document = _focus_json(found.directory, span, focus, first, last)
            else:
                output.write(_head(span))
                output.write(_focus_lines(focus, first, last, output.look(no_color=no_color)))
    if as_json:
        document["exported"] = [str(target) for target, _ in exported]
        output.write([json.dumps(document, indent=2)])
    elif exported:
        output.write(["", *(f"Exported {_shown(to)}  ({_size(size)})" for to, size in exported)])


# ---- files


def _open(
    spool: Path, span: SnapshotSpan, path: Path | None, open_files: ExitStack
) -> list[TensorFile]:
    """Opens `path`, or else those of the span's two files that are there and whole."""
    if path is not None:
        try:
            return [open_files.enter_context(TensorFile(path))]
        except (OSError, ValueError) as error:
            raise click.ClickException(_unreadable(path, error)) from error
    files = []
    directory = records.folder(spool, span.id)
    for name in (_WEIGHTS, _GRADIENTS) if directory is not None else ():
        assert directory is not None
        try:
            files.append(open_files.enter_context(TensorFile(directory / name)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            output.warn(f"skipped: {_unreadable(directory / name, error)}")
    return files


def _unreadable(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return output.printable(f"Could not read {path}: {reason}")


def _locate(files: Sequence[TensorFile], name: str) -> tuple[TensorFile, Tensor] | None:
    """Finds a tensor by the name of its record.

    A gradient's record ends in `.grad`; its key in the file does so too, or is the bare
    name of the parameter.
    """
    is_gradient = name.endswith(_GRAD)
    for file in reversed(files) if is_gradient else files:
        keys = [name]
        if is_gradient and file.path.name != _WEIGHTS:
            keys.append(name.removesuffix(_GRAD))
        for key in keys:
            if key in file.tensors:
                return file, file.tensors[key]
    return None


def _no_files(spool: Path, span: SnapshotSpan) -> click.ClickException:
    directory = records.folder(spool, span.id)
    message = f"No safetensors file of span {output.printable(span.id)} could be read"
    if directory is not None:
        message += f" in {_shown(directory)}"
    uris = {record["blob_uri"] for record in span.raw} - {None}
    if uris:
        return click.ClickException(
            f"{message}.\nIts records name {output.printable(min(uris))}; "
            "if that is at hand, pass it with --file."
        )
    return click.ClickException(
        f'{message}.\nValues are kept with snapshots="sampled" or "full" in ci.profile().'
    )


def _export_all(
    spool: Path, span: SnapshotSpan, files: Sequence[TensorFile], destination: str | None
) -> list[Exported]:
    if destination is None:
        return []
    if not files:
        raise _no_files(spool, span)
    return export_blobs(files, destination)


# ---- where records and files disagree


def _differs(record: Record, tensor: Tensor) -> bool:
    return record.dtype != tensor.dtype or tuple(record.shape or ()) != tensor.shape


def _warn_of_differences(
    span: SnapshotSpan, files: Sequence[TensorFile], *, narrowed: bool
) -> None:
    different, missing = [], []
    for record in span.records():
        place = _locate(files, record.tensor_name)
        if place is None:
            if record.blob_uri is not None and not narrowed:
                missing.append(record.tensor_name)
        elif _differs(record, place[1]):
            different.append(record.tensor_name)
    if missing:
        output.warn(f"not in the span's files, though recorded there: {_names(missing)}")
    if different:
        output.warn(f"dtype or shape differ between record and file: {_names(different)}")


def _names(names: Sequence[str]) -> str:
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return output.printable(", ".join(names[:_MOST_NAMES])) + more


# ---- the whole span


def _head(span: SnapshotSpan) -> list[str]:
    session = records.UNKNOWN if span.session is None else output.printable(span.session.id)
    return [
        f"Span     {output.printable(span.id)}",
        f"Name     {span.label}",
        f"Session  {session}",
        f"Records  {output.count(len(span.raw), 'snapshot record')}",
        "",
    ]


def _print_summary(
    span: SnapshotSpan, files: Sequence[TensorFile], path: Path | None, no_color: bool
) -> None:
    output.write(_head(span)[: None if span.raw or files else -1])
    if span.raw:
        rows = [_record_row(record) for record in span.records()]
        output.write(output.table(_RECORD_COLUMNS, rows, no_color=no_color))
    for number, file in enumerate(files):
        if number > 0 or span.raw:
            output.write([""])
        name = _shown(file.path) if path is not None else file.path.name
        nbytes = sum(tensor.nbytes for tensor in file.tensors.values())
        tensors = output.count(len(file.tensors), "tensor")
        output.write([f"{name}  ({tensors}, {_size(nbytes)}, file={_size(file.size)})"])
        largest = sorted(file.tensors.values(), key=lambda tensor: -tensor.nbytes)
        rows = [_tensor_row(tensor) for tensor in largest]
        output.write(output.table(_FILE_COLUMNS, rows, no_color=no_color))


def _record_row(record: Record) -> list[str]:
    return [
        output.printable(record.tensor_name),
        output.printable(record.dtype),
        records.shape_text(record.shape),
        *(_statistic(record.stats[name]) for name in ("mean", "std", "norm")),
        output.printable(record.mode),
    ]


def _tensor_row(tensor: Tensor) -> list[str]:
    return [
        output.printable(tensor.name),
        output.printable(tensor.dtype),
        records.shape_text(tensor.shape),
        _size(tensor.nbytes),
    ]


def _summary_json(spool: Path, span: SnapshotSpan, files: Sequence[TensorFile]) -> dict[str, Any]:
    return {
        "dir": str(spool),
        "span": span.as_json(),
        "records": [record.as_json() for record in span.records()],
        "blobs": [
            {
                "path": str(file.path),
                "bytes": file.size,
                "tensors": [_tensor_json(tensor) for tensor in file.tensors.values()],
            }
            for file in files
        ],
    }


def _tensor_json(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "bytes": tensor.nbytes,
    }


# ---- one tensor


def _focus(
    spool: Path,
    span: SnapshotSpan,
    files: Sequence[TensorFile],
    path: Path | None,
    name: str,
    needed: bool,
) -> _Focus:
    """Finds the tensor in the records and the files; in a file, if its values are `needed`."""
    by_name = {record.tensor_name: record for record in span.records()}
    place = _locate(files, name)
    record = by_name.get(name)
    if place is not None:
        file, tensor = place
        if file.path.name == _GRADIENTS and not name.endswith(_GRAD):
            record = by_name.get(name + _GRAD, record)
        if record is not None and _differs(record, tensor):
            output.warn(f"dtype or shape differ between record and file: {name}")
        return _Focus(name, record, file, tensor)
    if record is not None and path is None:
        if not needed:
            if record.blob_uri is not None:
                output.warn(f"not in the span's files, though recorded there: {name}")
            return _Focus(name, record)
        if not files:
            raise _no_files(spool, span)
    where = ", ".join(_shown(file.path) for file in files) or f"span {output.printable(span.id)}"
    keys = [key for file in files for key in file.tensors]
    available = keys if needed or path is not None else [*by_name, *keys]
    raise click.ClickException(
        f'Tensor "{output.printable(name)}" not found in {where}. '
        f"Available: {_names(list(dict.fromkeys(available)))}"
    )


_Values = list[Value] | None


def _values(focus: _Focus, preview: int | None, tail: int | None) -> tuple[_Values, _Values]:
    """Reads the first and last values that were asked for, None where they can't be shown."""
    file, tensor = focus.file, focus.tensor
    if file is None or tensor is None or not tensor.readable:
        return None, None
    try:
        first = None if preview is None else file.values(tensor, 0, min(preview, tensor.size))
        start = max(tensor.size - (tail or 0), 0)
        last = None if tail is None else file.values(tensor, start, tensor.size)
    except (OSError, ValueError) as error:
        raise click.ClickException(_unreadable(file.path, error)) from error
    return first, last


def _focus_lines(focus: _Focus, first: _Values, last: _Values, look: Look) -> Iterator[str]:
    record, file, tensor = focus.record, focus.file, focus.tensor
    name = f"{look.bold}{output.printable(focus.name)}{look.reset}"
    if record is None:
        yield f"Tensor   {name}  (no record)"
    else:
        dtype, shape = output.printable(record.dtype), records.shape_text(record.shape)
        yield f"Tensor   {name}  ({dtype}, shape={shape}, mode={output.printable(record.mode)})"
        for key in records.STATS:
            yield f"  {key:<4} = {_statistic(record.stats[key])}"
        if record.histogram is not None:
            yield ""
            yield f"  histogram: {_histogram(record.histogram, look)}"
    yield ""
    if file is None or tensor is None:
        yield "Blob     (none)"
        return
    yield f"Blob     {_shown(file.path)}"
    shape = records.shape_text(tensor.shape)
    yield f"  dtype={output.printable(tensor.dtype)} shape={shape} bytes={tensor.nbytes}"
    if not tensor.readable:
        yield "  values of this dtype can't be shown; --export copies them"
    if first is not None:
        yield f"  first {len(first)}: [{', '.join(map(_value, first))}]"
    if last is not None:
        yield f"  last  {len(last)}: [{', '.join(map(_value, last))}]"


def _focus_json(
    spool: Path, span: SnapshotSpan, focus: _Focus, first: _Values, last: _Values
) -> dict[str, Any]:
    blob = None
    if focus.file is not None and focus.tensor is not None:
        dtype = focus.tensor.dtype
        blob = {"path": str(focus.file.path), **_tensor_json(focus.tensor)}
        blob["first"] = first and [_json_value(value, dtype) for value in first]
        blob["last"] = last and [_json_value(value, dtype) for value in last]
    return {
        "dir": str(spool),
        "span": span.as_json(),
        "tensor": focus.name,
        "record": None if focus.record is None else focus.record.as_json(),
        "blob": blob,
    }


def _json_value(value: Value, dtype: str) -> Value | str | None:
    if isinstance(value, float):
        return records.json_number(value)
    return str(value) if dtype in _EXACT_IN_JSON else value


# ---- texts


def _shown(path: Path) -> str:
    return output.printable(str(path))


def _size(number: int) -> str:
    return output.size(number, decimals=2)


def _statistic(value: float | None) -> str:
    """A statistic with 6 decimals, or an exponent where they would lose it."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e9:
        return f"{value:.6f}"
    return _scientific(value, 4)


def _value(value: Value) -> str:
    """A tensor's value: integers whole, floats with up to 4 decimals or digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:.4f}".rstrip("0").rstrip(".")
    text = _scientific(value, 3)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}" if e and "." in mantissa else text


def _scientific(value: float, decimals: int) -> str:
    if value - value != 0:  # NaN and the infinities
        return output.scalar(value)
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _histogram(histogram: Histogram, look: Look) -> str:
    blocks = ".:-=+*#@" if look.ascii else "▁▂▃▄▅▆▇█"
    most = max(histogram.counts)
    # Rounded: the fullest bucket alone has the full block, and half of it the middle one.
    scale = (len(blocks) - 1) / most if most else 0
    bars = "".join(blocks[int(count * scale + 0.5)] for count in histogram.counts)
    low, high = _scientific(histogram.bins[0], 2), _scientific(histogram.bins[-1], 2)
    return f"{look.cyan}{bars}{look.reset}  [{low} {look.ellipsis} {high}]  max_bucket={most}"
