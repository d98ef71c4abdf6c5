"""Latency of an exported file in ONNX Runtime beside PyTorch in eager mode, on one thread each.

python benchmarks/onnx_latency.py [--repeats 100]

The fastest of calls that take turns in one process; the ratio is PyTorch's time by ONNX Runtime's, above 1
where the file is quicker. Only the calls are timed, not the making of tensors.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from dl_course.deploy import load_onnx, quantize, to_onnx
from dl_course.deploy.export import latency
from dl_course.evaluation import Predictor
from dl_course.models import trained

NETWORKS = {
    "simplecnn-digits": (1, 28, 28),
    "digitnet-mnist": (1, 28, 28),
    "tinyresnet-shapes": (3, 64, 64),
}


def row(name: str, shape: tuple[int, int, int], size: int, repeats: int) -> dict[str, float]:
    """Return milliseconds of the network, its file, and its file of integers, and the first two's ratio."""
    predictor, batch = Predictor(trained(name), shape=shape), torch.rand(size, *shape)
    with TemporaryDirectory() as folder, torch.inference_mode():
        path = to_onnx(predictor, Path(folder, "a.onnx")).path
        integers = quantize(path, Path(folder, "b.onnx"), torch.rand(64, *shape))
        models = {
            "PyTorch": predictor.model,
            "ONNX": load_onnx(path).model,
            "int8": load_onnx(integers).model,
        }
        ms = latency(models, batch, repeats).to_dict()
    return ms | {"ratio": ms["PyTorch"] / ms["ONNX"], "ratio int8": ms["PyTorch"] / ms["int8"]}


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(allow_abbrev=False)
    arguments.add_argument("--repeats", type=int, default=100)
    repeats = arguments.parse_args().repeats
    torch.set_num_threads(1)
    rows = {
        f"{name}, batch of {size}": row(name, shape, size, repeats)
        for name, shape in NETWORKS.items()
        for size in (1, 64)
    }
    print(pd.DataFrame(rows).T.round(3).to_string())


if __name__ == "__main__":
    main()
