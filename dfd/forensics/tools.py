"""The forensic tools, in the order in which a page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dfd.forensics import file_structure, hashes, noise, provenance
from dfd.forensics.examine import Tool
from dfd.forensics.face import face_tools
from dfd.forensics.jpeg import double_compression, double_map, error_level, ghosts, grid, quality
from dfd.forensics.metadata import METHOD as METADATA
from dfd.forensics.metadata import metadata
from dfd.forensics.noise import level, residual
from dfd.forensics.pixels import cfa, copy_move_blocks, copy_move_keypoints, median_filter, resampling, splice
from dfd.forensics.spectrum import reference, upsampling
from dfd.media.face_mesh import FaceMesh
from dfd.media.faces import FaceDetector, find_weights

# what needs nothing but the picture
TOOLS: tuple[Tool, ...] = (
    Tool(file_structure.METHOD, file_structure.file_structure, "file"),
    Tool(METADATA, metadata, "file"),
    Tool(provenance.METHOD, provenance.provenance, "file"),
    Tool(hashes.METHOD, hashes.hashes, "file"),
    Tool(quality.METHOD, quality.jpeg_quality, "file"),
    Tool(double_compression.METHOD, double_compression.double_compression, "file"),
    Tool(double_map.METHOD, double_map.double_compression_map, "file"),
    Tool(error_level.METHOD, error_level.error_level, "pixels"),
    Tool(ghosts.METHOD, ghosts.jpeg_ghosts, "pixels"),
    Tool(grid.METHOD, grid.jpeg_grid, "pixels"),
    Tool(residual.METHOD, residual.noise_residual, "pixels"),
    Tool(level.METHOD, level.noise_level, "pixels"),
    Tool(reference.METHOD, reference.spectrum, "pixels"),
    Tool(upsampling.METHOD, upsampling.upsampling_peaks, "pixels"),
    Tool(copy_move_blocks.METHOD, copy_move_blocks.copy_move_blocks, "pixels"),
    Tool(copy_move_keypoints.METHOD, copy_move_keypoints.copy_move_keypoints, "pixels"),
    Tool(splice.METHOD, splice.splice, "pixels"),
    Tool(resampling.METHOD, resampling.resampling, "pixels"),
    Tool(median_filter.METHOD, median_filter.median_filter, "pixels"),
    Tool(cfa.METHOD, cfa.cfa, "pixels"),
)


@dataclass(frozen=True)
class Files:
    """Files of the user's that some tools need; None where there is none."""

    faces: Path | None = None  # YuNet's .onnx
    mesh: Path | None = None  # a mesh of 468 face points, .tflite
    camera: Path | None = None  # a camera's fingerprint, .npz
    trust: Path | None = None  # certificates of trusted signers, PEM


def tools_with(files: Files) -> tuple[Tool, ...]:
    """All tools, those of the face among them, with what these files bring.

    Raises:
        ValueError: a file that is none of its kind.
    """
    tools = TOOLS
    if files.trust is not None:
        run = partial(provenance.provenance, trust=provenance.read_trust(files.trust))
        tools = _with(tools, Tool(provenance.METHOD, run, "file"))
    if files.camera is not None:
        tools = (*tools, noise.camera_tool(files.camera))
    weights = find_weights(files.faces)
    detector = None if weights is None else FaceDetector(weights)
    mesh = None if files.mesh is None else FaceMesh(files.mesh)
    return (*tools, *face_tools(detector, mesh))


def _with(tools: tuple[Tool, ...], other: Tool) -> tuple[Tool, ...]:
    """The tools with another in the place of the one of its name."""
    return tuple(other if tool.name == other.name else tool for tool in tools)
