"""Export: a trained network as one ONNX file, which needs no PyTorch; and a smaller one that has integers.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import timeit
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pandas as pd
import torch
from torch import Tensor, nn

from dl_course.data import loader
from dl_course.evaluation import Predictions, Predictor
from dl_course.files import atomic

BATCHES = (1, 2, 7, 64)  # at which a file is verified
HEAVY = {"Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"}  # operators with weights


@dataclass(frozen=True)
class Export:
    """What was written. differences: by batch size, the largest one to PyTorch's logits."""

    path: Path
    opset: int
    bytes: int
    differences: Mapping[int, float]

    def __repr__(self) -> str:
        largest = max(self.differences.values())
        sizes = ", ".join(str(size) for size in self.differences)
        verified = f"at batches of {sizes} at most {largest:.1e} from PyTorch"
        return f"{self.path.name}: {self.bytes:,} bytes, opset {self.opset}; {verified}"


class _Whole(nn.Module):
    """A predictor's preparation and network in float32 on the CPU: copies, so that nothing is left behind."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.prepare = deepcopy(predictor.transform)
        self.model = deepcopy(predictor.model).cpu().float()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(self.prepare(pictures))


def to_onnx(predictor: Predictor, path: Path | str, *, opset: int = 18, tolerance: float = 1e-5) -> Export:
    """Write preparation, network and names of classes into one ONNX file, and verify what it computes.

    The file takes "pictures" (batch, C, H, W) float32 in [0, 1], a batch of any size, and gives "logits"
    (batch, classes). The path is written only if, for batches of 1, 2, 7 and 64 random pictures, these are
    PyTorch's but for tolerance · max(1, largest logit). ValueError where they aren't, or can't be had.
    """
    if predictor.shape is None:
        raise ValueError("an ONNX file needs pictures of one shape: Predictor(…, shape=(channels, …))")
    predictor.probabilities(torch.zeros(1, *predictor.shape))  # refuses outputs that are no logits
    whole = _Whole(predictor).eval()
    path = Path(path)
    proto = _exported(whole, torch.zeros(2, *predictor.shape), opset)
    written = {each.domain: each.version for each in proto.opset_import}[""]
    if written != opset:
        raise ValueError(f"opset {opset} was asked for, but PyTorch has written opset {written}; ask for it")
    about = {"classes": predictor.classes, "shape": predictor.shape, "crop": predictor.crop}
    onnx.helper.set_model_props(proto, {"dl_course": json.dumps(about)})
    with atomic(path) as part:
        onnx.save(proto, part)
        differences = _differences(whole, load_onnx(part), tolerance)
    return Export(path, written, path.stat().st_size, differences)


def _exported(whole: _Whole, example: Tensor, opset: int) -> Any:
    batch = torch.export.Dim("batch")
    try:
        program = torch.onnx.export(
            whole, (example,), dynamo=True, dynamic_shapes={"pictures": {0: batch}}, opset_version=opset,
            input_names=["pictures"], output_names=["logits"], verbose=False,
        )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(f"{type(whole.model).__name__} can't be exported: {reason}") from error
    assert program is not None
    proto = program.model_proto
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:  # which PyTorch keeps to itself
        raise ValueError(
            f"{type(whole.model).__name__} would be written for batches of {len(example)} alone: it makes "
            "a plain number of the batch's size, as len(x) does; write x.shape[0]"
        )
    del proto.graph.value_info[:]  # its shapes may contradict what ONNX infers, and quantizing then fails
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces, with the names of this machine's folders
    return proto


def _differences(whole: nn.Module, reader: Predictor, tolerance: float) -> dict[int, float]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for size in BATCHES:
        pictures = torch.rand(size, *reader.shape or (), generator=generator)
        with torch.no_grad():
            expected = whole(pictures)
            got = reader.model(pictures)
        found[size] = (got - expected).abs().max().item()
        if not found[size] <= tolerance * max(1.0, expected.abs().max().item()):  # NaN is refused, too
            raise ValueError(f"at a batch of {size} the logits are {found[size]:g} away from PyTorch's")
    return found


class _Session(nn.Module):
    """An ONNX file as a network: (N, C, H, W) → logits (N, classes), on the CPU; threads may share it."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(["logits"], {"pictures": pictures.float().numpy()})[0])


def load_onnx(path: Path | str, threads: int = 1) -> Predictor:
    """Return a predictor that computes by ONNX Runtime; ValueError for a file that isn't ``to_onnx``'s."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; write one with to_onnx(predictor, path)")
    try:
        model = _Session(path, threads)
        about = json.loads(model.session.get_modelmeta().custom_metadata_map["dl_course"])
    except Exception as error:  # ONNX Runtime has a class for each thing that can be wrong with a file
        raise ValueError(f"{path.name} was not written by to_onnx: {error}") from error
    known = {"shape": tuple(about["shape"]), "crop": about.get("crop")}
    return Predictor(model, classes=about["classes"], **known)


def quantize(path: Path | str, to: Path | str, calibration: Tensor | None = None) -> Path:
    """Write a file of ``to_onnx`` with 8-bit integers for weights, and return where.

    calibration: pictures (N, C, H, W) in [0, 1], not those it is judged by. Their range at each layer sets
    the steps of its integers (static). None: every call measures its own range (dynamic).
    Raises ValueError for a file that isn't ``to_onnx``'s, and for calibration with no picture, or of another
    shape than the file takes.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    shape = load_onnx(path).shape  # refuses what isn't ours
    if calibration is not None and (not len(calibration) or calibration.shape[1:] != shape):
        raise ValueError(f"calibration needs pictures (N, *{shape}); given: {tuple(calibration.shape)}")
    with TemporaryDirectory() as folder, atomic(Path(to)) as part:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        if calibration is None:  # in 8 bits with a sign, ONNX Runtime's convolution is many times slower
            quantize_dynamic(prepared, part, weight_type=QuantType.QUInt8)
        else:
            batches = ({"pictures": batch.numpy()} for batch in calibration.split(64))
            reader = SimpleNamespace(get_next=lambda: next(batches, None))
            quantize_static(prepared, part, reader, per_channel=True)
    return Path(to)


def benchmark(
    files: Sequence[Path | str], pictures: Any, batch_sizes: Sequence[int] = (1, 64)
) -> pd.DataFrame:
    """Return a row a file, .onnx or ``Predictor.save``'s .safetensors: what it weighs, is worth, and costs.

    Bytes on disk; how many of its layers with weights compute with integers; accuracy on the labelled
    pictures; milliseconds for a batch of each size, as ``latency`` measures, on torch's number of threads.
    """
    paths = {Path(file).name: Path(file) for file in files}
    threads = torch.get_num_threads()
    exported = {n: p for n, p in paths.items() if p.suffix == ".onnx"}
    readers = {n: load_onnx(p, threads) if n in exported else Predictor.load(p) for n, p in paths.items()}
    table = pd.DataFrame(index=pd.Index(paths, name="file"))
    table["bytes"] = [path.stat().st_size for path in paths.values()]
    table["integer layers"] = [_integer_layers(p) if n in exported else "" for n, p in paths.items()]
    table["accuracy"] = [predictions_of(reader, pictures).accuracy for reader in readers.values()]
    some = torch.stack([pictures[index % len(pictures)][0] for index in range(max(batch_sizes))])
    for size in batch_sizes:
        table[f"ms at {size}"] = latency({n: r.probabilities for n, r in readers.items()}, some[:size])
    return table


def latency(models: Mapping[str, Callable[[Tensor], Any]], batch: Tensor, repeats: int = 30) -> pd.Series:
    """Return each model's milliseconds for the batch: of calls that take turns the fastest.

    What else the machine does can only add to it, as the documentation of ``timeit`` says.
    """
    for run in models.values():
        run(batch)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats):
        for name, run in models.items():
            taken[name].append(timeit(partial(run, batch), number=1))
    return pd.Series({name: 1000 * min(each) for name, each in taken.items()})


def predictions_of(predictor: Predictor, pictures: Any) -> Predictions:
    """Return the predictor's predictions of labelled pictures in [0, 1]; the logits are log-probabilities."""
    parts = [(predictor.probabilities(x).log(), y) for x, y in loader(pictures, 256)]
    logits, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    return Predictions(logits, labels, predictor.classes)


def _integer_layers(path: Path) -> str:
    nodes = onnx.load(path).graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}
    heavy = [node for node in nodes if node.op_type in HEAVY]
    integer = [n for n in heavy if "Integer" in n.op_type or made_by.get(n.input[1]) == "DequantizeLinear"]
    return f"{len(integer)} of {len(heavy)}"
