"""`cirron traces snapshot`."""

import json
import math
import os
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from spool_factory import Record, SpoolFactory, hex_id, snapshot_run, write_safetensors

from cirron.cli import output
from cirron.cli.main import cirron
from cirron.tensor_file import TensorFile

SPAN = "f948038257e64867b6557edfd699a210"
SESSION = "5da94f46f9ef4db5bfc0a38511ae55b0"

FIRST = [0.0179, 0.1631, -0.1491, 0.0919, -0.0841, -0.1328, -0.16, -0.111, -0.1585, -0.1334]
LAST = [-0.1036, 0.0101, -0.089, -0.1747, 0.1161, -0.0149, -0.0135, -7.113e-4, 0.1747, -0.0621]

WIDTHS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
READABLE = [dtype for dtype in WIDTHS if dtype != "C64" and not dtype.startswith("F8")]


@pytest.fixture
def factory(tmp_path_factory: pytest.TempPathFactory) -> SpoolFactory:
    return SpoolFactory(tmp_path_factory.mktemp("run") / ".cirron" / "spool")


def run(factory: SpoolFactory, *args: str, charset: str = "utf-8") -> Result:
    command = ["traces", "snapshot", "--spool", str(factory.directory), *args]
    return CliRunner(charset=charset).invoke(cirron, command)


def run_json(factory: SpoolFactory, *args: str) -> Any:
    result = run(factory, "--json", *args)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout, parse_constant=pytest.fail)


def fails(factory: SpoolFactory, *args: str, status: int = 1) -> str:
    """Runs what has to fail without a result, and returns its message."""
    result = run(factory, *args)
    assert (result.exit_code, result.stdout) == (status, "")
    assert isinstance(result.exception, SystemExit)
    return result.stderr


def span_with_file(
    factory: SpoolFactory, tensors: dict[str, tuple[str, list[int], bytes]], **fields: Any
) -> Record:
    """A span whose weights are these tensors, each with a record."""
    root = factory.session(0, 1)
    path = factory.blob(root, "weights")
    write_safetensors(path, tensors)
    records = [
        factory.snapshot(root, name, shape, "full", path.as_uri(), **fields) | {"dtype": dtype}
        for name, (dtype, shape, _) in tensors.items()
    ]
    factory.write([root], [], records)
    return root


def documented(factory: SpoolFactory) -> Path:
    """The documented span; returns its snapshot directory."""
    shapes = {"0.weight": (32, 16), "0.bias": (32,), "2.weight": (16, 32)}
    shapes |= {"2.bias": (16,), "4.weight": (4, 16), "4.bias": (4,)}
    stats = {
        "0.weight": (-0.001464, 0.144752, 3.275535),
        "0.bias": (0.022988, 0.151547, 0.867083),
        "2.weight": (-0.006097, 0.102454, 2.322361),
        "0.weight.grad": (-2.0163e-4, 0.011099, 0.251187),
    }
    levels = "▁▂▃▄▅▆▇█"
    counts = [round(levels.index(bar) * 41 / 7) for bar in "▇▇▇▆▇▇▆▅█▆▅▆▆█▅▇"]
    edges = [-0.176622 + (0.175181 + 0.176622) * i / 16 for i in range(17)]
    root = factory.session(0, 600, id=SESSION)
    epoch = factory.span("epoch", root, 10, 50, index=0, id=SPAN)
    arrays = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    arrays["2.weight"] = np.array(FIRST + [0.0] * 492 + LAST, "float32").reshape(16, 32)
    records = []
    for suffix, kind in (("", "weights"), (".grad", "gradients")):
        path = factory.blob(epoch, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, path)
        for name, shape in shapes.items():
            mean, std, norm = stats.get(name + suffix, (0.5, 0.25, 1.0))
            values = {"mean": mean, "std": std, "min": -0.176622, "max": 0.175181, "norm": norm}
            values["histogram"] = {"bins": edges, "counts": counts}
            uri = path.as_uri()
            records.append(factory.snapshot(epoch, name + suffix, shape, "full", uri, stats=values))
    order = ["0.weight", "0.bias", "2.weight", "0.weight.grad"]
    records.sort(key=lambda record: (*order, record["tensor_name"]).index(record["tensor_name"]))
    factory.write([root, epoch], [], records)
    return factory.blob(epoch, "weights").parent


# ---- what is shown


def test_summary_looks_as_documented(factory: SpoolFactory) -> None:
    documented(factory)
    result = run(factory, "f9480382")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("""\
Span     f948038257e64867b6557edfd699a210
Name     epoch[0]
Session  5da94f46f9ef4db5bfc0a38511ae55b0
Records  12 snapshot records

┌───────────────┬───────┬─────────┬────────────┬──────────┬──────────┬──────┐
│ TENSOR        │ DTYPE │ SHAPE   │       MEAN │      STD │     NORM │ MODE │
├───────────────┼───────┼─────────┼────────────┼──────────┼──────────┼──────┤
│ 0.weight      │ F32   │ [32,16] │  -0.001464 │ 0.144752 │ 3.275535 │ full │
│ 0.bias        │ F32   │ [32]    │   0.022988 │ 0.151547 │ 0.867083 │ full │
│ 2.weight      │ F32   │ [16,32] │  -0.006097 │ 0.102454 │ 2.322361 │ full │
│ 0.weight.grad │ F32   │ [32,16] │ -2.0163e-4 │ 0.011099 │ 0.251187 │ full │
""")
    assert (
        """\
└───────────────┴───────┴─────────┴────────────┴──────────┴──────────┴──────┘

weights.safetensors  (6 tensors, 4.45 KB, file=4.85 KB)
┌──────────┬───────┬─────────┬─────────┐
│ NAME     │ DTYPE │ SHAPE   │   BYTES │
├──────────┼───────┼─────────┼─────────┤
│ 0.weight │ F32   │ [32,16] │ 2.00 KB │
│ 2.weight │ F32   │ [16,32] │ 2.00 KB │
│ 4.weight │ F32   │ [4,16]  │   256 B │
│ 0.bias   │ F32   │ [32]    │   128 B │
│ 2.bias   │ F32   │ [16]    │    64 B │
│ 4.bias   │ F32   │ [4]     │    16 B │
└──────────┴───────┴─────────┴─────────┘

gradients.safetensors  (6 tensors, 4.45 KB, file=4.85 KB)
┌"""
        in result.stdout
    )


def test_focused_view_looks_as_documented(factory: SpoolFactory) -> None:
    directory = documented(factory)
    result = run(factory, "f9480382", "2.weight", "--preview", "10", "--tail", "10")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == f"""\
Span     f948038257e64867b6557edfd699a210
Name     epoch[0]
Session  5da94f46f9ef4db5bfc0a38511ae55b0
Records  12 snapshot records

Tensor   2.weight  (F32, shape=[16,32], mode=full)
  mean = -0.006097
  std  = 0.102454
  min  = -0.176622
  max  = 0.175181
  norm = 2.322361

  histogram: ▇▇▇▆▇▇▆▅█▆▅▆▆█▅▇  [-1.77e-1 … 1.75e-1]  max_bucket=41

Blob     {directory}/weights.safetensors
  dtype=F32 shape=[16,32] bytes=2048
  first 10: [{", ".join(map(str, FIRST))}]
  last  10: [-0.1036, 0.0101, -0.089, -0.1747, 0.1161, -0.0149, -0.0135, -7.113e-4, 0.1747, -0.0621]
"""
    )


def test_everything_is_ascii_where_the_terminal_is(factory: SpoolFactory) -> None:
    documented(factory)
    for args in ([], ["2.weight"]):
        assert run(factory, "f948", *args, charset="ascii").stdout.isascii()
    shown = run(factory, "f948", "2.weight", charset="ascii").stdout
    assert "histogram: ###*##*+@*+**@+#  [-1.77e-1 ... 1.75e-1]  max_bucket=41" in shown


@pytest.mark.parametrize("columns", [30, 60])
def test_tensor_names_stay_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    name = "model.layers.17.self_attn.q_proj.weight.grad"
    titles = (output.Column("NAME", fold=True), output.Column("SHAPE"))
    lines = output.table(titles, [[name, "[4096,4096]"]], no_color=True)
    assert "".join(line[1:].split("│")[0].strip() for line in lines[3:-1]) == name
    assert "[4096,4096]" in lines[3]
    assert len(lines[0]) == max(columns, 34)


def test_first_and_last_are_no_more_than_there_are(factory: SpoolFactory) -> None:
    documented(factory)
    shown = run(factory, "f948", "4.bias", "--preview", "9", "--tail", "1000000000000").stdout
    assert "  first 4: [0, 0, 0, 0]\n  last  4: [0, 0, 0, 0]\n" in shown


def test_json_of_the_span_has_records_and_files(factory: SpoolFactory) -> None:
    directory = documented(factory)
    document = run_json(factory, "f948")
    assert document["span"] == {
        "id": SPAN,
        "name": "epoch",
        "index": 0,
        "session_id": SESSION,
    }
    assert len(document["records"]) == 12
    record = document["records"][0]
    assert (record["tensor_name"], record["dtype"], record["shape"]) == (
        "0.weight",
        "F32",
        [32, 16],
    )
    assert record["stats"]["mean"] == -0.001464
    assert max(record["stats"]["histogram"]["counts"]) == 41
    assert [blob["path"] for blob in document["blobs"]] == [
        str(directory / "weights.safetensors"),
        str(directory / "gradients.safetensors"),
    ]
    assert {"name": "4.bias", "dtype": "F32", "shape": [4], "bytes": 16} in document["blobs"][0][
        "tensors"
    ]
    assert document["exported"] == []


def test_json_of_a_tensor_has_its_values(factory: SpoolFactory) -> None:
    documented(factory)
    document = run_json(factory, "f948", "2.weight", "--preview", "2")
    assert document["record"]["tensor_name"] == "2.weight"
    assert document["blob"]["first"] == [float(np.float32(value)) for value in FIRST[:2]]
    assert document["blob"]["last"] is None


# ---- values


def values(factory: SpoolFactory, dtype: str, data: bytes) -> tuple[str, list[Any]]:
    """What is printed for the values of a tensor, and what JSON has."""
    count = len(data) // WIDTHS[dtype]
    span_with_file(factory, {"t": (dtype, [count], data)})
    shown = run(factory, hex_id(1), "t", "--preview", str(count))
    assert (shown.exit_code, shown.stderr) == (0, "")
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("  first")]
    return line.split(": ")[1], run_json(factory, "0", "t", "--tail", "99")["blob"]["last"]


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [("i64", [-(2**63), -1, 2**63 - 1, 2**53 + 1]), ("u64", [0, 2**64 - 1, 2**53 + 1])],
)
def test_64_bit_integers_are_exact(factory: SpoolFactory, dtype: str, numbers: list[int]) -> None:
    shown, parsed = values(factory, dtype.upper(), np.array(numbers, dtype[0] + "8").tobytes())
    assert shown == str(numbers)
    assert parsed == [str(number) for number in numbers]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4"])
def test_integers_are_exact(factory: SpoolFactory, dtype: str) -> None:
    about = np.iinfo(dtype)
    numbers = [int(about.min), 0, 1, int(about.max)]
    name = f"{dtype[0].upper()}{8 * int(dtype[1])}"
    assert values(factory, name, np.array(numbers, dtype).tobytes()) == (str(numbers), numbers)


def test_half_floats_are_shown_as_float32(factory: SpoolFactory) -> None:
    data = np.array([1.5, -0.1, 65504, 6e-8], "float16").tobytes()
    shown, parsed = values(factory, "F16", data)
    assert shown == "[1.5, -0.1, 65504, 5.96e-8]"
    assert parsed[1] == float(np.float16(-0.1))


def test_bfloat16_is_shown_as_float32(factory: SpoolFactory) -> None:
    data = struct.pack("<4H", 0x3FC0, 0xBDCD, 0x7F80, 0x7FC0)
    shown, parsed = values(factory, "BF16", data)
    assert shown == "[1.5, -0.1001, Infinity, NaN]"
    assert parsed == [1.5, -0.10009765625, "Infinity", "NaN"]


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16"])
def test_nan_and_the_infinities_are_shown(factory: SpoolFactory, dtype: str) -> None:
    numbers = [math.nan, math.inf, -math.inf, 0.0, -0.0, 12345.0]
    shown, parsed = values(factory, dtype, np.array(numbers, f"f{WIDTHS[dtype]}").tobytes())
    assert shown.startswith("[NaN, Infinity, -Infinity, 0, -0, 1234")
    assert parsed[:3] == ["NaN", "Infinity", "-Infinity"]


def test_booleans_are_shown_as_in_json(factory: SpoolFactory) -> None:
    assert values(factory, "BOOL", b"\x00\x01\x02") == ("[false, true, true]", [False, True, True])


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "C64"])
def test_dtypes_without_a_reader_are_named(factory: SpoolFactory, dtype: str) -> None:
    span_with_file(factory, {"t": (dtype, [2], bytes(2 * WIDTHS[dtype]))})
    result = run(factory, "0", "t", "--preview", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"dtype={dtype} shape=[2]" in result.stdout
    assert "values of this dtype can't be shown; --export copies them" in result.stdout
    assert run_json(factory, "0", "t", "--preview", "2")["blob"]["first"] is None
    assert f"│ t    │ {dtype}" in run(factory, "0").stdout


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_reading_and_exporting_agree_with_the_safetensors_package(
    tmp_path: Path, data: st.DataObject
) -> None:
    names = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda n: n != "__metadata__")
    tensors = {}
    for name in data.draw(st.sets(names, min_size=1, max_size=4)):
        dtype = data.draw(st.sampled_from(READABLE))
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        size = WIDTHS[dtype] * math.prod(shape)
        raw = data.draw(st.binary(min_size=size, max_size=size))
        tensors[name] = (dtype, shape, raw)
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    write_safetensors(path, tensors)
    assert {
        name: (about["dtype"], about["shape"], bytes(about["data"]))
        for name, about in safetensors.deserialize(path.read_bytes())
    } == tensors
    with TensorFile(path) as file:
        assert {
            name: (tensor.dtype, list(tensor.shape), tensor.nbytes)
            for name, tensor in file.tensors.items()
        } == {name: (dtype, shape, len(raw)) for name, (dtype, shape, raw) in tensors.items()}
        for name, (dtype, shape, raw) in tensors.items():
            tensor = file.tensors[name]
            _assert_same(file.values(tensor, 0, tensor.size), dtype, raw)
            file.write_tensor(tensor, name, out, lambda written: None)
            ((key, about),) = safetensors.deserialize(out.read_bytes())
            assert (key, about["dtype"], about["shape"]) == (name, dtype, shape)
            assert bytes(about["data"]) == raw


def _assert_same(found: list[Any], dtype: str, raw: bytes) -> None:
    if dtype == "BF16":
        bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
        expected = bits.view("<f4")
    else:
        kind = {"F": "f", "I": "i", "U": "u", "B": "?"}[dtype[0]]
        code = kind if kind == "?" else f"<{kind}{WIDTHS[dtype]}"
        expected = np.frombuffer(raw, "u1") != 0 if kind == "?" else np.frombuffer(raw, code)
    np.testing.assert_array_equal(np.array(found, expected.dtype), expected)


# ---- where records and files disagree


def test_gradient_is_found_under_the_bare_name_of_its_parameter(factory: SpoolFactory) -> None:
    epoch = snapshot_run(factory)
    document = run_json(factory, epoch["id"], "2.weight.grad", "--preview", "1")
    assert document["record"]["tensor_name"] == "2.weight.grad"
    assert document["blob"]["path"].endswith("gradients.safetensors")
    assert document["blob"]["name"] == "2.weight"
    document = run_json(factory, epoch["id"], "2.weight")
    assert document["blob"]["path"].endswith("weights.safetensors")


def test_weight_is_never_taken_for_its_gradient(factory: SpoolFactory) -> None:
    epoch = snapshot_run(factory)
    factory.blob(epoch, "gradients").unlink()
    result = run(factory, epoch["id"], "2.weight.grad")
    assert "Blob     (none)" in result.stdout
    assert "though recorded there: 2.weight.grad" in result.stderr


def test_gradient_is_found_under_its_full_name(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    write_safetensors(factory.blob(root, "gradients"), {"w.grad": ("U8", [1], b"\x07")})
    factory.write([root], [], [factory.snapshot(root, "w.grad", [1])])
    assert run_json(factory, "0", "w.grad", "--preview", "1")["blob"]["first"] == [7]


def test_gradients_by_file_come_with_the_record_of_the_gradient(factory: SpoolFactory) -> None:
    epoch = snapshot_run(factory)
    path = str(factory.blob(epoch, "gradients"))
    document = run_json(factory, epoch["id"], "2.weight", "--file", path)
    assert document["record"]["tensor_name"] == "2.weight.grad"


def test_stats_are_shown_without_any_file(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    factory.write([root], [], [factory.snapshot(root)])
    result = run(factory, "0", "0.weight")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Tensor   0.weight  (F32, shape=[2,2], mode=stats)" in result.stdout
    assert "Blob     (none)" in result.stdout
    assert run(factory, "0").stdout.endswith("┘\n")
    message = fails(factory, "0", "0.weight", "--preview", "1")
    assert message.startswith(f"Error: No safetensors file of span {hex_id(1)} could be read")
    assert 'snapshots="sampled" or "full"' in message


def test_blob_that_is_gone_is_warned_of_and_its_uri_named(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    record = factory.snapshot(root, "w", mode="full", blob_uri="s3://bucket/w")
    factory.write([root], [], [record])
    result = run(factory, "0")
    assert result.exit_code == 0
    assert result.stderr == "Warning: not in the span's files, though recorded there: w\n"
    message = fails(factory, "0", "--export", "out")
    assert "s3://bucket/w" in message
    assert "--file" in message


def test_tensor_without_a_record_is_shown(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    write_safetensors(factory.blob(root, "weights"), {"new": ("U8", [1], b"\x07")})
    factory.write([root], [], [factory.snapshot(root, "old")])
    result = run(factory, "0", "new", "--preview", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Tensor   new  (no record)" in result.stdout
    assert "first 1: [7]" in result.stdout


def test_snapshot_directory_without_records_is_shown(factory: SpoolFactory) -> None:
    factory.write([factory.session(0, 1)])
    write_safetensors(factory.blob({"id": "feed01"}, "weights"), {"w": ("U8", [1], b"\x07")})
    result = run(factory, "feed")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "Span     feed01\nName     (unknown)\nSession  (unknown)\nRecords  0 snapshot records\n\n"
        "weights.safetensors  (1 tensor, 1 B, file="
    )


def test_different_shapes_are_warned_of(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    write_safetensors(factory.blob(root, "weights"), {"w": ("U8", [1], b"\x07")})
    factory.write([root], [], [factory.snapshot(root, "w")])
    warning = "Warning: dtype or shape differ between record and file: w\n"
    assert run(factory, "0").stderr == warning
    assert run(factory, "0", "w").stderr == warning


def test_records_of_other_types_than_documented_are_no_crash(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    odd: list[dict[str, Any]] = [
        {"shape": "x", "stats": [], "dtype": 7, "mode": None},
        {"shape": [1, "2"], "stats": {"mean": {}, "std": "NaN", "min": "x", "max": 10**400}},
        {"stats": {"histogram": {"bins": [1], "counts": [1]}}},
        {"stats": {"histogram": {"bins": [0, 1], "counts": [-1]}}},
        {"stats": {"histogram": {"bins": ["NaN", 1], "counts": [0]}}},
        {"stats": {"histogram": {"bins": list(range(1001)), "counts": [1] * 1000}}},
        {"tensor_name": None, "dtype": "float8_e4m3fn", "blob_uri": 3},
    ]
    records = [factory.snapshot(root, str(i)) | fields for i, fields in enumerate(odd)]
    factory.write([root], [], records)
    assert run(factory, "0").exit_code == 0
    for record in run_json(factory, "0")["records"]:
        assert run(factory, "0", record["tensor_name"]).exit_code == 0
    assert "std  = NaN" in run(factory, "0", "1").stdout
    assert "  histogram: ▁  [NaN … 1.00e0]  max_bucket=0" in run(factory, "0", "4").stdout
    assert "F8_E4M3" in run(factory, "0").stdout


def test_names_cannot_steer_the_terminal(factory: SpoolFactory) -> None:
    span_with_file(factory, {"\x1b[2J": ("\x1b[1m", [0], b"")})
    for args in ([], ["\x1b[2J"], ["no\x1b[2J"]):
        result = run(factory, "0", *args)
        assert "\x1b" not in result.stdout + result.stderr


# ---- errors


def test_unknown_tensor_names_those_there_are(factory: SpoolFactory) -> None:
    root = span_with_file(factory, {"a": ("U8", [1], b"1"), "b": ("U8", [1], b"2")})
    path = factory.blob(root, "weights")
    expected = f'Error: Tensor "c" not found in {path}. Available: a, b\n'
    assert fails(factory, "0", "c") == expected
    assert fails(factory, "0", "c", "--file", str(path)) == expected


def test_spans_are_found_as_sessions_are(factory: SpoolFactory) -> None:
    snapshot_run(factory)
    assert fails(factory, "beef") == "Error: No span with snapshots found matching beef\n"
    assert fails(factory, "0000").startswith("Error: 3 spans match 0000:\n")
    assert "has no snapshots" in fails(factory, hex_id(1))


@pytest.mark.parametrize("option", ["--preview", "--tail"])
def test_values_need_a_tensor(factory: SpoolFactory, option: str) -> None:
    snapshot_run(factory)
    assert f"{option} needs the name of a tensor" in fails(
        factory, hex_id(2), option, "3", status=2
    )
    assert run(factory, hex_id(2), "2.weight", option, "0").exit_code == 2


def test_file_that_is_none_is_an_error(factory: SpoolFactory, tmp_path: Path) -> None:
    snapshot_run(factory)
    args = (hex_id(2), "--file")
    assert fails(factory, *args, "gone") == (
        "Error: Could not read gone: No such file or directory\n"
    )
    assert "not a regular file" in fails(factory, *args, str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in fails(factory, *args, str(tmp_path / "pipe"))
    assert "Could not read /dev/zero" in fails(factory, *args, "/dev/zero")


@pytest.mark.parametrize("id_", ["..", ".", "a/b", "/etc", "a\0b", ""])
def test_span_ids_lead_to_no_other_directory(factory: SpoolFactory, id_: str) -> None:
    span = factory.session(0, 1, id=id_)
    factory.write([span], [], [factory.snapshot(span, mode="full", blob_uri="file:///etc/passwd")])
    write_safetensors(factory.directory.parent / "weights.safetensors", {"w": ("U8", [0], b"")})
    document = run_json(factory, id_)
    assert document["blobs"] == []


def test_broken_file_costs_a_warning_and_the_rest_is_shown(factory: SpoolFactory) -> None:
    epoch = snapshot_run(factory)
    path = factory.blob(epoch, "weights")
    path.write_bytes(b"\xff" * 100)
    result = run(factory, epoch["id"])
    assert result.exit_code == 0
    assert f"Warning: skipped: Could not read {path}: the header would be longer" in result.stderr
    assert "gradients.safetensors  (6 tensors" in result.stdout
    assert "longer than the file" in fails(factory, epoch["id"], "--file", str(path))


def test_file_cut_anywhere_is_an_error(factory: SpoolFactory, tmp_path: Path) -> None:
    epoch = snapshot_run(factory)
    whole = factory.blob(epoch, "weights").read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in [*range(0, 480), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"file|header|data"):
            TensorFile(path)


def test_hostile_header_allocates_little(factory: SpoolFactory, tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 99_999_000) + b"{")
        file.truncate(1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="no JSON object"):
        TensorFile(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def test_preview_reads_only_what_it_shows(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    path = factory.blob(root, "weights")
    size = 1 << 36
    write_safetensors(path, {})
    about = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"w": about}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + b"\x01\x02")
        file.truncate(8 + len(header) + size)
    factory.write([root], [], [factory.snapshot(root, "w", [size])])
    blob = run_json(factory, "0", "w", "--preview", "3", "--tail", "2")["blob"]
    assert (blob["first"], blob["last"]) == ([1, 2, 0], [0, 0])


# ---- export


def test_tensor_goes_to_a_file_of_its_own(factory: SpoolFactory, tmp_path: Path) -> None:
    documented(factory)
    out = tmp_path / "audit" / "my.safetensors"
    result = run(factory, "f948", "2.weight", "--preview", "1", "--export", str(out))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "first 1: [0.0179]" in result.stdout
    assert result.stdout.endswith(f"]\n\nExported {out}  (2.08 KB)\n")
    exported = load_file(out)
    assert list(exported) == ["2.weight"]
    assert exported["2.weight"].shape == (16, 32)
    assert exported["2.weight"].ravel()[:10].tolist() == np.array(FIRST, "float32").tolist()
    assert [file.name for file in out.parent.iterdir()] == ["my.safetensors"]


def test_tensor_goes_into_a_directory_under_a_safe_name(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    names = ["a/b c.weight", "..", "é" * 300, ""]
    span_with_file(factory, {name: ("U8", [0], b"") for name in names})
    for name in names:
        exported = run_json(factory, "0", name, "--export", str(tmp_path))["exported"]
        assert Path(exported[0]).parent == tmp_path
        assert list(load_file(exported[0])) == [name]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["a_b_c.weight.safetensors", "...safetensors", "_" * 243 + ".safetensors", ".safetensors"]
    )
    new = run_json(factory, "0", "..", "--export", f"{tmp_path}/new/")["exported"]
    assert new == [f"{tmp_path}/new/...safetensors"]


def test_gradient_is_exported_under_the_name_of_its_record(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    epoch = snapshot_run(factory)
    out = tmp_path / "grad.safetensors"
    assert run(factory, epoch["id"], "2.weight.grad", "--export", str(out)).exit_code == 0
    assert list(load_file(out)) == ["2.weight.grad"]


@pytest.mark.parametrize("there", [True, False])
def test_both_files_are_copied_into_a_directory(
    factory: SpoolFactory, tmp_path: Path, there: bool
) -> None:
    epoch = snapshot_run(factory)
    out = tmp_path / "out"
    if there:
        out.mkdir()
    exported = run_json(factory, epoch["id"], "--export", str(out))["exported"]
    assert exported == [str(out / f"{kind}.safetensors") for kind in ("weights", "gradients")]
    for kind in ("weights", "gradients"):
        copy = (out / f"{kind}.safetensors").read_bytes()
        assert copy == factory.blob(epoch, kind).read_bytes()


@pytest.mark.parametrize("name", ["out.safetensors", "there"])
def test_two_files_do_not_fit_one(factory: SpoolFactory, tmp_path: Path, name: str) -> None:
    epoch = snapshot_run(factory)
    path = tmp_path / name
    if name == "there":
        path.write_text("mine")
    assert fails(factory, epoch["id"], "--export", str(path)) == (
        f"Error: Destination {path} is a single file but 2 blobs were found "
        "(weights, gradients).\nPass a directory, or narrow the selection with --file.\n"
    )
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"] * (name == "there")


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("out", "out"),
        ("out.safetensors", "out.safetensors"),
        ("out.d", "out.d/weights.safetensors"),
        ("out/", "out/weights.safetensors"),
        ("there", "there/weights.safetensors"),
        ("there.txt", "there.txt"),
    ],
)
def test_one_file_goes_where_the_path_says(
    factory: SpoolFactory, tmp_path: Path, destination: str, expected: str
) -> None:
    root = span_with_file(factory, {"w": ("U8", [1], b"1")})
    (tmp_path / "there").mkdir()
    (tmp_path / "there.txt").write_text("old")
    exported = run_json(factory, "0", "--export", f"{tmp_path}/{destination}")["exported"]
    assert exported == [f"{tmp_path}/{expected}"]
    copy = (tmp_path / expected).read_bytes()
    assert copy == factory.blob(root, "weights").read_bytes()


def test_file_narrows_an_export(factory: SpoolFactory, tmp_path: Path) -> None:
    epoch = snapshot_run(factory)
    path = factory.blob(epoch, "gradients")
    out = tmp_path / "g.safetensors"
    args = (epoch["id"], "--file", str(path), "--export", str(out))
    assert run_json(factory, *args)["exported"] == [str(out)]
    assert out.read_bytes() == path.read_bytes()


def test_source_is_never_overwritten(factory: SpoolFactory, tmp_path: Path) -> None:
    epoch = snapshot_run(factory)
    path = factory.blob(epoch, "weights")
    before = path.read_bytes()
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    for destination in (path, link):
        message = fails(factory, epoch["id"], "2.weight", "--export", str(destination))
        assert "is the file that would be read" in message
    assert "is the file" in fails(factory, epoch["id"], "--export", str(path.parent))
    assert path.read_bytes() == before


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Makes writing fail beyond that many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_failed_export_leaves_what_was_there(factory: SpoolFactory, tmp_path: Path) -> None:
    epoch = snapshot_run(factory)
    out = tmp_path / "out.safetensors"
    out.write_text("old")
    for args in (["2.weight"], ["--file", str(factory.blob(epoch, "weights"))]):
        with file_size_limit(1000):
            message = fails(factory, epoch["id"], *args, "--export", str(out))
        assert message == f"Error: Could not write {out}: File too large\n"
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {out.name: "old"}


def test_destinations_that_cannot_be_are_errors(factory: SpoolFactory, tmp_path: Path) -> None:
    epoch = snapshot_run(factory)
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    args = (epoch["id"], "2.weight", "--export")
    assert "file is no directory" in fails(factory, *args, str(tmp_path / "file" / "x"))
    assert "is no regular file" in fails(factory, *args, str(tmp_path / "pipe"))
    fails(factory, *args, "", status=2)
