"""Verbs that use a trained checkpoint: score, explain, export, generate."""

from __future__ import annotations

from pathlib import Path


def score(
    checkpoint: Path,
    /,
    *paths: Path,
    whole: bool = False,
    faces: Path | None = None,
    json: bool = False,
    csv: Path | None = None,
    device: str = "cpu",
    batch_size: int = 32,
    threads: int | None = None,
    allow: tuple[str, ...] = (),
    drawings: bool = False,
    prior: float | None = None,
    consistency: bool = False,
    rate: float = 2.0,
    pages: Path | None = None,
) -> int:
    """Judges every face in files and folders: one line a face, fake, no trace found or inconclusive, or why
    there is no verdict.

    Args:
        checkpoint: File that dfd fit wrote; nothing else is needed, and no network.
        paths: Pictures and videos, and folders that are walked for them. The faces of a video are followed,
            and each gets one verdict.
        whole: Take each picture as a face crop like those in training instead of looking for faces.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        json: Print JSON Lines, one object a face.
        csv: Also write a table to this file, in place of an earlier one of the same columns; - prints it
            instead of the text.
        device: Where the net runs, as torch names it.
        batch_size: Crops that go through the net at once.
        threads: How many decode and find faces; by default up to four.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
        drawings: The files are the toy set's drawings, the only ones that a detector of the toy set has a
            verdict on.
        prior: Share of fakes among such pictures, between 0 and 1: P(fake) is corrected to it. No verdict
            depends on it; the last lines say what a verdict is worth.
        consistency: Judge each face after JPEG 90, a smaller size with JPEG 85, and 224 px with JPEG 75 too;
            a verdict that does not survive them all is inconclusive. Costs four times as much.
        rate: Frames of a video that are judged a second; at least 12 in all, and at most 600.
        pages: New folder for a page a video: each face over time, and the moments that look most fake.
            Pictures have none.
    """
    from dfd.inference import score_files

    return score_files(
        checkpoint,
        paths,
        whole=whole,
        faces=faces,
        json=json,
        csv=csv,
        device=device,
        allow=allow,
        batch_size=batch_size,
        threads=threads,
        drawings=drawings,
        prior=prior,
        consistency=consistency,
        rate=rate,
        pages=pages,
    )


def explain(
    checkpoint: Path,
    /,
    *paths: Path,
    out: Path,
    methods: tuple[str, ...] = (),
    layer: str | None = None,
    whole: bool = False,
    faces: Path | None = None,
    device: str = "cpu",
    batch_size: int = 32,
    allow: tuple[str, ...] = (),
    drawings: bool = False,
) -> int:
    """Maps of every verdict on faces in files and folders, each with a measure of how far to believe it, as
    one page.

    OUT/explain.html needs nothing else; its pictures lie beside it as PNG files, its numbers in explain.json.

    Args:
        checkpoint: File that dfd fit wrote; nothing else is needed, and no network.
        paths: Pictures, and folders that are walked for pictures.
        out: New folder for the page.
        methods: Some of gradcam, guided_gradcam, integrated_gradients, smoothgrad, occlusion, mask_head; by
            default all that the net has a map for.
        layer: A layer of the net, such as rgb or backbone.stages.1: for Grad-CAM, and to have its filters and
            activations drawn.
        whole: Take each file as a face crop like those in training instead of looking for faces.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        device: Where the net runs, as torch names it.
        batch_size: Crops that go through the net at once.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
        drawings: The files are the toy set's drawings, the only ones that a detector of the toy set has a
            verdict on.
    """
    from dfd.inference.explain import explain_files

    return explain_files(
        checkpoint,
        paths,
        out,
        methods=methods,
        layer=layer,
        whole=whole,
        faces=faces,
        device=device,
        allow=allow,
        batch_size=batch_size,
        drawings=drawings,
    )


def export(
    checkpoint: Path,
    /,
    *,
    out: Path,
    int8: Path | None = None,
    model_card: Path | None = None,
    allow: tuple[str, ...] = (),
) -> None:
    """A trained net without its training: weights that any program reads, which judge wherever a checkpoint
    does; as ONNX or for OpenVINO without torch.

    Of weights and their moving average, the average. Recipe, view, calibration and where it came from stand
    in the file, and once more in OUT.json.

    Args:
        checkpoint: File that dfd fit wrote.
        out: File to write, NAME.safetensors, NAME.onnx, or NAME.xml for OpenVINO, beside which NAME.bin has
            the weights; without a suffix a folder in the layout of the Hugging Face Hub. Missing folders are
            made.
        int8: Shards that the detector was trained on: the ONNX computes with 8 bits, in ranges that their
            training pictures show, and the AUROC that this costs on their validation pictures is printed.
        model_card: README.md of that folder: the MODEL_CARD.md that dfd report wrote. Without one it says
            what the checkpoint knows, which is no test.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
    """
    from dfd.detector.published import detector_file

    # of a file that is no detector it is said without torch
    checkpoint = detector_file(checkpoint)
    from dfd.inference.export import export

    print(export(checkpoint, out, allow=allow, int8=int8, model_card=model_card))


def generate(
    checkpoint: Path,
    /,
    *more: Path,
    like: Path,
    out: Path,
    num: int | None = None,
    seed: int = 0,
    splits: tuple[str, ...] = ("train",),
    source: str = "",
    method: str = "",
    detail: tuple[float, float] = (0.2, 0.8),
    allow: tuple[str, ...] = (),
) -> None:
    """A generator's fakes, or autoencoders' reconstructions of reals, become shards to be trained on beside
    others: --data.roots '{SHARDS: 1, OUT: 0.5}'.

    Each is written as a real of other shards was: its size, quantization tables, chroma and metadata, and
    nearly its length; dfd audit of both shows nothing but what the pictures show. The same seed gives the
    same files.

    Of a generator (dfd fit --config gan) they are new faces, as many as --num says. Of autoencoders (dfd fit
    --config reconstruct) they are the reals themselves, drawn once by each checkpoint's decoder; the table
    joins each with its real.

    Args:
        checkpoint: File that dfd fit --config gan or reconstruct wrote; nothing else is needed, and no
            network.
        more: Further autoencoders, of other kinds.
        like: Shards whose reals the files are to resemble, or that are reconstructed: those that the net was
            trained on, as a rule.
        out: Folder for the shards.
        num: How many fakes; of a generator alone.
        seed: Of latents and everything else that is drawn.
        splits: Where the fakes belong, and whose reals they resemble or are. A detector should be judged on
            others: leave it at train, unless a decoder is held out for val.
        source: What the table calls them. [default: dfd-gan; of a reconstruction, its real's source]
        method: How it says that they were made. [default: fastgan; reconstruction-KIND, such as
            reconstruction-nearest4]
        detail: Least and largest share of the real's fine detail that a reconstruction is given back.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
    """
    from dfd.inference.generate import generate

    made = generate(
        [checkpoint, *more],
        out=out,
        like=like,
        num=num,
        seed=seed,
        splits=splits,
        source=source,
        method=method,
        detail=detail,
        allow=allow,
    )
    print(made)


VERBS = (score, explain, export, generate)
