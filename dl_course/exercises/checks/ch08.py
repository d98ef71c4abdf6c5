"""Judging the answers of chapter 08."""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from scipy.stats import chi2_contingency, ks_2samp, ttest_ind
from torch import nn

from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case
from dl_course.exercises.probes.ch08 import exported

Run = Callable[[np.ndarray], np.ndarray]


def _difference(model: nn.Module, run: Run, pictures: np.ndarray, sizes: list[int], slip: str = "") -> float:
    model.train(slip == "train")
    found = []
    for size in sizes[: 1 if slip == "first" else None]:
        batch = pictures[:size]
        with torch.no_grad():
            expected = model(torch.from_numpy(batch)).numpy()
        try:
            gap = run(batch) - expected
        except ValueError:
            if slip == "raises":
                raise
            if slip != "skip":
                return math.inf
            continue
        gap = gap if slip == "signed" else np.abs(gap)
        found.append(float(gap.mean() if slip == "mean" else np.nanmax(gap) if slip == "nan" else gap.max()))
    if any(map(math.isnan, found)):
        return math.nan if slip == "returns nan" else math.inf
    return found[-1] if slip == "last" else max(found)


class LargestDifference(Exercise):
    """Verify an export."""

    name = "largest_difference"
    hints = (
        "For each size: `batch = pictures[:size]`. PyTorch wants `torch.from_numpy(batch)`.",
        "Call `model.eval()` and use `torch.no_grad()`: the file was written from a network in eval mode.",
        "`run` may raise, and a maximum may be NaN (`math.isnan`): both count as math.inf.",
    )
    reference = staticmethod(_difference)
    slips: ClassVar = {
        "train": "the network is in training mode: its norms use the batch, not their running statistics",
        "signed": "take the absolute value: too small is as wrong as too large",
        "mean": "you took the mean, which hides one wrong logit among many right ones",
        "first": "only the first size is tried: a file may be right for one batch size and wrong for another",
        "last": "only the last size counts: keep the largest of all",
        "skip": "you skip a size at which the file fails: that is the worst difference, math.inf",
        "raises": "if `run` fails, the difference is math.inf: catch its exception",
        "returns nan": "NaN can't be compared, `nan > 1e-5` is False: return math.inf",
        "nan": "your maximum ignores NaN: a file that gives NaN is wrong, return math.inf",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        many = draw(rng, 4, 7)
        kinds = {
            "a file that rounds": ("", 1, [1, many, 2]),
            "a file that gives too little": ("", -1, [many, 1]),
            "right for one picture, wrong for more": ("larger batches", 1, [1, many, 2]),
            "wrong for many, right for the last": ("larger batches", 1, [many, 2, 1]),
            "made for batches of two alone": ("two alone", 1, [2, 1, many]),
            "not a number": ("nan", 1, [2, 1, many]),
        }
        harmless = {"two alone": [2], "nan": [1]}
        for about, (fault, sign, sizes) in kinds.items():
            for tried in (sizes, harmless[fault]) if fault in harmless else (sizes,):
                case = {"about": about, "sizes": tried, "seed": draw(rng, 0, 999)}
                case["pictures"] = rng.random((8, 1, *[draw(rng, 4, 6)] * 2), np.float32)
                yield case | {"logits": _of_the_file(case, fault, sign * float(rng.uniform(0.1, 0.5)))}


def _of_the_file(case: Case, fault: str, amount: float) -> dict[str, np.ndarray]:
    """Return what the file gives for the first pictures, by how many there are; none where it fails."""
    network = exported(case).eval()
    found = {}
    for count in (2,) if fault == "two alone" else range(1, len(case["pictures"]) + 1):
        with torch.no_grad():
            logits = network(torch.from_numpy(case["pictures"][:count])).numpy()
        logits[1 if fault == "larger batches" else 0 :, 1] += amount
        logits[-1, -1] = np.nan if fault == "nan" and count > 1 else logits[-1, -1]
        found[str(count)] = logits
    return found


def _batches(run: Run, pictures: np.ndarray, size: int, slip: str = "") -> Any:
    count = len(pictures) - len(pictures) % size if slip == "drop last" else len(pictures)
    step = 1 if slip == "one by one" else max(1, len(pictures)) if slip == "at once" else size
    parts = [run(pictures[start : min(start + step, count)]) for start in range(0, count, step)]
    if not parts and slip == "none":
        raise ValueError("need at least one array to concatenate")
    logits = np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, 1))
    axis = 0 if slip == "axis" else 1
    raised = np.exp(logits - logits.max(axis, keepdims=True, initial=-np.inf))
    p = logits if slip == "logits" else raised / raised.sum(axis, keepdims=True)
    p = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) if slip == "sigmoid" else p
    return logits.argmax(1), p.max(1)


class PredictInBatches(Exercise):
    """Batch predictions."""

    name = "predict_in_batches"
    hints = (
        "`for start in range(0, len(pictures), size)`: a slice that reaches beyond the end is just shorter.",
        "Softmax along the classes, axis 1; subtract each row's maximum first, or exp overflows.",
        "Without any picture there is no batch: return two empty arrays.",
    )
    reference = staticmethod(_batches)
    slips: ClassVar = {
        "drop last": "the last batch is lost if it isn't full",
        "one by one": "each picture went alone: give `run` as many as it takes, `size`",
        "at once": "all pictures went at once: `run` takes at most `size`",
        "axis": "softmax runs along the classes, axis 1, not along the batch",
        "logits": "that is the largest logit: a confidence is a probability, after the softmax",
        "sigmoid": "sigmoid looks at each class alone: for one class out of several, use softmax",
        "none": "without any picture there is nothing to concatenate: return two empty arrays",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        size = draw(rng, 3, 5)
        counts = {"full batches": 3 * size, "a last batch that isn't full": 2 * size + draw(rng, 1, 2)}
        counts |= {"few pictures, or none": 2, "large logits": size + 1}
        for about, count in [*counts.items(), ("few pictures, or none", 0)]:
            spread = 900 if about == "large logits" else 2
            logits = (spread * rng.normal(size=(count, draw(rng, 3, 6)))).astype(np.float32)
            yield {"about": about, "size": size, "logits": logits}


def _p_value(
    confidence: np.ndarray, classes: np.ndarray, new_confidence: np.ndarray, new_classes: np.ndarray,
    slip: str = "",
) -> float:  # fmt: skip
    both = np.intersect1d if slip == "common" else np.union1d
    kinds = both(classes, new_classes)
    counts = np.array([[(each == kind).sum() for kind in kinds] for each in (classes, new_classes)])
    by_class = chi2_contingency(counts).pvalue
    how = ttest_ind if slip == "means" else ks_2samp
    by_confidence = how(confidence, new_confidence).pvalue
    smaller = (max if slip == "larger" else min)(by_class, by_confidence)
    smaller = {"classes": by_class, "confidence": by_confidence}.get(slip, smaller)
    p = smaller * (1 if slip == "uncorrected" else 2)
    return float(p if slip == "above one" else min(1.0, p))


class DriftPValue(Exercise):
    """Detect drift."""

    name = "drift_p_value"
    points = 2
    atol = 1e-12  # p-values may be that small
    hints = (
        "`scipy.stats.ks_2samp(a, b).pvalue` compares two samples of numbers of any distribution.",
        "`scipy.stats.chi2_contingency(counts).pvalue` takes (2, classes): the counts of each sample.",
        "`np.union1d(a, b)` has the classes of both samples. Twice the smaller p-value, but at most 1.",
    )
    reference = staticmethod(_p_value)
    slips: ClassVar = {
        "uncorrected": "two tests have two chances of a false alarm: double the smaller p-value (Bonferroni)",
        "larger": "you took the larger p-value: one of the tests is enough for an alarm",
        "classes": "the confidence is left out",
        "confidence": "the classes have no effect: left out, or given as shares? chi-square takes counts",
        "means": "that test compares only means: Kolmogorov–Smirnov sees any difference",
        "common": "a class that only one sample has is left out, and that is the suspicious one",
        "above one": "a p-value is at most 1",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = dict.fromkeys(("other confidences", "other classes", "a class nobody knew"), 0.0)
        same = "little or nothing has changed"
        for about, by in (*kinds.items(), (same, 0.0), (same, rng.uniform(0.035, 0.05))):
            n = draw(rng, 150, 200)
            m = draw(rng, 90, 140)
            k = draw(rng, 4, 6)
            old = rng.beta(6, 1.5, n)
            new = np.quantile(old, np.linspace(0.01, 0.99, m)) + rng.uniform(0, 1e-4, m) + by  # alike
            classes = np.arange(n) % k  # equally frequent
            new_classes = rng.permutation(np.arange(m) % k)
            if about == "other confidences":
                new = rng.beta(3, 1.2, m)
            elif about == "other classes":
                new_classes = rng.choice(k, m, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
            elif about == "a class nobody knew":
                new_classes[: m // 6] = k
            case = {"about": about, "confidence": old, "classes": classes}
            yield case | {"new_confidence": new, "new_classes": new_classes}


def _status(body: bytes, most_bytes: int, most_pixels: int, slip: str = "") -> int:
    if len(body) > most_bytes - (slip == "edge") and slip != "any length":
        return 413
    caught = OSError if slip == "narrow" else Exception
    try:
        picture = Image.open(BytesIO(body))
        if picture.width * picture.height > most_pixels and slip not in ("decode first", "any size"):
            return 413
    except Image.DecompressionBombError:
        return 415 if slip == "bomb" else 413
    except caught:
        if slip == "crash":
            raise
        return 400 if slip == "always 400" else 415
    try:
        if slip != "header":
            picture.load()
    except caught:
        return 415 if slip == "always 415" else 400
    return 413 if slip == "decode first" and picture.width * picture.height > most_pixels else 200


class StatusFor(Exercise):
    """A request that must be refused."""

    name = "status_for"
    hints = (
        "Start with the length, `len(body)`, which costs nothing. Then `Image.open(BytesIO(body))`.",
        "`Image.open` reads only the header: `width` and `height` are known, and nothing is unpacked yet.",
        "`open` raises Image.DecompressionBombError for a giant. Any other exception means 415.",
        "`picture.load()` unpacks. A damaged picture makes it fail in many ways: `except Exception`, 400.",
    )
    reference = staticmethod(_status)
    slips: ClassVar = {
        "any length": "refuse a body of too many bytes, 413, before anything looks inside",
        "edge": "a body of exactly as many bytes as allowed is fine",
        "any size": "a small file can be huge once unpacked: look at width × height",
        "decode first": "you unpack before you look at the size: that is what a bomb waits for",
        "bomb": "Pillow refuses a giant with Image.DecompressionBombError: that means too large, 413",
        "crash": "your code raises on a body that is no picture at all: a service answers 415",
        "always 400": "a body that is no picture at all gets 415, unsupported media type",
        "always 415": "a damaged picture is still a picture, only broken: 400",
        "header": "you read only the header; damage further on shows when the picture is unpacked, load()",
        "narrow": "damaged files also raise SyntaxError, ValueError or TypeError: catch Exception",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        side = draw(rng, 20, 40)
        most_pixels = draw(rng, 5_000, 9_000)
        pixels = rng.integers(0, 256, (side, side + 3), np.uint8)
        good = _file(pixels)
        fits = _file(np.zeros((side, most_pixels // side), np.uint8))
        many = _file(np.zeros((side, most_pixels // side + draw(rng, 1, 9)), np.uint8))
        bodies = {
            "pixels, too many or not": [fits, many],
            "no picture": [rng.bytes(draw(rng, 30, 60))],
            "nothing": [b""],
            "a picture cut off": [good[: len(good) // 2]],
            "a bomb": [_claims(draw(rng, 3_000, 5_000))],
            "a giant": [_claims(draw(rng, 50_000, 60_000))],
        }
        bodies |= {f"a damaged {kind}": [body] for kind, body in _damaged(pixels).items()}
        tried = [("bytes, too many or not", good, len(good) + more) for more in (99, 0, -draw(rng, 1, 99))]
        for (
            about,
            some,
        ) in bodies.items():  # each beside a whole picture: the same answer for all isn't enough
            tried += [(about, body, 9_000) for body in (some if len(some) > 1 else [good, *some])]
        for about, body, most_bytes in tried:
            case = {"about": about, "most_bytes": most_bytes, "most_pixels": most_pixels}
            yield case | {"body": np.frombuffer(body, np.uint8)}


def _file(pixels: np.ndarray, kind: str = "png") -> bytes:
    Image.fromarray(pixels).save(file := BytesIO(), kind)
    return file.getvalue()


def _damaged(pixels: np.ndarray) -> dict[str, bytes]:
    """Return files that Pillow fails to read in ways that aren't OSErrors."""
    png, bmp, pgm, tiff = (_file(pixels, kind) for kind in ("png", "bmp", "ppm", "tiff"))
    strips = tiff.index(struct.pack("<HH", 273, 4))
    return {
        # A wrong length of the pixels' chunk, and no name of a chunk where the next should begin: SyntaxError
        "PNG": png[:33] + struct.pack(">I", 20) + png[37:69] + b"\xff" * 4 + png[73:],
        "BMP": bmp[:46] + b"\x07" + bmp[47:],  # the number of colours in the palette: ValueError in load
        "PGM": pgm.replace(b"\n255\n", b"\n300\n", 1),  # two bytes a pixel promised: ValueError in load
        "PGM without a size": pgm.replace(b"\n", b"\nx", 1),  # ValueError in open
        "TIFF": tiff[: strips + 2]
        + b"\x02"
        + tiff[strips + 3 :],  # strips' places as text: TypeError in load
    }


def _claims(side: int) -> bytes:
    """Return a PNG whose header promises a huge square."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(500))), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + content))
        parts += [struct.pack(">I", len(content)), kind, content, check]
    return b"".join(parts)
