"""Colour filter array: the phase of every camera, regions that lack it, and silence where there is none."""

import cv2
import numpy as np
import pytest
from camera_photos import pasted, untouched
from photos import ellipse, jpeg
from pixel_auc import pixel_auc

from dfd.forensics.pixels.cfa import BLOCK, _energy, cfa, cfa_strength
from dfd.media.decode import read_picture
from dfd.synthetic.camera import Camera

# of dfd.synthetic.camera, whose MOSAICS are OpenCV's codes
PATTERNS = ("BGGR", "GBRG", "RGGB", "GRBG")


def camera(phase: int, edge_aware: bool) -> Camera:
    return Camera(0.5, 0.1, 2e-4, 3e-4, 1.8, 1.5, phase, edge_aware, 0.4, 0.4, 0.2)


@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize("edge_aware", [False, True])
def test_the_pattern_of_the_camera_is_named(phase, edge_aware):
    finding = cfa(untouched(phase, 256, camera(phase, edge_aware)))
    assert finding.status == "clear" and finding.facts["pattern"] == PATTERNS[phase]


def test_a_copy_that_shifts_the_pattern_by_one_pixel_is_seen():
    photo, mask = untouched(4, 320), ellipse(320)
    edited = np.where(mask[..., None], np.roll(photo, 41, axis=1), photo)
    finding = cfa(edited)
    assert finding.status == "found" and pixel_auc(finding.map, mask) > 0.95
    x, y, wide, high = finding.regions[0].box
    assert x < 160 < x + wide and y < 160 < y + high


def test_without_a_pattern_it_abstains():
    half = cv2.resize(untouched(5, 512), (256, 256), interpolation=cv2.INTER_AREA)
    assert cfa(half).answer == "no_pattern" and cfa_strength(half) < 0.1
    assert cfa(read_picture(jpeg(untouched(5, 256), 75)).pixels).answer == "no_pattern"
    assert cfa(np.full((200, 200, 3), 128, np.uint8)).answer == "flat"


def test_the_energy_of_blocks_is_that_of_a_plain_loop():
    channel = untouched(6, 64 * 10)[: 64 * 9, :200, 1]
    plain = np.pad(channel.astype(float), 1, mode="reflect")
    error = (channel - (plain[:-2, 1:-1] + plain[2:, 1:-1] + plain[1:-1, :-2] + plain[1:-1, 2:]) / 4) ** 2
    energy = _energy(channel)
    assert energy.shape[2:] == (36, 12)
    for row, column in ((0, 0), (31, 3), (32, 4), (35, 11)):
        block = error[row * BLOCK :, column * BLOCK :][:BLOCK, :BLOCK]
        for y in (0, 1):
            for x in (0, 1):
                assert energy[y, x, row, column] == pytest.approx(block[y::2, x::2].mean(), rel=1e-4)


@pytest.mark.slow
def test_sixty_simulated_cameras_are_silent_and_their_splices_found():
    silent = sum(cfa(untouched(seed, 320)).status == "clear" for seed in range(60))
    found = [cfa(pasted(untouched(seed, 320), 1.0 + 0.1 * seed)) for seed in range(1, 11)]
    assert silent >= 58
    assert sum(finding.status == "found" for finding in found) >= 9
    aucs = [pixel_auc(finding.map, ellipse(320, radius=0.2)) for finding in found if finding.map]
    assert np.mean(aucs) > 0.95


@pytest.mark.slow
def test_photos_of_the_web_show_no_pattern(real_data):
    files = [*(real_data / "casia1/real").iterdir(), *(real_data / "exif-samples").glob("*.jpg")]
    answers = [cfa(read_picture(file.read_bytes()).pixels) for file in files]
    assert len(answers) > 60 and all(finding.status == "abstained" for finding in answers)
