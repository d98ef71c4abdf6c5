"""Train the networks that the package carries, and store them: python benchmarks/weights.py [name …].

Each gets NAME.safetensors and NAME.json: the network's configuration, its data, how pictures must be
normalised, the recipe with its seed, and figures measured here. Chapter 06's: see mnist_project.py.
"""

import json
import sys
import time

import mnist_project
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from dl_course import data
from dl_course.evaluation import predict
from dl_course.files import DataUnavailable
from dl_course.hooks import evaluating, watching
from dl_course.models import MODELS, model_card, trained
from dl_course.models.init import TRAINED
from dl_course.runtime import preserved_rng

TINY = {"name": "tinyresnet", "num_classes": 10, "in_channels": 3}
RECIPES = {
    "tinyresnet-shapes": {"model": TINY, "data": "shapes", "epochs": 9},
    "tinyresnet-shapes-shortcut": {"model": TINY, "data": "shapes-shortcut", "epochs": 9},
    "simplecnn-digits": {"model": {"name": "simplecnn", "width": 24}, "data": "digits", "epochs": 30},
}
PROJECT = {  # of chapter 06; the challenge's reference also learns the digits, for machines without MNIST
    "digitnet-mnist": {"model": mnist_project.DIGITNET, "recipe": mnist_project.RECIPE, "data": ["mnist"]},
    "challenge": {
        "model": {"name": "digitnet", "width": 16},
        "recipe": mnist_project.CHALLENGE,
        "data": ["mnist", "digits"],
    },
}
SEED, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 0, 64, 1e-2, 0.05


def train(model: nn.Module, pictures: data.Pictures, epochs: int) -> float:
    """Train with AdamW and one-cycle learning rates; return the seconds it took."""
    loader = data.Loader(pictures, BATCH_SIZE, shuffle=True, seed=SEED, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs * len(loader))
    start = time.perf_counter()
    for _ in range(epochs):
        for images, labels in loader:
            loss = F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return time.perf_counter() - start


@torch.no_grad()
def look(model: nn.Module, pictures: data.Pictures) -> tuple[Tensor, Tensor]:
    """Return logits, (N, classes), and the last maps before the mean, (N, C, H, W)."""
    logits, maps = [], []

    def keep(name: str, module: nn.Module, args: tuple[Tensor], kwargs: dict, output: Tensor) -> None:
        if name == "pool":
            maps.append(args[0])

    with evaluating(model), watching(model, keep):
        for images, _ in data.Loader(pictures, 256):
            logits.append(model(images))
    return torch.cat(logits), torch.cat(maps)


def share_inside(model: nn.Module, maps: Tensor, classes: Tensor, regions: Tensor) -> float:
    """Return how often the peak of the class's map, which is Grad-CAM's before a mean, lies in the region."""
    cams = torch.einsum("nk,nkhw->nhw", model.fc.weight.detach()[classes], maps)[:, None]
    cams = F.interpolate(cams, regions.shape[1:], mode="bilinear", align_corners=False)
    return regions.flatten(1).gather(1, cams.flatten(1).argmax(1, keepdim=True)).double().mean().item()


def measure(model: nn.Module, pictures: data.Pictures) -> dict[str, float]:
    """Return the accuracy and, where the pictures have masks or patches, how often it looks there."""
    logits, maps = look(model, pictures)
    predicted = logits.argmax(1)
    figures = {"accuracy": (predicted == pictures.labels).double().mean().item()}
    if pictures.masks is not None:
        figures["peak in the shape"] = share_inside(model, maps, predicted, pictures.masks)
    if pictures.patches is not None and pictures.patches.any():
        figures["peak in the patch"] = share_inside(model, maps, predicted, pictures.patches)
    return figures


def make(name: str) -> None:
    """Train one network, measure it, and write its two files."""
    recipe = RECIPES[name]
    parts = {part: data.load(recipe["data"], part) for part in ("train", "val", "test")}
    normalize = {"mean": list(parts["train"].mean), "std": list(parts["train"].std)}
    for pictures in parts.values():
        pictures.transform = data.TRANSFORMS.build("normalize", **normalize)
    with preserved_rng(SEED):
        model = MODELS.build(recipe["model"]).to(memory_format=torch.channels_last)  # faster on a CPU
        seconds = train(model, parts["train"], recipe["epochs"])
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    record = recipe | {"normalize": normalize, "classes": parts["train"].classes, "seed": SEED}
    record |= {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}
    TRAINED.mkdir(exist_ok=True)
    save_file(weights, TRAINED / f"{name}.safetensors")
    write(name, record)
    stored = trained(name)
    write(name, record | {"figures": {part: measure(stored, parts[part]) for part in ("val", "test")}})
    print(f"{name}: {seconds:.0f} s of training, {model_card(name)['figures']}")


def make_project(name: str) -> None:
    """Train a network of chapter 06 with the chapter's own functions; its card has the history, too."""
    recipe = PROJECT[name]
    try:
        sets = {each: mnist_project.load(each) for each in recipe["data"]}
    except DataUnavailable as error:
        print(f"{name}: left as it is, {error}")
        return
    first, both = sets["mnist"], [parts["train"] for parts in sets.values()]
    first["train"].images, first["train"].labels = (
        torch.cat([getattr(part, field) for part in both]) for field in ("images", "labels")
    )
    model, history, (seconds, _) = mnist_project.trained(
        lambda: MODELS.build(recipe["model"]), first, recipe["recipe"], SEED
    )
    save_file(
        {k: tensor.contiguous() for k, tensor in model.state_dict().items()}, TRAINED / f"{name}.safetensors"
    )
    record = recipe | {"classes": first["train"].classes, "seed": SEED, "seconds": round(seconds, 1)}
    record |= {"parameters": sum(p.numel() for p in model.parameters())}
    record |= {"history": history.epochs.round(6).to_dict("list")}
    write(name, record)
    measured = {part: first[part] for part in ("val", "test")}
    measured |= {f"{each} test": parts["test"] for each, parts in sets.items() if each != "mnist"}
    figures = {what: {"accuracy": predict(trained(name), each).accuracy} for what, each in measured.items()}
    write(name, record | {"figures": figures})
    print(f"{name}: {seconds:.0f} s of training, {figures}")


def write(name: str, record: dict) -> None:
    (TRAINED / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or (*RECIPES, *PROJECT):
        (make if chosen in RECIPES else make_project)(chosen)
