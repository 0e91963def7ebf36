"""`dfd cues`: the forensic cues of every picture of finished shards, added to their table.

Killed at any moment it goes on, and the folder holds whole shards, with cues or without: index.json alone
says that they are there, and is replaced last.
"""

import shutil
from pathlib import Path

import pyarrow as pa

from dfd.forensics.cues import CUES, CUES_VERSION, describe
from dfd.parallel import num_processes
from dfd.prepare.measure import Measurement, add_to_shards, make_way, measure
from dfd.shards.cue_table import CueNames
from dfd.shards.format import INDEX, SAMPLES_FILE
from dfd.shards.table import load_table, read_index
from dfd.shards.validate import COLUMN
from dfd.shards.writer import write_index, write_table

STATE = ".cues"
WHAT = Measurement(STATE, "measuring cues", (CUES_VERSION, CUES), describe, pa.list_(pa.float32()))


def add_cues(root: Path, workers: int | None = None) -> str:
    """Measures the cues of all pictures of finished shards and adds them to samples.parquet and index.json;
    returns a sentence. Shards that have those of this version are left alone.

    Raises:
        ValueError: no finished shards, a part of them, or a file that is not what the table says.
        OSError: unwritable folder or full disk, in words.
    """
    processes, names = num_processes(workers), CueNames(CUES_VERSION, CUES)
    return add_to_shards(root, lambda folder: _add(folder, names, processes))


def _add(root: Path, names: CueNames, processes: int) -> str:
    index, table = read_index(root), load_table(root)
    if CueNames.of(index) == names:
        shutil.rmtree(root / STATE, ignore_errors=True)
        return f"{root}: its {len(table)} pictures have their {len(names.names)} cues already."
    make_way(root, STATE, (SAMPLES_FILE, INDEX).__contains__)
    write_table(root, table.append_column(COLUMN, measure(root, table, WHAT, processes)), names)
    # the cues before the list of shards, as `dfd prepare` has them
    facts = {name: value for name, value in index.items() if name not in (COLUMN, "shards")}
    write_index(root, {**facts, COLUMN: names.facts(), "shards": index["shards"]})
    shutil.rmtree(root / STATE, ignore_errors=True)
    return f"{root}: {len(names.names)} cues of each of {len(table)} pictures are in {SAMPLES_FILE}."
