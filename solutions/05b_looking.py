# %% [markdown]
# # 05b · What a network looks at, and how firmly it knows
#
# A network names a class and gives no reasons. There are methods that draw where it looked. In this chapter you build
# one, and then put it and its rivals through tests that a picture can fail. Some well-known methods do fail. After
# that, you ask what the network knows, and how little it takes to make it forget.
#
# **You will be able to**
# - draw where a network looks when it names a class, and *test* whether the drawing can be believed
# - say how many pictures a claim needs before you make it
# - catch a network that is right for the wrong reason
# - read what the layers know, by neighbours and by linear probes
# - fool a network, and say what that does and doesn't show
#
# **Time:** 90 to 120 minutes, best in two sittings (sections 1 to 5, then 6 to 9). **You need:** chapter 05.

# %% [markdown]
# ## 1. The network from the last chapter
#
# This is `TinyResNet` again, trained on ten kinds of shapes. We look at it through pictures that it has never seen.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import ask, check, hint, plots, progress, solution

look = {"figure.dpi": 80, "image.interpolation": "nearest"}
sns.set_theme(style="white", palette="colorblind", rc=look)

# %%
from dl_course.data import load
from dl_course.hooks import capture
from dl_course.models import model_card, trained
from dl_course.runtime import pick_device, set_seed

device = pick_device()
model = trained("tinyresnet-shapes").to(device, memory_format=torch.channels_last)
normalize = v2.Normalize(**model_card("tinyresnet-shapes")["normalize"])

shapes = load("shapes", "test")
pictures, labels = shapes.tensors()  # (1000, 3, 64, 64), from 0 to 1
inputs = normalize(pictures)

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def predict(model, inputs):
    """Return the predicted class of each picture, in parts that fit into memory."""
    answers = [model(part.to(device)).argmax(1).cpu() for part in inputs.split(250)]
    return torch.cat(answers)

predicted = predict(model, inputs)
names = [shapes.classes[kind] for kind in predicted]
print(f"right on {(predicted == labels).float().mean():.1%} of {len(labels):,} pictures")

# %% [markdown]
# ## 2. Where does it look? Grad-CAM
#
# Our network has a simple ending: the mean of each map of `stage3`, times the weights of `fc`, added up. For one
# class, with $A_k$ for the map of channel $k$ and $w_k$ for its weight:
#
# $$ score = \sum_k w_k \cdot \mathrm{mean}(A_k) + b = \mathrm{mean}\Big(\sum_k w_k A_k\Big) + b $$
#
# The mean can be moved outside! So the score is the mean of *one* map, $\sum_k w_k A_k$, which says what each place
# adds to the score. This is a **class activation map** (CAM). We draw one: the two channels that speak most for the
# class, the one that speaks most against it, and the sum over all 32.

# %%
with torch.no_grad(), capture(model, "stage3") as seen:
    model(inputs[4:5].to(device))
maps, kind = seen["stage3"][0].activation[0], predicted[4]
parts = (model.fc.weight[kind][:, None, None] * maps).detach().cpu()  # (32, 16, 16)
adds = parts.mean((1, 2))  # what each channel adds to the score
chosen = [*adds.topk(2).indices.tolist(), adds.argmin().item()]

# %% alt="A picture; two feature maps times their weights in red, one in pale blue; and the sum over all channels on a scale of its own: red on the shape, hottest in its middle" tags=["nbval-ignore-output"]
shown = [*parts[chosen], parts.sum(0)]
titles = [f"channel {k}\ntimes its weight" for k in chosen] + ["sum over\nall channels"]
limits = [parts[chosen].abs().max()] * 3 + [parts.sum(0).abs().max()]
figure, axes = plt.subplots(1, 5, figsize=(10.5, 2.3), layout="constrained")
axes[0].imshow(pictures[4].permute(1, 2, 0))
for ax, part, limit in zip(axes[1:], shown, limits, strict=True):
    drawn = ax.imshow(part, cmap="RdBu_r", vmin=-limit, vmax=limit)
    if ax in axes[3:]:  # the three channels share a scale
        figure.colorbar(drawn, ax=ax, label="adds to the score" if ax is axes[4] else None)
for ax, title in zip(axes, [names[4], *titles], strict=True):
    ax.set_title(title, fontsize=10)
    ax.axis("off")

# %% [markdown]
# Red places speak for the class, blue ones against it. Do the places really add up to the score?

# %%
with torch.no_grad():
    score = model(inputs[4:5].to(device))[0, kind].cpu()
    added = parts.sum(0).mean() + model.fc.bias[kind].cpu()
print("the same:", torch.allclose(added, score, atol=1e-3))

# %% [markdown]
# They do. But not every network ends like ours. What could take the place of $w_k$ elsewhere? Ask: *if channel $k$
# grew a little at every place, how fast would the score grow?* That is a gradient, averaged over the places of the
# map:
#
# $$ \alpha_k = \mathrm{mean}\Big(\frac{\partial\,score}{\partial A_k}\Big) \qquad
# map = \mathrm{relu}\Big(\sum_k \alpha_k A_k\Big) $$
#
# The ReLU keeps what speaks *for* the class. This is **Grad-CAM** (Selvaraju et al. 2017). It works for any layer
# whose output has a height and a width.

# %%
ask("05b-pooled-gradient")

# %% [markdown]
# **Exercise.** Write `grad_cam`. This time the hook has to keep the output itself, *not* detached, since you want a
# gradient with respect to it. Two hints that save an hour:
# - The next layer may work in place. A hook may *return* something, and the network then continues with that. So
#   return `output.clone()`: the clone may be overwritten while yours stays intact.
# - `torch.autograd.grad(score, kept)` gives you just the gradient you want. `backward()` would leave gradients in all
#   parameters.

# %% tags=["exercise"]
def grad_cam(model: nn.Module, layer: str, images: Tensor, targets: Tensor) -> Tensor:
    """Return Grad-CAM's maps (N, h, w) of a layer (N, C, h, w): not enlarged, not scaled.

    images (N, …), as the model takes them · targets (N,): the class to explain, for each image.
    Neither hooks nor gradients stay on the model.
    """
    ### BEGIN SOLUTION
    kept = []

    def keep(module, given, output):
        kept.append(output)
        return output.clone()

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        scores = model(images)  # (N, classes)
    finally:
        handle.remove()
    score = scores[torch.arange(len(images)), targets].sum()
    (gradient,) = torch.autograd.grad(score, kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    return (weights * kept[0].detach()).sum(dim=1).clamp(min=0)
    ### END SOLUTION

# %% tags=["check"]
check(grad_cam)

# %% [markdown]
# (Why the *sum* of the scores? Each image's score depends on that image alone, so the gradient of the sum holds every
# image's own gradient. One backward pass serves the whole batch.)
#
# For our network, your map should be the class activation map above without its blue part, on another scale: a change
# at one place of a map changes the mean over its 16 · 16 places by only 1/256 of that.

# %%
mine = grad_cam(model, "stage3", inputs[4:5].to(device), predicted[4:5].to(device))[0].cpu()
print("the same:", torch.allclose(mine * 16 * 16, parts.sum(0).clamp(min=0), atol=1e-3))

# %% [markdown]
# The course's `gradcam` does what yours does. It also scales each map to a peak of 1, enlarges it to the size of the
# picture, and skips the backward pass through the layers before the one you asked for. Where does our network look?

# %% alt="Six pictures in colour, each with a patch of heat that covers the shape and leaves the clutter bare" tags=["nbval-ignore-output"]
from dl_course.explain import gradcam

heat = gradcam(model, inputs[:6], "stage3").cpu()  # for the predicted class
figure, ax = plt.subplots(figsize=(9, 5.2), layout="constrained")
_ = plots.image_grid(pictures[:6], names[:6], ax, columns=3, heat=heat)

# %% [markdown]
# At the shapes. The clutter and the texture are left bare. The patches of heat are coarse because the maps of `stage3`
# are: each of their 16×16 places stands for 4×4 pixels. So read a map as "around here", not as an outline.
#
# Now a stricter test. We put two shapes into one picture (the network ends in a mean, so it accepts any size), and
# explain first one class, then the other.

# %% alt="A wide picture of two shapes, twice: the heat lies on the left shape when asked for its class, on the right one for the other" tags=["nbval-ignore-output"]
from dl_course.explain import gradcam_classes

second = next(i for i in range(1, 99) if predicted[i] == labels[i] != labels[0])
pair = [0, second]
wide = torch.cat([pictures[i] for i in pair], dim=2)  # (3, 64, 128)
heat = gradcam_classes(model, normalize(wide), "stage3", labels[pair].tolist()).cpu()
asked = [f"asked for {shapes.classes[labels[i]]}" for i in pair]
figure, ax = plt.subplots(figsize=(9, 2.3), layout="constrained")
_ = plots.image_grid([wide, wide], asked, ax, columns=2, heat=heat)

# %% [markdown]
# The same picture and the same network, but another question, and the heat moves. The map belongs to the *class* you
# ask about, not to whatever catches the eye.
#
# Which layer should you take? One picture, four depths:

# %% alt="Four heat maps of one picture of an arrow: the stem also marks dots and strokes beside it, stage1 still a stroke, stage2 and stage3 the arrow alone" tags=["nbval-ignore-output"]
depths = ["stem", "stage1", "stage2", "stage3"]
heat = torch.cat([gradcam(model, inputs[4:5], layer) for layer in depths]).cpu()
figure, ax = plt.subplots(figsize=(9, 2.2), layout="constrained")
_ = plots.image_grid(pictures[[4] * 4], depths, ax, columns=4, heat=heat)

# %% [markdown]
# Early layers respond to edges and know little about classes, so their maps mark clutter, too. The usual choice is the
# **last layer that still has a height and a width**, which here is `stage3`. (In this network, `stage1` to `stage3`
# have maps of the same size, so only what the channels *mean* differs. In most networks, depth also costs resolution.)

# %% [markdown]
# ## 3. Other ways to ask
#
# Grad-CAM isn't alone. These methods have the same call, `method(model, images)`; most of them come from the library
# **captum**.
#
# | method | its question |
# | --- | --- |
# | saliency | which pixels would change the score fastest if they changed a little? |
# | SmoothGrad | the same, averaged over ten noisy copies of the picture |
# | guided backpropagation | which pixels excite the neurons that excite the score? |
# | integrated gradients | what does each pixel add on the way from a uniform picture to this one? |
# | occlusion | how far does the score fall if a square of the picture is covered? |
#
# We add one that isn't an explanation at all: an **edge detector**. It looks at the picture only, never at the network.
# It is our placebo.

# %%
from functools import partial

from dl_course.explain import edges, guided_backprop, integrated_gradients, occlusion
from dl_course.explain import saliency, smoothgrad

methods = {"Grad-CAM": partial(gradcam, layer="stage3"), "occlusion": occlusion}
methods |= {"saliency": saliency, "SmoothGrad": partial(smoothgrad, samples=10)}
methods |= {"integrated gradients": integrated_gradients}
methods |= {"guided backprop": guided_backprop, "edge detector": edges}
heat = torch.stack([method(model, inputs[:2]).cpu() for method in methods.values()], dim=1)

# %% alt="Two pictures and seven maps of each: Grad-CAM and occlusion give patches on the shape; saliency, SmoothGrad, integrated gradients and guided backpropagation fine dots around it; the edge detector draws every outline, clutter included" tags=["nbval-ignore-output"]
figure, axes = plt.subplots(4, 4, figsize=(7, 7.6), layout="constrained")
for rows, picture, maps in zip((axes[:2], axes[2:]), pictures[:2], heat, strict=True):
    rows.flat[0].imshow(picture.permute(1, 2, 0))
    for ax, values in zip(list(rows.flat)[1:], maps, strict=True):
        ax.imshow(values, cmap="viridis", vmax=values.quantile(0.99))
    for ax, title in zip(rows.flat, ["the picture", *methods], strict=True):
        ax.set_title(title, fontsize=10)
_ = [ax.axis("off") for ax in axes.flat]

# %% [markdown]
# Each map has its own scale; the brightest yellow marks the strongest one percent. They don't agree, and they can't:
# they answer different questions. The placebo is the prettiest of all, and it knows nothing. So a pretty picture is no
# argument. We need tests that a map can fail.

# %% [markdown]
# ## 4. May I believe the map?
#
# ### First test: point at it
#
# Our pictures are generated, so for every pixel we know whether it belongs to the shape: there is a **mask**. In the
# *pointing game*, a map scores a hit if its highest point lies within the mask.
#
# **Exercise.** Write `pointing_score`. One trap: a map that has the same value everywhere has no highest point. It
# points nowhere, so it misses.

# %% tags=["exercise"]
def pointing_score(maps: Tensor, masks: Tensor) -> float:
    """Return the share of maps (N, H, W) whose highest point lies in the mask (N, H, W), bool.

    A map that has one value everywhere misses, and still counts.
    """
    ### BEGIN SOLUTION
    flat = maps.flatten(1)  # (N, H·W)
    peaks = flat.argmax(dim=1)
    hits = masks.flatten(1)[torch.arange(len(maps)), peaks]
    points = flat.amax(dim=1) > flat.amin(dim=1)
    return (hits & points).float().mean().item()
    ### END SOLUTION

# %% tags=["check"]
check(pointing_score)

# %% [markdown]
# A score alone says nothing. What would you get without looking? People centre what they photograph, so always ask how
# a map would score that points to the middle of every picture. This is the **centre baseline**.

# %%
ask("05b-centre-baseline")

# %% tags=["nbval-ignore-output"]
middle = torch.zeros(64, 64)
middle[32, 32] = 1
scores = {"the centre": pointing_score(middle.expand(1000, 64, 64), shapes.masks)}
scores["Grad-CAM"] = pointing_score(gradcam(model, inputs, "stage3").cpu(), shapes.masks)
pd.DataFrame({"all 1,000 pictures": scores}).round(3)

# %% [markdown]
# ### Second test: take it away
#
# If a map is right, then erasing the pixels it marks must hurt quickly. In **deletion** we erase them in the order of
# the map, in a few steps, and watch the probability of the class fall: the *area* under that curve should be small. In
# **insertion** they come back into a blurred picture, and the area should be large. Neither number means anything by
# itself, so we put it beside *random* pixels in the same pictures. Grad-CAM first, on 20 pictures:

# %% tags=["nbval-ignore-output"]
from dl_course.explain import deletion_insertion

heat = gradcam(model, inputs[:500], "stage3", normalize=False)  # with signs, so that no two tie
heat = F.interpolate(heat[:, None], (64, 64), mode="bilinear")[:, 0].cpu()
deletion_insertion(model, inputs[:20], heat[:20]).round(3)

# %% [markdown]
# Insertion speaks for the map. Deletion, on these 20 pictures, doesn't: erasing *random* pixels hurts the network at
# least as much. It's tempting to explain that straight away. (No picture in training had holes, so holes anywhere
# confuse the network.) It would also be premature: 20 pictures are a small sample. Before we explain a result, we ask
# whether it is one.

# %%
ask("05b-how-many-pictures")

# %% [markdown]
# Every picture gives a difference: the area with random pixels minus the area with the map. Above 0, the map was
# better. Here is the mean difference over the first 20 pictures, the first 50, and so on up to 500, each with its 95 %
# interval.

# %% tags=["nbval-ignore-output"]
from dl_course.explain import removal_areas

chance = torch.rand(heat.shape, generator=torch.Generator().manual_seed(0))
how = {"steps": 8, "tests": ["deletion"]}
areas = [removal_areas(model, inputs[:500], order, **how)[0] for order in (heat, chance)]
gain = areas[1] - areas[0]  # (500,): one difference a picture
counts = torch.tensor([20, 50, 100, 200, 350, 500])
mean = torch.stack([gain[:n].mean() for n in counts])
half = torch.stack([1.96 * gain[:n].std() / n**0.5 for n in counts])
blocks = gain.view(25, 20).mean(1)
print(f"of 25 blocks of 20 pictures, random pixels win in {(blocks < 0).sum()}")
print(f"over 500 pictures, the map is ahead by {mean[-1]:.3f} ± {half[-1]:.3f}")

# %% alt="The mean gain of the map over random pixels against the number of pictures: a wide interval across zero at 20 pictures, which narrows and lies above zero at 500" tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.errorbar(counts, mean, half, fmt="o", capsize=4)
ax.axhline(0, color="grey", linewidth=0.8)
ax.set(xscale="log", xlabel="pictures", ylabel="deletion: map better by")
ax.set_xticks(counts, counts.tolist())
ax.minorticks_off()
sns.despine()

# %% [markdown]
# With enough pictures, the map *is* better than chance, by a little. With 20, the interval reaches far to both sides of
# zero: stop there, and chance picks your answer. There was nothing to explain. And the lesson isn't only about
# deletion: **state how many pictures a claim rests on, with an interval, and don't explain what may be noise.**
#
# ### Third test: make the network forget
#
# A map that explains what was *learned* must change when the network unlearns it. So we shuffle its weights, layer by
# layer, from the last to the first, and compare each new map with the original. As a measure of likeness we take the
# **rank correlation** (Spearman's): sort the places of both maps from cold to hot, and correlate their *ranks*. It is
# 1 if both maps have the same order, 0 if the orders have nothing to do with each other, −1 if one is the other
# reversed. The scale of a map, which means nothing, doesn't matter to it. (The maps keep their signs here: what speaks
# against the class counts as cold.)
#
# A shuffle is random, so we repeat it five times, on ten pictures each, and draw the interval over the five.

# %% tags=["nbval-ignore-output"]
from dl_course.explain import randomization_test

forgotten = {
    name: randomization_test(model, inputs[:10], methods[name], shuffles=5)
    for name in ("Grad-CAM", "guided backprop", "edge detector")
}

# %% alt="Rank correlation with the first maps against the layer shuffled to. Grad-CAM falls below zero at the first shuffle and goes to zero. Guided backpropagation stays high for several layers. The edge detector stays at one" tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (name, table), marker in zip(forgotten.items(), "osD", strict=True):
    places = np.arange(1, len(table) + 1)
    how = {"marker": marker, "markersize": 4, "label": name}
    (line,) = ax.plot([0, *places], [1, *table["spearman"]], **how)
    ax.fill_between(places, table["low"], table["high"], color=line.get_color(), alpha=0.25)
ax.axhline(0, color="grey", linewidth=0.8)
ax.set_xticks(range(len(table) + 1), ["(nothing)", *table.index], fontsize=8)
ax.tick_params("x", rotation=90)
ax.set(ylabel="rank correlation", ylim=(-1, 1.1), xlabel="shuffled from the end up to here")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# The placebo can't forget what it never knew: it stays at 1. Grad-CAM changes as soon as `fc` is shuffled. Its
# correlation even falls below zero, and to say why would be another explanation that needs an experiment. Guided
# backpropagation barely notices that the last layer has been shuffled. Think about what that means. The network now
# gives arbitrary answers, and the method still draws almost the same picture to "explain" them.
#
# ### Every method through every test
#
# `compare_methods` puts any list of methods through all three, with intervals. Occlusion and integrated gradients run
# the network many times for each picture, so they get fewer. (The cell takes a while.)

# %% tags=["nbval-ignore-output"]
from dl_course.explain import compare_methods

slow = {name: methods[name] for name in ("occlusion", "integrated gradients")}
quick = {name: method for name, method in methods.items() if name not in slow}
options = {"progress": False, "forgetting": 10}
tables = [compare_methods(model, inputs[:200], shapes.masks[:200], quick, **options)]
options |= {"forgetting": 5, "shuffles": 3}
tables.append(compare_methods(model, inputs[:40], shapes.masks[:40], slow, **options))
contest = pd.concat(tables).rename_axis("method")
contest.xs("mean", axis=1, level=1).assign(pictures=contest["pictures"]).round(3)

# %% alt="Four panels, a row a method, points with intervals. Pointing: Grad-CAM highest, the edge detector left of the centre's line. Deletion: around zero, Grad-CAM just above, the edge detector far below. Insertion: all above zero, the edge detector too. Forgetting: edge detector at one; saliency, SmoothGrad and guided backpropagation near it; Grad-CAM, occlusion and integrated gradients below zero" tags=["nbval-ignore-output"]
titles = {"pointing": "share of hits", "deletion": "gain over random"}
titles |= {"insertion": "gain over random", "forgetting": "rank correlation"}
figure, axes = plt.subplots(1, 4, figsize=(10.5, 3), sharey=True, layout="constrained")
for ax, (test, title) in zip(axes, titles.items(), strict=True):
    found = contest[test]
    ends = [found["mean"] - found["low"], found["high"] - found["mean"]]
    ax.errorbar(found["mean"], range(len(found)), xerr=ends, fmt="o", capsize=3)
    ax.axvline(scores["the centre"] if test == "pointing" else 0, color="grey", linestyle=":")
    ax.set_title(f"{test}\n({title})", fontsize=10)
rows = [f"{name} ({n})" for name, n in contest["pictures"].items()]
axes[0].set_yticks(range(len(rows)), rows)
axes[0].invert_yaxis()
sns.despine()

# %% [markdown]
# In brackets: the number of pictures. The dotted line is the baseline: the centre, random pixels, or no likeness at all.
# In the first three panels, further right is better. In the last one, what remains near 1 has failed.
#
# Read it panel by panel.
#
# - *Pointing* separates the methods. SmoothGrad finds the shape far more often than plain saliency: averaging out the
#   noise pays. The edge detector does worse than the centre, since most edges belong to the clutter.
# - *Deletion* rejects the placebo and says little about the others. Grad-CAM's interval just clears zero; those of the
#   other methods contain it.
# - *Insertion* seems to speak for every method, **including the placebo**. Perhaps a blurred picture needs its edges
#   back first, whatever the network cares about. Without the placebo, we'd have taken that for success.
# - *Forgetting* turns the order around. SmoothGrad, saliency and guided backpropagation hardly change when the last
#   layer is shuffled. They mark what stands out for the network's early layers, which in these pictures is often the
#   shape, whatever the last layer makes of it. Grad-CAM, occlusion and integrated gradients change.
#
# No single column would have told you this. **A method that passes one test may fail the next, and a test that the
# placebo passes proves nothing.** And mind the logic: a method that fails is refuted as an explanation of what was
# learned; one that passes hasn't been proven right. Nor do these tests say which of two survivors is better.

# %% [markdown]
# ## 5. Right for the wrong reason
#
# Here is why all this matters. The course has a second network: the same layers, trained on nearly the same pictures.
# In validation it does brilliantly.

# %% tags=["nbval-ignore-output"]
other = trained("tinyresnet-shapes-shortcut").to(device)
validation = load("shapes-shortcut", "val")
inside, truth = validation.tensors()
right = (predict(other, normalize(inside)) == truth).float().mean().item()
print(f"right on {right:.1%} of {len(truth):,} validation pictures")

# %% [markdown]
# Better than ours, it seems. Would you ship it? You have learned to look first, so look.

# %% alt="Six pictures with heat maps: all of the heat lies on a coloured square in one corner of each picture, none on the shapes" tags=["nbval-ignore-output"]
heat = gradcam(other, normalize(inside[:6]), "stage3").cpu()
kinds = [shapes.classes[kind] for kind in truth[:6]]
figure, axes = plt.subplots(2, 1, figsize=(8, 3.2), layout="constrained")
plots.image_grid(inside[:6], kinds, axes[0], columns=6)
_ = plots.image_grid(inside[:6], kinds, axes[1], columns=6, heat=heat)

# %% [markdown]
# It looks into a corner. There is a coloured square in every picture, and every class has its own colour. Perhaps
# somebody marked the pictures while sorting them. The network never needed to learn a shape: it reads the label off the
# patch. That is a **shortcut**. How often does the peak lie on the patch, how often on the shape? And what happens where
# the patch has the colour of another class?

# %%
ask("05b-shortcut")

# %% tags=["nbval-ignore-output"]
maps = gradcam(other, normalize(inside), "stage3").cpu()
test = load("shapes-shortcut", "test")  # here the patch has the colour of another class
outside, real = test.tensors()
grey = inside.where(~validation.patches[:, None], torch.tensor(0.5))  # the patch covered
rows = {
    "peak on the patch": pointing_score(maps, validation.patches),
    "peak on the shape": pointing_score(maps, validation.masks),
    "right in validation": right,
    "right in validation, the patch greyed out": predict(other, normalize(grey)).eq(truth),
    "right where the patch misleads": predict(other, normalize(outside)).eq(real),
}
rows = {name: float(torch.as_tensor(value).float().mean()) for name, value in rows.items()}
pd.DataFrame({"the second network": rows}).map("{:.1%}".format)

# %% [markdown]
# When the patch says something else, the accuracy is gone. No validation on pictures *like those of training* could
# have told you: they all had the patch. The map raised the suspicion, and one experiment confirmed it: cover the patch,
# and validate again. This is the order to work in. **A map gives you an idea of what to test. It isn't the test.**
#
# Such things happen. A network that read X-rays of lungs had learned to tell hospitals apart, in part by a metal token
# in the corner of the film. One that read photographs of skin was more likely to see cancer where a surgeon had left a
# pen mark. (Both are in the further reading.)

# %% [markdown]
# ## 6. A real photograph
#
# Shapes on textures are a laboratory. Here is a network that was trained on more than a million photographs,
# EfficientNet-Lite0, and a photograph that it hasn't seen in training: Chelsea, a cat.

# %%
from dl_course.models import pretrained

photograph, _ = load("photos")["cat"]
lite = pretrained("efficientnet_lite0").to(device)
cat = lite.preparation(photograph)[None]  # (1, 3, 224, 224), normalised
with torch.no_grad():
    sure, found = lite(cat.to(device)).softmax(1)[0].cpu().topk(4)
kinds = [lite.classes[i] for i in found]
pd.DataFrame({"ImageNet class": kinds, "probability": sure.numpy().round(3)})

# %% [markdown]
# Breeds of cats, near the top. Where does it see them?

# %% alt="The face of a cat, and three maps over it: Grad-CAM covers cheek and muzzle, strongest below the left eye; occlusion marks a few squares on the cheek; SmoothGrad fine dots on the nose" tags=["nbval-ignore-output"]
last = [name for name, part in lite.named_modules() if isinstance(part, nn.Conv2d)][-1]
views = {"Grad-CAM": partial(gradcam, layer=last)}
views |= {"occlusion": partial(occlusion, strides=(3, 28, 28))}
views |= {"SmoothGrad": methods["SmoothGrad"]}
heat = torch.cat([method(lite, cat) for method in views.values()]).cpu()
heat = torch.cat([torch.zeros(1, 224, 224), heat])  # none on the photograph itself
parts = lite.preparation
mean, std = torch.tensor([parts.mean, parts.std])[..., None, None]
plain = (cat * std + mean).clamp(0, 1).expand(4, -1, -1, -1)
small = {"size": 112, "mode": "area"}
plain, heat = F.interpolate(plain, **small), F.interpolate(heat[:, None], **small)[:, 0]
titles = ["the photograph", *(f"{name}: {kinds[0]}" for name in views)]
figure, ax = plt.subplots(figsize=(10, 2.5), layout="constrained")
_ = plots.image_grid(plain, titles, ax, columns=4, heat=heat)

# %% [markdown]
# The cat fills the picture, so all three look at the cat. But which part of it? The broad patch of Grad-CAM lies on cheek
# and muzzle, occlusion found a few squares on the cheek, SmoothGrad the nose. They disagree here as they did on the
# shapes. We have no mask, so there is no pointing game; but deletion, insertion and forgetting need none. For your own
# networks, those are the tests you'll have. (And attention? This network has none to show. For a transformer, see the next
# section.)

# %% [markdown]
# ## 7. Attention: networks that look on purpose
#
# A transformer has its looking built in: every token asks all tokens, and the shares in which it mixes their answers
# are the attention. In chapter 03 you saw that an untrained one spreads it evenly. So we train one, small and briefly,
# on digits: 49 patches of 4×4 pixels, and the class token.

# %%
digits, unseen = load("digits"), load("digits", "test")

def train(model, learning_rate, epochs):
    """Train on digits, with Adam; return the model, in eval mode, and its test accuracy."""
    given, truth = (tensor.to(device) for tensor in digits.tensors())
    optimizer = torch.optim.Adam(model.to(device).train().parameters(), lr=learning_rate)
    for _ in range(epochs):
        for part in torch.randperm(len(truth)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(given[part]), truth[part]).backward()
            optimizer.step()
    given, truth = unseen.tensors()
    return model.eval(), (predict(model, given) == truth).float().mean().item()

# %% tags=["nbval-ignore-output"]
from dl_course.models import VisionTransformer

set_seed(0)
size = {"image_size": 28, "patch_size": 4, "in_channels": 1}
vit = VisionTransformer(**size, depth=2, embed_dim=32, num_heads=4)
vit, accuracy = train(vit, 0.004, epochs=6)
print(f"right on {accuracy:.1%} of {len(unseen)} digits")

# %% [markdown]
# `attention_maps` returns one tensor per block, (N, heads, tokens, tokens). A row asks, a column answers. Token 0 is the
# class token; the patches follow, row by row.

# %% alt="Four matrices of 50 by 50 tokens, one per head, with vertical stripes" tags=["nbval-ignore-output"]
from dl_course.explain import attention_maps, rollout

given, truth = unseen.tensors(slice(6))
attentions = attention_maps(vit, given)
figure, ax = plt.subplots(figsize=(9, 2.6), layout="constrained")
_ = plots.attention(attentions[-1][0], ax)

# %% [markdown]
# A bright column is a token that many others listen to. A row of one shade asks nobody in particular. The heads differ.
#
# For a picture we want one row: whom does the *class token* ask, in the last block? By then, though, tokens are mixtures
# of other tokens. **Rollout** follows the shares back through all blocks, to the patches of the input. (Yellow is the
# largest share within each small picture.)

# %% alt="Six digits; below them where the class token looks in the last block; below that the rollout: a few bright patches, not all of them on the strokes" tags=["nbval-ignore-output"]
last = attentions[-1].mean(1)[:, 0, 1:].unflatten(1, (7, 7))  # class token → patches
whole = rollout(attentions)[:, 0, 1:].unflatten(1, (7, 7))
figure, axes = plt.subplots(3, 6, figsize=(8, 4.2), layout="constrained")
rows = {"picture": given[:, 0], "last block": last.cpu(), "rollout": whole.cpu()}
for row, (name, values) in zip(axes, rows.items(), strict=True):
    for ax, value in zip(row, values, strict=True):
        ax.imshow(value, cmap="gray" if name == "picture" else "viridis")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)

# %% [markdown]
# The attention is no longer even. But look closely, and you'll find bright patches where there is no ink at all. Does
# the answer *depend* on them? Attention says where information was taken from, not what it was used for. The tests of
# section 4 apply here as well.
#
# Convolutional networks can have attention of another kind: the *gates* of SE and CBAM. A gate between 0 and 1 weighs
# each channel, and CBAM has a second one that weighs each place. Another short training, of a small ResNet with CBAM:

# %% tags=["nbval-ignore-output"]
from dl_course.models import BasicBlock, ResNet

set_seed(0)
small = {"num_classes": 10, "in_channels": 1, "base_channels": 8}
gated = ResNet(BasicBlock, [1, 1, 1, 1], **small, attention="cbam")
gated, accuracy = train(gated, 0.005, epochs=3)
print(f"right on {accuracy:.1%} of {len(unseen)} digits")

# %% alt="Left: gates of 60 digits by 32 channels, some columns change from band to band, digit by digit. Right: five digits and, below each, a coarse pattern of gates of places" tags=["nbval-ignore-output"]
from dl_course.explain import gates

some, truth = unseen.tensors(slice(60))
order = truth.argsort()
found = gates(gated, some[order])
figure, axes = plt.subplot_mosaic([["channels", *"abcde"], ["channels", *"ABCDE"]],
    figsize=(10, 2.9), width_ratios=(6, 1, 1, 1, 1, 1), layout="constrained")  # fmt: skip
plots.channel_gates(found["layer3.0.attention.channel_scale"], axes["channels"])
axes["channels"].set_ylabel("picture, 0 to 9 from the top")
places = found["layer1.0.attention.spatial_scale"].cpu()
for above, index in zip("abcde", range(0, 60, 12), strict=True):
    axes[above].imshow(some[order][index, 0], cmap="gray")
    axes[above.upper()].imshow(places[index], cmap="viridis")
    for name in (above, above.upper()):
        axes[name].axis("off")

# %% [markdown]
# Left: each row is a picture, sorted by digit; each column is a channel. A column of one colour is a gate that is
# always open to the same degree: a habit. Only where a column changes with the digit does the gate respond to the
# picture. On the right, the gates of places, in the first block (yellow is the most open place in each small picture).
# Whether the gates help at all is another question. To answer it, train the same network without them, with several
# seeds, and compare.

# %% [markdown]
# ## 8. What does it know?
#
# So far we asked *where*. Now *what*: at which depth does the network know the class? The mean of each map of a layer
# gives one number per channel. These are the picture's **features** at that layer. They can be looked at in three ways.
#
# **Project them.** The features of `stage3` have 32 numbers per picture. **PCA** turns them so that the first two axes
# show as much of the variation as two straight axes can. **t-SNE** bends: it keeps *neighbours* together and gives up
# distances.

# %% tags=["nbval-ignore-output"]
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from dl_course.explain import features

known = features(model, inputs, ["stem", "stage1", "stage2", "stage3"])  # {name: (1000, C)}
planes = {
    "stage1, PCA": PCA(2).fit_transform(known["stage1"]),
    "stage3, PCA": PCA(2).fit_transform(known["stage3"]),
    "stage3, t-SNE": TSNE(2, random_state=0).fit_transform(known["stage3"]),
}

# %% alt="Three scatter plots of 1,000 pictures in ten colours: in stage1 by PCA all mixed; in stage3 by PCA groups that overlap; in stage3 by t-SNE ten islands, most of them far apart" tags=["nbval-ignore-output"]
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
kind = pd.Categorical.from_codes(labels.tolist(), shapes.classes)
for ax, (name, points) in zip(axes, planes.items(), strict=True):
    how = {"hue": kind, "style": kind, "palette": "tab10", "s": 16, "legend": ax is axes[-1]}
    sns.scatterplot(x=points[:, 0], y=points[:, 1], ax=ax, **how)
    ax.set(title=name, xticks=[], yticks=[])
sns.move_legend(axes[-1], "center left", bbox_to_anchor=(1, 0.5), fontsize=8)
sns.despine(left=True, bottom=True)

# %% [markdown]
# In `stage1`, the classes lie mixed together; in `stage3`, they form groups. Be careful with the right-hand picture. In
# t-SNE, the sizes of the islands and the distances between them mean little, and with some settings it draws islands
# even in noise. What you may read off is which points are *neighbours*.
#
# **Ask for neighbours.** Which pictures does the network consider most similar to a given one? Similar means: features
# that point in the same direction, so we compare by the cosine of the angle between them,
# $\cos(a, b) = a \cdot b \,/\, (\lVert a \rVert \lVert b \rVert)$.
#
# **Exercise.** Write `nearest`. The picture itself isn't its own neighbour.

# %% tags=["exercise"]
def nearest(features: Tensor, query: int, k: int) -> Tensor:
    """Return the indices (k,) of the rows of features (N, C) most similar to row query.

    The largest cosine comes first. The query itself isn't among them.
    """
    ### BEGIN SOLUTION
    directions = F.normalize(features, dim=1)
    likeness = directions @ directions[query]  # (N,)
    likeness[query] = -torch.inf
    return likeness.topk(k).indices
    ### END SOLUTION

# %% tags=["check"]
check(nearest)

# %% alt="Four rows of five pictures: a picture, then its four nearest neighbours. By the stem: same ground, same colours, various shapes. By stage3: the same shape on various grounds" tags=["nbval-ignore-output"]
rows, titles = [], []
for query in (0, 4):
    for layer in ("stem", "stage3"):
        found = [query, *nearest(known[layer], query, 4).tolist()]
        rows += found
        titles += [f"{layer}: {names[query]}", *(shapes.classes[labels[i]] for i in found[1:])]
figure, ax = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
_ = plots.image_grid(pictures[rows], titles, ax, columns=5)

# %% [markdown]
# Neighbours in the stem share the colours of shape and ground. Neighbours in `stage3` share the shape, on quite
# different grounds.
#
# **Probe them.** How much does a layer know about the class? Train a *linear* classifier on its features, and nothing
# else: what it gets right on new pictures was there, in a form that one linear layer can read. Such a classifier is a
# **linear probe**.

# %%
ask("05b-probe-depth")

# %% tags=["nbval-ignore-output"]
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

old, taught = load("shapes", "train").tensors(slice(1000))
rows = {}
for layer, learned in features(model, normalize(old), list(known)).items():
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    right = probe.fit(learned, taught).score(known[layer], labels)
    half = 1.96 * (right * (1 - right) / len(labels)) ** 0.5
    rows[layer] = {"features": learned.shape[1], "probe": f"{right:.1%} ± {half:.1%} right"}
pd.DataFrame(rows).T

# %% [markdown]
# The knowledge grows with depth, and most of it appears between the stem and `stage2`. Two cautions. A probe shows what
# *can be read* from a layer, not what the network *uses*. And a low number says that this probe can't read it: averaged
# over places, the stem can't say where its edges were.

# %% [markdown]
# ## 9. How firmly does it know?
#
# The network is right on almost all of these pictures. How far is it from being wrong? Add noise: move each value of a
# picture by 2/255, up or down at random. You won't see it. Nor, it turns out, will the network.
#
# Now the same 2/255, but each value moves in the direction that *raises the loss*. The sign of the loss's gradient with
# respect to the picture tells us which. This is the **fast gradient sign method**, FGSM (Goodfellow et al. 2015):
#
# $$ x' = \mathrm{clip}\big(x + \epsilon \cdot \mathrm{sign}(\nabla_x\, loss),\ 0,\ 1\big) $$

# %%
ask("05b-noise-or-fgsm")

# %% [markdown]
# **Exercise.** Write `attack`. The pictures are in [0, 1], and so must the result be.

# %% tags=["exercise"]
def attack(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return the images (N, C, H, W), each value moved by epsilon to raise the cross-entropy.

    images in [0, 1], as the model takes them; so is the result. No gradient stays on the model,
    and the images given stay as they are.
    """
    ### BEGIN SOLUTION
    x = images.clone().requires_grad_()
    loss = F.cross_entropy(model(x), labels)
    (slope,) = torch.autograd.grad(loss, x)
    return (images + epsilon * slope.sign()).clamp(0, 1)
    ### END SOLUTION

# %% tags=["check"]
check(attack)

# %% tags=["nbval-ignore-output"]
plain = nn.Sequential(normalize, model)  # takes pictures in [0, 1]
some, kinds = pictures[:500], labels[:500]
dice = torch.Generator().manual_seed(0)
signs = torch.randint(0, 2, some.shape, generator=dice) * 2 - 1
changed = {"as they are": some, "random signs, 2/255": (some + 2 / 255 * signs).clamp(0, 1)}
for step in (1, 2, 4):
    moved = attack(plain, some.to(device), kinds.to(device), step / 255)
    changed[f"FGSM, {step}/255"] = moved.cpu()
rows = {name: predict(plain, x).eq(kinds).float().mean().item() for name, x in changed.items()}
half = {name: 1.96 * (p * (1 - p) / 500) ** 0.5 for name, p in rows.items()}
pd.DataFrame({"right": {name: f"{p:.1%} ± {half[name]:.1%}" for name, p in rows.items()}})

# %% alt="A picture named rightly, its FGSM copy that looks the same and is named wrongly, and the change, fifty times enlarged: a pattern of coloured dots over the whole picture" tags=["nbval-ignore-output"]
bad = changed["FGSM, 2/255"]
now = predict(plain, bad)
i = int((now.ne(kinds) & predicted[:500].eq(kinds)).nonzero()[0])
shown = [some[i], bad[i], (0.5 + 50 * (bad[i] - some[i])).clamp(0, 1)]
titles = [f"called {names[i]}", f"called {shapes.classes[now[i]]}", "the change, × 50"]
figure, ax = plt.subplots(figsize=(8, 2.7), layout="constrained")
_ = plots.image_grid(shown, titles, ax, columns=3)

# %% [markdown]
# Changes of the same size, so different in effect. Noise goes in a random direction in a space of 12,288 dimensions,
# and nearly all directions are harmless. FGSM picks one that isn't.
#
# What does this show? That right next to a picture that the network gets right, there is often one that it gets wrong.
# It does *not* show that such pictures occur by themselves, and it isn't a measure of safety: a network that resists
# this one-step attack may fall to one that takes several steps.
#
# ### A picture made to please
#
# We can also climb the other way. Start from grey noise and change the *picture* until a score is as high as possible.
# This is **activation maximisation**.

# %% tags=["nbval-ignore-output"]
from dl_course.explain import maximise

wanted = [0, 3, 5]
naive = torch.stack([maximise(plain, "1.fc", kind, priors=False).cpu() for kind in wanted])
with torch.no_grad():
    sure = plain(naive.to(device)).softmax(1).cpu()[range(3), wanted]
kinds = [shapes.classes[kind] for kind in wanted]
pd.DataFrame({"asked for": kinds, "probability": sure.numpy().round(4)})

# %% alt="Two rows of three pictures. Above, made pixel by pixel: coloured noise. Below, made with priors: dark round patches for the circle, blocks with corners for the square, jagged stripes for the star" tags=["nbval-ignore-output"]
better = torch.stack([maximise(plain, "1.fc", kind).cpu() for kind in wanted])
with torch.no_grad():
    also = plain(better.to(device)).softmax(1).cpu()[range(3), wanted]
titles = [f"pixel by pixel\n{k}: {p:.0%}" for k, p in zip(kinds, sure, strict=True)]
titles += [f"with priors\n{k}: {p:.0%}" for k, p in zip(kinds, also, strict=True)]
figure, ax = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
_ = plots.image_grid([*naive, *better], titles, ax, columns=3)

# %% [markdown]
# The upper row: noise, and the network is certain. So "100 % sure" says nothing about whether there is anything in the
# picture at all. A softmax divides its 100 % among the classes it knows; "none of these" isn't one of them.
#
# The lower row has help. Olah, Mordvintsev and Schubert (2017) found what makes such pictures legible for networks that
# were trained on photographs: build them from waves, with more of the slow ones, as in photographs; let colours vary
# together as they do in nature; and turn, shift and scale the picture a little at each step, so that no detail counts
# that hangs on a single pixel. These are **priors**: assumptions that *we* put in. Here they turn noise into patches, and
# the network is just as certain, but hardly anybody would call them a circle, a square and a star. Where you do
# recognise something in such a picture, it may come from the network or from the prior. So test it, as you did with
# maps: on real pictures.

# %% [markdown]
# ## Summary
#
# - Grad-CAM weighs a layer's maps by their gradients, and keeps what speaks for the class.
# - A map is a claim. Put it through several tests, each beside a baseline, with a placebo among the methods.
# - Say how many pictures a claim rests on, with an interval. Twenty prove little. Don't explain what may be noise.
# - A network can be right for the wrong reason. A map gives you the suspicion; an experiment settles it.
# - Probes and neighbours show what can be read from a layer, not what the network uses.
# - Near a picture it gets right, there is often one it gets wrong. And it can be certain about noise.
#
# ## Check yourself

# %%
progress("05b")

# %% [markdown]
# ## Further reading
#
# - Selvaraju et al.: *Grad-CAM*, ICCV 2017. Zhou et al.: *Learning Deep Features for Discriminative Localization*, 2016
# - Adebayo et al.: *Sanity Checks for Saliency Maps*, 2018. Petsiuk et al.: *RISE*, 2018, for deletion and insertion
# - Smilkov et al.: *SmoothGrad*, 2017. Zhang et al.: *Top-down Neural Attention by Excitation Backprop*, IJCV 2018, for
#   the pointing game
# - Geirhos et al.: *Shortcut Learning in Deep Neural Networks*, 2020; Zech et al., on X-rays and hospitals, PLOS
#   Medicine 2018; Winkler et al., on skin and surgical marks, JAMA Dermatology 2019
# - Abnar, Zuidema: *Quantifying Attention Flow in Transformers*, 2020, for rollout
# - Alain, Bengio: *Understanding Intermediate Layers Using Linear Classifier Probes*, 2016
# - Goodfellow, Shlens, Szegedy: *Explaining and Harnessing Adversarial Examples*, ICLR 2015
# - Wattenberg, Viégas, Johnson: *How to Use t-SNE Effectively* (Distill, 2016); Olah, Mordvintsev, Schubert: *Feature
#   Visualization* (Distill, 2017)
