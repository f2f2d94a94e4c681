"""Statistics of arrays: NumPy's own answers, to the bit where bins are concerned."""

import array
import ctypes
import math
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import run_script

from cirron import _core

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
MANY = 3 * 16384 + 77


def tensor_stats(array):
    stats = _core.tensor_stats(array)
    return {**stats.as_dict(), "nan_count": stats.nan_count, "inf_count": stats.inf_count}


def close(ours, numpys, tolerance=1e-12):
    return math.isclose(ours, float(numpys), rel_tol=tolerance, abs_tol=1e-300)


def histogram_of(values):
    """NumPy's counts and edges; halves count as float32, where NumPy has coarser edges."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    return np.histogram(values, bins=16)


def check(values, stats=None):
    stats = tensor_stats(values) if stats is None else stats
    kept = values[np.isfinite(values)].ravel()
    assert stats["nan_count"] == np.isnan(values).sum()
    assert stats["inf_count"] == np.isinf(values).sum()
    if kept.size == 0:
        assert all(stats[key] is None for key in ("mean", "std", "min", "max", "norm", "histogram"))
        return
    exact = kept.astype(np.longdouble)
    size = float(np.abs(exact).max()) or 1.0
    assert abs(stats["mean"] - exact.mean()) <= 1e-14 * size
    assert abs(stats["std"] - exact.std()) <= 1e-10 * float(exact.std()) + 1e-15 * size
    assert close(stats["norm"], np.sqrt((exact**2).sum()))
    assert stats["min"] == float(kept.min())
    assert stats["max"] == float(kept.max())
    counts = stats["histogram"]["counts"]
    bins = stats["histogram"]["bins"]
    assert sum(counts) == kept.size
    assert bins == sorted(bins)
    try:
        numpys_counts, numpys_bins = histogram_of(kept)
    except ValueError:  # NumPy finds too few floats between the extremes
        return
    assert counts == numpys_counts.tolist()
    assert bins == numpys_bins.tolist()


def elements(dtype):
    if np.dtype(dtype).kind == "f":
        width = 8 * np.dtype(dtype).itemsize
        limit = {16: 60000.0, 32: 2.0**100, 64: 2.0**480}[width]
        wide = st.floats(-limit, limit, width=width)
        return st.one_of(wide, st.floats(-4, 4, width=width), st.sampled_from([0.0, 1.0, -1.0]))
    return hnp.from_dtype(np.dtype(dtype))


@given(st.data())
def test_any_array_has_the_statistics_that_numpy_finds(data):
    dtype = data.draw(st.sampled_from((*FLOATS, *INTEGERS, "bool")))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12))
    values = data.draw(hnp.arrays(dtype, shape, elements=elements(dtype)))
    check(values)


@given(st.data())
def test_nan_and_infinity_are_counted_and_left_out(data):
    dtype = data.draw(st.sampled_from(FLOATS))
    special = st.sampled_from([math.nan, math.inf, -math.inf])
    either = st.one_of(elements(dtype), special)
    check(data.draw(hnp.arrays(dtype, st.integers(0, 200), elements=either)))


@given(st.data())
def test_strides_do_not_matter(data):
    dtype = data.draw(st.sampled_from((*FLOATS, "int64", "uint8", "bool")))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=12))
    values = data.draw(hnp.arrays(dtype, shape, elements=elements(dtype)))
    view = values[data.draw(hnp.basic_indices(shape))]
    assume(isinstance(view, np.ndarray))
    view = np.transpose(view, data.draw(st.permutations(range(view.ndim))))
    check(view)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mean", [0.0, 3.0, 1000.0])
def test_long_arrays_agree_with_numpy(dtype, mean):
    random = np.random.default_rng(7)
    values = (random.standard_normal((MANY // 7, 7)) + mean).astype(dtype)
    check(values)
    check(values.T)
    check(values[::-3, ::-2])
    check(np.asfortranarray(values)[1:, 1:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exponent", [-140, -126, -100, -30, -3, 0, 9, 25, 60, 110])
def test_bins_are_numpys_at_every_magnitude(dtype, exponent):
    random = np.random.default_rng(exponent + 200)
    for offset in (0.0, 1.0, -17.0, 4000.0):
        values = (random.standard_normal(5000) + offset).astype(dtype)
        values = np.ldexp(values, exponent).astype(dtype)
        check(values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_on_the_edges_and_beside_them_are_in_numpys_bins(dtype):
    random = np.random.default_rng(11)
    for _ in range(50):
        low, high = np.sort(random.standard_normal(2).astype(dtype) * dtype_scale(random))
        edges = np.linspace(low, high, 17, dtype=dtype)
        beside = [np.nextafter(edges, dtype_of(dtype)(way)) for way in (-np.inf, np.inf)]
        values = np.clip(np.concatenate([edges, *beside, edges, edges]), low, high)
        check(np.tile(values, 9))


def dtype_of(name):
    return np.dtype(name).type


def dtype_scale(random):
    return 10.0 ** random.integers(-6, 6)


def test_whole_numbers_fall_on_edges_exactly():
    for top in (15, 16, 17, 31, 32, 255):
        values = np.arange(top + 1).repeat(30)
        for dtype in ("float32", "float64", "int16", "uint8"):
            check(values.astype(dtype))


def test_variance_survives_a_mean_of_a_million():
    random = np.random.default_rng(3)
    for dtype, tolerance in (("float32", 1e-12), ("float64", 1e-10)):
        values = (random.standard_normal(MANY) + 1e6).astype(dtype)
        exact = values.astype(np.longdouble)
        assert close(tensor_stats(values)["std"], exact.std(), tolerance)
    values = random.standard_normal(MANY) + 1e12
    assert close(tensor_stats(values)["std"], values.astype(np.longdouble).std(), 1e-9)


def test_an_outlier_at_the_start_does_not_spoil_the_variance():
    values = np.random.default_rng(5).standard_normal(MANY) + 1e6
    values[0] = -1e9
    assert close(tensor_stats(values)["std"], values.astype(np.longdouble).std(), 1e-10)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.25, 1e-40, 1e30, -1e300, 0.1])
def test_equal_values_have_no_deviation_and_one_bin(value):
    stats = tensor_stats(np.full(MANY, value))
    assert stats["std"] == 0.0
    assert stats["mean"] == stats["min"] == stats["max"] == value
    assert sorted(stats["histogram"]["counts"]) == [0] * 15 + [MANY]
    if abs(value) < 1e15:
        check(np.full(MANY, value))


def test_one_element_and_zero_dimensions_are_arrays_too():
    check(np.array(2.5, "f4"))
    check(np.array([[-7]], "i8"))
    assert tensor_stats(np.array(True))["mean"] == 1.0


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1e200, 1.7e308])
def test_squares_beyond_float64_do_not_spoil_norm_and_deviation(scale):
    values = np.array([1.0, -1.0, 1.0, -1.0]) * scale
    stats = tensor_stats(values)
    assert stats["std"] == scale
    assert stats["min"] == -scale
    assert stats["max"] == scale
    assert close(stats["norm"] / 2, scale) or stats["norm"] == math.inf
    assert sum(stats["histogram"]["counts"]) == 4
    assert all(math.isfinite(edge) for edge in stats["histogram"]["bins"])


def test_small_numbers_beside_huge_ones_keep_their_extremes():
    stats = tensor_stats(np.array([1e-300, 1e300, math.nan]))
    assert stats["min"] == 1e-300
    assert stats["max"] == 1e300
    assert stats["nan_count"] == 1


def test_float32_over_its_whole_range_has_finite_bins():
    top = float(np.finfo("f4").max)
    stats = tensor_stats(np.array([-top, 0.0, top], "f4"))
    assert stats["histogram"]["bins"][0] == -top
    assert stats["histogram"]["bins"][16] == top
    assert [i for i, count in enumerate(stats["histogram"]["counts"]) if count] == [0, 8, 15]


def test_neighbouring_floats_are_in_different_bins():
    for dtype in ("float32", "float64"):
        low = np.array(1.0, dtype)
        high = np.nextafter(low, np.array(2.0, dtype))
        counts = tensor_stats(np.array([low, high, high, low, low], dtype))["histogram"]["counts"]
        assert (counts[15], sorted(counts)[-2:], sum(counts)) == (2, [2, 3], 5)


def test_integers_at_their_ends_are_read_as_numpy_reads_them():
    for dtype in ("int64", "uint64"):
        limits = np.iinfo(dtype)
        stats = tensor_stats(np.array([limits.min, 0, limits.max], dtype))
        assert stats["min"] == float(limits.min)
        assert stats["max"] == float(limits.max)
        assert sum(stats["histogram"]["counts"]) == 3


def test_every_half_is_read_exactly():
    halves = np.arange(65536, dtype="u2").view("f2")
    check(halves)
    for some in np.split(halves[np.isfinite(halves)], 62):
        assert tensor_stats(some)["min"] == float(some.min())
        assert tensor_stats(some)["max"] == float(some.max())


def test_repeated_and_overlapping_rows_count_each_time():
    row = np.arange(5.0)
    check(np.broadcast_to(row, (7, 5)))
    check(np.lib.stride_tricks.sliding_window_view(np.arange(400.0), 300))


def test_unaligned_and_read_only_arrays_are_read():
    raw = np.arange(40_001, dtype="u1").tobytes()
    for dtype in ("f2", "f4", "f8"):
        values = np.frombuffer(raw, dtype, count=40_000 // 8, offset=1)
        assert not values.flags.writeable
        with np.errstate(invalid="ignore", over="ignore"):
            kept = values[np.isfinite(values)]
        stats = tensor_stats(values)
        assert stats["max"] == float(kept.max())
        assert stats["nan_count"] == np.isnan(values).sum()


def test_whatever_has_the_buffer_protocol_is_read():
    assert tensor_stats(array.array("d", [1.0, 3.0]))["mean"] == 2.0
    assert tensor_stats(b"\x01\xff")["max"] == 255.0
    assert tensor_stats(memoryview(b"\x01\x03\x06")[::-2])["mean"] == 3.5
    assert tensor_stats((ctypes.c_int16 * 3)(1, 2, -300))["min"] == -300.0


@pytest.mark.parametrize(
    "wrong", [None, 3.0, [1.0], "text", object(), np.float32, type("Half", (), {"__dlpack__": 1})()]
)
def test_what_is_no_array_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="an array is needed"):
        tensor_stats(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(2, "c8"),
        np.zeros(2, np.longdouble),
        np.zeros(2, "S3"),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "f4").astype(">f4" if sys.byteorder == "little" else "<f4"),
        np.zeros(2, "M8[s]"),
        np.zeros(2, object),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_elements_are_a_value_error(wrong):
    with pytest.raises(ValueError, match=r"statistics of|can't be read"):
        tensor_stats(wrong)


# ---- DLPack


class Lender:
    """Lends a NumPy array by DLPack alone, in the way a test asks for."""

    def __init__(self, values, *, versioned=True, device=(1, 0), change=None):
        self.values = values
        self.versioned = versioned
        self.device = device
        self.change = change
        self.capsule = None

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        if options and not self.versioned:
            raise TypeError("unexpected keyword argument")
        self.capsule = self.values.__dlpack__(**options)
        if self.change is not None:
            self.change(self.capsule)
        return self.capsule


get_name = ctypes.pythonapi.PyCapsule_GetName
get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype = ctypes.c_void_p
get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_capsules_of_either_version_are_consumed_and_the_array_given_back(dtype, versioned):
    values = np.arange(24).astype(dtype).reshape(4, 6)[::-1, ::2].T
    lender = Lender(values, versioned=versioned)
    held = sys.getrefcount(values)
    check(values, tensor_stats(lender))
    name = b"used_dltensor_versioned" if versioned else b"used_dltensor"
    assert get_name(lender.capsule) == name
    assert sys.getrefcount(values) == held


def test_a_capsule_itself_is_read_once(torch):
    capsule = torch.arange(5.0).__dlpack__()
    assert tensor_stats(capsule)["mean"] == 2.0
    with pytest.raises(ValueError, match="incorrect name"):
        tensor_stats(capsule)


def word(capsule, offset, kind=ctypes.c_uint32):
    return kind.from_address(get_pointer(capsule, b"dltensor_versioned") + offset)


# Bytes from the start of a versioned tensor: version, context, deleter, flags, tensor.
MAJOR, DEVICE, DIMENSIONS, CODE, LANES = 0, 40, 48, 52, 54


@pytest.mark.parametrize(
    ("offset", "kind", "value", "error"),
    [
        (MAJOR, ctypes.c_uint32, 2, ValueError),
        (DEVICE, ctypes.c_int32, 2, TypeError),
        (DIMENSIONS, ctypes.c_int32, 65, ValueError),
        (DIMENSIONS, ctypes.c_int32, -1, ValueError),
        (CODE, ctypes.c_uint8, 5, ValueError),
        (CODE, ctypes.c_uint8, 200, ValueError),
        (LANES, ctypes.c_uint16, 4, ValueError),
    ],
)
def test_a_refused_capsule_is_given_back_all_the_same(offset, kind, value, error):
    values = np.arange(8.0)

    def change(capsule):
        word(capsule, offset, kind).value = value

    lender = Lender(values, change=change)
    held = sys.getrefcount(values)
    with pytest.raises(error):
        tensor_stats(lender)
    assert get_name(lender.capsule) == b"used_dltensor_versioned"
    assert sys.getrefcount(values) == held


def test_a_tensor_on_a_device_is_refused_before_it_is_asked_for():
    lender = Lender(np.zeros(2), device=(2, 0))
    with pytest.raises(TypeError, match="copy it to the CPU"):
        tensor_stats(lender)
    assert lender.capsule is None


def test_what_returns_no_capsule_is_an_error_of_ours():
    class Wrong(Lender):
        def __dlpack__(self, **_):
            return self.values

    with pytest.raises((TypeError, ValueError)):
        tensor_stats(Wrong(np.zeros(2)))


@pytest.mark.parametrize("error", [BufferError, RuntimeError, NotImplementedError])
def test_what_the_owner_will_not_lend_is_a_value_error_with_its_reason(error):
    class Refusing(Lender):
        def __dlpack__(self, **_):
            raise error("not today")

    with pytest.raises(ValueError, match=r"not today .*detached"):
        tensor_stats(Refusing(np.zeros(2)))


# ---- PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_bfloat16_tensors_are_read_as_what_they_hold(torch):
    tensor = torch.randn(300, 70, generator=torch.Generator().manual_seed(1)).bfloat16()
    for view in (tensor, tensor.t(), tensor[::3, 5:], tensor[0, 0]):
        check(view.float().numpy(), tensor_stats(view))


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_torch_tensors_of_any_strides_are_read(torch, name):
    tensor = (torch.arange(600) % 7).to(getattr(torch, name)).reshape(20, 5, 6)
    for view in (tensor, tensor.permute(2, 0, 1), tensor[::2, 1:, ::3], tensor.expand(2, 20, 5, 6)):
        check(view.numpy(), tensor_stats(view))


def test_a_parameter_is_to_be_detached_and_says_so(torch):
    weight = torch.nn.Linear(3, 2).weight
    with pytest.raises(ValueError, match="detach"):
        tensor_stats(weight)
    check(weight.detach().numpy(), tensor_stats(weight.detach()))


def test_torch_tensors_without_memory_here_are_an_error_of_ours(torch):
    for tensor in (torch.zeros(2, device="meta"), torch.zeros(2, dtype=torch.complex64)):
        with pytest.raises((TypeError, ValueError)):
            tensor_stats(tensor)


# ---- memory


def test_nothing_is_leaked_by_reading_or_by_refusing():
    result = run_script(
        """
        import numpy as np
        from cirron._core import tensor_stats

        class Lender:
            def __init__(self, values):
                self.values = values
                self.__dlpack_device__ = values.__dlpack_device__
            def __dlpack__(self, **options):
                return self.values.__dlpack__(**options)

        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * 4096

        def work(n):
            for _ in range(n):
                values = np.ones((100, 30), "f4")
                tensor_stats(values).as_dict()
                tensor_stats(values[::2, ::3])
                tensor_stats(Lender(values))
                for wrong in (Lender(values.astype("c8")), values.astype("c8"), None):
                    try:
                        tensor_stats(wrong)
                    except (TypeError, ValueError):
                        pass

        work(2000)
        before = resident()
        work(10_000)
        print(resident() - before)
        """
    )
    assert int(result.stdout) < 2_000_000
