"""Names of programs, as patterns of words: generators, apps that change faces, editors and converters."""

from __future__ import annotations

import re


def any_of(*names: str) -> re.Pattern[str]:
    """A pattern of whole words, in small or capital letters."""
    return re.compile(rf"\b(?:{'|'.join(names)})\b", re.IGNORECASE)


GENERATORS = any_of(
    "stable[ _-]?diffusion", "automatic1111", "comfyui", "invoke ?ai", "novel ?ai", "fooocus",
    "swarm ?ui", "easy ?diffusion", "draw things", "diffusionbee", r"flux\.1", "black forest labs",
    "midjourney", "dall[ -]?e", "openai", "chatgpt", "gpt-?4o", "gpt-image", "adobe firefly", "google ai",
    "nano banana", "bing image creator", "dream ?studio", r"leonardo\.ai", "ideogram", "nightcafe",
    "craiyon", "starry ?ai", "playground ?ai", "recraft", "seedream", "jimeng", "doubao", "hunyuan", "tongyi",
    "wombo", "artbreeder", r"stylegan\d?", "meta ai", "imagined with ai",
)  # fmt: skip
# Names of people, of stars and of cameras too, and a Spanish word for a picture: these count where the whole
# field is the name and a version.
GENERATORS_ALONE = re.compile(
    r"(openai |google |xai |adobe )?(sora|gemini|grok|kling|imagen|firefly)( v?\d+(\.\d+)*)?", re.IGNORECASE
)
# as Google and others write it; a person's name stands there else, and Ai is one
GENERATOR_CREDITS = re.compile(
    r"(made|edited|generated|created) (with|using) (google |generative )?ai|midjourney|stable diffusion|"
    r"adobe firefly|openai|dall[ -]?e ?\d?",
    re.IGNORECASE,
)
FACE_APPS = any_of(
    "face ?app", r"face ?tune\d?", "reface", r"face ?swap\w*", "deep ?face ?lab", "deep ?face ?live",
    "roop", "facefusion", "avatarify", "meitu", "beauty ?plus", "beauty ?cam", "you ?cam", "b612",
    "remini", "facelab", "perfect365", "ulike",
)  # fmt: skip
EDITORS = any_of(
    "photoshop", "lightroom", "camera raw", "imageready", "fireworks", "illustrator", "gimp",
    r"paint\.net", "affinity photo", "snapseed", "picsart", "canva", "pixelmator", "capture one",
    "darktable", "rawtherapee", "acdsee", "picasa", "paint ?shop", "photo ?impact", "corel", "polarr",
    "vsco", "luminar", "on1", "dxo", "krita", "inkscape", "imagemagick", "graphicsmagick", "gd-jpeg",
    "xnview", "irfanview", "photoscape", "fotor", "pixlr", "photopea", "topaz", "photofiltre", "ulead",
    "microsoft (?:windows )?photos?", "windows photo editor", "paint", "paintbrush", "faststone",
    "zoner", "photodirector", "movavi", "befunky", "photo ?editor", "picnik", "aviary", "instagram",
    "snapchat", "procreate", "clip studio",
)  # fmt: skip
# Adobe's desktop programs have quantization tables of their own. Its mobile apps and web sites are not meant.
ADOBE_DESKTOP = re.compile(
    r"^Adobe (Photoshop (CS|CC|Elements|\d)|(Photoshop )?Lightroom( Classic)? \d)", re.IGNORECASE
)
