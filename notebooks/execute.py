"""Executes the notebooks: each NAME.py is run in a kernel of its own and written to NAME.ipynb with outputs.

    python notebooks/execute.py               # all of them, into this folder: what `make notebooks` does
    python notebooks/execute.py 02_train      # one of them
    python notebooks/execute.py 05_deepfake_detection --data deepfake-faces --out mine   # on your own

A notebook that raises ends the run with its cell and its error, and nothing of it is written.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path

try:
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from PIL import Image
    from traitlets.config import Config
except ModuleNotFoundError as error:
    sys.exit(
        f"running notebooks needs {error.name}, which is not installed. `make notebooks` installs what they "
        "need and runs them. Without make, in the repository and with pip 25.1 or newer: pip install "
        "'.[train]' --group notebooks -c constraints.txt"
    )

FOLDER = Path(__file__).resolve().parent
DATA = "DFD_NOTEBOOK_DATA"  # the notebooks read their data's path from it
SECONDS = 1800  # of a cell; on real pictures a training is one cell
# dfd writes one after each ten seconds of work, so on slow machines alone
PROGRESS = re.compile(r"^[\w ]+: \d+ of \d+.*\n?", re.MULTILINE)


class NotebookFailed(RuntimeError):
    """A notebook did not run to its end, or what it printed cannot be committed; the text says where."""


def names() -> list[str]:
    """The notebooks of this folder, in their order: 01_audit, 02_train, ..."""
    return sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.py"))


def execute(source: Path, data: Path | None = None) -> nbformat.NotebookNode:
    """Runs a notebook in percent format in a fresh kernel and an empty folder; returns it with its outputs.

    Args:
        source: NAME.py.
        data: what the notebook reads in place of the toy set; None for the toy set.

    Raises:
        NotebookFailed: a cell raised, took too long, or ended its kernel.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    # two threads a process collapse when cores are contended; sums in one order give the same outputs again
    env = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    env.pop(DATA, None)
    if data is not None:
        env[DATA] = str(data.resolve())
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        # sockets in a folder of ours: over TCP anybody on this machine could read along
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        client = NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", coalesce_streams=True, config=config
        )
        try:
            client.execute(cwd=folder, env=env)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise NotebookFailed(_where(source.name, notebook, error)) from error
    return _tidy(notebook, source.stem)


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What keeps its outputs from being committed: errors, and what went to the standard error, where
    warnings and progress bars go.
    """
    found = []
    for number, output in _outputs(notebook):
        if output.output_type == "error":
            found.append(f"cell {number} raised {output.ename}: {output.evalue}")
        elif output.output_type == "stream" and output.name == "stderr":
            found.append(f"cell {number} wrote to the standard error: {output.text.strip()[:500]}")
    return found


def _outputs(notebook: nbformat.NotebookNode) -> list[tuple[int, nbformat.NotebookNode]]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(number, output) for number, cell in enumerate(code, start=1) for output in cell.outputs]


def _where(name: str, notebook: nbformat.NotebookNode, error: Exception) -> str:
    """Which cell failed, with its text, and why; of code cells, the last one that began."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    number = max(
        (at for at, cell in enumerate(code, start=1) if cell.get("metadata", {}).get("execution")), default=1
    )
    why = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
    return f"{name}, code cell {number} of {len(code)}: {why}\n\n{code[number - 1].source}"


def _tidy(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Without what differs from run to run or machine to machine: times, random cell ids, versions, lines of
    progress.
    """
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = _small(png)
            if output.output_type == "stream" and output.name == "stderr":
                output.text = PROGRESS.sub("", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("text", "something")]
        cell.id = f"{name[:2]}-{number:02d}"
        cell.metadata = nbformat.NotebookNode()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def _small(png: str) -> str:
    """A figure (base64) in 256 colours, where that is smaller: pictures take a third of the bytes so."""
    before = base64.b64decode(png)
    file = io.BytesIO()
    Image.open(io.BytesIO(before)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return base64.b64encode(min(before, file.getvalue(), key=len)).decode()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; by default all")
    parser.add_argument(
        "--data", type=Path, help="what one notebook reads in place of the toy set; asks for --out"
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help="folder of the .ipynb files; by default this one"
    )
    given = parser.parse_args(arguments)
    asked = [Path(name).stem for name in given.names] or names()
    if unknown := [name for name in asked if name not in names()]:
        parser.error(f"there is no notebook {unknown[0]}. There are {', '.join(names())}.")
    if given.data is not None:
        if len(asked) != 1:
            parser.error("--data is read by one notebook, each of which takes another kind. Name one.")
        if given.out.resolve() == FOLDER:
            parser.error(
                "with --data the outputs hold your pictures: give --out a folder outside the repository."
            )
        if not given.data.exists():
            parser.error(f"--data {given.data}: there is no such file or folder.")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in asked:
        try:
            notebook = execute(FOLDER / f"{name}.py", given.data)
            if given.data is None and (wrong := faults(notebook)):
                raise NotebookFailed(f"{name}.py: {'; '.join(wrong)}")
        except NotebookFailed as error:
            print(f"{error}\n\n{name}.ipynb was not written.", file=sys.stderr)
            return 1
        nbformat.write(notebook, given.out / f"{name}.ipynb")
        print(f"{given.out / name}.ipynb: {len(notebook.cells)} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
