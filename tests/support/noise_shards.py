"""Small shards of noise, and a data module of them."""

from pictures import noise

from dfd.batch import FAKE, REAL
from dfd.data import ShardDataModule, View
from dfd.shards.samples import NewSample, write_samples

VIEW = View(size=32, crops=5, longest=None)


def shards(root, name, train=20, val=6, test=6, labels=(REAL, FAKE)):
    counts = {"train": train, "val": val, "test": test}
    made = [
        NewSample(f"{split}-{i}", noise(hash((name, split, i)) % 2**32), labels[i % len(labels)], split, name)
        for split, count in counts.items()
        for i in range(count)
    ]
    write_samples(made, root / name, {"test": name})
    return str(root / name)


def make(roots, **kwargs):
    data = ShardDataModule(roots, VIEW, **{"batch_size": 4, "num_workers": 0, **kwargs})
    data.setup("fit")
    return data
