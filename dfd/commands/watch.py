"""Verb that judges what a camera shows, and files as they appear: watch."""

from __future__ import annotations

from pathlib import Path


def watch(
    checkpoint: Path,
    source: str,
    /,
    *,
    fps: float | None = None,
    queue: int = 2,
    smooth: float = 1.0,
    whole: bool = False,
    json: bool = False,
    until: float | None = None,
    all: bool = False,
    faces: Path | None = None,
    device: str = "cpu",
    allow: tuple[str, ...] = (),
    drawings: bool = False,
    prior: float | None = None,
) -> int:
    """Judges a camera, a stream or a clip frame by frame, each face that is followed by its smoothed logit;
    or the files that appear in a folder.

    A line says where the word for a face changes; a status line shows the latest frame and its latency, from
    the frame's arrival to its decision. Where frames come faster than they are judged, the oldest are dropped
    and counted. Ctrl-C and SIGTERM end it with images a second, latencies and dropped frames.

    Args:
        checkpoint: File that dfd fit or dfd export wrote.
        source: A folder, whose new pictures and clips are judged once they are complete; a clip, played at
            its own speed; a camera, as its number or /dev/video0; or the address of your own camera's stream
            (rtsp, rtsps, http, https), which is the one address of pictures that dfd opens.
        fps: Frames a second that are taken; by default all.
        queue: Frames that may wait; more wait longer before they are decided.
        smooth: Time constant in seconds of the mean of a face's logits: what is older by it counts e times
            less. 0 decides each frame alone.
        whole: Take each frame or picture as a face crop like those in training instead of looking for faces.
        json: Print JSON Lines, one object a face and frame; of a folder, one a face.
        until: Seconds after which it ends.
        all: Of a folder, judge too what is there already.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        device: Where the net runs, as torch names it.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
        drawings: The pictures are the toy set's drawings, the only ones that a detector of the toy set has a
            verdict on.
        prior: Share of fakes among such pictures, between 0 and 1: P(fake) is corrected to it. No verdict
            depends on it.
    """
    from dfd.inference.watch import watch as watch_source

    return watch_source(
        checkpoint,
        source,
        fps=fps,
        queue=queue,
        smooth=smooth,
        whole=whole,
        json=json,
        until=until,
        all=all,
        faces=faces,
        device=device,
        allow=allow,
        drawings=drawings,
        prior=prior,
    )


VERBS = (watch,)
