"""The service under load, under abuse and stopped in the middle of it; on this machine's loopback alone.

    python benchmarks/service.py [--minutes 5]

32 clients ask at once, for minutes: how many answers are lost, and how long does the slowest in a hundred
take? 2,000 malformed bodies: does it crash, blame itself (5xx), or keep their memory? SIGTERM under load: is
every request answered that was sent? The numbers of seconds depend on what else the machine does.
"""

import argparse
import asyncio
import http.client
import io
import json
import os
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

CLIENTS, BODIES = 32, 2000


def network(path: Path) -> Path:
    """Write an ONNX file as ``to_onnx`` does: one convolution over 28×28 and a line, with random weights."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    shapes = {"w": (8, 1, 5, 5), "v": (10, 8 * 12 * 12)}
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["pictures", "w"], ["maps"], strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["logits"], transB=1),
    ]
    source = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["batch", 1, 28, 28])
    target = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "handmade", [source], [target], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"dl_course": json.dumps({"classes": list("0123456789")})})
    save(model, path)
    return path


def png(side: int = 28, mode: str = "L", seed: int = 0) -> bytes:
    """Return a picture of noise as a file."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, *channels), np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


@contextmanager
def service(model: Path) -> Iterator[tuple[subprocess.Popen, int, Path]]:
    """Run ``dl-course serve`` on a free port; gives process, port and log, and stops it."""
    log = model.with_suffix(".log")
    command = [sys.executable, "-m", "dl_course.cli", "serve", str(model), "--port", "0"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, cwd=Path(__file__).parents[1])
    try:
        while not (found := re.search(r'"port": (\d+)', log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield process, int(found[1]), log
    finally:
        process.terminate()
        process.wait(30)


def request(body: bytes, kind: str = "image/png") -> bytes:
    """Return a whole request of /predict."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def client(port: int, message: bytes, more: Callable[[], bool], seen: list[tuple[str, float]]) -> None:
    """Ask again while there is to be more, until nobody listens; note status and seconds of each answer."""
    while more():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        closing = False
        while not closing and more():
            start = time.perf_counter()
            try:
                writer.write(message)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))  # type: ignore[index]
                seen.append((head.split()[1].decode(), time.perf_counter() - start))
                closing = b"connection: close" in head
            except (OSError, asyncio.IncompleteReadError):
                seen.append(("lost", time.perf_counter() - start))
                closing = True
        writer.close()


def load(port: int, message: bytes, seconds: float, stop: int = 0, least: int = 0) -> list[tuple[str, float]]:
    """Return status and seconds of every request of 32 clients; stop: a process that gets SIGTERM halfway.

    least: so many requests, however long they take; a machine may stand still for seconds.
    """
    seen: list[tuple[str, float]] = []

    async def halfway() -> None:
        await asyncio.sleep(seconds / 2)
        while len(seen) < least / 2:
            await asyncio.sleep(0.01)
        os.kill(stop, signal.SIGTERM)

    def more() -> bool:
        return time.perf_counter() < until or len(seen) < least

    async def all_of_them() -> None:
        clients = [client(port, message, more, seen) for _ in range(CLIENTS)]
        await asyncio.gather(*clients, *([halfway()] if stop else []))

    until = time.perf_counter() + seconds
    asyncio.run(all_of_them())
    return seen


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of that size, in zeros that a file of few bytes unpacks to."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = zlib.compress(bytes(min(width * height, 30_000_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def archive() -> bytes:
    """Return a zip bomb: 50 MB of zeros."""
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", bytes(50_000_000))
    return file.getvalue()


def form(*files: bytes, boundary: str = "x") -> bytes:
    """Return a multipart body."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="pictures"; filename="a.png"\r\n\r\n'.encode()
    )
    return b"".join(head + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()


def malformed(count: int) -> Iterator[tuple[str, bytes, str]]:
    """Give bodies that a service must survive: what it is, the body, its type."""
    rng, good = random.Random(0), png(64, "RGB")
    Image.open(io.BytesIO(good)).save(jpeg := io.BytesIO(), "JPEG", progressive=True)
    photo, zipped, many = jpeg.getvalue(), archive(), form(*[png(8)] * 65)
    large, text = (
        [bomb(5000, 4000), bomb(60_000, 60_000), bomb(2**31 - 1, 2**31 - 1)],
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000))),
    )
    Image.new("F", (28, 28), float("nan")).save(nan := io.BytesIO(), "TIFF")
    multipart, scan = "multipart/form-data; boundary=x", photo.rindex(b"\xff\xda")
    kinds = {
        "truncated": lambda: (rng.choice([good, photo])[: rng.randrange(len(photo))], "image/png"),
        "bytes changed": lambda: (noisy(rng, rng.choice([good, photo])), "image/jpeg"),
        "noise": lambda: (rng.randbytes(rng.randrange(5000)), "application/octet-stream"),
        "wrong type": lambda: (good, rng.choice(["text/html", "", "a/b;c=d", "image/tiff", "é"])),
        "nothing": lambda: (rng.choice([b"", form()]), rng.choice(["image/png", multipart])),
        "huge": lambda: (bytes(5 * 2**20), "image/png"),
        "zip bomb": lambda: (zipped, "application/octet-stream"),
        "picture bomb": lambda: (rng.choice(large), "image/png"),
        "text bomb": lambda: (good[:33] + text * 3 + good[33:], "image/png"),
        "scan bomb": lambda: (photo[:-2] + photo[scan:-2] * 500 + photo[-2:], "image/jpeg"),
        "polyglot": lambda: (rng.choice([good + zipped, b"<script>" + good, b"%!PS\n" + good]), "image/png"),
        "nan": lambda: (rng.choice([b"[[NaN, Infinity]]", nan.getvalue()]), "application/octet-stream"),
        "form of rubbish": lambda: (form(noisy(rng, good), rng.randbytes(99)), multipart),
        "form cut short": lambda: (form(good, good)[: rng.randrange(len(good) * 2)], multipart),
        "form of too many": lambda: (many, multipart),
        "form of line ends": lambda: (b"--x\r\n" + b"\r\n" * rng.randrange(20_000), multipart),
        "form without end": lambda: (form(good), rng.choice(["multipart/form-data", multipart + "y" * 300])),
    }  # fmt: skip
    names = list(kinds)
    for number in range(count):
        yield names[number % len(names)], *kinds[names[number % len(names)]]()


def noisy(rng: random.Random, file: bytes) -> bytes:
    """Return the file with a few bytes changed."""
    changed = bytearray(file)
    for _ in range(rng.randint(1, 30)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def abuse(process: subprocess.Popen, port: int, count: int) -> tuple[Counter, float]:
    """Send malformed bodies; return how often which status came, by kind, and memory after ÷ before."""
    seen: Counter = Counter()
    for _, body, kind in malformed(100):  # what it keeps for good, such as Pillow's decoders
        ask(port, body, kind)
    before = psutil.Process(process.pid).memory_info().rss
    for name, body, kind in malformed(count):
        seen[name, ask(port, body, kind)] += 1
    return seen, psutil.Process(process.pid).memory_info().rss / before


def ask(port: int, body: bytes, kind: str) -> int:
    """Send one body; return the status, after checking that an error gives a reason and nothing else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", body, {"Content-Type": kind.encode()})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert set(said) == ({"model", "predictions"} if answer.status == 200 else {"detail"}), said
    assert "Traceback" not in str(said), said
    return answer.status


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=5)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        model = network(Path(folder, "network.onnx"))
        with service(model) as (process, port, _):
            report(f"{CLIENTS} clients, {minutes:g} min", load(port, request(png()), minutes * 60))
            seen, memory = abuse(process, port, BODIES)
            codes = Counter(code for _, code in seen.elements())
            print(f"{BODIES} malformed bodies: {dict(codes)}; memory after ÷ before: {memory:.3f}")
            print(f"alive: {process.poll() is None and ask(port, png(), 'image/png') == 200}")
        with service(model) as (process, port, log):
            seen = load(port, request(png()), 10, stop=process.pid)
            report("SIGTERM in the middle", seen)
            print(f"answers by its own log: {log.read_text().count('/predict')}")


def report(name: str, seen: list[tuple[str, float]]) -> None:
    times = sorted(seconds * 1000 for _, seconds in seen)
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"{name}: {dict(Counter(code for code, _ in seen))}, p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
