"""Documentation: links, navigation, commands and their options; and every bash and python block runs."""

import ast
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from forked_python import forking
from pages import DOCS, PAGES, ROOT, anchors, blocks, links, prose, source, typed

import dfd
from dfd.batch import LABELS
from dfd.cli import LIGHTNING_VERBS, PLAIN_VERBS, _app
from dfd.resources import config_named
from dfd.synthetic.toy import draw_sample

NUM_PICTURES, SIZE = 120, 160
OF_FIT = {
    "--config",
    "--run_folder",
    "--ckpt_path",
    "--allow",
    "--seed_everything",
    "--print_config",
    "--weights_only",
    "--verbose",
}
# what must not run in a test, and stands in console blocks
REFUSED = (
    "pip",
    "make",
    "sbatch",
    "srun",
    "wandb",
    "git",
    "zensical",
    "pre-commit",
    "sudo",
    "apt-get",
    "curl",
    "wget",
)


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _navigation(entries: list) -> Iterator[str]:
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(target, list):
                yield from _navigation(target)
            else:
                yield target


each_page = pytest.mark.parametrize("page", PAGES, ids=_id)


@each_page
def test_links_lead_to_pages_and_headings_that_are_there(page):
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        outside = page.is_relative_to(DOCS) and not target.is_relative_to(DOCS)
        if outside or not target.is_file():
            wrong.append(link)
            continue
        # the ids of python.md come from docstrings: the strict build checks those
        if anchor and not anchor.startswith("dfd.") and anchor not in anchors(target):
            wrong.append(link)
    assert not wrong, f"{_id(page)} links to {wrong}"


def test_every_page_is_in_the_navigation_once():
    site = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    listed = list(_navigation(site["nav"]))
    there = [page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)]
    assert sorted(listed) == sorted(there)
    assert site["theme"]["font"] is False, "else the site asks a font host"


@each_page
def test_a_page_names_no_machine_no_registry_and_no_strangers_script(page):
    text = source(page)
    assert not re.findall(r"(?<![\w.~$}])/(?:home|root|work|Users|tmp|mnt|scratch|opt)/\S*", text)
    assert not re.findall(r"pypi\.|pythonhosted|--(?:extra-)?index-url", text)
    assert not re.findall(r"<(?:script|iframe|link)\b", text)
    assert not re.findall("[\U0001f300-\U0001faff\u2705\u274c\u26a0]", text)


@each_page
def test_a_page_begins_with_what_it_is_for(page):
    text = re.sub(r"\A---\n.*?\n---\s*", "", source(page), flags=re.DOTALL)
    assert re.match(r"# .+\n\n", text), f"{_id(page)} begins with one heading and a paragraph"


@each_page
def test_files_that_a_page_names_are_there(page):
    named = re.findall(
        r"`((?:tests|benchmarks|slurm|configs|dfd|docs)/[\w/.-]*[\w-]\.(?:py|sbatch|yaml|md))`", source(page)
    )
    missing = sorted({name for name in named if "/my_" not in name and not (ROOT / name).is_file()})
    assert not missing, f"{_id(page)} names {missing}"


@each_page
def test_commands_that_are_not_run_exist_with_their_options(page):
    titles = {block.title for block in blocks(page) if block.title}
    for words in typed(page):
        if words[0] == "dfd":
            _check_dfd(words[1:], titles)
        elif words[0] in ("sbatch", "srun"):
            at = next((place for place, word in enumerate(words) if word.endswith(".sbatch")), None)
            if at is not None:
                script, rest = Path(words[at]), words[at + 1 :]
                assert (ROOT / script).is_file(), f"there is no {script}"
                verb = {"train": ["fit"], "prepare": ["prepare"], "sweep": ["sweep"], "evaluate": []}[
                    script.stem
                ]
                if rest and rest != ["..."]:
                    _check_dfd([*verb, *(word for word in rest if word != "--")], titles)
        elif words[0] == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert [word for word in words[1:] if "=" not in word and word not in targets] == []


def _check_dfd(words: list[str], titles: set[str]) -> None:
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("--help", "--version", "-h"):
        return
    assert verb in (*LIGHTNING_VERBS, *PLAIN_VERBS), f"there is no dfd {verb}"
    if verb in LIGHTNING_VERBS:
        _check_fit(rest, titles)
        return
    known = {"--help", "-h"}
    for argument in _app()[verb].assemble_argument_collection():
        known |= {name for name in argument.names if name.startswith("-")}
    own, _, of_fit = (" ".join(rest)).partition(" -- ")
    strange = [word for word in own.split() if word.startswith("--") and word.partition("=")[0] not in known]
    if verb in ("submit", "tune-batch"):
        _check_fit([*strange, *of_fit.split()], titles)
    else:
        assert not strange, f"dfd {verb} has no {strange}"


def _check_fit(words: list[str], titles: set[str]) -> None:
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if not word.startswith("-") or word == "-":
            continue
        option, equals, value = word.partition("=")
        top = option[2:].partition(".")[0].removesuffix("+")
        assert option in OF_FIT or top in ("data", "model", "trainer", "help"), f"dfd fit has no {option}"
        value = value if equals else after
        if option == "--config" or (option in ("--data", "--model", "--trainer") and value.endswith(".yaml")):
            # one of dfd's, one that the page writes, that of a run, or a word in capitals that stands for one
            own = value in titles or value.startswith("my_") or Path(value).name == "config.yaml"
            assert own or value == value.upper() or config_named(value), f"there is no config {value}"


@pytest.mark.slow
def test_the_command_line_page_is_what_the_parsers_say():
    if version("cyclopts").partition(".")[0] != "5":
        pytest.skip("the page is made with cyclopts 5")
    made = subprocess.run(
        [sys.executable, DOCS / "cli.py"], capture_output=True, text=True, check=True
    ).stdout
    assert made == (DOCS / "cli.md").read_text(), "python docs/cli.py > docs/cli.md"


@pytest.mark.slow
def test_the_page_of_forensic_tools_is_what_the_catalogue_says():
    made = subprocess.run(
        [sys.executable, DOCS / "tools.py"], capture_output=True, text=True, check=True
    ).stdout
    assert made == (DOCS / "forensic-tools.md").read_text(), "python docs/tools.py > docs/forensic-tools.md"


def test_the_python_page_names_what_can_be_imported():
    names = re.findall(r"^::: ([\w.]+)$", source(DOCS / "python.md"), re.MULTILINE)
    assert names
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            package, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(package), attribute), f"there is no {name}"


def test_the_architecture_page_names_every_room_and_module():
    text = source(DOCS / "architecture.md")
    package = Path(dfd.__file__).parent
    for path in sorted(package.rglob("*.py")):
        name = path.stem if path.stem != "__init__" else path.parent.name
        if not name.startswith("__"):
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), (
                f"{path.relative_to(ROOT)} is missing"
            )


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> Iterator[dict[str, str]]:
    """Variables in which `dfd` is the small one; what needs a network or changes the machine is refused."""
    tools = tmp_path_factory.mktemp("tools")
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if name != "DFD_YUNET"}
    variables = {
        # a page fetches a detector, which is not to stay with the user
        **kept, "DFD_CACHE": str(tmp_path_factory.mktemp("cache")), "PATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg", "PYTHONFAULTHANDLER": "1", "COLUMNS": "120",
    }  # fmt: skip
    with forking(variables) as python:
        scripts = {"python": f'exec {shlex.join(python)} "$@"'}
        scripts["dfd"] = f'exec {shlex.join([*python, str(Path(__file__).with_name("small_dfd.py"))])} "$@"'
        scripts |= {
            name: f'echo "{name}: not in a bash block: write it as console" >&2; exit 1' for name in REFUSED
        }
        for name, script in scripts.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
        yield variables


@pytest.fixture(scope="session")
def given(tmp_path_factory, environment) -> Path:
    """A page's folder: pictures/real, pictures/fake and photo.jpg, drawn as the toy set is, and best.ckpt, a
    detector after two steps of training."""
    root = tmp_path_factory.mktemp("given")
    for number in range(NUM_PICTURES + 1):
        sample = draw_sample(number, NUM_PICTURES + 1, SIZE, seed=0)
        folder = root / "pictures" / LABELS[sample["label"]]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{sample['key']}.jpg" if number < NUM_PICTURES else root / "photo.jpg"
        path.write_bytes(sample["image_bytes"])
    run = tmp_path_factory.mktemp("run")
    _run(["bash", "-c", "dfd fit --config small_cnn --run_folder run"], run, environment)
    shutil.copy(run / "run" / "checkpoints" / "best.ckpt", root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language in ("bash", "python") for block in blocks(page))],
    ids=_id,
)
def test_the_blocks_of_a_page_run(page, given, environment, tmp_path):
    shutil.copytree(given, tmp_path, dirs_exist_ok=True)
    code = []
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.title).write_text(block.text)
        if block.language == "python":
            ast.parse(block.text, f"{_id(page)}, line {block.line}")
            # one with a title is a module, which another block imports
            code += [] if block.title else [block.text]
    script = "\n".join(block.text for block in blocks(page) if block.language == "bash")
    _run(["bash", "-e", "-o", "pipefail", "-c", script], tmp_path, environment)
    if code:
        _run(["python", "-c", "\n".join(code)], tmp_path, environment)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode} of\n{command[-1]}\n{done.stdout[-6000:]}"


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_no_other_host(tmp_path):
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install --group docs")
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in ("zensical.toml", "SECURITY.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "dfd").symlink_to(Path(dfd.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        asked = re.findall(
            r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]+"', page.read_text()
        )
        assert not [each for each in asked if 'rel="canonical"' not in each], page.name


def test_prose_is_there():
    assert all(prose(page).strip() for page in PAGES)
