"""What processes that tests fork have imported before: all that a fit of a shipped config imports on its way."""

MODULES = (
    "dfd.cli.lightning_verbs",
    "dfd.tasks",
    "dfd.data.datamodule",
    "dfd.data.toy",
    "dfd.callbacks",
    "dfd.models.detectors",
    "dfd.models.cnn",
    "dfd.evaluate.shortcut_check",
    "dfd.plots",
    "dfd.synthetic",
    "dfd.shards.writer",
    "albumentations",
    "matplotlib.backends.backend_agg",
    "pandas",
    "pyarrow.dataset",
    "sklearn.metrics",
    # Lightning asks both, where they are installed, whether a folder is a bucket
    "gcsfs",
    "s3fs",
)
