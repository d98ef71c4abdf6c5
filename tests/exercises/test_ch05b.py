"""Chapter 05b: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from dl_course.exercises.checks import find_exercise
from dl_course.exercises.probes import ch05 as probes
from dl_course.explain import pointing_game
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

suite = Suite()
wrong, right = suite.wrong, suite.right

# grad_cam ------------------------------------------------------------------------------------------------


def cam(
    model, layer, images, targets, copied=True, score=lambda scores: scores, mean=(2, 3), relu=torch.relu
):
    kept = []

    def keep(module, inputs, output):
        kept.append(output)
        return output.clone() if copied else None

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        scores = score(model(images))
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(scores[torch.arange(len(images)), targets].sum(), kept[0])
    return relu((gradient.mean(mean, keepdim=True) * kept[0]).sum(1))


@wrong("grad_cam", "let the hook return a clone")
def _(model, layer, images, targets):
    return cam(model, layer, images, targets, copied=False)


@wrong("grad_cam", "clamp it at 0")
def _(model, layer, images, targets):
    return cam(model, layer, images, targets, relu=lambda maps: maps)


@wrong("grad_cam", "before softmax")
def _(model, layer, images, targets):
    return cam(model, layer, images, targets, score=lambda scores: scores.softmax(1))


@wrong("grad_cam", "not over the batch")
def _(model, layer, images, targets):
    return cam(model, layer, images, targets, mean=(0, 2, 3))


@wrong("grad_cam", "the predicted class")
def _(model, layer, images, targets):
    return cam(model, layer, images, model(images).argmax(1))


@wrong("grad_cam", "not summed")
def _(model, layer, images, targets):
    maps = cam(model, layer, images, targets)
    return maps * maps[0].numel()


@wrong("grad_cam", "the shape is")
def _(model, layer, images, targets):
    maps = cam(model, layer, images, targets)[:, None]
    return nn.functional.interpolate(maps, images.shape[2:], mode="bilinear")[:, 0]


def by_backward(model, layer, images, targets, weigh):
    kept = []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda m, i, o: (kept.append(o), o.retain_grad(), o.clone())[-1])
    model(images)[range(len(images)), targets].sum().backward()
    handle.remove()
    return weigh(kept[0].detach(), kept[0].grad)


@wrong("grad_cam", "one weight a channel")
def _(model, layer, images, targets):
    maps = by_backward(model, layer, images, targets, lambda kept, grad: (kept * grad).sum(1).relu())
    model.zero_grad()
    return maps


@wrong("grad_cam", "first add up the channels")
def _(model, layer, images, targets):
    def weigh(kept, grad):
        return (grad.mean((2, 3), keepdim=True) * kept).relu().sum(1)

    maps = by_backward(model, layer, images, targets, weigh)
    model.zero_grad()
    return maps


@wrong("grad_cam", "fills parameters")
def _(model, layer, images, targets):
    def weigh(kept, grad):
        return (grad.mean((2, 3), keepdim=True) * kept).sum(1).relu()

    return by_backward(model, layer, images, targets, weigh)


@wrong("grad_cam", "your hook is still on the network")
def _(model, layer, images, targets):
    kept = []
    model.get_submodule(layer).register_forward_hook(lambda m, i, o: (kept.append(o), o.clone())[-1])
    chosen = model(images).gather(1, targets[:, None]).sum()
    weights = torch.autograd.grad(chosen, kept[0])[0].mean((2, 3))
    return torch.einsum("nc,nchw->nhw", weights, kept[0]).relu()


@wrong("grad_cam", "without LayerGradCam")
def _(model, layer, images, targets):
    from captum.attr import LayerGradCam

    explain = LayerGradCam(model, model.get_submodule(layer))
    return explain.attribute(images, targets, relu_attributions=True)[:, 0]


@right("grad_cam")
def _(model, layer, images, targets):
    return cam(model, layer, images, targets)


@right("grad_cam")
def _(model, layer, images, targets):
    maps = []  # picture by picture, in float64, and the gradient by a hook on the tensor
    for image, target in zip(images.split(1), targets, strict=True):
        kept = {}

        def keep(module, inputs, output, kept=kept):
            kept["activation"] = output.detach().double().clone()
            output = output.clone()
            output.register_hook(lambda grad: kept.update(weights=grad.double().mean((2, 3), keepdim=True)))
            return output

        handle = model.get_submodule(layer).register_forward_hook(keep)
        picture = image.clone().requires_grad_()
        score = model(picture)[0, target]
        handle.remove()
        torch.autograd.grad(score, picture)
        maps.append((kept["weights"] * kept["activation"]).sum(1).clamp(min=0))
    return torch.cat(maps)


@right("grad_cam")
def _(model, layer, images, targets):
    parts = create_feature_extractor(model, [layer, "fc"])
    for module in parts.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    out = parts(images)
    chosen = out["fc"].gather(1, targets.view(-1, 1))
    (slopes,) = torch.autograd.grad(chosen, out[layer], torch.ones_like(chosen))
    return np.maximum((slopes.mean((2, 3))[..., None, None] * out[layer]).sum(1).detach().numpy(), 0)


@pytest.mark.parametrize("seed", range(5))
def test_grad_cam_is_captums(seed):
    exercise = find_exercise("grad_cam")
    for case in exercise.seeded_cases(seed):
        model, layer = probes._network(case), case["layer"]
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        explain = LayerGradCam(model, model.get_submodule(layer))
        theirs = explain.attribute(torch.from_numpy(case["x"]), torch.tensor(case["targets"]))[:, 0].relu()
        ours = exercise.outputs_of(type(exercise).reference, case)["returned"]
        assert np.allclose(ours, theirs.detach(), atol=1e-6)


# pointing_score ------------------------------------------------------------------------------------------


def peaks(maps):
    places = maps.flatten(1).argmax(1)
    return places // maps.shape[2], places % maps.shape[2]


@wrong("pointing_score", "points nowhere: it misses")
def _(maps, masks):
    return masks.flatten(1).gather(1, maps.flatten(1).argmax(1, keepdim=True)).float().mean()


@wrong("pointing_score", "points nowhere: it misses")
def _(maps, masks):
    return (masks & (maps == maps.amax((1, 2), keepdim=True))).flatten(1).any(1).float().mean().item()


@wrong("pointing_score", "don't leave it out")
def _(maps, masks):
    there = maps.flatten(1).amax(1) > 0
    rows, columns = peaks(maps)
    return masks[torch.arange(len(maps)), rows, columns][there].float().mean()


@wrong("pointing_score", "only the peak counts")
def _(maps, masks):
    shares = [(m * mask).sum() / m.sum() if m.any() else 0.0 for m, mask in zip(maps, masks, strict=True)]
    return float(np.mean(shares))


@wrong("pointing_score", "the highest of all maps")
def _(maps, masks):
    place = maps.argmax() % maps[0].numel()
    return (masks.flatten(1)[:, place].float() * (maps.flatten(1).amax(1) > 0)).mean()


@wrong("pointing_score", "the picture's centre")
def _(maps, masks):
    return (masks[:, maps.shape[1] // 2, maps.shape[2] // 2] & maps.flatten(1).any(1)).float().mean()


@wrong("pointing_score", "rows and columns")
def _(maps, masks):
    rows, columns = peaks(maps)
    return masks[torch.arange(len(maps)), columns, rows].float().mean()


@right("pointing_score")
def _(maps, masks):
    rows, columns = peaks(maps)
    hits = masks[torch.arange(len(maps)), rows, columns] & (
        maps.flatten(1).max(1)[0] > maps.flatten(1).min(1)[0]
    )
    return hits.float().mean().item()


@right("pointing_score")
def _(maps, masks):
    hits = 0
    for heat, mask in zip(maps.numpy(), masks.numpy(), strict=True):
        if heat.min() < heat.max():
            hits += bool(mask[np.unravel_index(heat.argmax(), heat.shape)])
    return hits / len(maps)


@right("pointing_score")
def _(maps, masks):
    inside = maps.masked_fill(~masks, -torch.inf).flatten(1).amax(1)
    outside = maps.masked_fill(masks, -torch.inf).flatten(1).amax(1)
    return (inside > outside).double().mean()  # a flat map is as high outside


@pytest.mark.parametrize("seed", range(5))
def test_the_pointing_score_is_that_of_the_course(seed):
    exercise = find_exercise("pointing_score")
    for case in exercise.seeded_cases(seed):
        theirs = pointing_game(torch.from_numpy(case["maps"]), torch.from_numpy(case["masks"])).score
        assert float(exercise.outputs_of(type(exercise).reference, case)["returned"]) == pytest.approx(theirs)


# nearest -------------------------------------------------------------------------------------------------


@wrong("nearest", "leave the query out")
def _(features, query, k):
    return nn.functional.cosine_similarity(features, features[query][None]).topk(k).indices


@wrong("nearest", "divide by both lengths")
def _(features, query, k):
    likeness = features @ features[query]
    likeness[query] = -torch.inf
    return likeness.topk(k).indices


@wrong("nearest", "by the smallest distance")
def _(features, query, k):
    order = (features - features[query]).norm(dim=1).argsort()
    return order[order != query][:k]


@wrong("nearest", "the least similar")
def _(features, query, k):
    order = nn.functional.cosine_similarity(features, features[query][None]).argsort()
    return order[order != query][:k]


@wrong("nearest", "return the indices of the rows")
def _(features, query, k):
    likeness = nn.functional.cosine_similarity(features, features[query][None])
    return likeness.sort(descending=True).values[1 : k + 1]


@right("nearest")
def _(features, query, k):
    order = nn.functional.cosine_similarity(features, features[query][None]).argsort(descending=True)
    return order[order != query][:k]


@right("nearest")
def _(features, query, k):
    x = features.double().numpy()
    likeness = x @ x[query] / np.linalg.norm(x, axis=1)
    return [int(i) for i in np.argsort(-likeness) if i != query][:k]


# attack --------------------------------------------------------------------------------------------------


def moved(model, images, labels, epsilon, sign=1, bounds=(0, 1), direction=torch.sign):
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels), x)
    return (images + sign * epsilon * direction(slope)).clamp(*bounds)


@wrong("attack", "leaves [0, 1]")
def _(model, images, labels, epsilon):
    return moved(model, images, labels, epsilon, bounds=(-9, 9))


@wrong("attack", "makes the network surer")
def _(model, images, labels, epsilon):
    return moved(model, images, labels, epsilon, sign=-1)


@wrong("attack", "it's the loss that must rise")
def _(model, images, labels, epsilon):
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x)[range(len(x)), labels].sum(), x)
    return (images + epsilon * slope.sign()).clamp(0, 1)


@wrong("attack", "fills parameters")
def _(model, images, labels, epsilon):
    x = images.clone().requires_grad_()
    nn.functional.cross_entropy(model(x), labels).backward()
    return (images + epsilon * x.grad.sign()).clamp(0, 1)


@right("attack")
def _(model, images, labels, epsilon):
    return moved(model, images, labels, epsilon)


@right("attack")
def _(model, images, labels, epsilon):
    rows = []
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        x = image.detach().clone().requires_grad_(True)
        slope = torch.autograd.grad(-model(x).log_softmax(1)[0, label], x)[0]
        step = torch.where(slope > 0, epsilon, torch.where(slope < 0, -epsilon, 0.0))
        rows.append(torch.minimum(torch.maximum(image + step, torch.zeros(1)), torch.ones(1)))
    return torch.cat(rows)


# all -----------------------------------------------------------------------------------------------------

NAMES = ("grad_cam", "pointing_score", "nearest", "attack")


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_refused_and_named_for_other_seeds_too(name):
    assert_mistakes_are_named(name, range(3))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_for_one_seed_is_wrong_for_another(name):
    assert share_with_outputs_of(name, known=0, asked=1) == 0


test_wrong, test_right = both_tests(suite)
