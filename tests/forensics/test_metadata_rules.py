"""Rules of metadata: each fires on its planted case, and is silent on its clean twin."""

import runpy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from metadata_files import (
    camera_file,
    degrees,
    iptc_segment,
    png_chunk,
    png_with_texts,
    scene,
    segment,
    thumbnail_of,
    with_segments,
    xmp_segment,
)
from photos import jpeg, png

from dfd.forensics import Catalogue
from dfd.forensics.metadata import metadata
from dfd.forensics.metadata.dates import read_moment
from dfd.forensics.metadata.file import File
from dfd.forensics.metadata.rules import RULES, THRESHOLD, Fired, Rule, fired, weight

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORKFLOW = '{"last_node_id": 9, "nodes": [{"id": 1}]}'
PARAMETERS = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
AI_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class Case(NamedTuple):
    rule: str
    planted: Callable[[], bytes]
    clean: Callable[[], bytes]


def changed(**tags) -> Callable[[], bytes]:
    return lambda: camera_file(tags)


def with_xmp(attributes: str = "", elements: str = "", **tags) -> Callable[[], bytes]:
    return lambda: camera_file(tags, extra=xmp_segment(attributes, elements))


def texts(kind: bytes = b"tEXt", **by_keyword: str) -> Callable[[], bytes]:
    return lambda: png_with_texts(by_keyword, kind=kind)


def gray_square(pixels: np.ndarray) -> np.ndarray:
    """The picture with something painted out."""
    painted = pixels.copy()
    painted[140:260, 200:330] = painted[140:260, 200:330].mean(axis=(0, 1)) + np.array((70, -60, 50))
    return np.clip(painted, 0, 255).astype(np.uint8)


def with_preview(preview: Callable[[np.ndarray], np.ndarray]) -> Callable[[], bytes]:
    return lambda: camera_file(thumbnail=thumbnail_of(preview(scene())))


def squeezed() -> bytes:
    pixels = scene()
    narrow = cv2.resize(pixels, (384, 384), interpolation=cv2.INTER_AREA)
    return camera_file(pixels=narrow, thumbnail=thumbnail_of(pixels))


def resaved(**tags) -> Callable[[], bytes]:
    return lambda: camera_file(tags, jfif=True, qtables=None, quality=85, subsampling="4:2:0")


def in_words(**tags) -> Callable[[], bytes]:
    return lambda: camera_file(tags, qtables=None, quality=85, subsampling="4:4:4")


SQUARE = np.ascontiguousarray(scene()[:256, :256])
CASES = (
    # what a generator, or a standard, writes; the twin has the same field with a harmless word
    Case("declared_synthetic", texts(parameters=PARAMETERS), texts(parameters="shutter 1/60, ISO 100")),
    Case("declared_synthetic", texts(b"iTXt", workflow=WORKFLOW), texts(b"iTXt", workflow="scan, crop, print")),
    Case("declared_synthetic", texts(b"zTXt", prompt='{"3": {"class_type": "KSampler"}}'), texts(prompt="pay")),
    Case("declared_synthetic", texts(Dream='"a cat" -s 50 -S 42'), texts(Dream="of a cat")),
    Case("declared_synthetic", texts(**{"sd-metadata": '{"model": "stable"}'}), texts(**{"sd-metadata": "none"})),
    Case("declared_synthetic", texts(invokeai_metadata="{}"), texts(Author="me")),
    Case("declared_synthetic", texts(Software="NovelAI"), texts(Software="Sony Imaging Edge")),
    Case(
        "declared_synthetic",
        texts(Description="a cat --ar 3:2 --v 6 Job ID: 0f5f2fb6-4bb0-4a51-8d5f-8f3c0e6f1a2b"),
        texts(Description="a cat, Job ID: 17"),
    ),
    Case("declared_synthetic", changed(UserComment=b"ASCII\0\0\0" + PARAMETERS.encode()), camera_file),
    Case("declared_synthetic", changed(Software="Midjourney v6"), changed(Software="Ver.1.00")),
    Case(
        "declared_synthetic",
        with_xmp(f'Iptc4xmpExt:DigitalSourceType="{AI_TYPE}trainedAlgorithmicMedia"'),
        with_xmp(f'Iptc4xmpExt:DigitalSourceType="{AI_TYPE}digitalCapture"'),
    ),
    Case(
        "declared_synthetic",
        with_xmp(
            elements=f"<Iptc4xmpExt:DigitalSourceType>{AI_TYPE}compositeWithTrainedAlgorithmicMedia"
            "</Iptc4xmpExt:DigitalSourceType>"
        ),
        with_xmp(elements=f"<Iptc4xmpExt:DigitalSourceType>{AI_TYPE}humanEdits</Iptc4xmpExt:DigitalSourceType>"),
    ),
    Case(
        "declared_synthetic",
        with_xmp('Iptc4xmpExt:AISystemUsed="any system"'),
        with_xmp('Iptc4xmpExt:Event="AI conference"'),
    ),
    Case(
        "declared_synthetic",
        with_xmp('xmlns:t="http://www.tc260.org.cn/ns/AIGC/1.0/" t:AIGC="{&quot;Label&quot;:&quot;1&quot;}"'),
        with_xmp('xmlns:t="http://www.tc260.org.cn/ns/AIGC/1.0/" t:AIGC="{&quot;Label&quot;:&quot;2&quot;}"'),
    ),
    # words that are names of generators and of other things too
    Case("declared_synthetic", changed(Software="Google Imagen 4"), changed(Software="Editor de imagen 4")),
    Case("declared_synthetic", changed(Software="Sora"), changed(Software="Sora Camera App", Artist="Sora")),
    Case("declared_synthetic", changed(Software="Adobe Firefly"), changed(Software="FIREFLY 8S", Make="Hawkeye")),
    Case(
        "declared_synthetic",
        with_xmp('photoshop:Credit="Created with AI"'),
        with_xmp('photoshop:Credit="Created by Wang Ai"'),
    ),
    # a person may be called Sora or Gemini
    Case(
        "declared_synthetic",
        with_xmp('photoshop:Credit="Made with Google AI"'),
        with_xmp('photoshop:Credit="Sora Gemini"'),
    ),
    Case(
        "declared_synthetic",
        lambda: camera_file(extra=iptc_segment({110: b"Edited with Google AI"})),
        lambda: camera_file(extra=iptc_segment({80: b"Sora Ito", 110: b"Agency", 120: b"Gemini at night"})),
    ),
    Case(
        "declared_synthetic",
        with_xmp(
            elements="<xmpMM:History><rdf:Seq><rdf:li stEvt:action='saved' stEvt:softwareAgent='Adobe Firefly'/>"
            "</rdf:Seq></xmpMM:History>"
        ),
        with_xmp(
            elements="<xmpMM:History><rdf:Seq><rdf:li stEvt:action='saved' stEvt:softwareAgent='Adobe Lightroom'/>"
            "</rdf:Seq></xmpMM:History>"
        ),
    ),
    Case(
        "declared_synthetic",
        changed(UserComment=b'ASCII\0\0\0{"AIGC":{"Label":"1","ContentProducer":"x"}}'),
        changed(UserComment=b'ASCII\0\0\0{"AIGC":{"Label":"3","ContentProducer":"x"}}'),
    ),
    Case(
        "taken_after_change",
        changed(DateTime="2018:05:30 15:56:01", DateTimeDigitized=None, OffsetTimeOriginal=None),
        changed(DateTime="2019:05:29 15:00:00", DateTimeDigitized=None),  # within the day that zones explain
    ),
    Case(
        "taken_after_change",
        with_xmp('xmp:ModifyDate="2018-01-01T10:00:00Z" xmp:CreateDate="2019-05-30T15:56:01"', DateTime=None),
        with_xmp('xmp:ModifyDate="2020-02-01T10:00:00Z" xmp:CreateDate="2019-05-30T15:56:01"', DateTime=None),
    ),
    Case("date_in_future", changed(DateTime="2031:05:30 15:56:01"), changed(DateTime="2026:01:01 13:00:00")),
    Case(
        "date_in_future",
        lambda: camera_file(extra=iptc_segment({55: b"20310530"})),
        lambda: camera_file(extra=iptc_segment({55: b"20190530"})),
    ),
    Case(
        "date_in_future",
        lambda: with_time(png(SQUARE), bytes((7, 0xF0, 5, 30, 1, 2, 3))),
        lambda: with_time(png(SQUARE), bytes((7, 0xE0, 5, 30, 1, 2, 3))),
    ),
    # a clock whose battery died begins again at its first day, which is no statement
    Case(
        "taken_after_digitized",
        changed(DateTimeDigitized="2009:03:04 10:11:12"),
        changed(DateTimeDigitized="2000:01:01 00:00:12"),
    ),
    Case("profile_after_change", lambda: with_profile(2022), lambda: with_profile(2015)),
    Case("place_out_of_range", changed(GPSLatitude=degrees(98.5)), changed(GPSLatitude=degrees(89.5))),
    Case("place_out_of_range", changed(GPSLongitude=degrees(200)), changed(GPSLongitude=degrees(16))),
    Case("place_out_of_range", changed(GPSLatitude=((48, 1), (75, 1), (0, 1))), camera_file),
    # Paris at +02:00 is right in summer; western China and the Aleutians are as far as zones go
    Case("place_outside_zone", changed(OffsetTimeOriginal="-07:00"), changed(OffsetTimeOriginal="+00:00")),
    Case(
        "place_outside_zone",
        changed(GPSLongitude=degrees(151.2)),
        changed(GPSLongitude=degrees(75.5), OffsetTimeOriginal="+08:00"),
    ),
    Case(
        "place_time_at_odds",
        changed(GPSTimeStamp=((5, 1), (0, 1), (0, 1))),
        changed(GPSTimeStamp=((14, 1), (30, 1), (0, 1))),
    ),
    # without a time zone a day says nothing, as in three photographs of a COOLPIX P6000
    Case(
        "place_time_at_odds",
        changed(OffsetTimeOriginal=None, GPSDateStamp="2019:06:12"),
        changed(OffsetTimeOriginal=None, GPSDateStamp="2019:05:31"),
    ),
    # an old receiver that counts weeks by ten bits
    Case(
        "place_time_at_odds",
        changed(GPSDateStamp="2009:10:14"),
        changed(GPSDateStamp="1999:10:14"),
    ),
    Case("note_of_another_maker", changed(MakerNote=b"Nikon\0\2\0\0\0"), changed(MakerNote=b"\x2a\0\1\0\3\0")),
    Case(
        "note_of_another_maker",
        changed(MakerNote=b"Apple iOS\0\0\1MM"),
        changed(MakerNote=b"Panasonic\0\0\0", Make="Leica Camera AG"),
    ),
    Case("preview_of_another", lambda: camera_file(thumbnail=thumbnail_of(scene(4))), camera_file),
    Case(
        "preview_of_another",
        lambda: camera_file(thumbnail=thumbnail_of(scene(5)), pixels=scene(3, 384, 512)),
        lambda: camera_file(pixels=scene(3, 384, 512)),
    ),
    # a preview of other tone and sharpness, as cameras make them, is the same picture
    Case(
        "preview_differs_in_part",
        with_preview(gray_square),
        with_preview(lambda pixels: (255 * (cv2.GaussianBlur(pixels, (0, 0), 2) / 255.0) ** 0.8).astype(np.uint8)),
    ),
    # of a wide picture some cameras keep the middle as a preview, and some add black bars
    Case(
        "preview_shows_more",
        lambda: camera_file(pixels=np.ascontiguousarray(scene()[40:300, 150:420]), thumbnail=thumbnail_of(scene())),
        lambda: camera_file(pixels=scene(3, 512, 288), thumbnail=thumbnail_of(scene(3, 512, 288)[:, 64:448])),
    ),
    Case("preview_turned", with_preview(lambda pixels: pixels[:, ::-1]), lambda: camera_file({"Orientation": 6})),
    Case("preview_turned", squeezed, lambda: camera_file(pixels=scene(3, 512, 288))),
    Case(
        "size_at_odds",
        changed(PixelXDimension=4000, PixelYDimension=3000),
        changed(PixelXDimension=384, PixelYDimension=512),  # turned
    ),
    Case("tables_not_of_camera", resaved(Model="CYBERSHOT"), changed(Model="CYBERSHOT 2")),
    Case("tables_not_of_camera", in_words(Model="MX-1700ZOOM"), changed(Model="MX-1700ZOOM")),
    Case(
        "tables_not_of_program",
        in_words(Software="Adobe Photoshop CS6 (Windows)"),
        changed(Software="Adobe Photoshop CS6 (Windows)"),
    ),
    Case("saved_again", resaved(), lambda: camera_file(qtables=None, quality=85, subsampling="4:2:0")),
    Case("face_app_named", changed(Software="FaceApp 11.2"), changed(Software="Face Priority AF 1.0")),
    Case("editor_named", changed(Software="GIMP 2.10.30"), changed(Software="Digital Camera FinePix Ver1.00")),
    Case(
        "editor_named",
        lambda: with_segments(jpeg(SQUARE), segment(0xFE, b"File written by Adobe Photoshop 4.0")),
        lambda: with_segments(jpeg(SQUARE), segment(0xFE, b"Et voila")),
    ),
    Case("size_of_generators", lambda: png(scene(3, 512, 512)), lambda: camera_file(pixels=scene(3, 512, 512))),
    Case(
        "saved_by_platform",
        lambda: with_segments(jpeg(SQUARE), iptc_segment({40: b"FBMD01000a9c0300004b"})),
        lambda: with_segments(jpeg(SQUARE), iptc_segment({40: b"For one use only"})),
    ),
    Case("saved_by_platform", lambda: jpeg(SQUARE, progressive=True), lambda: jpeg(SQUARE)),
)  # fmt: skip


def with_time(data: bytes, time: bytes) -> bytes:
    """A PNG with a time of last change."""
    return data[:33] + png_chunk(b"tIME", time) + data[33:]


def with_profile(year: int) -> bytes:
    """A photograph of 2019 with a profile of a year."""
    profile = bytearray(132)
    profile[24:30] = year.to_bytes(2, "big") + b"\0\5\0\x1e"
    profile[36:40] = b"acsp"
    return camera_file(extra=segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(profile)))


def names(data: bytes) -> list[str]:
    return [each.rule.name for each in fired(File(data, NOW))]


def test_every_rule_has_a_case():
    assert {case.rule for case in CASES} == {rule.name for rule in RULES}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{number}-{CASES[number].rule}")
def test_a_rule_fires_on_its_planted_case_and_is_silent_on_the_twin(number):
    case = CASES[number]
    assert case.rule in names(case.planted())
    assert case.rule not in names(case.clean())


def test_an_untouched_photograph_is_consistent():
    finding = metadata(camera_file(), NOW)
    assert (finding.status, finding.answer, finding.score) == ("clear", "consistent", 0)
    assert finding.facts["model"] == "Canon EOS 40D" and finding.facts["taken"] == "2019:05:30 15:56:01"


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.weight >= THRESHOLD], ids=lambda rule: rule.name
)
def test_a_rule_of_full_weight_is_found_by_itself(rule):
    case = next(case for case in CASES if case.rule == rule.name)
    finding = metadata(case.planted(), NOW)
    assert finding.status == "found" and finding.score >= THRESHOLD
    first = finding.table.rows[0]
    assert first[:2] == ("rule", rule.name) and first[2] and first[3] == rule.weight


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.weight < THRESHOLD], ids=lambda rule: rule.name
)
def test_a_hint_alone_is_never_found(rule):
    for case in (case for case in CASES if case.rule == rule.name):
        data = case.planted()
        if all(
            each in (rule.name, "editor_named", "saved_again", "preview_shows_more") for each in names(data)
        ):
            assert metadata(data, NOW).status in ("clear", "absent")


def test_what_is_absent_is_not_called_fake():
    finding = metadata(jpeg(SQUARE), NOW)
    assert (finding.status, finding.answer) == ("absent", "absent")
    sentence = Catalogue().answer(finding)
    assert "not a sign of a fake" in sentence and "strip" in sentence


def test_a_platform_takes_metadata_out_and_that_is_information():
    finding = metadata(with_segments(jpeg(SQUARE), iptc_segment({40: b"FBMD01000a9c0300004b"})), NOW)
    assert (finding.status, finding.answer, finding.score) == ("absent", "stripped", 0)
    assert "Facebook" in Catalogue().answer(finding)


def test_an_edit_is_no_forgery():
    """An ordinary crop in an editor that saves again: four hints of three kinds, and no accusation."""
    cut = np.ascontiguousarray(scene()[40:300, 150:420])
    options = {"jfif": True, "qtables": None, "quality": 85, "subsampling": "4:2:0"}
    changes = {"Software": "GIMP 2.10.30", "PixelXDimension": 512, "PixelYDimension": 384}
    data = camera_file(changes, cut, thumbnail_of(scene()), **options)
    assert set(names(data)) == {"preview_shows_more", "size_at_odds", "editor_named", "saved_again"}
    finding = metadata(data, NOW)
    assert finding.status == "clear" and finding.score == pytest.approx(0.7)


def test_within_a_kind_the_heaviest_counts_alone():
    def rule(name, kind, value):
        return Fired(Rule(name, kind, value, lambda file: "x"), "x")

    assert weight([rule("a", "dates", 0.5), rule("b", "dates", 0.3), rule("c", "place", 0.2)]) == 0.7
    assert weight([]) == 0


def test_hints_of_several_kinds_add_up():
    data = camera_file(
        {"MakerNote": b"Nikon\0\2\0\0\0", "OffsetTimeOriginal": "-07:00", "GPSTimeStamp": None}
    )
    finding = metadata(data, NOW)
    assert (finding.status, finding.answer, finding.score) == ("found", "several", 1.0)
    assert Catalogue().answer(finding)


def test_a_retouch_is_found_and_marked():
    """Something is painted out in an editor that leaves the preview as it was."""
    preview = thumbnail_of(gray_square(scene()))
    options = {"jfif": True, "qtables": None, "quality": 85, "subsampling": "4:2:0"}
    finding = metadata(camera_file({"Software": "GIMP 2.10.30"}, thumbnail=preview, **options), NOW)
    assert (finding.status, finding.answer) == ("found", "several")
    (region,) = finding.regions
    x, y, width, height = region.box
    across, down = min(x + width, 330) - max(x, 200), min(y + height, 260) - max(y, 140)
    both = across * down
    assert both / (width * height + 130 * 120 - both) > 0.5


@pytest.mark.parametrize("first", range(6))
def test_previews_of_other_photographs_are_told_apart(first):
    """Whatever two photographs, a preview of the other is never taken for one of this, turned or cropped."""
    second = (first + 1) % 6
    data = camera_file(thumbnail=thumbnail_of(scene(second)), pixels=scene(first))
    assert {"preview_turned", "preview_shows_more", "preview_differs_in_part"}.isdisjoint(names(data))
    assert names(camera_file(pixels=scene(first))) == []


@pytest.mark.parametrize("turn", range(1, 9))
def test_previews_are_turned_as_the_picture_is(turn):
    assert names(camera_file({"Orientation": turn})) == []


def test_untouched_photographs_are_not_accused(real_data):
    """Rules that fire on the camera originals of exif-samples: the one that docs/results says."""
    script = Path(__file__).parents[2] / "benchmarks" / "metadata_rules.py"
    originals = runpy.run_path(str(script))["ORIGINALS"]
    said = {name: metadata((real_data / "exif-samples" / name).read_bytes(), NOW) for name in originals}
    assert len(said) == 15 and {finding.status for finding in said.values()} == {"clear", "absent"}
    hints = {name: finding.facts["rules"] for name, finding in said.items() if finding.facts["rules"]}
    assert hints == {"exif-samples__jpg__exif-org__kodak-dc240.jpg": "size_at_odds"}


def test_public_data_sets_say_nothing_of_themselves(real_data):
    """Real and fake alike: their metadata were stripped."""
    for folder in ("real-and-fake-face-detection", "deepfake-faces"):
        pictures = sorted((real_data / folder).rglob("*.jpg"))[::60]
        assert {metadata(path.read_bytes(), NOW).status for path in pictures} == {"absent"}


def test_dates_are_read_as_they_are_written():
    written = {
        "2019:05:30 15:56:01": datetime(2019, 5, 30, 15, 56, 1),
        "2019-05-30T15:56:01+02:00": datetime(2019, 5, 30, 13, 56, 1),
        "2011-08-24T17:46:58.0+1:00": datetime(2011, 8, 24, 16, 46, 58),
        "2019-05-30T15:56Z": datetime(2019, 5, 30, 15, 56),
        "2019-05-30": datetime(2019, 5, 30),
        "20190530": datetime(2019, 5, 30),
    }
    for text, time in written.items():
        assert read_moment("x", text).utc == time, text


@pytest.mark.parametrize(
    "text",
    ["", "    :  :     :  :  ", "0000:00:00 00:00:00", "2019:02:31 10:00:00", "1970:01:01 00:00:00", "1980:01:01 04:11:00",
     "2000:01:01 00:00:00", "2015:01:01 00:00:31", "yesterday", "9999999999"],
)  # fmt: skip
def test_clocks_that_were_never_set_say_nothing(text):
    assert read_moment("x", text) is None


def test_no_date_is_too_far():
    for text in ("9999:12:31 23:59:59", "9999-12-31T23:59:59-15:00", "1900:01:02 00:00:00+15:00"):
        data = camera_file({"DateTime": text, "DateTimeOriginal": text, "GPSDateStamp": text[:10]})
        assert metadata(data, NOW).status in ("found", "clear")


def test_now_is_the_clock_by_default():
    tomorrow = datetime.now(UTC) + timedelta(days=30)
    data = camera_file({"DateTime": f"{tomorrow:%Y:%m:%d %H:%M:%S}"})
    assert metadata(data).answer == "date_in_future"
