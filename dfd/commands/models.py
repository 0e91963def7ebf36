"""Verbs of released detectors: models, reproduce, sign."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def models(
    do: Literal["list", "show", "fetch", "verify"] = "list",
    /,
    *names: str,
    list: str | None = None,
    trust: Path | None = None,
) -> int:
    """Released detectors: what can be fetched, what can be made of public data, what lies here; on which
    terms, and how good on which sources.

    A detector that is here is named wherever a checkpoint is: dfd score NAME photo.jpg. Fetching goes on
    where it was killed, asks one mirror after another, and nothing takes its name before its sha256 is right.
    Nothing is fetched by any other word.

    Args:
        do: list: a few lines each. show: all of one: files, terms, every figure, what they do not hold for.
            fetch: brings it here. verify: checks the bytes of what is here.
        names: Detectors: of show and fetch at least one, of verify by default all that are here.
        list: Path or address of another list; LIST.sig beside it is its signature. [default: the one in the
            package]
        trust: File with public keys in PEM, one of which must have signed the list. [default: dfd's key]
    """
    from dfd.released import show
    from dfd.released.model_list import open_list
    from dfd.released.store import everything_held, fetch, held

    if do == "verify":
        return _verify(names, list, trust)
    known = open_list(list, trust)
    if do == "list":
        if names:
            raise ValueError(f"list takes no name: dfd models show {names[0]}.")
        print(show.listing(known, everything_held()))
        return 0
    if not names:
        raise ValueError(
            f"name a detector: dfd models {do} {known.entries[0].name if known.entries else 'NAME'}."
        )
    entries = [known.find(name) for name in names]
    for entry in entries:
        if do == "show":
            print(show.whole(entry, held(entry.name)))
        else:
            one = fetch(entry, known.place, _say)
            print(f"{one.name} {one.version} is here: dfd score {one.name} PICTURES\n  {one.path}")
    return 0


def _say(line: str) -> None:
    import sys

    print(line, file=sys.stderr, flush=True)


def _verify(names: tuple[str, ...], list: str | None, trust: Path | None) -> int:
    from dfd.released.model_list import open_list
    from dfd.released.store import everything_held, how_to_get, store

    here = everything_held()
    for name in names:
        if name not in {one.name for one in here}:
            try:
                way = how_to_get(open_list(list, trust).find(name))
            except ValueError as error:  # of no such name, or of the list itself
                way = str(error)
            except ModuleNotFoundError:  # of the package that checks the list's signature
                way = "`dfd models` lists what there is; it needs dfd[models]."
            raise ValueError(f"{name} is not here, in {store()}. {way}")
    chosen = [one for one in here if not names or one.name in names]
    if not chosen:
        print(f"nothing is here, in {store()}")
    damaged = 0
    for one in chosen:
        faults = one.faults()
        damaged += bool(faults)
        print(f"{one.name} {one.version}: {'; '.join(faults) or f'whole, {len(one.files)} files'}")
        if faults:
            print(f"    remove {one.folder}, and get it again")
    return int(bool(damaged))


def reproduce(
    name: str,
    /,
    *,
    data: Path,
    out: Path,
    weights: Path | None = None,
    epochs: int | None = None,
    list: str | None = None,
    trust: Path | None = None,
) -> int:
    """Makes a released detector of public data on this machine: prepare, fit, evaluate, report, export; then
    compares its figures with those of the list.

    Whatever interrupts it, the same command goes on. Where all figures reach the list's intervals, the
    detector lies here under its name, and the exit code is 0. Where they do not, it says by how much, and
    leaves the detector in OUT.

    Args:
        name: A detector of the list that has a recipe: dfd models.
        data: The public data set on your disk, as it is published.
        out: Folder for shards, run, results, and the detector in the layout of the Hugging Face Hub.
        weights: File of the pretrained weights, where there is no hub.
        epochs: A shorter training, to see whether all goes through. Its figures are compared all the same.
            [default: the recipe's]
        list: As of dfd models.
        trust: As of dfd models.
    """
    from dfd.evaluate.reproduce import reproduce
    from dfd.released.model_list import open_list

    return reproduce(open_list(list, trust).find(name), data, out, weights, epochs)


def sign(list: Path | None = None, /, *, key: Path | None = None, new_key: Path | None = None) -> None:
    """For who publishes detectors: signs a list, or makes the keys for it.

    Args:
        list: The list, in YAML; it is checked, and LIST.sig is written beside it.
        key: Your secret key, a PEM file with an Ed25519 key.
        new_key: Instead makes a secret key in this file, NAME.pem, and the public one in NAME.pub.
    """
    from dfd.released.entry import entries_of
    from dfd.released.signature import new_key as make_key
    from dfd.released.signature import sign
    from dfd.text_files import read_yaml

    if new_key is not None:
        if list is not None or key is not None:
            raise ValueError("--new-key makes keys and signs nothing: give it alone.")
        print(f"secret: {new_key}\npublic: {make_key(new_key)}")
        return
    if list is None or key is None:
        raise ValueError(
            "name a list and your key: dfd sign LIST --key KEY. dfd sign --new-key FILE makes one."
        )
    entries = entries_of(read_yaml(list), str(list))
    print(f"{len(entries)} detector{'s' * (len(entries) != 1)}, signed: {sign(list, key)}")


VERBS = (models, reproduce, sign)
