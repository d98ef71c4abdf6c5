"""The layer explorer: pick a picture, a layer and a view, and see what the layer makes of the picture."""

import asyncio
import textwrap
import warnings
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ipywidgets as widgets
import torch
from PIL import ImageOps
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import center_crop, resize, to_pil_image

from dl_course.data import Pictures
from dl_course.images import read_image
from dl_course.language import say
from dl_course.registry import nearest
from dl_course.widgets.views import VIEWS, Drawing, Inspection, data_url, draw_view

CSS = """.{0} button {{width: 48px; height: 48px; font-size: 0; background-size: cover}}
.{0} button.mod-active {{outline: 3px solid #0173b2}}"""


class LayerExplorer(widgets.VBox):
    """A network to look into: pick a picture, a layer, a view; ``show`` draws the same without a front end.

    model: any nn.Module that takes pictures, on any device; it stays as it was · images: (N, C, H, W) or a
    list of (C, H, W), gray or RGB in [0, 1], or a set from ``data.load`` · classes: names, else the set's ·
    transform: what the model needs done to a picture, whose size stays: a function, or mean and std as in
    ``models.model_card(name)["normalize"]``. What is chosen while the kernel is busy is drawn afterwards, the
    last choice alone. Raises ValueError for other images.
    """

    def __init__(
        self, model: nn.Module, images: Tensor | Sequence[Tensor] | Pictures,
        classes: Sequence[Any] | None = None, *,
        transform: Callable[[Tensor], Tensor] | Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if isinstance(images, Pictures):
            classes = classes or images.classes
            images = images.tensors()[0]
        self.model = model
        self.names = [str(name) for name in classes or ()]
        self.images = [_checked(image) for image in images]
        if not self.images:
            raise ValueError("there are no images to look at")
        self.transform = v2.Normalize(**transform) if isinstance(transform, Mapping) else transform
        named = dict(model.named_modules(remove_duplicate=False))
        self.kinds = {name: type(layer).__name__ for name, layer in named.items() if name or len(named) == 1}
        self._loop = None
        self._waiting = False
        with suppress(RuntimeError):  # without a kernel there is nothing to wait for
            self._loop = asyncio.get_running_loop()
        self._build()
        self._draw()

    def _build(self) -> None:
        kinds = [(f"{kind} ({count})", kind) for kind, count in Counter(self.kinds.values()).items()]
        layers = list(self.kinds)
        names = self.names
        late = {"continuous_update": False}
        self.pictures = _buttons("picture", range(len(self.images)), "48px")
        self.upload = widgets.FileUpload(description=say("your own"), accept="image/*")
        self.kind = _buttons("kind", [(say(f"all ({len(layers)})"), ""), *kinds])
        self.layer = widgets.SelectionSlider(options=layers, layout={"width": "500px"})
        self.layer.description = say("layer")
        self.search = widgets.Combobox(placeholder=say("find a layer by name"), options=layers, **late)
        self.view = _buttons("view", [(say(label), view) for view, (label, *_) in VIEWS.items()])
        self.target = widgets.Combobox(description=say("class"), options=names, **late)
        self.target.placeholder = say("predicted")
        self.strength = widgets.FloatSlider(0.5, min=0, max=1, step=0.05, description=say("overlay"))
        self.status = widgets.Label()
        self.image = widgets.Image(layout={"align_self": "flex-start"})
        self.sheet = widgets.HTML()
        self.gradcam = widgets.HBox([self.target, self.strength])
        rows = [[self.pictures, self.upload], [self.kind], [self.layer, self.search], [self.view]]
        super().__init__([*map(widgets.HBox, rows), self.gradcam, self.status, self.image, self.sheet])
        self._show_thumbnails()
        others = {"kind": self._kind_chosen, "search": self._searched, "upload": self._uploaded}
        for name in ("pictures", "upload", "kind", "layer", "search", "view", "target", "strength"):
            getattr(self, name).observe(others.get(name, self._chosen), "value")
            getattr(self, name).add_class(f"explorer-{name}")
        self.status.add_class("explorer-status")
        self.image.add_class("explorer-image")

    def show(
        self, layer: str, view: str = "features", *, picture: int = 0, target: int | str | None = None,
        strength: float = 0.5,
    ) -> Drawing:  # fmt: skip
        """Return the figure of a layer, named as by ``model.named_modules()``; no front end is needed.

        view: "features", "kernels", "histogram", "gradcam" or "statistics" · picture: its number · target:
        the class, by name or number, that Grad-CAM explains; None for the predicted one · strength: of the
        overlay. Raises ValueError for what is not there, and for a view that the layer can't give.
        """
        if view not in VIEWS:
            raise ValueError(f"unknown view '{view}'{nearest(view, VIEWS)}")
        if picture not in range(len(self.images)):
            raise ValueError(f"there are the pictures 0 to {len(self.images) - 1}; given {picture}")
        image = self.images[picture]
        inputs = (self.transform(image) if self.transform else image)[None]
        seen = Inspection(self.model, layer, image, inputs, self._class(target), strength, self.names)
        return draw_view(seen, view)

    def _class(self, target: Any) -> Any:
        known = {"": None} | {name: number for number, name in enumerate(self.names)}
        if not isinstance(target, str) or target in known:
            return known.get(target, target)
        if target.isdecimal():
            return int(target)
        raise ValueError(f"unknown class '{target}'{nearest(target, self.names)}; its number will do, too")

    def _chosen(self, change: Any) -> None:
        if self._loop is None:
            self._draw()
        elif not self._waiting:
            self._waiting = True
            self.status.value = say("drawing …")
            # Choices come on a thread of their own, a subshell's, maybe while a cell trains the model: the
            # kernel's own loop waits for the cell. What else is chosen until then is drawn with this one.
            self._loop.call_soon_threadsafe(self._loop.call_later, 0.005, self._draw)

    def _draw(self) -> None:
        self._waiting = False
        layer = self.layer.value
        view = self.view.value
        picture = self.pictures.value
        how = {"picture": picture, "target": self.target.value, "strength": self.strength.value}
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            try:
                png = self.show(layer, view, **how)._repr_png_()
                words = VIEWS[view][2]
            except Exception as error:  # whatever the model raises: nobody would see a traceback
                png = b""
                words = str(error)
        self.gradcam.layout.display = None if view == "gradcam" else "none"
        self.image.value = png
        self.image.layout.display = None if png else "none"
        self._say("; ".join([f"{layer}, picture {picture}: {words}", *(str(r.message) for r in remarks)]))

    def _say(self, words: str) -> None:
        self.status.value = textwrap.shorten(say(words), 300, placeholder=" …")

    def _kind_chosen(self, change: Any) -> None:
        with self.layer.hold_sync():  # else the front end keeps the old place, and sends it back
            self.layer.options = [name for name, kind in self.kinds.items() if self.kind.value in ("", kind)]

    def _searched(self, change: Any) -> None:
        if (name := self.search.value) in self.kinds:
            self.kind.value = self.search.value = ""
            self.layer.value = name
        elif name:
            self._say(f"unknown layer '{name}'{nearest(name, self.kinds)}")

    def _uploaded(self, change: Any) -> None:
        for file in self.upload.value:
            try:
                self.images.append(_read(bytes(file["content"]), self.images[0].shape))
            except ValueError as error:
                return self._say(f"{file['name']}: {error}")
            self._show_thumbnails()
            self.pictures.value = len(self.images) - 1

    def _show_thumbnails(self) -> None:
        rules = [CSS.format(place := f"explorer-{id(self)}")]
        for number, image in enumerate(self.images, 1):
            url = data_url(ImageOps.fit(to_pil_image(image), (48, 48)))
            rules.append(f".{place} button:nth-of-type({number}) {{background-image: url({url})}}")
        self.pictures.add_class(place)
        self.pictures.options = range(len(self.images))
        self.sheet.value = f"<style>{''.join(rules)}</style>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        png = {"image/png": b64encode(self.image.value).decode()} if self.image.value else {}
        return super()._repr_mimebundle_(**kwargs) | png

    def __repr__(self) -> str:
        seen = f"{type(self.model).__name__}, {len(self.kinds)} layers, {len(self.images)} pictures"
        return f"LayerExplorer: {seen}; show(layer, view)"


def _buttons(description: str, options: Any, width: str = "auto") -> widgets.ToggleButtons:
    return widgets.ToggleButtons(description=say(description), options=options, style={"button_width": width})


def _checked(image: Tensor) -> Tensor:
    values = [f"{value:.3g}" for value in image.aminmax()] if image.numel() else []
    fits = image.ndim == 3 and len(image) in (1, 3) and image.is_floating_point() and values
    if not fits or not 0 <= image.min() <= image.max() <= 1:
        given = f"{image.dtype} {tuple(image.shape)}, {' to '.join(values)}; normalize by transform="
        raise ValueError(f"images are floats (1 or 3, H, W) in [0, 1]; given: {given}")
    return image.detach().cpu()


def _read(content: bytes, shape: Sequence[int]) -> Tensor:
    channels, height, width = shape
    picture = torch.from_numpy(read_image(content, channels))
    scale = min(picture.shape[1] / height, picture.shape[2] / width)
    middle = center_crop(picture, [max(1, round(scale * height)), max(1, round(scale * width))])
    return resize(middle, [height, width], antialias=True).clamp(0, 1)
