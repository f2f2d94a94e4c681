"""The logger `cirron`, on which everything that goes wrong is said.

Messages begin with `cirron: `, because a program that set up no logging shows nothing else.
"""


def warn(message: str, *args: object) -> None:
    """Logs a WARNING; `args` are merged into `message` as `logging` does it."""
    import logging  # here, because most programs never warn and the import takes a while

    logging.getLogger("cirron").warning(f"cirron: {message}", *args)
