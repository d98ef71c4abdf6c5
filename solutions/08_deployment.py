# %% [markdown]
# # 08 · Deployment: a network that strangers can use
#
# Your network reads digits in a notebook, for you. Now somebody else wants to use it: a colleague with a telephone, a
# program in another language, a thousand people at once. They have no notebook, perhaps no PyTorch, and they send
# whatever they have. In this chapter the digit reader leaves the notebook, answers strangers over a network, refuses
# what it must refuse, and notices when the world has changed.
#
# **You will be able to**
# - write a network to one file, and prove that the file computes the same
# - say what a smaller file of integers saves, and what it costs
# - run a service with limits, call it, and refuse a request with a reason
# - keep a log, and find drift by a test whose false alarms you know
#
# **Time:** 80 minutes. **You need:** chapters 01 to 06.

# %% [markdown]
# ## 1. What leaves the notebook
#
# A network alone is of no use to a stranger. They also need to know how its pictures are prepared, and what its
# outputs mean. Chapter 06 put the three together, in a `Predictor`. Here we make one around the course's own reader of
# the small digits. First all that we'll need.

# %%
import math
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import nn
from torchvision.transforms.v2.functional import rotate, to_pil_image

# %% [markdown]
# Then the course's own helpers, and how pictures and tables shall look.

# %%
from dl_course import check, hint, progress, solution
from dl_course.data import load

sns.set_theme(style="white", palette="colorblind")
pd.set_option("display.max_colwidth", 100)

# %% [markdown]
# Network, preparation and names, put together. What does it say of three pictures?

# %%
from dl_course.evaluation import Predictor
from dl_course.models import model_card, trained

record, test = model_card("simplecnn-digits"), load("digits", "test")
prepare = {"name": "normalize"} | record["normalize"]
about = {"classes": test.classes, "shape": (1, 28, 28), "architecture": record["model"]}
reader = Predictor(trained("simplecnn-digits"), prepare, **about)
reader(list(test.images[:3])).round(3)

# %% [markdown]
# That still needs Python, PyTorch and our classes. What would a program need that has none of them? Only the
# arithmetic: which numbers are multiplied with which, in what order. `torch.export` runs the network once, with
# stand-ins for pictures, and writes down what happens.

# %%
batch = torch.export.Dim("batch")
written = torch.export.export(
    reader.model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=({0: batch},)
)
steps = [node.name for node in written.graph.nodes if node.op == "call_function"]
print(*steps, sep="\n")

# %% [markdown]
# No class of ours is left, only convolutions, norms and the like, one after the other. `Dim("batch")` says that the
# first size may be any number. Without it, the file would take two pictures at a time, for ever. (Older texts do this
# with *TorchScript*. PyTorch gave that up.)

# %% [markdown]
# ## 2. One file
#
# **ONNX** is a format for such lists of steps, and **ONNX Runtime** a program of some megabytes that runs them: on
# servers, in browsers, on telephones (there it is called *ONNX Runtime Mobile*), from a dozen languages. `to_onnx`
# writes preparation and network into one file, and the names of the classes beside them.

# %% tags=["nbval-ignore-output"]
from dl_course.deploy import to_onnx

folder = Path(mkdtemp())
export = to_onnx(reader, folder / "digits.onnx")
reader.save(folder / "digits.safetensors")
export

# %% [markdown]
# The *opset* is the edition of ONNX's dictionary that the file is written in. Look inside. Which steps are there, and
# what does the file want?

# %%
import onnx

graph = onnx.load(export.path).graph
sizes = graph.input[0].type.tensor_type.shape.dim
print(graph.input[0].name, [size.dim_param or size.dim_value for size in sizes])
print(*(node.op_type for node in graph.node))

# %% [markdown]
# Two things are worth a second look. The first steps subtract and divide: that is the normalization. Whoever uses the
# file can't forget it. And no batch norm is left. In eval mode it only scales and shifts, so the exporter has
# multiplied it into the convolution before it.

# %% [markdown]
# ## 3. Prove it
#
# The exporter translates one program into another. Translations can be wrong, and a wrong one gives no error, just
# other digits. So never hand on a file that you haven't compared. Compare at *several* batch sizes, because there the
# usual mistakes show: a size that was frozen, a mean over the wrong axis.
#
# **Exercise.** Write `largest_difference`. `run` stands for the file: it takes an array, and gives an array of logits.
# Think of three traps. The network may be in training mode. `run` may raise an exception. And it may give NaN, of which
# every comparison is false.

# %% tags=["exercise"]
def largest_difference(model: nn.Module, run, pictures: np.ndarray, sizes: list[int]) -> float:
    """Return the largest absolute difference between the logits of model and run.

    Both get the first n pictures, for each n in sizes. The model is used in eval mode.
    math.inf where run raises an exception at one of the sizes, or gives NaN.
    """
    ### BEGIN SOLUTION
    model.eval()
    largest = 0.0
    for size in sizes:
        batch = pictures[:size]
        with torch.no_grad():
            expected = model(torch.from_numpy(batch)).numpy()
        try:
            difference = float(np.abs(run(batch) - expected).max())
        except Exception:  # whatever it is, the file can't do it
            return math.inf
        largest = max(largest, math.inf if math.isnan(difference) else difference)
    return largest
    ### END SOLUTION

# %% tags=["check"]
check(largest_difference)

# %% [markdown]
# Now for our file. Float32 has about seven digits. Two programs that add the same numbers in another order differ in the
# last of them, so we ask for no more than that.

# %%
import onnxruntime

session = onnxruntime.InferenceSession(export.path)
pictures, labels = test.tensors()


def run(pictures):
    """Return the file's logits, (N, 10)."""
    return session.run(["logits"], {"pictures": pictures})[0]


whole = nn.Sequential(reader.transform, reader.model)
furthest = largest_difference(whole, run, pictures.numpy(), [1, 2, 7, 64])
print("the same" if furthest < 1e-5 else f"{furthest:g} apart")

# %% [markdown]
# `to_onnx` makes this comparison by itself, and writes no file that fails. Here is a network with an innocent line in
# it. Can you see which?

# %%
class Innocent(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.reshape(len(x), 784))


try:
    to_onnx(Predictor(Innocent(), shape=(1, 28, 28)), folder / "innocent.onnx")
except ValueError as error:
    print(error)

# %% [markdown]
# `len` gives an ordinary Python number, and the exporter sees only that number: the size of its example. PyTorch
# writes such a file without a word. It works in the demonstration, with one batch size, and fails with the first user.

# %% [markdown]
# ## 4. How long does an answer take?
#
# Two figures, not one. **Latency** is how long one request waits. **Throughput** is how many pictures are read in a
# second. Batches help the second, and hurt the first. We measure both for PyTorch and for ONNX Runtime, on one thread
# each. They take turns, and of many calls we keep the fastest: what else the machine does can only add to it.

# %% tags=["nbval-ignore-output"] alt="Two panels against the batch size, both axes logarithmic: milliseconds a batch rise for both programs, and pictures a second"
from dl_course.deploy import load_onnx
from dl_course.deploy.export import latency

threads = torch.get_num_threads()
torch.set_num_threads(1)
models = {"PyTorch": reader.probabilities, "ONNX Runtime": load_onnx(export.path).probabilities}
sizes = [1, 4, 16, 64]
ms = pd.DataFrame({size: latency(models, pictures[:size], repeats=20) for size in sizes}).T
torch.set_num_threads(threads)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
ms.plot(ax=axes[0], style=["o-", "s--"], loglog=True, ylabel="milliseconds a batch")
rate = (1000 / ms).mul(ms.index, axis=0)
rate.plot(ax=axes[1], style=["o-", "s--"], loglog=True, ylabel="pictures a second")
for ax in axes:
    ax.set(xlabel="pictures in a batch", xticks=sizes, xticklabels=sizes)

# %% [markdown]
# Where the lines are apart at a batch of one, you see what a call itself costs, before anything is computed. In a
# larger batch the pictures share that price. A service mostly gets single pictures, so the left end of the left panel
# is what its users feel.
#
# A program that reads a million pictures overnight works in batches instead. Memory is limited, so there is a largest
# batch, and the last one is seldom full.
#
# **Exercise.** Write `predict_in_batches`. `run` takes at most `size` pictures at a time and gives logits.

# %% tags=["exercise"]
def predict_in_batches(run, pictures: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of each picture, (N,), and with which probability, (N,), in their order.

    run: at most size pictures (n, C, H, W) -> logits (n, classes).
    No picture: two empty arrays.
    """
    ### BEGIN SOLUTION
    starts = range(0, len(pictures), size)
    logits = [run(pictures[start : start + size]) for start in starts]
    if not logits:
        return np.zeros(0, int), np.zeros(0)
    logits = np.concatenate(logits)
    raised = np.exp(logits - logits.max(1, keepdims=True))  # so that exp can't overflow
    probabilities = raised / raised.sum(1, keepdims=True)
    return logits.argmax(1), probabilities.max(1)
    ### END SOLUTION

# %% tags=["check"]
check(predict_in_batches)

# %% [markdown]
# With it, the file reads the whole test set, and is right as often as its card promises.

# %%
classes, confidence = predict_in_batches(run, pictures.numpy(), 100)
promised = record["figures"]["test"]["accuracy"]
print(f"{(classes == labels.numpy()).mean():.4f}, promised {promised:.4f}")

# %% [markdown]
# ## 5. Integers instead of floats
#
# A weight is a float32, four bytes. Do we need all of them? **Quantization** stores each weight as one byte: an integer
# from −128 to 127, times a step that a whole channel shares. The maps in between become integers, too. For that we have
# to know how large they get. *Static* quantization learns it beforehand, from some pictures (calibration). *Dynamic*
# quantization measures anew in every call.

# %% tags=["nbval-ignore-output"]
from dl_course.deploy import benchmark, quantize

calibration = load("digits", "val").tensors()[0]
static = quantize(export.path, folder / "static.onnx", calibration)
dynamic = quantize(export.path, folder / "dynamic.onnx")
benchmark([folder / "digits.safetensors", export.path, static, dynamic], test).round(4)

# %% [markdown]
# Read the table from left to right. A file of integers has about a third of the bytes. The accuracy hardly moves. And
# the time? It depends on the processor, and on whether ONNX Runtime has a quick way for just this step. Measuring anew
# in every call is work, too. So never assume that integers are faster: measure.
#
# The column *integer layers* is there because of a trap. Some tools leave out what they can't quantize, and say
# nothing. PyTorch's own old `quantize_dynamic` knows linear layers, and passes over every convolution. Whoever looks at
# the accuracy alone is delighted: nothing was lost! So look at what *was* quantized.

# %% [markdown]
# ## 6. A service
#
# Now to the strangers. A **service** is a program that waits for requests and answers them, by HTTP, the language of the
# web. Ours has few words. `GET /health` asks whether it is ready. `POST /predict` brings pictures and gets their
# classes. In a terminal you would start it like this:
#
# ```
# dl-course serve digits.onnx --port 8000
# ```
#
# Then a browser finds a page at `http://127.0.0.1:8000`, where one can draw a digit. Here we start the very same server
# beside the notebook, on a port that is free. It doesn't use PyTorch at all. Two functions of a log come along; we'll
# need them soon.

# %%
import httpx

from dl_course.deploy import Limits, PredictionLog, serving

log, running = PredictionLog(reader.classes), ExitStack()
hooks = {"on_prediction": log.record, "on_refusal": log.refuse}
address = running.enter_context(serving(export.path, limits=Limits(pixels=1_000_000), **hooks))
client = running.enter_context(httpx.Client(base_url=address, trust_env=False))
client.get("/health").json()["status"]

# %% [markdown]
# The client plays the stranger. It knows nothing of networks: it has a PNG, and sends its bytes.

# %%
def png(picture):
    """Return a picture (1, H, W) in [0, 1] as the bytes of a PNG file."""
    to_pil_image(picture).save(file := BytesIO(), "png")
    return file.getvalue()


kind = {"content-type": "image/png"}
answer = client.post("/predict", content=png(pictures[0]), headers=kind)
said = answer.json()["predictions"][0]
print(answer.status_code, "class", said["class"], f"with {said['confidence']:.0%}")

# %% [markdown]
# 200 means "fine". Several pictures may travel in one request, as a form with files. Here are eight. Above each stands
# what the service called it.

# %% alt="Eight handwritten digits in a row; above each the class that the service answered and its confidence"
from dl_course.plots import image_grid

files = [("pictures", ("digit.png", png(picture), "image/png")) for picture in pictures[:8]]
said = client.post("/predict", files=files).json()["predictions"]
titles = [f"{each['class']} ({each['confidence']:.0%})" for each in said]
_ = image_grid(pictures[:8], titles, columns=8)

# %% [markdown]
# ## 7. What must be refused
#
# A notebook has one user, who means well. A service gets everything: a PDF, half a picture of a broken connection, a
# photo of 200 megabytes. And it gets attacks. A **decompression bomb** is a tiny file that unpacks to gigabytes. Whoever
# unpacks it to look at it has lost.
#
# A good service refuses before it works, says why, and goes on. HTTP has numbers for that: **413** too large, **415**
# not of a kind I know, **400** broken. (Numbers from 500 mean: *my* fault. A service should never have to say them.)
#
# **Exercise.** Write `status_for`: the number for a body. First its length. Then the size that the header claims, before
# anything is unpacked. Then whether it can be unpacked.

# %% tags=["exercise"]
def status_for(body: bytes, most_bytes: int, most_pixels: int) -> int:
    """Return what a request with this body gets: 200, or why it is refused.

    413: more than most_bytes, or width * height is more than most_pixels (nothing unpacked).
    415: Pillow can't open it. 400: it opens, and can't be unpacked: cut off or damaged.
    """
    from PIL import Image

    ### BEGIN SOLUTION
    if len(body) > most_bytes:
        return 413
    try:
        picture = Image.open(BytesIO(body))  # reads only the header
    except Image.DecompressionBombError:
        return 413
    except Exception:
        return 415
    if picture.width * picture.height > most_pixels:
        return 413
    try:
        picture.load()  # unpacks
    except Exception:  # OSError, SyntaxError, ValueError … : each decoder has its own
        return 400
    return 200
    ### END SOLUTION

# %% tags=["check"]
check(status_for)

# %% [markdown]
# Now ask the real one. We send it a text, half a PNG, nothing, and a blank sheet of sixteen million pixels. With each goes
# a word that says what it is, the *content type*. Compare the number of bytes that travel with the answers.

# %%
from PIL import Image

Image.new("L", (4000, 4000)).save(file := BytesIO(), "png")
bodies = {"text": b"What is this?", "half a picture": png(pictures[0])[:90], "nothing": b""}
bodies |= {"a blank sheet": file.getvalue(), "a digit": png(pictures[0])}
rows = {}
for name, body in bodies.items():
    what = {"content-type": "text/plain"} if name == "text" else kind
    answer = client.post("/predict", content=body, headers=what)
    rows[name] = {"bytes": len(body), "status": answer.status_code}
    rows[name]["reason"] = answer.json().get("detail", "")
pd.DataFrame(rows).T

# %% [markdown]
# Each refusal has a reason that the sender can act on, and none tells anything about our code. After all that, the last
# row is answered as if nothing had happened. (Ours believes the content type. A text is a kind it doesn't know, 415. What
# is called a picture and isn't one is broken, 400. Your function had only the bytes to go by.) There are more limits, each
# against one way to bring a service down:

# %%
pd.Series(vars(Limits()), name="limit", dtype=object).to_frame()

# %% [markdown]
# `seconds` stops a sender who dribbles one byte a minute. `concurrent` is how many requests may wait at once; the next
# one gets a **503**: come again later. That is better than a queue in which everybody waits for ever.

# %% [markdown]
# ## 8. The log
#
# What do you know about your network, once it's out? Only what you write down. `PredictionLog` keeps the last pictures'
# classes, confidences and times, in a bounded memory. It doesn't keep pictures. They belong to those who sent them.
# First some traffic.

# %% tags=["nbval-ignore-output"]
from concurrent.futures import ThreadPoolExecutor


def ask(picture):
    """Send one picture; return the status of the answer."""
    return client.post("/predict", content=png(picture), headers=kind).status_code


with ThreadPoolExecutor(8) as users:
    statuses = list(users.map(ask, pictures[:200]))
print(pd.Series(statuses).value_counts().to_dict())
log.summary().round(2).to_frame("value")

# %% [markdown]
# *p99* is the time that only one request in a hundred exceeds. Users remember that one, not the median. And the line
# *refused* counts what you have just sent. Each request also wrote one line to the log of the process, as JSON, so that
# other programs can read it. Now stop the server. It answers what it has accepted, and then goes.

# %%
running.close()
log.refused.total()

# %% [markdown]
# ## 9. The world changes
#
# The service runs, answers come in milliseconds, no errors. And yet it may have become useless. Somebody mounts the
# camera at a slant. A new form has dark digits on white paper. People begin to write letters. The network will answer as
# before, because it always answers. This is called **drift**.
#
# Labels would show it, but in use nobody gives you labels. So we compare what we *do* have, confidences and predicted
# classes, with those of a time when all was well. That is a question about two samples, and statistics has tests for it:
#
# - **Kolmogorov and Smirnov's** test for two samples of numbers: are the confidences distributed alike?
# - the **chi-square** test for two rows of counts: are the classes as frequent as before?
#
# Each gives a p-value: how often so large a difference comes about by chance when nothing has changed. Beware of one
# thing. Each test cries wolf now and then, and two have two chances. *Bonferroni's* remedy: multiply the smaller p-value
# by the number of tests.
#
# **Exercise.** Write `drift_p_value`. SciPy has both tests. A class may occur in only one of the samples.

# %% tags=["exercise"]
def drift_p_value(confidence, classes, new_confidence, new_classes) -> float:
    """Return one p-value for "nothing has changed": twice the smaller of two, and at most 1.

    confidence (N,), classes (N,): what was said of the reference. new_…, (M,): of new pictures.
    """
    from scipy.stats import chi2_contingency, ks_2samp

    ### BEGIN SOLUTION
    by_confidence = ks_2samp(confidence, new_confidence).pvalue
    kinds = np.union1d(classes, new_classes)
    counts = [[np.sum(sample == kind) for kind in kinds] for sample in (classes, new_classes)]
    by_class = chi2_contingency(counts).pvalue
    return min(1.0, 2 * min(by_confidence, by_class))
    ### END SOLUTION

# %% tags=["check"]
check(drift_p_value)

# %% [markdown]
# Try it on three samples: other digits of the same kind, the same digits inverted, and the same digits turned. The
# reference must be pictures that the network wasn't trained on. Of those it is surer than it will ever be again.

# %%
unseen = torch.cat([load("digits", "val").tensors()[0], pictures])
unseen = unseen[torch.randperm(len(unseen), generator=torch.Generator().manual_seed(0))]
old, new = unseen[:270], unseen[270:]
before = predict_in_batches(run, old.numpy(), 100)[::-1]
worlds = {"as before": new, "inverted": 1 - new, "turned by 20°": rotate(new, 20)}
for name, sample in worlds.items():
    after = predict_in_batches(run, sample.numpy(), 100)[::-1]
    p = drift_p_value(*before, *after)
    print(f"{name:14}confidence {after[0].mean():.2f}   {'drift' if p < 0.01 else 'no drift'}")

# %% [markdown]
# Why not simply look at the mean confidence? Because nobody can say how far it has to fall. A limit by feeling is either
# deaf or hysterical. The test knows how much chance alone moves things, with so many pictures. If you say "alarm below
# 0.01", then one quiet day in a hundred has a false alarm. That is a price you can choose.
#
# `drift` of the course adds a third test. It trains a small classifier to tell old pictures from new ones, by coarse
# features of them, on one half of each sample. On the other half it must prove itself. If it can tell them apart,
# something has changed, whatever it is. (Holm's correction does for three tests what Bonferroni's does, and finds a
# little more.)

# %% tags=["nbval-ignore-output"]
from dl_course.deploy import drift

served = load_onnx(export.path)


def logged(pictures):
    """Return the log's table of what the file says of these pictures."""
    log = PredictionLog(reader.classes)
    log.record(served.probabilities(pictures), 0.0, pictures)
    return log.table()


reference = logged(old)
drift(reference, logged(rotate(new, 20)))

# %% [markdown]
# Now a fortnight in the life of a service. Every day brings 150 digits. After day 6 the camera's screw works loose, and
# every day the pictures are turned by three degrees more. For each day we note the p-value, and what nobody can see in
# real life, the accuracy.

# %%
truth = torch.cat([load("digits", "val").labels, labels])
truth = truth[torch.randperm(len(truth), generator=torch.Generator().manual_seed(0))][270:]
rows = []
for day in range(1, 15):
    some = torch.randperm(len(new), generator=torch.Generator().manual_seed(day))[:150]
    table = logged(rotate(new[some], 3.0 * max(0, day - 6)))
    right = table["class"].astype(int).to_numpy() == truth[some].numpy()
    p = drift(reference, table, seed=day).table["corrected"].min()
    rows.append({"day": day, "p": p, "accuracy": right.mean()})
days = pd.DataFrame(rows).set_index("day")

# %% [markdown]
# Look for two days: the one on which the upper curve falls below the line, and the one on which the lower one falls.

# %% tags=["nbval-ignore-output"] alt="Two panels over fourteen days: the p-value wanders near one, and falls far below the alarm line once the camera slips; the accuracy falls days later"
figure, axes = plt.subplots(2, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
shown = days["p"].clip(lower=1e-15)  # what is smaller would only stretch the axis
shown.plot(ax=axes[0], style="o-", logy=True, ylabel="p-value", ylim=(1e-16, 10))
axes[0].axhline(0.01, color="C1", linestyle="--", label="alarm below")
axes[0].legend()
_ = days["accuracy"].plot(ax=axes[1], style="s-C2", ylabel="accuracy", ylim=(0, 1.05))

# %% [markdown]
# The p-value wanders while nothing happens: that is chance. Then it drops, far below the line. The alarm comes while the
# accuracy below still looks well. That is the point of watching: you learn it before your users do.
#
# An alarm isn't a verdict. It says "look", and nothing more. Perhaps a school class is visiting, and all is well.
# Collect some labels, and measure.

# %% [markdown]
# ## 10. A new network, in the shadow
#
# One day you have a better network, or a smaller one. Don't just replace the old one. Let both read the same requests for
# a while, and show the users only the old one's answers: the new one runs in the **shadow**. Then compare, by the
# paired comparison of chapter 06. Here the file of integers follows the file of floats.

# %%
from dl_course.deploy import shadow

comparison = shadow(served, load_onnx(static), test)
comparison

# %% [markdown]
# Both have read the same pictures, so only those count that one of them alone has right. If there are hardly any, nobody
# will notice the change. An **A/B test** shows each network to half of the users instead. It costs more, because now
# mistakes reach people. You need it where the users' behaviour is the measure.

# %% [markdown]
# ## 11. The card
#
# What you hand on has a card. It says what the network is for, how good it is, and where it must not be used. This one
# takes its figures from the cells above, so it can't be wrong about them.

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown

first_alarm = days.index[days["p"] < 0.01].min()
Markdown(f"""
**digits.onnx**, {export.bytes:,} bytes, opset {export.opset}

- *For*: single handwritten digits, 28×28, bright on black. *Not for*: letters, several digits,
  anything where a wrong digit does harm and nobody looks.
- *Made from*: scikit-learn's digits, training part; seed {record["seed"]}.
- *Accuracy*: {(classes == labels.numpy()).mean():.4f} on {len(test)} unseen pictures.
- *Verified*: at most {max(export.differences.values()):.0e} from PyTorch, any batch size.
- *Watched by*: `drift` against {len(old)} unseen pictures, alarm below 0.01. In a trial with a
  slipping camera, which began on day 7, the alarm came on day {first_alarm}.
""")

# %% [markdown]
# ## What else there is
#
# - **Containers.** The repository's `Containerfile` packs the service with all it needs, so that it runs the same
#   everywhere. It holds ONNX Runtime and no PyTorch, which keeps it small.
# - **Telephones.** ONNX Runtime Mobile runs the same file. There bytes and battery count, so integers pay off most.
# - **Encryption and passwords.** Our service has neither. In the open network it belongs behind a proxy that has both.
# - **Versions.** Keep every file that ever answered, with the commit and the data that made it. When someone asks why a
#   digit was misread last May, you'll want to know which network it was.

# %% [markdown]
# ## Summary
#
# - Hand on preparation, network and names in one file. Whoever gets it can't forget a step.
# - An export is a translation: prove it equal at several batch sizes, and let NaN and exceptions count as wrong.
# - Latency and throughput are two figures. Measure both, at the batch sizes you'll have.
# - Integers save bytes for sure, and time perhaps. Look at how much was quantized.
# - A service refuses early, with a reason, and its limits are numbers that you chose.
# - Drift is a question about two samples. A test knows how much chance moves; a limit by feeling doesn't.
#
# ## Check yourself

# %%
progress("08")

# %% [markdown]
# ## Further reading
#
# - The documentation of ONNX Runtime (onnxruntime.ai), and of `torch.onnx` and `torch.export` (docs.pytorch.org)
# - Jacob et al.: *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, CVPR 2018
# - Sculley et al.: *Hidden Technical Debt in Machine Learning Systems*, NeurIPS 2015
# - Rabanser, Günnemann, Lipton: *Failing Loudly: An Empirical Study of Methods for Detecting Dataset Shift*, NeurIPS 2019
# - Lopez-Paz, Oquab: *Revisiting Classifier Two-Sample Tests*, ICLR 2017
# - Mitchell et al.: *Model Cards for Model Reporting*, 2019
