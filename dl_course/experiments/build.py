"""Building: from a configuration to pictures and to a network."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, channels_last, nn
from torchvision.transforms import v2

from dl_course.data import TRANSFORMS, Pictures, load, stratified_split
from dl_course.experiments.config import DataConfig, ModelConfig, accepted
from dl_course.models import pretrained


def build_pictures(config: DataConfig, split: str, varied: bool = True) -> Pictures:
    """Return the data set's "train", "val" or "test" normalized as configured; "train", if varied, augmented.

    Raises DataUnavailable for a set that is not here and not to be had.
    """
    own = config.splits is None or split == "test"
    pictures = load(config.name, split if own else "train")
    if not own and config.splits:
        parts = stratified_split(pictures.labels, config.splits)
        pictures = pictures.subset(parts[split == "val"])
    normalize = v2.Normalize(pictures.mean, pictures.std)
    pictures.transform = normalize
    if varied and split == "train" and config.augmentation != "none":
        pictures.transform = v2.Compose([TRANSFORMS.build(config.augmentation), normalize])
    return pictures


def build_model(config: ModelConfig, shape: Sequence[int], classes: int) -> nn.Module:
    """Return the network for pictures of the shape (C, H, W), with random weights but where pretrained.

    ValueError where the configuration wants other channels than the pictures have.
    """
    if config.in_channels not in (None, shape[0]):
        raise ValueError(f"model.in_channels: the pictures have {shape[0]}; given: {config.in_channels}")
    builder = config.builder()
    pixels = shape[0] * shape[1] * shape[2]
    fitting = {"in_channels": shape[0], "in_features": pixels, "image_size": shape[1]}
    fitting = {key: value for key, value in fitting.items() if key in accepted(builder)}
    model = partial(builder, **fitting)(num_classes=classes)
    if config.pretrained:
        _take_over(model, pretrained(config.name).state_dict())
    return model.to(memory_format=channels_last)  # a CPU trains small CNNs in two thirds of the time


def _take_over(model: nn.Module, theirs: dict[str, Tensor]) -> None:
    """Load all weights but the last layer's; ValueError where another one differs."""
    ours = model.state_dict()
    last = list(ours)[-1].rpartition(".")[0]
    theirs = {key: ours[key] if key.startswith(last) else value for key, value in theirs.items()}
    try:
        model.load_state_dict(theirs)
    except RuntimeError as error:
        raise ValueError(f"model.pretrained: those weights are another network's: {error}") from error
