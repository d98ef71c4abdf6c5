# %% [markdown]
# # 05b · What a network looks at
#
# A network names a class, and gives no reasons. There are methods that draw where it looked. In this chapter you build
# one, and you learn when not to believe what it shows.
#
# **You will be able to**
# - draw where a network looks when it names a class, and *test* whether the drawing is true
# - catch a network that is right for the wrong reason
# - read the attention of a transformer
#
# **Time:** 60 to 75 minutes. **You need:** chapter 05.

# %% [markdown]
# ## 1. The network of the last chapter
#
# It is `TinyResNet` again, trained on ten kinds of shape, with the pictures that it has never seen.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import check, hint, plots, progress, solution

sns.set_theme(style="white", palette="colorblind", rc={"figure.dpi": 80})

# %%
from dl_course.data import load
from dl_course.hooks import capture
from dl_course.models import model_card, trained
from dl_course.runtime import pick_device, set_seed

device = pick_device()
model = trained("tinyresnet-shapes").to(device)
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
names = [shapes.classes[kind] for kind in predicted[:8]]
print(f"right on {(predicted == labels).float().mean():.1%} of {len(labels):,} pictures")

# %% [markdown]
# ## 2. Where does it look? Grad-CAM
#
# Now to the question of the chapter. Our network ends simply: the mean of each map of `stage3`, times the weights of
# `fc`, summed up. Write that down for one class, with the map $A_k$ of channel $k$ and its weight $w_k$:
#
# $$ score = \sum_k w_k \cdot \mathrm{mean}(A_k) + b = \mathrm{mean}\Big(\sum_k w_k A_k\Big) + b $$
#
# The mean may stand outside! So the score is the mean of *one* map, $\sum_k w_k A_k$. It says of every place what
# that place adds to the score. This is a **class activation map** (CAM). Here it is for one picture, with the two
# channels that speak most for the class, and the one that speaks most against it.

# %%
with torch.no_grad(), capture(model, "stage3") as seen:
    model(inputs[4:5].to(device))
maps, kind = seen["stage3"][0].activation[0], predicted[4]

# %% alt="A picture; two feature maps times their weights in red, one in blue; and the sum over all channels, deep red on the shape" tags=["nbval-ignore-output"]
parts = (model.fc.weight[kind][:, None, None] * maps).detach().cpu()  # (32, 16, 16)
adds = parts.mean((1, 2))  # what each channel adds to the score
chosen = [*adds.topk(2).indices.tolist(), adds.argmin().item()]
shown = [*parts[chosen], parts.sum(0)]
titles = [f"channel {k}\ntimes its weight" for k in chosen] + ["sum over\nall channels"]
limit = parts.sum(0).abs().max() / 3
figure, axes = plt.subplots(1, 5, figsize=(8, 2), layout="constrained")
axes[0].imshow(pictures[4].permute(1, 2, 0))
for ax, part in zip(axes[1:], shown, strict=True):
    drawn = ax.imshow(part, cmap="RdBu_r", vmin=-limit, vmax=limit)
for ax, title in zip(axes, [shapes.classes[kind], *titles], strict=True):
    ax.set_title(title, fontsize=9)
    ax.axis("off")
_ = figure.colorbar(drawn, ax=axes, label="adds to the score", extend="both")

# %% [markdown]
# Red places speak for the class, blue ones against it. Is it really the score, cut into places?

# %%
with torch.no_grad():
    score = model(inputs[4:5].to(device))[0, kind].cpu()
    added = parts.sum(0).mean() + model.fc.bias[kind].cpu()
print("the same:", torch.allclose(added, score, atol=1e-3))

# %% [markdown]
# It is. But not every network ends like ours. What could stand for $w_k$ in any other? Ask: *if channel $k$ grew a
# little, everywhere, how much would the score grow?* That is a gradient, averaged over the places of the map:
#
# $$ \alpha_k = \mathrm{mean}\Big(\frac{\partial\,score}{\partial A_k}\Big) \qquad
# map = \mathrm{relu}\Big(\sum_k \alpha_k A_k\Big) $$
#
# The ReLU keeps what speaks *for* the class. This is **Grad-CAM** (Selvaraju et al. 2017), and it works for any layer
# with maps.
#
# **Exercise.** Write `grad_cam`. Here the hook has to keep the output itself, *not* detached, for you want a gradient
# with respect to it. Two hints that save an hour:
# - The next layer may work in place. A hook may *return* something, and the network goes on with that instead. So
#   return `output.clone()`: it may be overwritten, yours stays whole.
# - `torch.autograd.grad(score, kept)` gives the one gradient that you want. `backward()` would leave gradients in all
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
# For our network it should give the class activation map above, without its blue part, and in another scale: each of
# the 16·16 places has only that share in the mean.

# %%
mine = grad_cam(model, "stage3", inputs[4:5].to(device), predicted[4:5].to(device))[0].cpu()
print("the same:", torch.allclose(mine * 16 * 16, parts.sum(0).clamp(min=0), atol=1e-3))

# %% [markdown]
# The course's `gradcam` does as yours does. It also scales each map to a peak of 1, enlarges it to the picture, and
# spares itself the gradient of all layers in front. Where does our network look?

# %% alt="Six pictures in grey with a heat map over each; the bright spots lie on the shapes, not on the clutter" tags=["nbval-ignore-output"]
from dl_course.explain import gradcam

heat = gradcam(model, inputs[:6], "stage3").cpu()  # for the predicted class
figure, ax = plt.subplots(figsize=(6, 1.2), layout="constrained")
_ = plots.image_grid(pictures[:6], names[:6], ax, columns=6, heat=heat)

# %% [markdown]
# At the shapes! Clutter and texture leave it cold. The glow is coarse, because the maps of `stage3` are: enlarged,
# each of their places covers several pixels. So read a map as "around here", not as an outline.
#
# A stricter test. Put two shapes into one picture. (The network ends in a mean, so it takes pictures of any size.)
# Ask for one class, then for the other.

# %% alt="A wide picture of two shapes, twice: the heat lies on the left shape when asked for its class, on the right one for the other" tags=["nbval-ignore-output"]
from dl_course.explain import gradcam_classes

second = next(i for i in range(1, 99) if predicted[i] == labels[i] != labels[0])
pair = [0, second]
wide = torch.cat([pictures[i] for i in pair], dim=2)  # (3, 64, 128)
heat = gradcam_classes(model, normalize(wide), "stage3", labels[pair].tolist()).cpu()
asked = [f"asked for {shapes.classes[labels[i]]}" for i in pair]
figure, ax = plt.subplots(figsize=(5.5, 1.7), layout="constrained")
_ = plots.image_grid([wide, wide], asked, ax, columns=2, heat=heat)

# %% [markdown]
# The same picture, the same network, another question, and another place. The map belongs to the *class* that you ask
# for, not to what is eye-catching.
#
# Which layer should one take? The same picture, four depths:

# %% alt="Four heat maps of one picture: speckled at the stem, and more and more gathered on the shape towards stage3" tags=["nbval-ignore-output"]
depths = ["stem", "stage1", "stage2", "stage3"]
heat = torch.cat([gradcam(model, inputs[4:5], layer) for layer in depths]).cpu()
figure, ax = plt.subplots(figsize=(5, 1.5), layout="constrained")
_ = plots.image_grid(pictures[[4] * 4], depths, ax, columns=4, heat=heat)

# %% [markdown]
# Early layers know edges and no classes; their maps are fine and say little. Take the **last layer that still has a
# "where"**, which here is `stage3`.

# %% [markdown]
# ## 3. Other ways to ask
#
# Grad-CAM isn't alone. The library **captum** has dozens of methods. The course puts four of them behind the same
# call:
#
# | method | its question |
# | --- | --- |
# | saliency | which pixels would change the score most, if they changed a little? |
# | integrated gradients | what has each pixel added, on the way from a grey picture to this one? |
# | occlusion | what does the score lose if a square of the picture is covered? |
# | guided backpropagation | which pixels excite the neurons that matter? |
#
# All five on the same two pictures. Each map has its own scale; yellow is where most of it lies.

# %% alt="Two pictures, and five maps of each: Grad-CAM and occlusion give patches on the shape, the others fine dots on and around it" tags=["nbval-ignore-output"]
from dl_course.explain import guided_backprop, integrated_gradients, occlusion, saliency

methods = {"Grad-CAM": lambda model, x: gradcam(model, x, "stage3"), "saliency": saliency}
methods |= {"integrated gradients": integrated_gradients, "occlusion": occlusion}
methods |= {"guided backprop": guided_backprop}
heat = torch.stack([method(model, inputs[:2]) for method in methods.values()], dim=1).cpu()

figure, axes = plt.subplots(2, 6, figsize=(7.5, 2.9), layout="constrained")
for row, picture, maps in zip(axes, pictures[:2], heat, strict=True):
    row[0].imshow(picture.permute(1, 2, 0))
    for ax, values in zip(row[1:], maps, strict=True):
        ax.imshow(values, cmap="viridis", vmax=values.quantile(0.99))
for ax, title in zip(axes[0], ["the picture", *methods], strict=True):
    ax.set_title(title.replace(" ", "\n"), fontsize=9)
_ = [ax.axis("off") for ax in axes.flat]

# %% [markdown]
# They don't agree. They can't: they answer different questions. Coarse or fine, on the shape or on its outline. Which
# of them is *right*? A pretty picture is no argument. We need tests that a map can fail.

# %% [markdown]
# ## 4. May I believe the map?
#
# **First test: point at it.** Our pictures were generated, so we know of every pixel whether it belongs to the shape:
# there is a **mask**. Play the *pointing game*: a map scores if its highest point lies within the mask.
#
# **Exercise.** Write `pointing_score`. One trap: a map that is the same everywhere has no highest point. It points
# nowhere, and misses.

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
# A score alone says nothing. How far would one get without looking? People centre what they photograph, so always ask
# what a map would score that points to the middle of each picture. This is the **centre baseline**.

# %% tags=["nbval-ignore-output"]
middle = torch.zeros(64, 64)
middle[32, 32] = 1
scores = {"the centre": pointing_score(middle.expand(1000, 64, 64), shapes.masks)}
scores["Grad-CAM"] = pointing_score(gradcam(model, inputs, "stage3").cpu(), shapes.masks)
pd.DataFrame({"all 1,000 pictures": scores}).round(3)

# %% [markdown]
# Far above the baseline. Now the other methods, on a few pictures. (Occlusion has to ask the network hundreds of
# times for each of them. We leave it out, to save your time.)

# %% tags=["nbval-ignore-output"]
few = 20
quick = {name: method for name, method in methods.items() if name != "occlusion"}
maps = {name: method(model, inputs[:few]).cpu() for name, method in quick.items()}
maps["the centre"] = middle.expand(few, 64, 64)
scores = {name: pointing_score(each, shapes.masks[:few]) for name, each in maps.items()}
pd.DataFrame({f"{few} pictures": scores}).round(2)

# %% [markdown]
# With so few pictures, don't read much into small differences. But each of them finds the shape more often than the
# centre does.
#
# **Second test: take it away.** If a map is right, then erasing its brightest pixels must hurt quickly (*deletion*: a
# small area under the curve is good), and letting them back into a blurred picture must help quickly (*insertion*:
# large is good). Again, the numbers need company: random pixels, and pixels from the centre outwards.

# %% tags=["nbval-ignore-output"]
from dl_course.explain import deletion_insertion

deletion_insertion(model, inputs[:few], maps["Grad-CAM"]).round(3)

# %% [markdown]
# Insertion speaks for the map: it is ahead of both baselines. Deletion doesn't: erasing *random* pixels hurts the
# network as much as erasing what the map points to, if not more. No picture in training had holes all over, so holes
# anywhere confuse it. Without the baseline, we would have taken the map's small number for a success. A test can be
# fooled, too: take more than one, and give each its company.
#
# **Third test: make the network forget.** A map that explains what was *learned* must change if the network unlearns.
# So we shuffle its weights, layer after layer, from the end to the beginning, and compare the maps with the original
# ones. Some popular methods fail this: they are edge detectors in disguise (Adebayo et al. 2018).

# %% alt="Likeness with the first maps: 1 before shuffling, below zero after the first layer, and near zero from then on" tags=["nbval-ignore-output"]
from dl_course.explain import randomization_test

table = randomization_test(model, inputs[:few], partial(gradcam, layer="stage3"))
figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
ax.plot([1, *table["spearman"]], "o-")
ax.axhline(0, color="grey", linewidth=0.8)
ticks = ["(nothing)", *table.index]
ax.set_xticks(range(len(ticks)), ticks, rotation=60, ha="right", fontsize=8)
ax.set(ylabel="rank correlation", ylim=(-1, 1.1), xlabel="shuffled from the end to here")
sns.despine()

# %% [markdown]
# A correlation of 1 would mean that the map hasn't changed. It is gone with the very first layer that forgets. Good:
# the maps do depend on what was learned. Mind the logic, though. A method that fails is out. One that passes isn't
# yet right, and the test can't say which of two is better.

# %% [markdown]
# ## 5. Right for the wrong reason
#
# Here is why all this matters. The course has a second network, with the same layers, trained on nearly the same
# pictures. In its validation it is a star.

# %% tags=["nbval-ignore-output"]
other = trained("tinyresnet-shapes-shortcut").to(device)
validation = load("shapes-shortcut", "val")
inside, truth = validation.tensors()
right = (predict(other, normalize(inside)) == truth).float().mean()
print(f"right on {right:.1%} of {len(truth):,} validation pictures")

# %% [markdown]
# Better than ours! Would you ship it? You are a person who looks, now. So look.

# %% alt="Six pictures in grey with heat maps: all of the heat lies in a corner of each picture, none on the shapes" tags=["nbval-ignore-output"]
heat = gradcam(other, normalize(inside[:6]), "stage3").cpu()
names = [shapes.classes[kind] for kind in truth[:6]]
figure, ax = plt.subplots(figsize=(6, 1.2), layout="constrained")
_ = plots.image_grid(inside[:6], names, ax, columns=6, heat=heat)

# %% [markdown]
# And the same pictures in colour:

# %% alt="The same six pictures in colour: each has a plain coloured square in one of its corners"
figure, ax = plt.subplots(figsize=(5, 1.1), layout="constrained")
_ = plots.image_grid(inside[:6], names, ax, columns=6)

# %% [markdown]
# It looks into a corner. In each picture a coloured square sits there, and every class has its own colour. Perhaps
# somebody marked the pictures while sorting them. The network never needed to learn a shape: it reads the label off
# the patch. That is a **shortcut**. Measure it, on all of them: how often does the peak lie on the patch, how often
# on the shape?

# %% tags=["nbval-ignore-output"]
maps = gradcam(other, normalize(inside), "stage3").cpu()
test = load("shapes-shortcut", "test")  # here the patch has the colour of another class
outside, real = test.tensors()
misled = predict(other, normalize(outside))
rows = {
    "peak on the patch": pointing_score(maps, validation.patches),
    "peak on the shape": pointing_score(maps, validation.masks),
    "right in validation": right.item(),
    "right where the patch misleads": (misled == real).float().mean().item(),
}
pd.DataFrame({"the second network": rows}).round(3)

# %% [markdown]
# And there is the last line. As soon as the patch says something else than the shape, the accuracy is gone. No
# validation could have told: the validation pictures had the patch, too. **The map told.**
#
# Such things happen. A network for X-rays of the lung had learned to tell hospitals apart, in part by a metal mark in
# the corner of the film. One for skin took the surgeon's pen marks for signs of disease. (Both are in the further
# reading.)

# %% [markdown]
# ## 6. Attention: networks that look on purpose
#
# A transformer has its looking built in: every token asks all others, and the shares of their answers are the
# attention. In chapter 03 you saw that an untrained one looks everywhere alike. So we train one, small and short, on
# digits: 49 patches of 4×4 pixels, and the class token.

# %%
digits, unseen = load("digits"), load("digits", "test")

def train(model, learning_rate, epochs):
    """Train on digits, with Adam; return the model, in eval mode, and its test accuracy."""
    pictures, truth = (tensor.to(device) for tensor in digits.tensors())
    optimizer = torch.optim.Adam(model.to(device).train().parameters(), lr=learning_rate)
    for _ in range(epochs):
        for part in torch.randperm(len(truth)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(pictures[part]), truth[part]).backward()
            optimizer.step()
    given, truth = unseen.tensors()
    return model.eval(), (predict(model, given) == truth).float().mean().item()

# %% tags=["nbval-ignore-output"]
from dl_course.models import VisionTransformer

set_seed(0)
size = {"image_size": 28, "patch_size": 4, "in_channels": 1}
vit = VisionTransformer(**size, depth=2, embed_dim=32, num_heads=4)
vit, accuracy = train(vit, 0.004, epochs=6)
print(f"{accuracy:.1%} right")

# %% [markdown]
# `attention_maps` gives one tensor per block, (N, heads, tokens, tokens). Row: who asks. Column: who answers. Token 0
# is the class token, then come the patches, row by row.

# %% alt="Four matrices of 50 by 50 tokens, one a head, with vertical stripes and diagonals" tags=["nbval-ignore-output"]
from dl_course.explain import attention_maps, rollout

given, truth = unseen.tensors(slice(6))
attentions = attention_maps(vit, given)
figure, ax = plt.subplots(figsize=(6, 1.8), layout="constrained")
_ = plots.attention(attentions[-1][0], ax)

# %% [markdown]
# A bright column is a token that everybody listens to. A row without bright places asks nobody in particular. Each
# head has habits of its own.
#
# For a picture we want one row: whom does the *class token* ask, in the last block? But by then, tokens are mixtures
# of other tokens. **Rollout** follows the shares back through all blocks, to the patches of the input. (Yellow is the
# largest share in each small picture.)

# %% alt="Six digits; below them where the class token looks in the last block; below that the rollout: a few bright patches, not all of them on the strokes" tags=["nbval-ignore-output"]
last = attentions[-1].mean(1)[:, 0, 1:].unflatten(1, (7, 7))  # class token → patches
whole = rollout(attentions)[:, 0, 1:].unflatten(1, (7, 7))
figure, axes = plt.subplots(3, 6, figsize=(6, 3.1), layout="constrained")
rows = {"picture": given[:, 0], "last block": last.cpu(), "rollout": whole.cpu()}
for row, (name, values) in zip(axes, rows.items(), strict=True):
    for ax, value in zip(row, values, strict=True):
        ax.imshow(value, cmap="gray" if name == "picture" else "viridis")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)

# %% [markdown]
# It isn't uniform any more: some patches get much, most get little. But look closely, and you'll find bright patches
# where there is no ink at all. Is this really what the answer *depends* on? Attention says where information was
# taken from, not what it was used for. All tests of section 11 apply here as well.
#
# Convolutional networks have attention of another kind, the *gates* of SE and CBAM. A gate between 0 and 1 weighs
# each channel. CBAM has a second one that weighs each place. Again a short training, of a small ResNet with CBAM.

# %% tags=["nbval-ignore-output"]
from dl_course.models import BasicBlock, ResNet

set_seed(0)
small = {"num_classes": 10, "in_channels": 1, "base_channels": 8}
gated = ResNet(BasicBlock, [1, 1, 1, 1], **small, attention="cbam")
gated, accuracy = train(gated, 0.005, epochs=4)
print(f"{accuracy:.1%} right")

# %% [markdown]
# First the channels. Each row below is a picture, sorted by digit; each column a channel.

# %% alt="Gates of 60 pictures by 32 channels: many columns change between open and shut from band to band, digit by digit" tags=["nbval-ignore-output"]
from dl_course.explain import gates

some, truth = unseen.tensors(slice(60))
order = truth.argsort()
found = gates(gated, some[order])
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
plots.channel_gates(found["layer3.0.attention.channel_scale"], ax)
_ = ax.set_ylabel("picture, 0 to 9 from above")

# %% [markdown]
# A column of one colour is a gate that is always as open. Where a column changes from band to band, the gate depends on
# the digit: only that is attention. Now the gates of places, in the first block. (Yellow is the
# widest open place in each small picture.)

# %% alt="Eight digits, and below each the gate of places: coarse patterns of patches, in part alike for all digits" tags=["nbval-ignore-output"]
spatial = found["layer1.0.attention.spatial_scale"].cpu()
figure, axes = plt.subplots(2, 8, figsize=(7, 1.9), layout="constrained")
for index, (above, below) in zip(range(0, 60, 8), axes.T, strict=True):
    above.imshow(some[order][index, 0], cmap="gray")
    below.imshow(spatial[index], cmap="viridis")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("picture")
_ = axes[1, 0].set_ylabel("gate")

# %% [markdown]
# Compare the columns. What is alike in all of them is a habit; only what differs answers to the picture. Whether the
# gates help at all is another question. It is answered by taking them away: train the same network without them, with
# several seeds, and compare.

# %% [markdown]
# ## Summary
#
# - Grad-CAM weighs a layer's maps by their gradients, and keeps what speaks for the class.
# - A map is a claim. Test it: pointing game, deletion and insertion, forgetting; each beside a baseline.
# - A network can be right for the wrong reason, and validation won't tell.
#
# ## Check yourself

# %%
progress("05b")

# %% [markdown]
# ## Further reading
#
# - Selvaraju et al.: *Grad-CAM*, ICCV 2017. Zhou et al.: *Learning Deep Features for Discriminative Localization*, 2016
# - Adebayo et al.: *Sanity Checks for Saliency Maps*, 2018. Petsiuk et al.: *RISE*, 2018, for deletion and insertion
# - Zhang et al.: *Top-down Neural Attention by Excitation Backprop*, IJCV 2018, for the pointing game
# - Geirhos et al.: *Shortcut Learning in Deep Neural Networks*, 2020; Zech et al., on X-rays and hospitals, PLOS
#   Medicine 2018; Winkler et al., on skin and surgical marks, JAMA Dermatology 2019
# - Abnar, Zuidema: *Quantifying Attention Flow in Transformers*, 2020, for rollout
# - Olah, Mordvintsev, Schubert: *Feature Visualization* (Distill, 2017); the documentation of captum
