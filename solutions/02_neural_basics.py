# %% [markdown]
# # 02 · Neural basics: a network from nothing
#
# A neural network multiplies, adds, and bends. It does so very many times, and that is all. In this chapter you build
# one with NumPy alone, teach it to read handwriting, and then watch PyTorch compute the very same numbers.
#
# **You will be able to**
# - say what a layer computes, forwards and backwards, and write it down in NumPy
# - find gradients with the chain rule, and catch wrong ones with a gradient check
# - train a network by gradient descent, with momentum, and with Adam
# - recognise each of these parts in PyTorch
#
# **Time:** 75 to 90 minutes. **You need:** chapter 01, the product of two matrices, and what a derivative is.

# %% [markdown]
# ## 1. One neuron
#
# Two kinds of points lie in a plane. We would like a machine that tells them apart.

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
# Every row is a point with two coordinates, and every point is of kind 0 or 1. This is how they lie.

# %% alt="Two interleaved half moons: blue circles above on the left, orange triangles below on the right"
def show_points(ax):
    """Draw the points into axes, each kind with its own colour and marker."""
    for kind, marker in enumerate("o^"):
        style = {"s": 22, "marker": marker, "color": f"C{kind}", "edgecolor": "white"}
        ax.scatter(*points[kinds == kind].T, **style, linewidth=0.5, label=f"kind {kind}")
    ax.set(xlabel="$x_1$", ylabel="$x_2$")


show_points(plt.figure(figsize=(5, 3)).gca())
_ = plt.legend()

# %% [markdown]
# A *neuron* is the smallest machine that could try. It multiplies each input by a **weight**, and adds everything up,
# with one more number, the **bias**. The sum is its *score*. So a neuron gives each place of the plane a score, and we
# can colour the plane by it: blue where the score is negative, orange where it is positive.

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
# On the left a neuron, on the right what it does with the plane. We chose its three numbers by hand.

# %% alt="Left: inputs x1 and x2 with weights, and a bias, meet in a sum. Right: a straight line parts most points"
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
print(f"{np.mean((points @ w + b > 0) == kinds):.0%} of the points are on their side")

# %% [markdown]
# The score is $x_1 w_1 + x_2 w_2 + b$. Where it is zero, there is a straight line; where it is positive, we say "kind
# 1". The weights turn the line, the bias shifts it.
#
# But no straight line, however turned, parts these two moons. One neuron isn't enough. Let's have more.

# %% [markdown]
# ## 2. A layer: many neurons at once
#
# Three neurons have three sets of weights. Write each set as a column, and you have a matrix. One product then gives
# the scores of *all* neurons for *all* points. Follow one row through the picture.

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
# Each row of `x` is a sample, each column of `w` a neuron. The inner lengths must be equal, and they vanish. The row
# `b` is added to every row, by broadcasting. This is called a **linear layer**:
#
# $$ y = x\,w + b \qquad x: (N, n_{in}) \quad w: (n_{in}, n_{out}) \quad b: (n_{out}) \quad y: (N, n_{out}) $$
#
# Before you write it: which shape comes out?

# %%
ask("02-layer-shape")

# %% [markdown]
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
# ## 3. The bend
#
# Now we can stack layers: the scores of one are the inputs of the next. What does the second layer add?

# %%
ask("02-two-linear-layers")

# %% [markdown]
# Two layers with random weights, and one layer whose weights are the product of theirs:

# %%
rng = np.random.default_rng(0)
w1, b1 = rng.normal(size=(2, 8)), rng.normal(size=8)
w2, b2 = rng.normal(size=(8, 1)), rng.normal(size=1)

two_layers = linear_forward(linear_forward(points, w1, b1), w2, b2)
one_layer = linear_forward(points, w1 @ w2, b1 @ w2 + b2)
np.allclose(two_layers, one_layer)

# %% [markdown]
# Two layers compute exactly what *one* layer with the weights `w1 @ w2` computes. It's still a straight line, and
# would be after a hundred layers.
#
# So something must stand between them that isn't linear. The simplest such thing is a bend: negative numbers become
# zero, positive ones pass. It has a grand name, *rectified linear unit*, or **ReLU**:
#
# $$ \mathrm{relu}(x) = \max(x, 0) $$
#
# **Exercise.** Write `relu`. Your caller still needs the array that you were given: on the way back it matters where
# the input was positive. So leave it as it is.

# %% tags=["exercise"]
def relu(x: np.ndarray) -> np.ndarray:
    """Return x where it is positive, else 0, in a new array of the same shape."""
    ### BEGIN SOLUTION
    return np.maximum(x, 0)
    ### END SOLUTION


# %% tags=["check"]
check(relu)

# %% [markdown]
# What can a bend do that a line can't? Here are three neurons with one input each. Every one bends at another place.
# The next layer weighs them and adds them up.

# %% alt="Left: three bent lines starting at -1, 0 and 1. Right: their weighted sum, a triangular bump"
line = np.linspace(-2, 2, 201)[:, None]  # (201, 1)
hidden = relu(linear_forward(line, np.ones((1, 3)), np.array([1, 0, -1])))  # (201, 3)
weights = np.array([[1], [-2], [1]])
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
left.plot(line, hidden, label=[f"neuron {i}, weight {weights[i, 0]}" for i in range(3)])
right.plot(line, linear_forward(hidden, weights, np.zeros(1)), color="black")
left.set(title="three neurons, after their bend", xlabel="input", ylabel="value")
left.legend(fontsize=9)
right.set(title="their weighted sum", xlabel="input")
sns.despine()

# %% [markdown]
# A bump! With many bumps, wide and narrow, high and low, one can build any curve. More neurons make a finer curve.
# That is why two layers with a bend between them can do what no line can.
#
# ReLU isn't the only bend. The older ones are the **sigmoid**, $1/(1+e^{-x})$, and the **tanh**. The lower row shows
# their slopes, which will soon matter more than the bends themselves. (The layers come from the course's own package,
# `dl_course.scratch`; by section 11 you'll have written most of it.)

# %% alt="ReLU, sigmoid and tanh above; their slopes below: a step from 0 to 1, and two bells of different height"
from dl_course.scratch import ReLU, Sigmoid, Tanh

x = np.linspace(-6, 6, 601)[:, None]
shared = {"sharex": True, "sharey": "row", "layout": "constrained"}
figure, axes = plt.subplots(2, 3, figsize=(9, 3.6), **shared)
for bend, (above, below) in zip((ReLU(), Sigmoid(), Tanh()), axes.T, strict=True):
    y, slope = bend.forward(x), bend.backward(np.ones_like(x))
    above.plot(x, y)
    above.set(title=type(bend).__name__, ylim=(-1.5, 3))
    below.plot(x, slope, color="C1", linestyle="--")
    below.set(title=f"slope, at most {slope.max():.2f}", xlabel="input", ylim=(-0.1, 1.1))
axes[0, 0].set_ylabel("value")
axes[1, 0].set_ylabel("slope")
sns.despine()

# %% [markdown]
# Sigmoid and tanh flatten on both sides: there, the slope is nearly zero. And the sigmoid's slope is small even at its
# best. Learning sends a signal back through all layers, and every bend multiplies it by its slope.

# %%
ask("02-ten-sigmoids")

# %%
steepest = Sigmoid()
steepest.forward(np.zeros((1, 1)))
steepest.backward(np.ones((1, 1))).item() ** 10

# %% [markdown]
# Almost nothing. This is the *vanishing gradient*, which held back deep networks for years. ReLU's slope is 1 wherever
# it is open. That is a good part of its success.

# %% [markdown]
# ## 4. How wrong? The loss
#
# To learn, a machine must know how wrong it is: one number, the **loss**, that is 0 when all is right. For predictions
# that are quantities, one takes the *mean squared error*: square every error, and average.
#
# Beware of one thing. "Average" is said of two different sums: PyTorch divides by *all* numbers, $N$ samples times $d$
# outputs. Many textbooks divide by $N$ alone, and put ½ in front, because it makes the derivative pretty. Compare.

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
# The same errors, two losses. Neither is wrong: they differ by the factor $d/2$, and both are smallest at the same
# place. But a learning rate that suits one is far off for the other. This course follows PyTorch.

# %% [markdown]
# ## 5. Downhill
#
# Take the simplest model there is: a line $wx + b$ through some points. It has two numbers to choose, so its loss is a
# landscape over a plane. Learning means: find the valley. In the fog, for we only see the ground under our feet.
#
# What we do see is how steep the ground is, in each direction. These slopes together are the **gradient**. For the
# mean squared error of a line they are $\partial L/\partial w = \mathrm{mean}(2 \cdot error \cdot x)$ and $\partial
# L/\partial b = \mathrm{mean}(2 \cdot error)$. We take a step against them, of a size set by the **learning rate**
# $\eta$, and repeat.

# %%
x = rng.uniform(-1, 1, 40)
y = 1.5 * x + 0.5 + rng.normal(0, 0.2, 40)


def descend(learning_rate, steps=25, w=-1.0, b=-1.5):
    """Return the places (steps + 1, 2) that gradient descent visits."""
    path = [(w, b)]
    for _ in range(steps):
        error = w * x + b - y
        w -= learning_rate * np.mean(2 * error * x)
        b -= learning_rate * np.mean(2 * error)
        path.append((w, b))
    return np.array(path)


# %% [markdown]
# Three learning rates, the same start: 0.02, 0.3 and 1.01.

# %%
ask("02-large-rate")

# %% alt="Three loss landscapes with paths: one stops far from the valley, one reaches it, one leaps across it and away"
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
# Too small, and you don't arrive. Too large, and you leap over the valley, to ever higher ground. In between, it
# works. No other number of a training matters as much. (The orange square is the start.)
#
# For a line, we could look the slopes up. For a network we need a way to find them for *every* weight in it. There is
# one.

# %% [markdown]
# ## 6. Backpropagation by hand
#
# Here is the smallest network with everything in it: one weight, one bias, one bend, one loss. We go through it
# forward, and write down each intermediate value.

# %%
x, t = 2.0, 1.0  # input, and the truth
w, b = 0.8, 0.5

m = w * x  # multiply
s = m + b  # add
h = max(s, 0.0)  # bend
e = h - t  # error
loss = e**2

# %% [markdown]
# Now backward. We ask of every value: *if it grew a little, how fast would the loss grow?* For the loss itself, the
# answer is one. For each earlier value, it is the answer of the next one **times the slope of the step between**. That
# is the chain rule, and it is the whole secret.

# %%
d_loss = 1.0
d_e = d_loss * 2 * e  # e² has the slope 2e
d_h = d_e * 1  # h − t: the slope is 1
d_s = d_h * (s > 0)  # the bend: 1 where it is open, else 0
d_m = d_s * 1  # a sum passes the gradient on to both sides
d_b = d_s * 1
d_w = d_m * x  # a product: the slope is the other factor
d_x = d_m * w

# %% [markdown]
# The picture shows both passes. Values stand above the arrows and run to the right. Gradients, slanted, stand below or
# beside them, and run to the left.

# %% alt="A chain of boxes: times w, plus b, relu, minus t, square; values above, gradients below the arrows"
values, gradients = (x, m, s, h, e, loss), (d_x, d_m, d_s, d_h, d_e, d_loss)
figure, ax = plt.subplots(figsize=(9, 2.2), layout="constrained")
ax.set(xlim=(-0.5, 5.5), ylim=(-0.5, 1.1))
ax.axis("off")
for i, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
    ax.annotate("", (i + 0.28, 0), (i - 0.28, 0), arrowprops=arrow)
    ax.text(i, 0.08, f"{value:.2f}", ha="center")
    ax.text(i, -0.3, f"{gradient:.2f}", ha="center", color="C3", style="italic")
for i, step in enumerate(("× w", "+ b", "relu", "− t", "square")):
    ax.text(i + 0.5, 0, step, ha="center", va="center", bbox=ball | {"boxstyle": "round"})
for i, name, value, gradient in ((0, "w", w, d_w), (1, "b", b, d_b)):
    ax.annotate("", (i + 0.5, 0.18), (i + 0.5, 0.8), arrowprops=arrow)
    ax.text(i + 0.5, 0.85, f"{name} = {value:.2f}", ha="center")
    ax.text(i + 0.56, 0.45, f"{gradient:.2f}", color="C3", style="italic")

# %% [markdown]
# Every gradient was made from its right neighbour alone, by one multiplication. So a network of any size needs just
# *one* walk back, and no step of it knows more than its own slope.
#
# Is it true? Let us ask the network itself: move `w` by a hair, and see how far the loss moves.

# %%
hair = 1e-6
moved = (max((w + hair) * x + b, 0.0) - t) ** 2
f"backpropagation says {d_w:.4f}, the network says {(moved - loss) / hair:.4f}"

# %% [markdown]
# ### The same for a whole layer
#
# A layer on its way back is handed `dout`: how the loss would change with each number of its output $y$. From it, it
# must make three things: `dx`, to hand on, and `dw` and `db`, to learn from. Written for single numbers, the layer is
#
# $$ y_{nj} = \sum_i x_{ni}\, w_{ij} + b_j $$
#
# The weight $w_{ij}$ touches the output $j$ of *every* sample $n$, each time with the slope $x_{ni}$. Where a number
# acts in several places, its gradients **add up**. And a check that costs nothing: each gradient has the **shape of
# its array**.

# %%
ask("02-weight-gradient")

# %% [markdown]
# **Exercise.** Write `linear_backward`. Three short expressions are enough. Don't divide by the number of samples: if
# the loss is an average, `dout` has that in it already.

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
# A wrong gradient is a mean bug. Nothing crashes; the network even learns, only worse. So whoever writes a gradient
# checks it, by the trick with the hair: move one number, and see how far the loss moves.
#
# Move it both ways. On a curve, the line through a point and its *right* neighbour is tilted by the curvature. The
# line through the left and the right neighbour nearly isn't.

# %% alt="A curve with its tangent at a point. The line to the right neighbour is steeper, the one through both neighbours nearly parallel"
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
ax.set(xlabel="x", ylabel="f(x)", ylim=(-2.5, 9), title="here h is 1; in earnest it's tiny")
ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# The dashed line is nearer to the tangent's direction than the dotted one. This is the **central difference**:
#
# $$ \frac{\partial f}{\partial x_i} \approx \frac{f(x + h\,e_i) - f(x - h\,e_i)}{2h} $$
#
# Here $e_i$ means: only the number $i$ moves. Two evaluations of $f$ for each number is far too slow for training, and
# just right for checking.
#
# **Exercise.** Write `numerical_gradient`, for arrays with any number of axes. Compute in `float64`, whatever you are
# given: a tiny step is easily rounded away. And hand nobody's array back changed.

# %% tags=["exercise"]
def numerical_gradient(f, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Return the gradient of f at x, by central differences, as float64 in the shape of x.

    f takes an array like x and returns one number. x itself is left as it is.
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
# Now put your own layer on the scales. The loss here is any sum of its outputs, weighted by `dout`; so `dout` is its
# gradient for $y$. Formula and measurement should agree.

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
# And would it notice a mistake? Never trust a test that you haven't seen fail. Here is a popular one: a mean over the
# batch where a sum belongs.

# %%
np.allclose(dout.mean(axis=0), measured["db"], rtol=1e-8, atol=1e-8)

# %% [markdown]
# It does. How small should $h$ be? As small as possible, one might think. Look.

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
# Each curve is a V. On its right arm, $h$ is so large that the curve bends within it. On its left arm, $h$ is so small
# that the difference of two nearly equal numbers is only rounding noise; where the float32 curve is flat, the whole
# step is rounded away. The valley of the solid curve lies lowest: both sides, in float64. In float32 one would chase
# errors that aren't there.

# %% [markdown]
# ## 8. Choosing among classes
#
# A network that reads digits gives ten scores. To say how sure it is, we turn scores into probabilities: take
# $e^{score}$, which is positive, and divide by the sum. That is the **softmax**. The loss then is $-\log p$ of the
# *true* class, the **cross-entropy**. The right picture shows why that is a fair price.

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
# Sure and right costs nothing. Sure and wrong costs more and more, without limit. And a network that knows nothing yet?

# %%
ask("02-loss-of-guessing")

# %% [markdown]
# The formula has a catch. Scores around a thousand are nothing unusual when a training goes astray.

# %%
large = np.array([1000.0, 1001.0])
with np.errstate(all="ignore"):
    naive = np.exp(large) / np.exp(large).sum()
naive, np.exp(large - large.max()) / np.exp(large - large.max()).sum()

# %% [markdown]
# $e^{1000}$ is more than a float can hold, and infinity divided by infinity is no number (`nan`). The second result
# shows the remedy: subtract the largest score first. Numerator and denominator shrink by the same factor, so the
# probabilities stay what they are, and nothing overflows.
#
# One danger is left: a tiny $p$ becomes 0, and $\log 0$ is $-\infty$. But we never need to take the log of $p$:
#
# $$ \log p_j = s_j - \log \sum_k e^{s_k} \qquad \text{with the shifted scores } s $$
#
# And the gradient? Take the derivative of this line, and something pretty comes out. For each sample it is $p$, minus
# 1 at the true class. The loss pulls the true score up, and pushes each other one down by its own probability. As the
# loss is a mean over $N$ samples, all is divided by $N$.
#
# **Exercise.** Write `cross_entropy`, which returns the loss *and* its gradient for the scores. It must hold for
# scores of any size.

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
# You have a tool now to judge pretty formulas. Use it.

# %%
scores, targets = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
_, gradient = cross_entropy(scores, targets)
np.allclose(gradient, numerical_gradient(lambda s: cross_entropy(s, targets)[0], scores))

# %% [markdown]
# ## 9. One step of learning
#
# All parts are there. One question is left: from which weights do we start? Why not from zeros?

# %%
ask("02-all-zeros")

# %% [markdown]
# And if all weights were the same number, but not zero, all neurons would be equal, and would stay so. From random
# ones, then. But how large? See how strong a signal is after each of twenty
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
# Small weights let the signal die, large ones let it explode. Between them lies the size that He and his colleagues
# found for ReLU: a standard deviation of $\sqrt{2/n_{in}}$. With it, layer after layer hands on what it got. This is
# **He initialisation**.

# %%
def new_network(n_in: int, hidden: int, classes: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the parameters of a two-layer network, with He's initialisation."""
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
# loss; then backward through the same; then it moves every parameter against its gradient. Use the functions that you
# have written.
#
# Two warnings. Compute *all* gradients before you move anything. And change the parameters in `params`, for your
# caller keeps that dictionary: `w1 = w1 - ...` would make a new array under an old name, and change nothing.

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
# Back to the moons that no line could part. The network has sixteen hidden neurons. We train it, and stop four times
# to look at what it thinks of the plane.

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
# At first the border lies where chance has put it. Soon it is a fair line, and then it begins to bend, until it winds
# between the moons. Nobody told it how. Look closely: the border is made of straight pieces, and each corner is the
# bend of a neuron.
#
# The loss of each step is the *learning curve*.

# %% alt="The loss falls quickly at first, then slowly, over 3000 steps"
figure, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(losses)
ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
sns.despine()

# %% [markdown]
# ## 10. Faster: momentum and Adam
#
# Gradient descent has a weakness: long narrow valleys. Across the valley the ground is steep, so the learning rate
# must be small. Along the valley it is nearly flat, and small steps lead nowhere.
#
# A ball would do better. It has **momentum**: pushes to and fro cancel out, pushes in one direction add up. We keep a
# *velocity* $v$ for every parameter, of which a share $\mu$ survives each step:
#
# $$ v \leftarrow \mu v + g \qquad p \leftarrow p - \eta v $$

# %%
ask("02-momentum-speed")

# %% [markdown]
# **Exercise.** Write `momentum_step`. It returns nothing: it changes `p` and `v` themselves, which your caller keeps.

# %% tags=["exercise"]
def momentum_step(
    p: np.ndarray, v: np.ndarray, gradient: np.ndarray, learning_rate: float, momentum: float
) -> None:
    """Change the velocity v, and with it the parameter p, in place; all have one shape."""
    ### BEGIN SOLUTION
    v *= momentum
    v += gradient
    p -= learning_rate * v
    ### END SOLUTION


# %% tags=["check"]
check(momentum_step)

# %% [markdown]
# **Adam** goes one step further, and gives each parameter a step size of its own. It keeps two running averages: $m$
# of the gradient, and $s$ of its square. It moves by $m/\sqrt{s}$, so that steep and flat directions are walked at the
# same pace. Both averages start at zero and are too small at first; dividing by $1 - \beta^t$ makes up for that.

# %%
def adam_step(p, m, s, gradient, t, learning_rate, beta1=0.9, beta2=0.999):
    """Change m, s and p in place; t counts the steps from 1 on (Kingma & Ba, 2015)."""
    m += (1 - beta1) * (gradient - m)
    s += (1 - beta2) * (gradient**2 - s)
    m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
    p -= learning_rate * m_hat / (np.sqrt(s_hat) + 1e-8)


# %% [markdown]
# All three in the same narrow valley, with the same number of steps. The star is the lowest point.

# %%
steepness = np.array([1.0, 40.0])  # L = ½ · (1·x² + 40·y²), so the gradient is (x, 40·y)

def walk(step, count=60):
    """Return the places (count + 1, 2) that an optimizer visits."""
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

# %% alt="Three paths in a narrow valley: plain zigzags and stays short, momentum and Adam come to the star. Right: their losses"
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
# Plain descent zigzags across the valley and crawls along it. Momentum overshoots and swings back, and yet it is far
# ahead. Adam doesn't care that one direction is forty times steeper. Which is best? That depends on the landscape: try
# it out, always.

# %% [markdown]
# ## 11. Your functions as a package
#
# From here on we use `dl_course.scratch`. It holds what you have written, dressed as objects: a layer keeps its own
# parameters, and remembers on the way forward what it needs on the way back.
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
# Are they really the same? We build one network twice, with the same weights, and let both take ten steps.

# %%
from dl_course.scratch import SGD, CrossEntropyLoss, Linear, Sequential, gradient_check

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
# The same loss, the same four parameters. And the whole network passes the gradient check in one line: every weight of
# it was moved, up and down. (A parameter called `2.w` is the `w` of layer 2.)

# %% tags=["nbval-ignore-output"]
gradient_check(model, points[:20])

# %% [markdown]
# ## 12. Reading handwriting
#
# Now in earnest: pictures of handwritten digits, 28 × 28 pixels. We use **MNIST** if it is on your disk or can be
# fetched. If not, the course's own small collection of real digits stands in, and the cell says so. All that is said
# below holds for both.

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
# Three parts. We learn from the first. The second tells us, while we try things out, how well we do. The third is for
# the very end, and used once: a test that one has practised for tests nothing.
#
# The network has 784 inputs, one for each pixel; 100 hidden neurons; and 10 scores. In each step it sees a **batch**
# of 64 pictures, not all of them. The gradient is then a bit noisy, and a step far cheaper. One pass over all pictures
# is an **epoch**.

# %%
from dl_course.scratch import Adam, evaluate


def train(model, optimizer, epochs, batch_size=64, seed=0):
    """Return the mean loss of each epoch, and the validation's loss and accuracy after it."""
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
# This is the whole of deep learning's daily bread: shuffle, forward, loss, backward, step. Three optimizers now start
# from the same weights. (With fewer pictures we go over them more often, so that there are enough steps.)

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
    print(f"{name:<10} {histories[name][-1]['accuracy']:.1%} of the validation digits are read")

# %% [markdown]
# The curves tell more than the last number. Left, the loss on the pictures that the network learns from; right, on
# pictures that it has never seen.

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
# On the left, momentum comes down fastest. On the right, its lead has shrunk, or is gone: what it gained beyond the
# others, it gained in part, or wholly, on pictures that it knows. Chapter 04 is about that gap.
#
# What have the hidden neurons learned? Each has one weight for each pixel, so its weights are a picture. Red pixels
# speak for it, blue ones against it.

# %% tags=["nbval-ignore-output"] alt="Weights of 20 hidden neurons as pictures: red and blue spots and strokes in the middle, noise in the corners"
w = models["momentum"].layers[0].params["w"]  # (784, 100)
strongest = np.argsort(-w.std(axis=0))[:20]
limit = np.abs(w[:, strongest]).max()
figure, axes = plt.subplots(2, 10, figsize=(9, 2.1), layout="constrained")
for ax, neuron in zip(axes.flat, strongest, strict=True):
    scale = {"vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    drawn = ax.imshow(w[:, neuron].reshape(28, 28), cmap="RdBu_r", **scale)
    ax.axis("off")
_ = figure.colorbar(drawn, ax=axes, label="weight", shrink=0.9)

# %% [markdown]
# Spots and strokes: "ink here, and none beside it". Nobody asked for that. In the corners, where there is hardly ever
# any ink, the weights are still the noise that they started from.
#
# And now the test, once, with the network that did best in validation.

# %% tags=["nbval-ignore-output"]
best = max(histories, key=lambda name: histories[name][-1]["accuracy"])
x_test, y_test = rows_and_labels("test")
scores = models[best].forward(x_test)
p = np.exp(scores - scores.max(axis=1, keepdims=True))
p /= p.sum(axis=1, keepdims=True)
answer, sure = p.argmax(axis=1), p.max(axis=1)
print(f"test, with {best}: {np.mean(answer == y_test):.2%} of {len(y_test):,} digits are read")

# %% [markdown]
# Here are the errors about which it was most sure: its answer, how sure it was, and the truth.

# %% tags=["nbval-ignore-output"] alt="Up to ten misread digits with the answer, how sure it was, and the truth; most are badly written"
wrong = np.flatnonzero(answer != y_test)
worst = wrong[np.argsort(-sure[wrong])][:10]
figure, axes = plt.subplots(1, 10, figsize=(9, 1.6))
for ax, i in zip(axes, worst, strict=False):
    ax.imshow(x_test[i].reshape(28, 28), cmap="gray")
    ax.set_title(f"{answer[i]}? ({sure[i]:.0%})\nit's {y_test[i]}", fontsize=8)
for ax in axes:
    ax.axis("off")

# %% [markdown]
# Some of them would give you pause, too. Others wouldn't: the network looks at pixels in fixed places, and a digit
# that is slanted or shifted is a new picture to it. Chapter 03 builds networks that don't mind.

# %% [markdown]
# ## 13. The same network in PyTorch
#
# You have done by hand what PyTorch does for you. It remembers each step on the way forward, and walks the chain back
# when you call `backward()`. Here is our network in its words, with our weights. The one thing to mind: PyTorch keeps
# `w` transposed.

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
# The same 64 pictures go through both. PyTorch, too, leaves the gradients where the parameters are.

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
# Do they agree, each single one of them, to a millionth?

# %%
theirs = {"0.w": twin[0].weight.grad.T, "0.b": twin[0].bias.grad}
theirs |= {"2.w": twin[2].weight.grad.T, "2.b": twin[2].bias.grad}
print("the losses agree to a millionth:", abs(our_loss - their_loss.item()) < 1e-6)
for name, gradient in ours.grads.items():
    furthest = np.abs(gradient - theirs[name].numpy()).max()
    print(f"{name}: {gradient.size:,} gradients, all within a millionth: {furthest < 1e-6}")

# %% [markdown]
# All of them. There is no magic in `backward()`: it's the chain rule that you wrote.
#
# Last, let PyTorch train from the same start, with the same batches in the same order. It may use a graphics card if
# you have one. Each line has its counterpart in our `train`; `zero_grad` is new, because PyTorch *adds* new gradients
# to old ones.

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


# %% tags=["nbval-ignore-output"] alt="Two learning curves, NumPy as a wide line and PyTorch as dots on it: they coincide"
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
# The dots lie on the line. Over very many steps roundings would drift apart a little, and the two would still tell the
# same story. What you have built *is* a neural network. From now on, PyTorch does the arithmetic, and you know what it
# does.

# %% [markdown]
# ## Summary
#
# - A layer is `x @ w + b`. Without a bend between them, many layers are one.
# - Backpropagation is the chain rule, walked backward once. Each gradient has the shape of its array.
# - Check gradients with central differences, in float64, and see the check fail once.
# - Subtract the largest score before `exp`, and never take the log of a probability that may be 0.
# - Start from He's weights. Try the learning rate first; then momentum or Adam.
# - PyTorch's mean squared error divides by all numbers, and its `Linear` keeps `w` transposed.
#
# ## Check yourself

# %%
progress("02")

# %% [markdown]
# ## Further reading
#
# - Michael Nielsen: *Neural Networks and Deep Learning*, chapters 1 and 2
# - 3Blue1Brown: *Neural networks*, a series of films; the third and fourth are about backpropagation
# - Goodfellow, Bengio, Courville: *Deep Learning*, chapters 4 (numerical computation) and 6 (feedforward networks)
# - Karpathy: *micrograd*, backpropagation in a hundred lines of Python
# - He et al.: *Delving Deep into Rectifiers* (ICCV 2015); Kingma and Ba: *Adam* (ICLR 2015)
# - Goh: *Why Momentum Really Works* (Distill, 2017)
