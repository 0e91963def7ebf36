"""An export to OpenVINO judges in full precision and in many threads, its package reports to nobody, and files that are not as `dfd export` wrote them say why."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import dfd
from dfd.cli import main
from dfd.detector.exported_net import CARD, RUNTIME
from dfd.detector.openvino_net import sealed
from dfd.inference.export import export

for package, extra in (("onnxscript", "export"), ("openvino", "openvino")):
    pytest.importorskip(package, reason=f"pip install 'dfd[{extra}]'")
pytestmark = [pytest.mark.slow, pytest.mark.openvino]
# a Python that has neither torch nor ONNX, whose packages may not reach the network
ALONE = """
import socket, sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
hidden = {"torch", "onnx", "onnxruntime", "onnxscript"}
PathFinder.find_spec = staticmethod(lambda name, *rest: None if name.partition(".")[0] in hidden else find(name, *rest))

def refuse(*asked):
    print("ASKED THE NETWORK", *asked[1:], file=sys.stderr)
    raise OSError("no network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from dfd.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def exported(save, tmp_path_factory):
    """A checkpoint, and its export."""
    checkpoint, path = save(), tmp_path_factory.mktemp("openvino") / "best.xml"
    export(checkpoint, path)
    return checkpoint, path


def test_it_judges_without_torch_or_onnx_and_reports_to_nobody(exported, noise, encoded, tmp_path):
    checkpoint, path = exported
    pictures = []
    for seed in range(3):
        pictures.append(tmp_path / f"{seed}.png")
        pictures[-1].write_bytes(encoded(noise(96, 96, seed)))
    home = tmp_path / "home"
    home.mkdir()
    # what OpenVINO takes for a sign that nobody wants its reports
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD")}
    words = [sys.executable, "-c", ALONE, "score", path, *pictures, "--whole", "--json"]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env={**environment, "HOME": str(home), "MPLCONFIGDIR": str(tmp_path)},
    )
    assert done.returncode == 0 and "ASKED" not in done.stderr, done.stderr
    detector = dfd.load(checkpoint)
    for line, picture in zip(done.stdout.splitlines(), pictures, strict=True):
        found, (expected,) = json.loads(line), detector.score(picture, whole=True)
        assert found["verdict"] == expected.verdict
        assert found["logit"] == pytest.approx(expected.logit, abs=1e-4)
    assert not list(home.iterdir()), "an identifier of the user, for its reports"


def test_it_computes_in_full_precision_on_the_threads_that_it_is_given(exported, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    compiled = dfd.load(exported[1]).runtime.compiled["answers"]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert not compiled.get_property("ENABLE_CPU_PINNING")


def test_many_threads_get_each_their_own_answers(exported, noise):
    detector = dfd.load(exported[1])
    stacks = [detector.view.eval_crops(noise(96, 96, seed))[: seed % 5 + 1] for seed in range(40)]
    expected = [detector.logits([stack]) for stack in stacks]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda stack: detector.logits([stack]), stacks * 3)) == expected * 3
    with pytest.raises(ValueError, match=r"OpenVINO cannot judge crops \(1, 60, 64, 3\)"):
        detector.logits([stacks[0][:, :60]])


def test_strange_files_say_why(exported, tmp_path, capsys):
    xml, weights = (exported[1].with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin"))
    strange = tmp_path / "strange.xml"

    def refused(match, content=xml, beside=weights):
        strange.write_bytes(content)
        strange.with_suffix(".bin").write_bytes(beside)
        with pytest.raises(ValueError, match=match) as error:
            dfd.load(strange)
        assert "\n" not in str(error.value)

    for part in (b"", xml[:-1], xml[: len(xml) // 2], b"<net/>"):
        refused("no OpenVINO file that `dfd export` wrote, or its end is missing", part)
    refused(r"strange\.xml is damaged, or of another export", xml.replace(b"crops", b"drops", 1))
    for part in (b"", weights[:-1], weights[:1000] + bytes([weights[1000] ^ 1]) + weights[1001:]):
        refused(r"strange\.bin is damaged, or of another export", beside=part)
    strange.with_suffix(".bin").unlink()
    strange.write_bytes(xml)
    with pytest.raises(
        ValueError, match=r"has its weights in .*strange\.bin, which is not there\. Copy both"
    ):
        dfd.load(strange)
    # sealed anew: what the digests do not see
    bare = xml[: xml.rindex(b"<!-- dfd_bin")]
    refused("OpenVINO .* cannot read", sealed(b'<net name="Model0" version="11">', weights))
    refused("OpenVINO .* cannot read", sealed(bare, weights[:100]), weights[:100])
    for name in (CARD, RUNTIME):
        refused("dfd did not write it", sealed(bare.replace(b"<%s " % name.encode(), b"<other "), weights))
    refused(
        "dfd did not write it", sealed(bare.replace(b"&quot;cue_names&quot;", b"&quot;names&quot;"), weights)
    )
    refused(
        "another version of dfd",
        sealed(bare.replace(b"&quot;size&quot;: 64", b"&quot;size&quot;: 5"), weights),
    )
    strange.write_bytes(sealed(bare, weights))
    strange.with_suffix(".bin").write_bytes(weights)
    assert dfd.load(strange).card.thresholds == dfd.load(exported[1]).card.thresholds
    # by the command: one line, and how to go on
    assert main(["score", str(tmp_path / "none.xml"), str(strange)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "none.xml" in said
    words = ["export", str(exported[0]), "--out", str(tmp_path / "small.xml"), "--int8", str(tmp_path)]
    assert main(words) == 1 and "only ONNX is written in 8 bits" in capsys.readouterr().err
    assert not list(tmp_path.glob("small*"))


def test_without_the_package_its_extra_is_named(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    for words in (["score", exported[1], exported[1]], ["export", exported[0], "--out", tmp_path / "a.xml"]):
        assert main([str(word) for word in words]) == 1
        said = capsys.readouterr().err
        assert said.endswith("pip install 'dfd[openvino]'\n") and said.count("\n") == 1, said
    assert not list(tmp_path.iterdir())
