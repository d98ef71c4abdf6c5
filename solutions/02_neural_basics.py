# %% [markdown]
# # 02 · Neural basics: a network from nothing
#
# A neural network multiplies, adds and bends. It does this very many times, and that is all. In this chapter you'll
# build one with NumPy alone, teach it to read handwriting, and then watch PyTorch compute the same numbers.
#
# **You will be able to**
# - say what a layer computes, forward and backward, and write it in NumPy
# - find gradients with the chain rule, and catch wrong ones with a gradient check
# - train a network by gradient descent, with momentum and with Adam
# - say what PyTorch's autograd records, and recognise your own code in PyTorch's
#
# **Time:** two and a half hours, with the exercises; sections 8 and 11 are good places for a break. **You need:**
# chapter 01, matrix multiplication, and derivatives.

# %% [markdown]
# ## 1. One neuron
#
# There are two kinds of points in a plane. We would like a machine that tells them apart.

# %%
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from sklearn.datasets import make_moons

from dl_course import ask, check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

points, kinds = make_moons(200, noise=0.15, random_state=0)
points.shape, kinds[:10]

# %% [markdown]
# Each row is a point with two coordinates, and each point is of kind 0 or kind 1. This is where they lie.

# %% alt="Two interleaved half moons: blue circles above on the left, orange triangles below on the right"
def show_points(ax):
    """Draw the points into axes, each kind with its own colour and marker."""
    for kind, marker in enumerate("o^"):
        style = {"s": 22, "marker": marker, "color": f"C{kind}", "edgecolor": "black"}
        ax.scatter(*points[kinds == kind].T, **style, linewidth=0.4, label=f"kind {kind}")
    ax.set(xlabel="$x_1$", ylabel="$x_2$")


show_points(plt.figure(figsize=(5, 3)).gca())
_ = plt.legend()

# %% [markdown]
# A *neuron* is the smallest machine that could try. It multiplies each input by a **weight** and adds the products up,
# together with one more number, the **bias**. The sum is its *score*. So a neuron gives every place in the plane a
# score, and we can colour the plane accordingly: blue where the score is negative, orange where it is positive.

# %%
grid = np.stack(np.meshgrid(np.linspace(-1.8, 2.8, 140), np.linspace(-1.3, 1.8, 140)), axis=-1)
blue_orange = sns.blend_palette(["C0", "white", "C1"], as_cmap=True)


def show_score(ax, score):
    """Colour the plane by a function that scores places, (N, 2) -> (N,); black is score 0."""
    table = score(grid.reshape(-1, 2)).reshape(140, 140)
    place = grid[..., 0], grid[..., 1]
    levels = np.linspace(-6, 6, 13)
    ax.contourf(*place, table, levels, cmap=blue_orange, alpha=0.7, extend="both")
    ax.contour(*place, table, levels=[0], colors="black")


# %% [markdown]
# On the left, a neuron; on the right, what it makes of the plane. We chose its three numbers by hand.

# %% alt="Left: inputs x1 and x2 with weights, and a bias, meet in a sum. Right: a straight line separates most points"
w, b = np.array([0.6, -1.5]), 0.1
ball = {"boxstyle": "circle", "facecolor": "white", "edgecolor": "black"}
arrow = {"arrowstyle": "->", "color": "black"}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.axis("off")
for y, name, weight in ((0.9, "$x_1$", w[0]), (0.5, "$x_2$", w[1]), (0.1, "1", b)):
    left.text(0.05, y, name, bbox=ball, ha="center", va="center")
    left.annotate("", (0.5, 0.5), (0.11, y), arrowprops=arrow)
    left.text(0.3, 0.58 * y + 0.19, f"× {weight}", ha="center", backgroundcolor="white")
left.text(0.58, 0.5, "sum", bbox=ball, ha="center", va="center")
left.annotate("", (0.84, 0.5), (0.66, 0.5), arrowprops=arrow)
left.text(0.92, 0.5, "score", ha="center", va="center")
show_score(right, lambda x: x @ w + b)
show_points(right)
print(f"{np.mean((points @ w + b > 0) == kinds):.0%} of the points are on the right side")

# %% [markdown]
# The score is $x_1 w_1 + x_2 w_2 + b$. It is zero along a straight line; where it is positive, we say "kind 1". The
# weights turn the line, the bias shifts it. (Rosenblatt's **perceptron** of 1958 was such a neuron, with a threshold.)
#
# But however we turn and shift it, no straight line separates these two moons. One neuron isn't enough. Let's use more.

# %% [markdown]
# ## 2. A layer: many neurons at once
#
# Three neurons have three sets of weights. Write each set as a column, and you have a matrix. A single matrix product
# then gives the scores of *all* neurons for *all* points. Follow one row through the picture.

# %% alt="A 4 by 2 table times a 2 by 3 table, plus a row of 3 numbers, gives a 4 by 3 table"
x = np.array([[1, 0], [0, 1], [1, 1], [2, -1]])
w, b = np.array([[1, 2, 0], [3, -1, 1]]), np.array([10, 20, 30])
figure, axes = plt.subplots(1, 4, figsize=(9, 2.3), layout="constrained")
names = ("x", "@  w", "+  b", "=  y")
for ax, table, name in zip(axes, (x, w, b[None], x @ w + b), names, strict=True):
    ax.imshow(table, cmap="Blues", vmin=-30, vmax=70)
    ax.set(xlim=(-0.5, 2.5), ylim=(3.5, -0.5))
    ax.set_title(f"{name}   {table.shape}", fontsize=11)
    ax.axis("off")
    for (i, j), value in np.ndenumerate(table):
        ax.text(j, i, value, ha="center", va="center")

# %% [markdown]
# Each row of `x` is a sample, each column of `w` a neuron. The inner lengths must be equal, and they disappear. The row
# `b` is added to every row, by broadcasting. This is a **linear layer**:
#
# $$ y = x\,w + b \qquad x: (N, n_{in}) \quad w: (n_{in}, n_{out}) \quad b: (n_{out}) \quad y: (N, n_{out}) $$
#
# **Exercise.** Write `linear_forward`. ("Forward", because we'll also go backward.)

# %% tags=["exercise"]
def linear_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return y (N, n_out) for samples x (N, n_in), weights w (n_in, n_out), bias b (n_out,)."""
    ### BEGIN SOLUTION
    return x @ w + b
    ### END SOLUTION


# %% tags=["check"]
check(linear_forward)

# %% [markdown]
# ## 3. The activation function
#
# Now we can stack layers: the outputs of one are the inputs of the next. What does a second layer add?

# %%
ask("02-two-linear-layers")

# %% [markdown]
# Let's compare two layers, with random weights, to a single layer whose weights are the product of theirs.

# %%
rng = np.random.default_rng(0)
w1, b1 = rng.normal(size=(2, 8)), rng.normal(size=8)
w2, b2 = rng.normal(size=(8, 1)), rng.normal(size=1)

two_layers = linear_forward(linear_forward(points, w1, b1), w2, b2)
one_layer = linear_forward(points, w1 @ w2, b1 @ w2 + b2)
np.allclose(two_layers, one_layer)

# %% [markdown]
# Two layers compute exactly what *one* layer with the weights `w1 @ w2` computes. The boundary is still a straight
# line, and would be after a hundred layers.
#
# So there must be something between the layers that isn't linear: an **activation function**, which is applied to each
# number by itself. What comes out is called the neuron's *activation*. The simplest useful one is a bend: negative
# numbers become zero, positive ones pass. Its full name is *rectified linear unit*, or **ReLU**:
#
# $$ \mathrm{relu}(x) = \max(x, 0) $$
#
# Linear layers with activation functions between them are called a *multilayer perceptron*, or **MLP**. The layers
# between input and output are *hidden* layers. Every network in this chapter is an MLP.
#
# **Exercise.** Write `relu`. The caller still needs the array that it gave you, because on the way back it matters
# where the input was positive. So leave it unchanged.

# %% tags=["exercise"]
def relu(x: np.ndarray) -> np.ndarray:
    """Return x where it is positive, else 0, in a new array of the same shape."""
    ### BEGIN SOLUTION
    return np.maximum(x, 0)
    ### END SOLUTION


# %% tags=["check"]
check(relu)

# %% [markdown]
# What can a bend do that a line can't? Here are three neurons with one input each. Each bends at a different place. The
# next layer takes a weighted sum.

# %% alt="Left: three bent lines starting at -1, 0 and 1. Right: their weighted sum, a triangular bump"
line = np.linspace(-2, 2, 201)[:, None]  # (201, 1)
hidden = relu(linear_forward(line, np.ones((1, 3)), np.array([1, 0, -1])))  # (201, 3)
weights = np.array([[1], [-2], [1]])
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
left.plot(line, hidden, label=[f"neuron {i}, weight {weights[i, 0]}" for i in range(3)])
right.plot(line, linear_forward(hidden, weights, np.zeros(1)), color="black")
left.set(title="three neurons, after ReLU", xlabel="input", ylabel="value")
left.legend(fontsize=9)
right.set(title="their weighted sum", xlabel="input")
sns.despine()

# %% [markdown]
# A bump! From enough bumps, wide and narrow, high and low, you can build any continuous curve on an interval, as
# closely as you like. That is why two layers with a ReLU between them can do what no line can.
#
# ReLU isn't the only activation function. Two older ones are the **sigmoid**, $1/(1+e^{-x})$, and the hyperbolic
# tangent, **tanh**. The lower row shows their slopes, which will soon matter more than their values. (These layers come
# from the course's own package, `dl_course.scratch`; by section 11 you'll have written most of it yourself. For now,
# `forward` returns the values, and `backward`, given ones, the slopes.)

# %% alt="ReLU, sigmoid and tanh above; their slopes below: a step from 0 to 1, and two bells of different height"
from dl_course.scratch import Linear, ReLU, Sigmoid, Tanh

x = np.linspace(-6, 6, 601)[:, None]
shared = {"sharex": True, "sharey": "row", "layout": "constrained"}
figure, axes = plt.subplots(2, 3, figsize=(9, 3.6), **shared)
for layer, (above, below) in zip((ReLU(), Sigmoid(), Tanh()), axes.T, strict=True):
    y, slope = layer.forward(x), layer.backward(np.ones_like(x))
    above.plot(x, y)
    above.set(title=type(layer).__name__, ylim=(-1.5, 3))
    below.plot(x, slope, color="C1", linestyle="--")
    below.set(title=f"slope, at most {slope.max():.2f}", xlabel="input", ylim=(-0.1, 1.1))
axes[0, 0].set_ylabel("value")
axes[1, 0].set_ylabel("slope")
sns.despine()

# %% [markdown]
# Sigmoid and tanh flatten out on both sides, where their slope is nearly zero. And even at its steepest, the sigmoid's
# slope is small. Learning sends a signal back through all layers, and each activation function multiplies it by its
# slope.

# %%
ask("02-ten-sigmoids")

# %%
steepest = Sigmoid()
steepest.forward(np.zeros((1, 1)))
steepest.backward(np.ones((1, 1))).item() ** 10

# %% [markdown]
# Almost nothing. ReLU's slope is 1 wherever its input is positive. That is a large part of its success.
#
# The slopes aren't the whole story, though: on its way back, the signal also meets the weights, and large weights could
# make up for small slopes. In section 9 we'll measure both together.

# %% [markdown]
# ## 4. How wrong? The loss
#
# To learn, a machine has to know how wrong it is. We sum it up in one number, the **loss**: the smaller, the better.
# For predictions of quantities, the usual choice is the *mean squared error*: square each error, then average.
#
# But average over what? PyTorch divides by the count of *all* numbers, $N$ samples times $d$ outputs. Many textbooks
# divide by $N$ alone and put ½ in front, which makes the derivative simpler. Compare.

# %%
import torch
from dl_course.scratch import MSELoss

predicted, truth = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
squares = (predicted - truth) ** 2
losses = {
    "PyTorch: Σ / (N·d)": torch.nn.MSELoss()(*map(torch.from_numpy, (predicted, truth))).item(),
    "this course: Σ / (N·d)": MSELoss().forward(predicted, truth),
    "many texts: ½ Σ / N": 0.5 * squares.sum() / len(predicted),
}
for name, loss in losses.items():
    print(f"{name:<24}{loss:.4f}")
print(f"third / second          {loss / losses['this course: Σ / (N·d)']:.4f}  with d = 6")

# %% [markdown]
# The same errors, two different losses. Neither is wrong: they differ by the factor $d/2$, and both have their minimum
# in the same place. But a learning rate that suits one can be far off for the other. This course follows PyTorch.

# %% [markdown]
# ## 5. Downhill
#
# Take the simplest model there is: a line $wx + b$ through some points. It has two numbers to choose, so its loss is a
# landscape over a plane. Learning means finding the bottom of the valley, but in fog: we see only the ground under our
# feet.
#
# What we can tell is how steep the ground is in each direction. These slopes together are the **gradient**. For the
# mean squared error $L$ of a line they are $\partial L/\partial w = \mathrm{mean}(2 \cdot error \cdot x)$, the slope
# when only $w$ moves, and $\partial L/\partial b = \mathrm{mean}(2 \cdot error)$, the slope when only $b$ moves. We
# take a step in the opposite direction: the gradient times the **learning rate** $\eta$. Then we repeat. This is
# **gradient descent**.

# %%
x = rng.uniform(-1, 1, 40)
y = 1.5 * x + 0.5 + rng.normal(0, 0.2, 40)


def descend(learning_rate, steps=25, w=-1.0, b=-1.5):
    """Return the points (steps + 1, 2) that gradient descent visits."""
    path = [(w, b)]
    for _ in range(steps):
        error = w * x + b - y
        w -= learning_rate * np.mean(2 * error * x)
        b -= learning_rate * np.mean(2 * error)
        path.append((w, b))
    return np.array(path)


# %% [markdown]
# Three walks from the same start (the orange square), with learning rates of 0.02, 0.3 and 1.01.

# %%
ask("02-large-rate")

# %% alt="Three loss landscapes with paths: one stops halfway to the lowest point, one reaches it, one leaps across it and away"
ws, bs = np.meshgrid(np.linspace(-2, 4, 80), np.linspace(-3, 4, 80))
loss = np.mean((ws[..., None] * x + bs[..., None] - y) ** 2, axis=-1)
figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, learning_rate in zip(axes, (0.02, 0.3, 1.01), strict=True):
    filled = ax.contourf(ws, bs, np.log10(loss), levels=15, cmap="viridis")
    path = descend(learning_rate)
    ax.plot(*path.T, "o-", color="white", markersize=4, markeredgecolor="black")
    ax.plot(*path[0], "s", color="C1", markersize=9, markeredgecolor="black")
    ax.set(title=f"learning rate {learning_rate}", xlabel="w", xlim=(-2, 4), ylim=(-3, 4))
axes[0].set_ylabel("b")
_ = figure.colorbar(filled, label="log₁₀ of the loss")

# %% [markdown]
# Too small, and you don't get there. Too large, and you leap across the valley to higher and higher ground. In between,
# it works. If you can tune only one number of a training, tune this one.
#
# For a line, the formulas for the slopes are short. For a network, we need a way to find the slope for *every* weight
# in it. There is one.

# %% [markdown]
# ## 6. Backpropagation by hand
#
# Here is the smallest network that has everything: one weight, one bias, one ReLU, one loss. We go through it forward
# and keep each intermediate value.

# %%
x, truth = 2.0, 1.0
w, b = 0.8, 0.5

u = w * x  # multiply
z = u + b  # add
a = max(z, 0.0)  # ReLU
r = a - truth  # the error
loss = r**2

# %% [markdown]
# Now backward. We ask of each value: *if it grew a little, how fast would the loss grow?* For the loss itself, the
# answer is 1. For every earlier value, it is the answer for the next value **times the slope of the step between
# them**. That is the chain rule, and it is all there is to it.

# %%
d_loss = 1.0
d_r = d_loss * 2 * r  # r² has the slope 2r
d_a = d_r * 1  # a − truth: the slope is 1
d_z = d_a * (z > 0)  # ReLU: the slope is 1 or 0
d_u = d_z * 1  # a sum passes the gradient on to both of its terms
d_b = d_z * 1
d_w = d_u * x  # a product: the slope is the other factor
d_x = d_u * w

# %% [markdown]
# The picture shows both passes. Values stand above the arrows and flow to the right. Gradients, in italics, stand below
# or beside the arrows and flow to the left.

# %% alt="A chain of boxes: times w, plus b, relu, minus truth, square; named values above the arrows, gradients below"
values = {"x": x, "u": u, "z": z, "a": a, "r": r, "loss": loss}
gradients, box = (d_x, d_u, d_z, d_a, d_r, d_loss), ball | {"boxstyle": "round"}
figure, ax = plt.subplots(figsize=(10, 2.2), layout="constrained")
ax.set(xlim=(-0.5, 8), ylim=(-0.5, 1.1))
ax.axis("off")
for i, ((name, value), gradient) in enumerate(zip(values.items(), gradients, strict=True)):
    ax.annotate("", (1.5 * i + 0.35, 0), (1.5 * i - 0.35, 0), arrowprops=arrow)
    ax.text(1.5 * i, 0.1, f"{name} = {value:.2f}", ha="center", fontsize=10)
    ax.text(1.5 * i, -0.3, f"{gradient:.2f}", ha="center", color="C3", style="italic")
for i, step in enumerate(("× w", "+ b", "relu", "− truth", "square")):
    ax.text(1.5 * i + 0.75, 0, step, ha="center", va="center", bbox=box)
for place, name, value, gradient in ((0.75, "w", w, d_w), (2.25, "b", b, d_b)):
    ax.annotate("", (place, 0.2), (place, 0.8), arrowprops=arrow)
    ax.text(place, 0.85, f"{name} = {value:.2f}", ha="center")
    ax.text(place + 0.06, 0.45, f"{gradient:.2f}", color="C3", style="italic")

# %% [markdown]
# Each gradient came from its neighbour further right, by one multiplication. So a network of any size needs just
# *one* pass back, and each step needs to know only its own slope.
#
# Is it true? Let's ask the network itself: move `w` by a hair, and see how far the loss moves.

# %%
hair = 1e-6
moved = (max((w + hair) * x + b, 0.0) - truth) ** 2
f"backpropagation says {d_w:.4f}, the network says {(moved - loss) / hair:.4f}"

# %% [markdown]
# ### The same for a whole layer
#
# On the way back, a layer is handed `dout`: how fast the loss would change with each number of its output $y$. From
# this it has to compute three things: `dx`, to hand on, and `dw` and `db`, to learn from. Written out for single
# numbers, the layer is
#
# $$ y_{nj} = \sum_i x_{ni}\, w_{ij} + b_j $$
#
# The weight $w_{ij}$ affects output $j$ of *every* sample $n$, each time with slope $x_{ni}$. When a number acts in
# several places, its gradients **add up**. And here is a check that costs nothing: each gradient has the **shape of its
# array**.

# %%
ask("02-weight-gradient")

# %% [markdown]
# **Exercise.** Write `linear_backward`. Three short expressions are enough. Don't divide by the number of samples: if
# the loss is a mean, that division is already in `dout`.

# %% tags=["exercise"]
def linear_backward(
    dout: np.ndarray, x: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (dx, dw, db), the gradients of the loss, for y = x @ w + b.

    dout (N, n_out) is the gradient for y · x (N, n_in) · w (n_in, n_out).
    """
    ### BEGIN SOLUTION
    dx = dout @ w.T  # (N, n_out) @ (n_out, n_in)
    dw = x.T @ dout  # (n_in, N) @ (N, n_out)
    db = dout.sum(axis=0)  # (n_out,)
    return dx, dw, db
    ### END SOLUTION


# %% tags=["check"]
check(linear_backward)

# %% [markdown]
# ## 7. Trust nothing: the gradient check
#
# A wrong gradient is an insidious bug. Nothing crashes; the network may even learn, just not as well. So if you write a
# gradient, check it: move one number by a hair, and see how far the loss moves.
#
# Move it both ways. On a curve, the line through a point and its neighbour on the *right* is tilted by the curvature.
# The line through the neighbours on both sides is tilted far less.

# %% alt="A curve with its tangent at a point. The line through both neighbours is closer to the tangent's slope than the line to the right one"
curve = np.linspace(-0.2, 2.2, 100)
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot(curve, curve**3, color="black", label="the curve")
for (low, high), color, line, label in (
    ((1, 2), "C1", ":", "one side: f(x + h) and f(x)"),
    ((0, 2), "C0", "--", "both sides: f(x + h) and f(x − h)"),
):
    slope = (high**3 - low**3) / (high - low)
    ax.plot(curve, low**3 + slope * (curve - low), color=color, linestyle=line, label=label)
ax.plot(curve, 1 + 3 * (curve - 1), color="C2", label="the tangent at x = 1")
ax.plot([0, 1, 2], [0, 1, 8], "ko")
ax.set(xlabel="x", ylabel="f(x)", ylim=(-2.5, 9), title="h = 1 here; in practice, h is tiny")
ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# The slope of the dashed line is closer to the tangent's than that of the dotted one. It is the **central difference**:
#
# $$ \frac{\partial f}{\partial x_i} \approx \frac{f(\ldots, x_i + h, \ldots) - f(\ldots, x_i - h, \ldots)}{2h} $$
#
# Only the number $x_i$ moves; all others stay. Two evaluations of $f$ for every number are far too slow for training,
# but just right for checking.
#
# **Exercise.** Write `numerical_gradient`, for arrays with any number of axes. Compute in `float64`, whatever you are
# given, because a tiny step is easily rounded away. And leave the caller's array unchanged.

# %% tags=["exercise"]
def numerical_gradient(f, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Return the gradient of f at x, by central differences, as float64 in the shape of x.

    f takes an array like x and returns one number. x itself stays unchanged.
    """
    ### BEGIN SOLUTION
    x = np.array(x, np.float64)  # a copy
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        above = f(x)
        x[i] = kept - h
        below = f(x)
        x[i] = kept
        gradient[i] = (above - below) / (2 * h)
    return gradient
    ### END SOLUTION


# %% tags=["check"]
check(numerical_gradient)

# %% [markdown]
# Now put your own layer to the test. As a loss we take the sum of its outputs, weighted by `dout`, so that `dout` is
# the gradient with respect to $y$. Formula and measurement should agree.

# %%
x, w, b = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
dout = rng.normal(size=(5, 3))
measured = {
    "dx": numerical_gradient(lambda x: np.sum(linear_forward(x, w, b) * dout), x),
    "dw": numerical_gradient(lambda w: np.sum(linear_forward(x, w, b) * dout), w),
    "db": numerical_gradient(lambda b: np.sum(linear_forward(x, w, b) * dout), b),
}
for (name, slopes), formula in zip(measured.items(), linear_backward(dout, x, w), strict=True):
    print(f"{name} agrees to 8 digits: {np.allclose(formula, slopes, rtol=1e-8, atol=1e-8)}")

# %% [markdown]
# Would it notice a mistake? Never trust a test that you haven't seen fail. Here is a common mistake: a mean over the
# batch in place of a sum.

# %%
np.allclose(dout.mean(axis=0), measured["db"], rtol=1e-8, atol=1e-8)

# %% [markdown]
# They don't agree: the check works. How small should $h$ be? As small as possible, you might think. Look.

# %% alt="Error against h on logarithmic axes: three V-shaped curves; central differences in float64 reach lowest"
h = np.logspace(-14, 0, 60)
def error(one, kind, both):
    x, step = kind(one), h.astype(kind)
    low = np.sin(x - step) if both else np.sin(x)
    return np.abs((np.sin(x + step) - low) / (step * kind(1 + both)) - np.cos(one))

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.loglog(h, error(1.0, np.float64, False), ":", label="one side, float64")
ax.loglog(h, error(1.0, np.float32, True), "-.", label="both sides, float32")
ax.loglog(h, error(1.0, np.float64, True), label="both sides, float64")
ax.axvline(1e-5, color="grey", linewidth=0.8, label="our h")
ax.set(xlabel="step h", ylabel="error of the slope", title="the slope of sin at 1")
ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Each curve is roughly a V. On its right arm, $h$ is too large: the function curves within one step. On its left arm,
# $h$ is too small: the difference of two nearly equal numbers is mostly rounding error, and where the float32 curve is
# flat, the whole step is rounded away. The solid curve, both sides in float64, reaches lowest. In float32 you would be
# chasing errors that aren't there.

# %% [markdown]
# ## 8. Choosing among classes
#
# A network that reads digits gives ten scores, one for each digit. In the field, such scores are called **logits**. To
# say how sure the network is, we turn them into probabilities: take $\exp(score)$, which is positive, and divide by the
# sum. That is the **softmax**. The loss is then $-\log p$ of the *true* class, the **cross-entropy**. The plot on the
# right shows why that is a fair price.

# %% alt="Bars of four scores, bars of their probabilities, and the curve of -log p, which rises steeply towards p = 0"
scores = np.array([2.0, -1.0, 0.5, 3.0])
p = np.exp(scores) / np.exp(scores).sum()
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for ax, heights, title in ((left, scores, "scores"), (middle, p, "softmax: probabilities")):
    bars = ax.bar(list("abcd"), heights)
    ax.bar_label(bars, fmt="%.2f", fontsize=9)
    ax.set(title=title, xlabel="class")
    ax.margins(y=0.15)
share = np.linspace(0.01, 1, 100)
right.plot(share, -np.log(share))
right.set(title="the price, −log p", xlabel="p given to the true class", ylabel="loss")
sns.despine()

# %% [markdown]
# Being sure and right costs almost nothing. Being sure and wrong costs more and more, without limit. And what does it
# cost to know nothing?

# %%
ask("02-loss-of-guessing")

# %%
-np.log(1 / 10)

# %% [markdown]
# Remember this number: a network of ten classes should start near it. If it doesn't, something is wrong already.
#
# The formula has a catch. When a training goes wrong, scores around a thousand are nothing unusual.

# %%
large = np.array([1000.0, 1001.0])
with np.errstate(all="ignore"):
    naive = np.exp(large) / np.exp(large).sum()
naive, np.exp(large - large.max()) / np.exp(large - large.max()).sum()

# %% [markdown]
# $\exp(1000)$ is too large for a float, and infinity divided by infinity is not a number (`nan`). The second result
# shows the remedy: subtract the largest score first. That divides numerator and denominator by the same factor, so the
# probabilities stay the same, and nothing overflows.
#
# One danger remains: a tiny $p$ is rounded to 0, and $\log 0$ is $-\infty$. But we never need to take the log of $p$:
#
# $$ \log p_j = z_j - \log \sum_k \exp(z_k) \qquad \text{with the shifted scores } z $$
#
# And the gradient? Differentiate this line, and the result is simple: for each sample it is $p$, minus 1 at the true
# class. The loss pulls the true score up, and pushes every other score down by its probability. As the loss is a mean
# over $N$ samples, everything is divided by $N$.
#
# **Exercise.** Write `cross_entropy`, which returns the loss *and* its gradient with respect to the scores. It has to
# work for scores of any size.

# %% tags=["exercise"]
def cross_entropy(scores: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return (loss, gradient): the mean of -log p of the true class, and ∂loss/∂scores (N, C).

    scores (N, C), of any size · targets (N,), class numbers from 0 to C - 1.
    """
    ### BEGIN SOLUTION
    rows = np.arange(len(scores))
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, targets] -= 1
    return -log_p[rows, targets].mean(), gradient / len(scores)
    ### END SOLUTION


# %% tags=["check"]
check(cross_entropy)

# %% [markdown]
# You now have a tool for checking simple results like this one. Use it.

# %%
scores, targets = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
_, gradient = cross_entropy(scores, targets)
np.allclose(gradient, numerical_gradient(lambda s: cross_entropy(s, targets)[0], scores))

# %% [markdown]
# ## 9. One step of learning
#
# All the parts are there. One question is left: which weights do we start from? Why not zeros?

# %%
ask("02-all-zeros")

# %% [markdown]
# So zeros won't do. Nor would any other number that is the same for all weights: all neurons of a layer would be equal,
# and would stay equal. So we start from random weights. But how large? See how strong a signal is after each of twenty
# layers, for three sizes of weights.

# %% alt="Strength of the signal by layer, logarithmic: small weights fade to nothing, large ones explode, He's stay level"
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for size, style, label in (
    (0.01, ":", "0.01"), (np.sqrt(2 / 100), "-", "√(2 / inputs), He"), (1.0, "--", "1"),
):
    signal, strength = rng.normal(size=(200, 100)), []
    for _ in range(20):
        w = rng.normal(0, size, (100, 100))
        signal = relu(linear_forward(signal, w, np.zeros(100)))
        strength.append(signal.std())
    ax.semilogy(range(1, 21), strength, style, label=label)
ax.set(xlabel="layer", ylabel="std of the signal", xticks=(1, 5, 10, 15, 20))
ax.legend(title="std of the weights", loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# With small weights the signal dies out, with large ones it explodes. In between is the size that He and his colleagues
# derived for ReLU in 2015: a standard deviation of $\sqrt{2/n_{in}}$. With it, each layer passes on about as much as it
# received. This is **He initialisation**.
#
# And on the way back? Now we can settle section 3's open question. We send a random gradient back through the same
# twenty layers, with ReLU and He's weights, and with sigmoids and three sizes of weights.

# %%
def way_back(activation, size, depth=20, n=100):
    """Return the std of a gradient at the output and after each layer on the way back."""
    x, layers = rng.normal(size=(200, n)), []
    for _ in range(depth):
        layers += [Linear(n, n), activation()]
        layers[-2].params["w"] = rng.normal(0, size, (n, n))
        x = layers[-1].forward(layers[-2].forward(x))
    gradient = rng.normal(size=x.shape)
    strength = [gradient.std()]
    for layer in layers[::-1]:
        gradient = layer.backward(gradient)
        strength.append(gradient.std())
    return strength[::2]

# %% alt="Strength of the gradient by layers passed, logarithmic: level for ReLU with He's weights and sigmoids with large ones, falling steeply for sigmoids with usual weights"
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for activation, size, style in (
    (ReLU, np.sqrt(2 / 100), "-"), (Sigmoid, 0.1, ":"),
    (Sigmoid, 0.4, "-."), (Sigmoid, 1.0, "--"),
):
    label = f"{activation.__name__}, {size:.2g}"
    ax.semilogy(way_back(activation, size), style, label=label)
ax.set(xlabel="layers passed on the way back", ylabel="std of the gradient")
ax.set_xticks((0, 5, 10, 15, 20))
ax.legend(title="std of the weights", loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# With weights of a usual size for sigmoids, $1/\sqrt{n_{in}}$, which is 0.1 here, about three quarters of the gradient
# is lost in each layer, so that the early layers hardly learn. This is the *vanishing gradient*, which held back deep
# networks for years. Weights ten times as large do make up for it, but at a price: look at how many of the sigmoids
# are then on one of their flat ends.

# %% tags=["nbval-ignore-output"]
for size in (0.1, 1.0):
    signal = rng.normal(size=(200, 100))
    for _ in range(20):
        signal = Sigmoid().forward(signal @ rng.normal(0, size, (100, 100)))
    flat = np.mean(signal * (1 - signal) < 0.025)  # a sigmoid's slope is y (1 - y)
    print(f"weights {size}: {flat:.0%} have less than a tenth of the best slope")

# %% [markdown]
# Those neurons hardly learn, however strong the gradient that reaches them. With ReLU, He's formula keeps the balance
# in both directions.

# %%
def new_network(n_in: int, hidden: int, classes: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the parameters of a two-layer network, with He initialisation."""
    rng = np.random.default_rng(seed)
    return {
        "w1": rng.normal(0, np.sqrt(2 / n_in), (n_in, hidden)),
        "b1": np.zeros(hidden),
        "w2": rng.normal(0, np.sqrt(2 / hidden), (hidden, classes)),
        "b2": np.zeros(classes),
    }


{name: p.shape for name, p in new_network(n_in=2, hidden=16, classes=2).items()}

# %% [markdown]
# **Exercise.** Write `training_step`. It goes forward through a linear layer, a ReLU, a second linear layer and the
# loss; then backward through the same steps; then it moves every parameter against its gradient. Use the functions
# that you have written.
#
# Two warnings. Compute *all* the gradients before you move anything. And change the arrays in `params` themselves,
# since your caller keeps that dictionary: `w1 = w1 - ...` would only make a new array under an old name.

# %% tags=["exercise"]
def training_step(
    params: dict[str, np.ndarray], x: np.ndarray, targets: np.ndarray, learning_rate: float
) -> float:
    """Move the parameters one step downhill, in place; return the loss from before the step.

    params: w1 (n_in, hidden), b1, w2 (hidden, classes), b2 · x (N, n_in) · targets (N,).
    The network: scores = relu(x @ w1 + b1) @ w2 + b2, with the cross-entropy as its loss.
    """
    ### BEGIN SOLUTION
    before = linear_forward(x, params["w1"], params["b1"])
    hidden = relu(before)
    scores = linear_forward(hidden, params["w2"], params["b2"])
    loss, dscores = cross_entropy(scores, targets)
    gradients = {}
    dhidden, gradients["w2"], gradients["b2"] = linear_backward(dscores, hidden, params["w2"])
    dbefore = dhidden * (before > 0)  # through the ReLU: only where it was open
    _, gradients["w1"], gradients["b1"] = linear_backward(dbefore, x, params["w1"])
    for name, gradient in gradients.items():
        params[name] -= learning_rate * gradient
    return loss
    ### END SOLUTION


# %% tags=["check"]
check(training_step)

# %% [markdown]
# Back to the moons that no line could separate. The network has sixteen hidden neurons. We train it, and stop four
# times to look at what it makes of the plane.

# %% alt="The plane at four moments of training: first a crooked line, at the end a curve that winds between the moons"
params, losses = new_network(n_in=2, hidden=16, classes=2), []

def score(x):
    hidden = relu(linear_forward(x, params["w1"], params["b1"]))
    return linear_forward(hidden, params["w2"], params["b2"]) @ np.array([-1, 1])

figure, axes = plt.subplots(2, 2, figsize=(8, 5.2), sharex=True, sharey=True)
for ax, pause in zip(axes.flat, (0, 20, 200, 3000), strict=True):
    while len(losses) < pause:
        losses.append(training_step(params, points, kinds, learning_rate=0.5))
    show_score(ax, score)
    show_points(ax)
    right = np.mean((score(points) > 0) == kinds)
    ax.set(title=f"after {pause} steps: {right:.0%} right")
figure.tight_layout()

# %% [markdown]
# At first, the boundary is where chance has put it, with one corner, at the origin: all biases are still 0, so that is
# where every neuron bends. Then it moves to a better place and gains corners, until it winds between the moons. Nobody
# told it how. Look closely: it is made of straight pieces, and at each corner, one of the neurons bends.
#
# The loss at each step gives the *learning curve*.

# %% alt="The loss falls quickly at first, then slowly, over 3000 steps"
figure, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(losses)
ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
sns.despine()

# %% [markdown]
# ## 10. Faster: momentum and Adam
#
# Gradient descent has a weakness: long, narrow valleys. Across the valley the ground is steep, so the learning rate has
# to be small. Along the valley it is nearly flat, and small steps get nowhere.
#
# A ball would do better. It has **momentum**: pushes back and forth cancel out, pushes in one direction add up. We
# keep a *velocity* $v$ for every parameter $p$. (From here on, $p$ is a weight or a bias, no longer a probability.) At
# each step, a share $\mu$ of it survives, and the gradient $g$ is
# added:
#
# $$ v \leftarrow \mu v + g \qquad p \leftarrow p - \eta v $$

# %%
ask("02-momentum-speed")

# %% [markdown]
# **Exercise.** Write `momentum_step`. It returns nothing: it changes the arrays `p` and `v`, which the caller keeps.

# %% tags=["exercise"]
def momentum_step(
    p: np.ndarray, v: np.ndarray, gradient: np.ndarray, learning_rate: float, momentum: float
) -> None:
    """Update the velocity v, then move the parameter p, both in place; all have one shape."""
    ### BEGIN SOLUTION
    v *= momentum
    v += gradient
    p -= learning_rate * v
    ### END SOLUTION


# %% tags=["check"]
check(momentum_step)

# %% [markdown]
# **Adam** goes one step further and gives each parameter a step size of its own. It keeps two running averages: $m$ of
# the gradient, and $s$ of its square. At each step, an average keeps a share $\beta$ of itself, and the new value gets
# the rest. Adam moves by $\eta\, m/\sqrt{s}$, so that it makes similar progress in steep and in flat directions. Both
# averages start at zero and are too small at first; dividing them by $1 - \beta^t$ at step $t$ corrects that. (The
# `1e-8` below only prevents a division by zero.)
#
# Adam has two ancestors. Adagrad (2011) divides by the square root of the *sum* of all squared gradients so far, so its
# learning rates only ever shrink. RMSprop (2012) replaced the sum with a running average. Adam (2015) added the average
# of the gradient, which acts as momentum.

# %%
def adam_step(p, m, s, gradient, t, learning_rate, beta1=0.9, beta2=0.999):
    """Change m, s and p in place; t counts the steps from 1 on (Kingma & Ba, 2015)."""
    m += (1 - beta1) * (gradient - m)
    s += (1 - beta2) * (gradient**2 - s)
    m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
    p -= learning_rate * m_hat / (np.sqrt(s_hat) + 1e-8)


# %% [markdown]
# Here are all three in the same narrow valley, with the same number of steps. The star is the lowest point.

# %%
steepness = np.array([1.0, 40.0])  # L = ½ · (1·x² + 40·y²), so the gradient is (x, 40·y)

def walk(step, count=60):
    """Return the points (count + 1, 2) that an optimizer visits."""
    p, v, s, path = np.array([-9.0, 1.0]), np.zeros(2), np.zeros(2), [[-9.0, 1.0]]
    for t in range(1, count + 1):
        step(p, v, s, steepness * p, t)
        path.append(p.tolist())
    return np.array(path)

walks = {
    "plain": walk(lambda p, v, s, g, t: momentum_step(p, v, g, 0.045, momentum=0.0)),
    "momentum": walk(lambda p, v, s, g, t: momentum_step(p, v, g, 0.045, momentum=0.8)),
    "Adam": walk(lambda p, v, s, g, t: adam_step(p, v, s, g, t, learning_rate=0.4)),
}

# %% alt="Three paths in a narrow valley: plain descent zigzags and stops short, momentum and Adam reach the star. Right: their losses"
figure = plt.figure(figsize=(9, 4.2), layout="constrained")
axes = figure.subplot_mosaic([["plain", "loss"], ["momentum", "loss"], ["Adam", "loss"]])
xs, ys = np.meshgrid(np.linspace(-10, 4, 80), np.linspace(-1.6, 1.6, 60))
for (name, path), style in zip(walks.items(), (":", "--", "-"), strict=True):
    ax = axes[name]
    ax.contour(xs, ys, np.sqrt(xs**2 + 40 * ys**2), levels=6, cmap="viridis", linewidths=1)
    ax.plot(*path.T, ".-", color="C1", linewidth=1)
    ax.plot(0, 0, "k*", markersize=10)
    ax.set(title=name, ylabel="$p_2$")
    axes["loss"].semilogy((steepness * path**2).sum(axis=1) / 2, style, label=name)
ax.set_xlabel("$p_1$")
axes["loss"].set(xlabel="step", ylabel="loss")
_ = axes["loss"].legend()

# %% [markdown]
# Plain descent zigzags across the valley and crawls along it. Momentum overshoots and swings back, and still gets far
# ahead. Adam doesn't care that one direction is forty times as steep. Which is best? That depends on the landscape,
# and on the learning rates, which were picked by hand here: always try.

# %% [markdown]
# ## 11. Your functions as a package
#
# From here on we use `dl_course.scratch`. It holds what you have written, in the form of objects: a layer keeps its own
# parameters, and on the way forward it remembers what it will need on the way back.
#
# | you wrote | the package has |
# | --- | --- |
# | `linear_forward`, `linear_backward` | `Linear`, with `forward` and `backward` |
# | `relu`, and its mask in `training_step` | `ReLU`; also `Sigmoid`, `Tanh` |
# | `cross_entropy` | `CrossEntropyLoss`; also `MSELoss` |
# | `numerical_gradient` | `gradient_check` |
# | the order of calls in `training_step` | `Sequential` |
# | `momentum_step`, and `adam_step` | `SGD`, `Adam` |
#
# Are they really the same? We build the same network twice, with the same weights, and let both take ten steps.

# %%
from dl_course.scratch import SGD, CrossEntropyLoss, Sequential, gradient_check

params = new_network(n_in=2, hidden=16, classes=2)
model = Sequential(Linear(2, 16), ReLU(), Linear(16, 2))
for layer, w, b in ((model.layers[0], "w1", "b1"), (model.layers[2], "w2", "b2")):
    layer.params = {"w": params[w].copy(), "b": params[b].copy()}

loss, optimizer = CrossEntropyLoss(), SGD(model, learning_rate=0.5)
for _ in range(10):
    yours = training_step(params, points, kinds, learning_rate=0.5)
    theirs = loss.forward(model.forward(points), kinds)
    model.backward(loss.backward())
    optimizer.step()
print(f"loss: {yours:.6f} and {theirs:.6f}")
[np.allclose(p, q) for p, q in zip(params.values(), model.params.values(), strict=True)]

# %% [markdown]
# The losses are the same, and so are all four parameters. One more line puts the whole network through the gradient
# check, moving each of its weights up and down. (The parameter called `2.w` is the `w` of layer 2.)

# %% tags=["nbval-ignore-output"]
gradient_check(model, points[:20])

# %% [markdown]
# ## 12. Reading handwriting
#
# Now for real: pictures of handwritten digits, 28 × 28 pixels. We use **MNIST** if it is on your disk or can be
# downloaded. If not, a small collection of real digits that needs no download stands in, and the cell says so. What is
# said below holds for both.

# %% tags=["nbval-ignore-output"]
from dl_course.data import load

collection = load("mnist", fallback="digits").name
parts = {part: load(collection, part) for part in ("train", "val", "test")}


def rows_and_labels(part):
    """Return pictures as rows of pixels, (N, 784) from 0 to 1 in float32, and labels (N,)."""
    pictures, labels = parts[part].tensors()
    return pictures.flatten(1).numpy(), labels.numpy()


x, y = rows_and_labels("train")
x_val, y_val = rows_and_labels("val")
print(f"{parts['train']}; {len(x_val):,} to validate, {len(parts['test']):,} to test")

# %% [markdown]
# There are three parts. The network learns from the first, the *training* set. While we try things out, the second,
# the *validation* set, tells us how well they work. The third, the *test* set, is for the very end and is used once:
# the more often you choose by it, the less its result means.
#
# The network has 784 inputs, one for each pixel; 100 hidden neurons; and 10 outputs, the logits. At each step it sees
# a **batch** of 64 pictures instead of all of them. That makes the gradient a bit noisy, and the step far cheaper. One
# pass through all the training pictures is an **epoch**.

# %%
from dl_course.scratch import Adam, evaluate


def train(model, optimizer, epochs, batch_size=64, seed=0):
    """Return each epoch's training loss, and the validation loss and accuracy after it."""
    rng, loss, history = np.random.default_rng(seed), CrossEntropyLoss(), []
    for _ in range(epochs):
        total, order = 0.0, rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            total += loss.forward(model.forward(x[batch]), y[batch]) * len(batch)
            model.backward(loss.backward())
            optimizer.step()
        history.append({"train": total / len(x), **evaluate(model, x_val, y_val, loss)})
    return history


# %% [markdown]
# This is what nearly every training in deep learning does: shuffle, forward, loss, backward, step. Three optimizers now
# start from the same weights. (With fewer pictures, we go through them more often, so that there are enough steps.)

# %% tags=["nbval-ignore-output"]
def new_model():
    return Sequential(Linear(784, 100, seed=0), ReLU(), Linear(100, 10, seed=1))


epochs = 4 if len(x) > 10_000 else 30
optimizers = {
    "plain": lambda model: SGD(model, learning_rate=0.1),
    "momentum": lambda model: SGD(model, learning_rate=0.05, momentum=0.9),
    "Adam": lambda model: Adam(model, learning_rate=1e-3),
}
models, histories = {}, {}
for name, optimizer in optimizers.items():
    models[name] = new_model()
    histories[name] = train(models[name], optimizer(models[name]), epochs)
    print(f"{name:<10} {histories[name][-1]['accuracy']:.1%} right, of {len(y_val)} unseen")

# %% [markdown]
# The curves say more than the last number. On the left is the loss on the pictures that the network learns from; on the
# right, the loss on pictures that it has never seen.

# %% tags=["nbval-ignore-output"] alt="Learning curves of plain descent, momentum and Adam: loss in training and on unseen pictures, by epoch"
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
each = range(1, epochs + 1)
for (name, history), style in zip(histories.items(), (".:", ".--", ".-"), strict=True):
    for ax, key in zip(axes, ("train", "loss"), strict=True):
        ax.semilogy(each, [row[key] for row in history], style, label=name)
        ax.xaxis.get_major_locator().set_params(integer=True)
axes[0].set(title="training", xlabel="epoch", ylabel="loss")
axes[1].set(title="unseen pictures", xlabel="epoch")
axes[0].legend()
sns.despine()

# %% [markdown]
# On the left, momentum ends lowest. On the right, its lead has shrunk or is gone: part of what it gained, it gained
# only on pictures that it knows. Chapter 04 is about that gap. (One run each is not a contest between optimizers. That
# takes several seeds, and a rate chosen for each; chapter 07 shows how.)
#
# What have the hidden neurons learned? Each has one weight for each pixel, so its weights form a picture. Much of it is
# still the random numbers that it started from, so we show what training has *added*: red pixels came to speak for the
# neuron, blue ones against it.

# %% tags=["nbval-ignore-output"] alt="What training added to the weights of 20 hidden neurons, as pictures: red and blue strokes and spots in the middle, nearly nothing at the left and right edges"
before, after = new_model().layers[0].params["w"], models["momentum"].layers[0].params["w"]
added = after - before  # (784, 100)
most = np.argsort(-added.std(axis=0))[:20]
limit = np.quantile(np.abs(added[:, most]), 0.995)
figure, axes = plt.subplots(2, 10, figsize=(9, 2.1), layout="constrained")
for ax, neuron in zip(axes.flat, most, strict=True):
    scale = {"vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    drawn = ax.imshow(added[:, neuron].reshape(28, 28), cmap="RdBu_r", **scale)
    ax.axis("off")
_ = figure.colorbar(drawn, ax=axes, label="added", shrink=0.9, extend="both")

# %% [markdown]
# Strokes and spots: ink here, and none beside it. Nobody asked for that. Near the left and right edges, where there is
# hardly ever any ink, hardly anything was added: an input of 0 gives its weight a gradient of 0.
#
# And now the test, once, with the network that did best in validation.

# %% tags=["nbval-ignore-output"]
best = max(histories, key=lambda name: histories[name][-1]["accuracy"])
x_test, y_test = rows_and_labels("test")
scores = models[best].forward(x_test)
p = np.exp(scores - scores.max(axis=1, keepdims=True))
p /= p.sum(axis=1, keepdims=True)
answer, sure = p.argmax(axis=1), p.max(axis=1)
print(f"test, with {best}: {np.mean(answer == y_test):.2%} of {len(y_test):,} digits are right")

# %% [markdown]
# These are the mistakes that it was most sure of: its answer, how sure it was, and the truth.

# %% tags=["nbval-ignore-output"] alt="Up to ten misread digits, each with the network's answer, how sure it was, and the truth"
wrong = np.flatnonzero(answer != y_test)
worst = wrong[np.argsort(-sure[wrong])][:10]
figure, axes = plt.subplots(1, len(worst), figsize=(0.9 * len(worst), 1.6), squeeze=False)
for ax, i in zip(axes.flat, worst, strict=True):
    ax.imshow(x_test[i].reshape(28, 28), cmap="gray")
    ax.set_title(f"{answer[i]}? ({sure[i]:.0%})\nit's {y_test[i]}", fontsize=8)
    ax.axis("off")

# %% [markdown]
# Some of them would give you pause, too; others wouldn't. The network has a weight for each pixel, so a digit that is
# shifted by two pixels is a very different picture to it. Is that so bad? Let's shift the test pictures and see.

# %% tags=["nbval-ignore-output"]
pictures = x_test.reshape(-1, 28, 28)
for shift in range(5):
    shifted = np.zeros_like(pictures)
    shifted[:, :, shift:] = pictures[:, :, : 28 - shift]
    read = models[best].forward(shifted.reshape(len(pictures), -1)).argmax(axis=1)
    print(f"shifted to the right by {shift} px: {np.mean(read == y_test):.0%} right")

# %% [markdown]
# A few pixels are enough to confuse it, and every shifted digit is as easy for you as before. Chapter 03 builds
# networks that suffer much less from this, and finds out what they owe it to.
#
# ### A promise from chapter 01
#
# We said that networks learn faster from standardized inputs. Now you can measure it. The same network learns from the
# same 1,200 pictures: with pixels from 0 to 255, from 0 to 1, and standardized. As each may need a learning rate of its
# own, we try six.

# %%
def right_after(x, rate, seed, epochs=2):
    """Return the share of right answers in the last epoch of plain gradient descent."""
    rng, loss = np.random.default_rng(seed), CrossEntropyLoss()
    model = Sequential(Linear(784, 100, seed=seed), ReLU(), Linear(100, 10, seed=seed + 100))
    optimizer = SGD(model, learning_rate=rate)
    for _ in range(epochs):
        right = 0
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 64):
            scores = model.forward(x[batch])
            right += np.sum(scores.argmax(axis=1) == y[batch])
            loss.forward(scores, y[batch])
            model.backward(loss.backward())
            optimizer.step()
    return right / len(x)


# %% tags=["nbval-ignore-output"] alt="Share of right answers in the second epoch, by learning rate, for three scalings: standardized pixels get highest, pixels from 0 to 255 lowest, at a far smaller rate"
few = x[:1200]
standardized = (few - few.mean()) / few.std()
scalings = {"0 to 255": 255 * few, "0 to 1": few, "standardized": standardized}
rates = 10.0 ** np.array([-5, -4, -3, -2, -1, 0])
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for (name, scaled), style in zip(scalings.items(), (":", "--", "-"), strict=True):
    with np.errstate(all="ignore"):  # too high a rate may overflow
        table = np.array([[right_after(scaled, r, seed) for r in rates] for seed in range(3)])
    mean = table.mean(axis=0)
    ax.semilogx(rates, mean, f"o{style}", label=name)
    ax.fill_between(rates, table.min(axis=0), table.max(axis=0), alpha=0.2)
    print(f"{name:<13} {mean.max():.0%} at a rate of {rates[mean.argmax()]:g}")
ax.axhline(0.1, color="grey", linewidth=0.8, label="guessing")
ax.set(xlabel="learning rate", ylabel="right in epoch 2", ylim=(0, 1))
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# The lines are means of three seeds, and the bands reach from the worst to the best. With a rate that suits it, each
# scaling learns. But after the same number of steps, the standardized pixels are furthest ahead, and more than one rate
# suits them. Pixels up to 255 need a far smaller rate and still lag behind. The main reason is section 10's valley:
# inputs that are large, or all positive, make the landscape steep in some directions and flat in others.

# %% [markdown]
# ## 13. What PyTorch remembers: autograd
#
# You have done by hand what PyTorch does for you. Its *autograd* records each step on the way forward and applies the
# chain rule on the way back. Here is section 6's network again. `requires_grad=True` marks what we want gradients for.

# %%
w = torch.tensor(0.8, requires_grad=True)
b = torch.tensor(0.5, requires_grad=True)
loss = (torch.relu(w * 2.0 + b) - 1.0) ** 2
loss.backward()
w.grad, b.grad

# %% [markdown]
# These are your `d_w` and `d_b`. Each tensor that came out of a computation knows the step that made it, its
# `grad_fn`, and each step knows the steps before it. Together they form a **graph**. In section 6 it was a chain. But
# a value may be used twice, and then the graph has a **branch**:

# %%
w = torch.tensor(3.0, requires_grad=True)
u = 2 * w
out = u * u + 5 * u


def show_graph(step, depth=0):
    """Print a step of the graph, and below it the steps before it."""
    print("    " * depth + type(step).__name__)
    for before, _ in step.next_functions:
        if before is not None:
            show_graph(before, depth + 1)


show_graph(out.grad_fn)

# %% [markdown]
# Read it from the top: the sum was made from two products. The first, `u * u`, has `u` on both sides; the second
# has it once. The innermost step is `2 * w`, and `AccumulateGrad` is where a gradient is stored. Three paths lead
# from `out` back to `w`. What reaches `w` along them is added up, as in every layer that you wrote:
#
# $$ \frac{d\,out}{dw} = \underbrace{2u}_{\text{from } u \cdot u} \cdot\, 2 \;+\; \underbrace{5}_{\text{from } 5u} \cdot\, 2 $$

# %%
out.backward()
w.grad.item(), (2 * u * 2 + 5 * 2).item()

# %% [markdown]
# "Accumulate" is meant literally: a new gradient is *added* to what `.grad` already holds. That is right for branches,
# and a trap for loops. Suppose we compute and call `backward()` twice:

# %%
ask("02-accumulate")

# %%
w = torch.tensor(3.0, requires_grad=True)
for _ in range(2):
    (w**2).backward()
    print(w.grad)

# %% [markdown]
# So each step of a training has to begin with empty gradients; PyTorch's optimizers have `zero_grad()` for that. (Your
# `linear_backward` returned new arrays, so you never had the problem.)
#
# In two situations you'll want to compute *without* a record. The first is when you move the parameters: the update
# isn't part of the network, and PyTorch refuses to record it. (A *leaf* is a tensor that you made yourself, rather than
# one that came out of a computation.)

# %%
try:
    w -= 0.1 * w.grad
except RuntimeError as error:
    print(error)
with torch.no_grad():
    w -= 0.1 * w.grad
w

# %% [markdown]
# Inside `torch.no_grad()` nothing is recorded. It is also what you want whenever you only need predictions, since the
# record costs memory. The second is when you take a result out of the graph, to plot it or keep it: `detach()` returns
# the same numbers without their record. The *same* numbers: the memory is shared. Watch `w`.

# %%
outside = w.detach()
outside += 100
w

# %% [markdown]
# `w` has changed, too. If you want numbers of your own, add `.clone()`.
#
# ## 14. The same network in PyTorch
#
# Here is our network in PyTorch, with our weights. Mind one thing: PyTorch keeps `w` transposed, as (outputs, inputs).

# %%
from torch import nn


def in_torch(model, dtype=torch.float32):
    """Return the network 784-100-10 in PyTorch, with the weights of ours."""
    twin = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)).to(dtype)
    with torch.no_grad():
        for place in (0, 2):
            twin[place].weight.copy_(torch.from_numpy(model.params[f"{place}.w"].T))
            twin[place].bias.copy_(torch.from_numpy(model.params[f"{place}.b"]))
    return twin


# %% [markdown]
# The same 64 pictures go through both networks, in float64.

# %%
wide = {"dtype": np.float64}
ours = Sequential(Linear(784, 100, seed=0, **wide), ReLU(), Linear(100, 10, seed=1, **wide))
twin = in_torch(ours, torch.float64)

pictures, labels = x[:64].astype(np.float64), y[:64]
loss = CrossEntropyLoss()
our_loss = loss.forward(ours.forward(pictures), labels)
ours.backward(loss.backward())

their_loss = nn.CrossEntropyLoss()(twin(torch.from_numpy(pictures)), torch.from_numpy(labels))
their_loss.backward()

# %% [markdown]
# Do the gradients agree, every single one, to a millionth?

# %%
theirs = {"0.w": twin[0].weight.grad.T, "0.b": twin[0].bias.grad}
theirs |= {"2.w": twin[2].weight.grad.T, "2.b": twin[2].bias.grad}
print("the losses agree to a millionth:", abs(our_loss - their_loss.item()) < 1e-6)
for name, gradient in ours.grads.items():
    furthest = np.abs(gradient - theirs[name].numpy()).max()
    print(f"{name}: {gradient.size:,} gradients, all within a millionth: {furthest < 1e-6}")

# %% [markdown]
# All of them do. There is no magic in `backward()`: it is the chain rule that you wrote.
#
# Finally, let PyTorch train from the same start, with the same batches in the same order, on a graphics card if you
# have one. Each line has its counterpart in our `train`; only `zero_grad` is new.

# %%
def train_in_torch(model, inputs, truths, epochs, batch_size=64, seed=0):
    """Return the mean loss of each epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    rng, means = np.random.default_rng(seed), []
    for _ in range(epochs):
        total, order = 0.0, torch.from_numpy(rng.permutation(len(inputs))).to(inputs.device)
        for batch in order.split(batch_size):
            loss = nn.functional.cross_entropy(model(inputs[batch]), truths[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch) / len(inputs)
        means.append(total)
    return means


# %% tags=["nbval-ignore-output"] alt="Two learning curves, NumPy as a wide line and PyTorch as dots on top of it: they coincide"
from dl_course.runtime import pick_device

device = pick_device()
inputs, truths = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
torch_losses = train_in_torch(in_torch(new_model()).to(device), inputs, truths, epochs)
numpy_losses = [row["train"] for row in histories["momentum"]]

figure, ax = plt.subplots(figsize=(6, 2.8))
ax.semilogy(each, numpy_losses, linewidth=7, alpha=0.4, label="the NumPy network")
ax.semilogy(each, torch_losses, "o-", color="black", markersize=4, label="PyTorch")
ax.set(xlabel="epoch", ylabel="training loss")
ax.xaxis.get_major_locator().set_params(integer=True)
ax.legend()
sns.despine()

# %% [markdown]
# The dots lie on the line. Over very many steps, rounding errors would make the two drift apart. What you have
# built *is* a neural network. From now on, PyTorch does the arithmetic, and you know what it does.

# %% [markdown]
# ## Summary
#
# - A linear layer is `x @ w + b`. Without an activation function between them, many layers are one.
# - Backpropagation is the chain rule, applied from the loss backward, once. Each gradient has the shape of its array.
# - Check gradients with central differences, in float64, and see the check fail once.
# - Subtract the largest logit before `exp`, and never take the log of a probability that may be 0.
# - Start from He's weights. Tune the learning rate first; then try momentum or Adam.
# - Standardize the inputs, with the training set's mean and standard deviation.
# - Autograd records a graph. Gradients add up in `.grad`; `no_grad` records nothing; `detach` shares its memory.
#
# ## Check yourself

# %%
progress("02")

# %% [markdown]
# ## Further reading
#
# - Michael Nielsen: *Neural Networks and Deep Learning*, chapters 1 and 2
# - 3Blue1Brown: *Neural networks*, a video series; the third and fourth parts are about backpropagation
# - Goodfellow, Bengio, Courville: *Deep Learning*, chapters 4 (numerical computation) and 6 (feedforward networks)
# - Karpathy: *micrograd*, backpropagation in a hundred lines of Python
# - PyTorch documentation: *Autograd mechanics*
# - He et al.: *Delving Deep into Rectifiers* (ICCV 2015); Kingma and Ba: *Adam* (ICLR 2015)
# - Goh: *Why Momentum Really Works* (Distill, 2017)
