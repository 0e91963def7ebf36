"""The verb that shows where verdicts come from: explain."""

from __future__ import annotations

from pathlib import Path


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
        methods: Some of gradcam, guided_gradcam, integrated_gradients, smoothgrad, occlusion; by default all
            that the net has a map for.
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


VERBS = (explain,)
