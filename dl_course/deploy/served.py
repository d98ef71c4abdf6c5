"""An ONNX file as strangers use it: bytes in, probabilities out, by NumPy, Pillow and ONNX Runtime alone.

Nothing here trusts its input: what is too large is refused before it is decoded, and nothing is written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dl_course.images import channels_of, with_channels

RAW = ("image/png", "image/jpeg", "application/octet-stream")
FORMATS = (
    "PNG",
    "JPEG",
)  # Pillow's others include programs (EPS) and decoders that begin before they're asked
SCANS = 64  # of a JPEG; each is a pass over all its pixels, and a progressive one has about ten


class Refused(ValueError):
    """A request that isn't answered; status: of HTTP, 4xx."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How much strangers may ask for.

    body_bytes, pictures and pixels (of all its pictures together) are of one request; seconds: from its head
    to its answer, and from a connection to the head · concurrent: requests at a time · threads: how many of
    them are worked on.
    """

    body_bytes: int = 4 * 2**20
    pictures: int = 64
    pixels: int = 16_000_000
    seconds: float = 10.0
    concurrent: int = 64
    threads: int = 2


class ServedModel:
    """A network that ``to_onnx`` wrote: its classes, the shape it takes, and its answers.

    Raises ValueError where the path holds no such network: one input (N, C, H, W) in [0, 1], logits
    (N, classes), a name for each class or none; FileNotFoundError where there is nothing.
    """

    def __init__(self, path: Path | str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # requests run beside each other
        self.name = Path(path).name
        content = _content(Path(path))
        try:
            self.session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own have no class in common
            raise ValueError(f"{path} is no ONNX file that ONNX Runtime reads: {error}") from error
        source, *others = self.session.get_inputs()
        shape = tuple(source.shape[1:])
        if others or len(shape) != 3 or not all(isinstance(side, int) for side in shape):
            raise ValueError(
                f"{path} takes {source.shape}; a model with one input (N, C, H, W) can be served"
            )
        self.input = source.name
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        about = json.loads(self.session.get_modelmeta().custom_metadata_map.get("dl_course", "{}"))
        count = self.probabilities(np.zeros((1, *self.shape), np.float32)).shape[1]
        self.crop = about.get("crop")
        self.classes = tuple(about.get("classes") or map(str, range(count)))
        if len(self.classes) != count:
            raise ValueError(f"{path} names {len(self.classes)} classes for {count} outputs")

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Return the probability of every class, (N, C) float32, of pictures (N, C, H, W) in [0, 1]."""
        logits = self.session.run(None, {self.input: pictures})[0]
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def pictures(self, body: bytes, content_type: str, limits: Limits) -> np.ndarray:
        """Return the pictures in a body, (N, C, H, W) float32 in [0, 1]; Refused says what is wrong.

        content_type: one of RAW for one PNG or JPEG, or multipart/form-data whose parts are such files.
        """
        kind, options = parse_options_header(content_type)
        if kind == b"multipart/form-data":
            files = _parts(body, options.get(b"boundary", b""), limits.pictures)
        elif kind.decode("latin-1") in RAW:
            files = [bytearray(body)]
        else:
            raise Refused(415, f"a picture comes as {', '.join(RAW)} or in multipart/form-data")
        return np.stack(_decoded(files, self.shape, self.crop, limits.pixels))


def _content(path: Path) -> bytes:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    from tempfile import TemporaryDirectory

    from dl_course.deploy.export import to_onnx
    from dl_course.evaluation import Predictor

    with TemporaryDirectory() as folder:
        to_onnx(Predictor.load(path), Path(folder, "model.onnx"))
        return Path(folder, "model.onnx").read_bytes()


def _parts(body: bytes, boundary: bytes, most: int) -> list[bytearray]:
    form = _Form(most)
    calls = {f"on_{name}": getattr(form, name) for name in vars(_Form) if not name.startswith("_")}
    try:
        MultipartParser(boundary, calls).write(body)  # type: ignore[arg-type]
    except FormParserError as error:
        raise Refused(400, f"the multipart body can't be read: {error}") from error
    if not form.files or not form.ended:
        raise Refused(400, "the multipart body has no picture, or ends before its last boundary")
    return form.files


class _Form:
    """Collects the files of a multipart body, as its parser calls back; a field of text is Refused."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.files: list[bytearray] = []
        self.headers: list[tuple[bytearray, bytearray]] = []
        self.ended = False

    def part_begin(self) -> None:
        if len(self.files) == self.most:
            raise Refused(413, f"a request has at most {self.most} pictures")
        self.files.append(bytearray())
        self.headers = []

    def header_begin(self) -> None:
        self.headers.append((bytearray(), bytearray()))

    def header_field(self, chunk: bytes, start: int, end: int) -> None:
        self.headers[-1][0].extend(chunk[start:end])

    def header_value(self, chunk: bytes, start: int, end: int) -> None:
        self.headers[-1][1].extend(chunk[start:end])

    def headers_finished(self) -> None:
        about = {bytes(name).lower(): bytes(value) for name, value in self.headers}
        _, options = parse_options_header(about.get(b"content-disposition"))
        text = about.get(b"content-type", b"text/plain").lower().startswith(b"text/")
        if text and b"filename" not in options:
            field = options.get(b"name", b"").decode("latin-1")
            raise Refused(400, f"the form's field '{field}' is text: pictures are sent as files")

    def part_data(self, chunk: bytes, start: int, end: int) -> None:
        self.files[-1] += chunk[start:end]

    def end(self) -> None:
        self.ended = True


def _decoded(
    files: Sequence[bytearray], shape: tuple[int, int, int], crop: float | None, pixels: int
) -> list[np.ndarray]:
    decoded = []
    left = pixels
    for number, file in enumerate(files, 1):
        try:
            with Image.open(BytesIO(file), formats=FORMATS) as picture:  # reads its head alone
                left -= picture.width * picture.height
                if left < 0 or file.count(b"\xff\xda") > SCANS and picture.format == "JPEG":
                    raise Refused(413, f"picture {number} goes beyond {pixels} pixels or {SCANS} scans")
                decoded.append(_fitted(picture, shape, crop))
        except Refused:
            raise
        except Image.DecompressionBombError as error:
            raise Refused(413, f"picture {number} goes beyond {pixels} pixels") from error
        except Exception as error:  # a damaged file makes a decoder fail in any way
            raise Refused(400, f"picture {number} can't be read as {' or '.join(FORMATS)}") from error
    return decoded


def _fitted(picture: Image.Image, shape: tuple[int, int, int], crop: float | None) -> np.ndarray:
    """Return what ``Predictor.tensors`` does before its transform, (C, H, W); a channel at a time."""
    channels, height, width = shape
    planes, white = channels_of(picture)
    planes = planes if crop is None else [_middle(plane, (width, height), crop) for plane in planes]
    small = [
        np.asarray(each.convert("F").resize((width, height), Image.Resampling.BILINEAR)) for each in planes
    ]
    scaled = np.stack(small).astype(np.float32) / np.float32(white)
    return with_channels(scaled, channels).clip(0, 1)


def _middle(plane: Image.Image, size: tuple[int, int], crop: float) -> Image.Image:
    """Return what ``models.fitted`` cuts from the middle: the share of the shorter side, as wide as size."""
    scale = crop * min(whole / side for whole, side in zip(plane.size, size, strict=True))
    window = [max(1, round(scale * side)) for side in size]
    left, top = (round((whole - side) / 2) for whole, side in zip(plane.size, window, strict=True))
    return plane.crop((left, top, left + window[0], top + window[1]))
