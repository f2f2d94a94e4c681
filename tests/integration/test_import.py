"""What `import cirron` does to the process: little, and nothing to other extensions."""

from support import run_script


def test_import_loads_the_standard_library_and_the_core_alone():
    result = run_script("""
    import sys
    before = set(sys.modules)
    import cirron
    loaded = {name.split(".")[0] for name in set(sys.modules) - before}
    foreign = {n for n in loaded if n not in sys.stdlib_module_names and n != "cirron"}
    print(sorted(foreign))
    """)
    assert result.stdout.strip() == "[]"


def test_other_extensions_keep_their_allocator():
    """mimalloc must not stand in for the C++ operators that NumPy and others use."""
    result = run_script("""
    import cirron
    import numpy, sklearn.neural_network, pandas
    frame = pandas.DataFrame({"a": numpy.arange(1000.0)})
    print(int(frame["a"].sum()))
    """)
    assert result.stdout.strip() == "499500"


def test_subinterpreters_are_refused_with_a_clear_error():
    result = run_script("""
    import cirron
    try:
        import _interpreters as interpreters
        run = interpreters.exec
    except ImportError:
        import _xxsubinterpreters as interpreters
        run = interpreters.run_string
    lines = ["try:", "    import cirron", "except ImportError as error:", "    print(error)"]
    run(interpreters.create(), "\\n".join(lines))
    """)
    assert "subinterpreter" in result.stdout
