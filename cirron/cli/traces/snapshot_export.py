"""Tensors and blobs of a snapshot out into files of their own."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from cirron.cli import output
from cirron.cli.progress import progress
from cirron.tensor_file import Tensor, TensorFile

_SUFFIX = ".safetensors"
_LONGEST_NAME = 255 - len(_SUFFIX)
_NO_FILENAME = re.compile(r"[^A-Za-z0-9._-]")

Exported = tuple[Path, int]


def export_tensor(file: TensorFile, tensor: Tensor, name: str, destination: str) -> list[Exported]:
    """Writes a file with this tensor alone, under `name`; returns its path and size."""
    path = Path(destination)
    if path.is_dir() or destination.endswith("/"):
        path /= _NO_FILENAME.sub("_", name)[:_LONGEST_NAME] + _SUFFIX
    _check_target(path, [file])
    with _reporting(path, file), progress("Exporting", tensor.nbytes) as advance:
        path.parent.mkdir(parents=True, exist_ok=True)
        return [(path, file.write_tensor(tensor, name, path, advance))]


def export_blobs(files: Sequence[TensorFile], destination: str) -> list[Exported]:
    """Copies whole files; returns the paths and sizes of the copies."""
    path = Path(destination)
    if _means_file(destination, len(files)):
        if len(files) > 1:
            names = ", ".join(file.path.stem for file in files)
            raise click.ClickException(
                f"Destination {output.printable(destination)} is a single file but "
                f"{len(files)} blobs were found ({output.printable(names)}).\n"
                "Pass a directory, or narrow the selection with --file."
            )
        targets = [path]
    else:
        targets = [path / file.path.name for file in files]
    for target in targets:
        _check_target(target, files)
    exported = []
    with progress("Exporting", sum(file.size for file in files)) as advance:
        for file, target in zip(files, targets, strict=True):
            with _reporting(target, file):
                target.parent.mkdir(parents=True, exist_ok=True)
                exported.append((target, file.copy(target, advance)))
    return exported


def _means_file(destination: str, blobs: int) -> bool:
    path = Path(destination)
    if path.exists():
        return not path.is_dir()
    if destination.endswith("/"):
        return False
    return path.suffix == _SUFFIX or (blobs == 1 and not path.suffix)


def _check_target(path: Path, sources: Sequence[TensorFile]) -> None:
    """Refuses to replace what is no regular file, or a file that is read from."""
    shown = output.printable(str(path))
    if path.is_dir():
        raise click.ClickException(f"Destination {shown} is a directory.")
    if not path.exists():
        return
    if not path.is_file():
        raise click.ClickException(f"Destination {shown} is no regular file.")
    if any(os.path.samefile(path, source.path) for source in sources):
        raise click.ClickException(
            f"Destination {shown} is the file that would be read. Choose another path."
        )


@contextmanager
def _reporting(path: Path, source: TensorFile) -> Iterator[None]:
    """Turns what goes wrong with an export into an error that names the file."""
    try:
        yield
    except FileExistsError as error:  # by mkdir
        shown, parent = output.printable(str(path)), output.printable(str(path.parent))
        raise click.ClickException(f"Could not write {shown}: {parent} is no directory") from error
    except OSError as error:
        shown = output.printable(str(path))
        raise click.ClickException(f"Could not write {shown}: {error.strerror}") from error
    except ValueError as error:
        shown = output.printable(str(source.path))
        raise click.ClickException(f"Could not read {shown}: {error}") from error
