# %% [markdown]
# # 08 · Deployment: a network that strangers can use
#
# Your network reads digits in a notebook, for you. Now somebody else wants to use it: a colleague with a phone, a program
# in another language, a thousand people at once. They have no notebook, perhaps no PyTorch, and they send whatever they
# have. In this chapter, the digit reader leaves the notebook, answers strangers over a network, refuses what it must
# refuse, and notices when the world has changed.
#
# **You will be able to**
# - write a network to one file, and check that the file computes the same
# - say what a file of integers saves, and what it costs
# - run a service with limits, call it, and refuse a request with a reason
# - keep a log, detect drift with a test whose rate of false alarms you chose, and learn from your users' corrections
#
# **Time:** 85 minutes. **You need:** chapters 01 to 06.

# %% [markdown]
# ## 1. What leaves the notebook
#
# A network alone is of no use to a stranger. They also need to know how to prepare the pictures, and what the outputs
# mean. Chapter 06 put the three together in a `Predictor`. Here we build one around the course's own reader of the small
# digits. First, the imports.

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
# Then the course's own helpers, and the style of figures and tables.

# %%
from dl_course import ask, check, hint, progress, solution
from dl_course.data import load

sns.set_theme(style="white", palette="colorblind")
pd.set_option("display.max_colwidth", 100)

# %% [markdown]
# Here are network, preparation and names together. What does it say about three pictures?

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
# arithmetic: which numbers to multiply by which, in what order. `torch.export` runs the network once, with stand-ins for
# pictures, and records what happens.

# %%
batch = torch.export.Dim("batch")
written = torch.export.export(
    reader.model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=({0: batch},)
)
steps = [node.name for node in written.graph.nodes if node.op == "call_function"]
print(*steps, sep="\n")

# %% [markdown]
# No class of ours is left, only convolutions, norms and the like, one after the other. `Dim("batch")` says that the first
# size may vary. (Older texts use *TorchScript* for this. It is deprecated.)

# %%
ask("08-fixed-batch")

# %% [markdown]
# ## 2. One file
#
# **ONNX** is a format for such lists of steps, and **ONNX Runtime** is a program of some megabytes that runs them: on
# servers, in browsers, on phones, and from many programming languages. `to_onnx` writes the preparation and the network
# into one file, along with the names of the classes.

# %% tags=["nbval-ignore-output"]
from dl_course.deploy import to_onnx

folder = Path(mkdtemp())
export = to_onnx(reader, folder / "digits.onnx")
reader.save(folder / "digits.safetensors")
export

# %% [markdown]
# The *opset* is the version of ONNX's set of operators that the file uses. Look inside. Which steps are there, and what
# input does the file expect?

# %%
import onnx

graph = onnx.load(export.path).graph
sizes = graph.input[0].type.tensor_type.shape.dim
print(graph.input[0].name, [size.dim_param or size.dim_value for size in sizes])
print(*(node.op_type for node in graph.node))

# %% [markdown]
# Two things are worth a second look. The first steps subtract and divide: that is the normalization, so nobody who uses
# the file can forget it. And no batch norm is left. In eval mode it only scales and shifts, so it was folded into the
# convolution before it.

# %% [markdown]
# ## 3. Check it
#
# The exporter translates one program into another. A translation can be wrong, and then there may be no error, just
# different digits. So never hand on a file that you haven't compared. Compare at *several* batch sizes, because that is
# where the usual mistakes show: a size that was frozen, a mean over the wrong axis.
#
# **Exercise.** Write `largest_difference`. `run` stands for the file: it takes an array and returns an array of logits.
# There are three traps. The network may be in training mode. `run` may raise an exception. And it may return NaN, and
# comparisons with NaN are false.

# %% tags=["exercise"]
def largest_difference(model: nn.Module, run, pictures: np.ndarray, sizes: list[int]) -> float:
    """Return the largest absolute difference between the logits of model and run.

    Both get the first n pictures, for each n in sizes. The model is used in eval mode.
    math.inf if run raises an exception at one of the sizes, or gives NaN.
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
# Now for our file. A float32 has about seven significant digits. Two programs that add the same numbers in a different
# order may differ in the last of them, so we can't ask for exact equality.

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
# `to_onnx` makes this comparison itself and writes no file that fails it. Here is a network with a line that only looks
# innocent. Can you see which?

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
# `len` returns an ordinary Python number, so the exporter records a constant: the size of its example. Such a file works
# in the demonstration, with that batch size, and fails with the first user.

# %% [markdown]
# ## 4. How long does an answer take?
#
# That takes two numbers, not one. **Latency** is how long one request waits. **Throughput** is how many pictures are read
# per second. Batches raise latency and, up to some size, throughput. We measure both for PyTorch and for ONNX Runtime, on
# one thread each. They take turns, and of twenty calls we keep the fastest: other work on the machine can only add time.

# %% tags=["nbval-ignore-output"] alt="Two panels against the batch size, both axes logarithmic: milliseconds per batch, and pictures per second, for PyTorch and for ONNX Runtime"
from dl_course.deploy import load_onnx
from dl_course.deploy.export import latency

threads = torch.get_num_threads()
torch.set_num_threads(1)
models = {"PyTorch": reader.probabilities, "ONNX Runtime": load_onnx(export.path).probabilities}
sizes = [1, 4, 16, 64]
ms = pd.DataFrame({size: latency(models, pictures[:size], repeats=20) for size in sizes}).T
torch.set_num_threads(threads)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
ms.plot(ax=axes[0], style=["o-", "s--"], loglog=True, ylabel="milliseconds per batch")
rate = (1000 / ms).mul(ms.index, axis=0)
rate.plot(ax=axes[1], style=["o-", "s--"], loglog=True, ylabel="pictures per second")
for ax in axes:
    ax.set(xlabel="pictures in a batch", xticks=sizes, xticklabels=sizes)

# %% [markdown]
# Much of what a batch of one costs is overhead of the call itself. In a larger batch, the pictures share that cost. At
# some size little is left to share, and throughput stops rising; it may even fall. A service mostly gets single pictures,
# so its users feel the left end of the left panel.
#
# A program that reads a million pictures overnight works in batches instead. Memory is limited, so there is a largest
# batch, and the last one is rarely full.
#
# **Exercise.** Write `predict_in_batches`. `run` takes at most `size` pictures at a time and returns logits.

# %% tags=["exercise"]
def predict_in_batches(run, pictures: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each picture's class, (N,), and its probability, (N,), in the pictures' order.

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
# Let the file read the whole test set. Is it right as often as the model card promises?

# %%
classes, confidence = predict_in_batches(run, pictures.numpy(), 100)
promised = record["figures"]["test"]["accuracy"]
print(f"{(classes == labels.numpy()).mean():.4f}, promised {promised:.4f}")

# %% [markdown]
# ## 5. Integers instead of floats
#
# A weight is a float32, four bytes. Do we need all of them? **Quantization** stores each weight as one byte: an integer
# from −128 to 127, times a step that a whole channel shares.

# %%
ask("08-bytes-of-int8")

# %% [markdown]
# The feature maps in between become integers, too. For that we have to know how large they get. *Static* quantization
# finds out beforehand, from some pictures (*calibration*). *Dynamic* quantization measures it again in every call.

# %% tags=["nbval-ignore-output"]
from dl_course.deploy import benchmark, quantize

calibration = load("digits", "val").tensors()[0]
static = quantize(export.path, folder / "static.onnx", calibration)
dynamic = quantize(export.path, folder / "dynamic.onnx")
benchmark([folder / "digits.safetensors", export.path, static, dynamic], test).round(4)

# %% [markdown]
# Read the table from left to right. A file of integers has about a third of the bytes. The accuracy hardly moves. And
# the time? It depends on the processor, and on whether ONNX Runtime has a fast kernel for that operation. Measuring the
# range in every call takes time, too. So never assume that integers are faster: measure.
#
# The column *integer layers* is there because of a trap. Some tools skip layers that they can't quantize, and say nothing.
# PyTorch's old `quantize_dynamic` quantizes linear layers and skips every convolution. If you look only at the accuracy,
# you are delighted: nothing was lost! So look at what *was* quantized.

# %% [markdown]
# ## 6. A service
#
# Now for the strangers. A **service** is a program that waits for requests and answers them over HTTP, the protocol of
# the web. Ours has two addresses: `GET /health` asks whether it is ready, and `POST /predict` sends pictures and gets
# back their classes. In a terminal you would start it like this:
#
# ```
# dl-course serve digits.onnx --port 8000
# ```
#
# At `http://127.0.0.1:8000`, your browser then shows a page where you can draw a digit. (The page centres and scales
# your drawing as MNIST's digits are. The small digits that this network learned from fill their pictures more, so it
# will misread many of yours: section 9 has more about such differences.) Here we start the same server beside the
# notebook, on a free port. It doesn't use PyTorch at all. We also hand it two functions of a log, which we'll need
# soon.

# %%
import httpx

from dl_course.deploy import Limits, PredictionLog, serving

log, running = PredictionLog(reader.classes), ExitStack()
hooks = {"on_prediction": log.record, "on_refusal": log.refuse}
limits = Limits(pixels=1_000_000)
address = running.enter_context(serving(export.path, limits=limits, **hooks))
client = running.enter_context(httpx.Client(base_url=address, trust_env=False))
client.get("/health").json()["status"]

# %% [markdown]
# The client plays the stranger. It knows nothing about networks: it has a PNG and sends its bytes.

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
# Status 200 means "fine". One request can carry several pictures, as a form with files. Here are eight, each with the
# service's answer above it.

# %% alt="Eight handwritten digits in two rows; above each the class that the service answered and its confidence"
from dl_course.plots import image_grid

files = [("pictures", ("digit.png", png(picture), "image/png")) for picture in pictures[:8]]
said = client.post("/predict", files=files).json()["predictions"]
titles = [f"{each['class']} ({each['confidence']:.0%})" for each in said]
_ = image_grid(pictures[:8], titles, columns=4)

# %% [markdown]
# ### A photograph, and the preparation that must travel
#
# Our digits had exactly the size that the network takes. Photographs never do: somebody must cut and shrink them, and
# the service must do it as it was done in training. If it doesn't, the network sees a kind of picture that it was never
# trained on. This is **training–serving skew**. It raises no error, so only a comparison finds it.
#
# The network of chapter 09, trained on ImageNet, expects the middle seven eighths of a photograph. `Predictor.of` knows
# this. `to_onnx` writes the normalization into the file's steps, and the crop beside the names of the classes: the steps
# take pictures of one size, so the service has to cut first.

# %% tags=["nbval-ignore-output"]
from dl_course.models import pretrained

photos = [picture for picture, _ in load("photos")]
cat = photos[0]
lite0 = Predictor.of(pretrained("efficientnet_lite0"))
to_onnx(lite0, folder / "photographs.onnx")

# %% [markdown]
# Now a stranger sends the cat to a service with this file. Beside the service's answer stands PyTorch's own.

# %%
with serving(folder / "photographs.onnx") as there:
    answer = httpx.post(f"{there}/predict", content=png(cat), headers=kind, trust_env=False)
over_http = answer.json()["predictions"][0]["probabilities"]
in_pytorch = dict(zip(lite0.classes, lite0.probabilities(cat)[0].tolist(), strict=True))
both = pd.DataFrame({"PyTorch": in_pytorch, "over HTTP": over_http})
print("the same" if both.diff(axis=1).abs().max(axis=None) < 1e-4 else "not the same")
both.nlargest(4, "PyTorch").round(2)

# %% [markdown]
# The first three are kinds of domestic cat, and the numbers on both sides are the same: the crop has travelled.
#
# And without it? Here are two mistakes that are easy to make. The first service squeezes the whole picture into a
# square. The second has read it with a library that puts blue first, so red and blue are swapped. The weights are the
# same. Above each picture, as the network sees it, stands what it then says.

# %% alt="The same cat three times, with what the network says above it: cut from the middle as in training, squeezed so that the head is narrower, and with red and blue swapped, which turns orange fur blue" tags=["nbval-ignore-output"]
from dl_course.models import fitted

squeezing = Predictor(lite0.model, lite0.steps, lite0.classes, shape=lite0.shape)  # no crop
ways = {"as in training": (lite0, photos), "squeezed": (squeezing, photos)}
ways["red and blue swapped"] = lite0, [picture.flip(0) for picture in photos]
said = {way: reads(pictures) for way, (reads, pictures) in ways.items()}
seen = [fitted(shown[0], lite0.shape, reads.crop) for reads, shown in ways.values()]
titles = [f"{way}: {table.loc[0, 'class']}" for way, table in said.items()]
_, ax = plt.subplots(figsize=(9, 3.2))
_ = image_grid(seen, titles, ax, columns=3)

# %% [markdown]
# One picture proves little. How many of the course's twelve photographs get another name than they did as in training?

# %%
names = pd.DataFrame({way: table["class"] for way, table in said.items()})
changed = names.iloc[:, 1:].ne(names["as in training"], axis=0).sum()
changed.to_frame(f"of {len(names)} named differently")

# %% [markdown]
# No exception, no refused request, and confidences that look like any others. Whether a new name is better or worse
# matters less than this: the accuracy on the model card was measured with the preparation of the training. It says
# nothing about any other. So let one piece of code, or one file, prepare the pictures in both places, and compare the
# two ends with a real picture, as we just did.

# %% [markdown]
# ## 7. What must be refused
#
# A notebook has one user, who means well. A service gets everything: a PDF, half a picture from a broken connection, a
# photo of 200 megabytes. And it gets attacks. A **decompression bomb** is a tiny file that unpacks to gigabytes.

# %%
ask("08-when-to-measure")

# %% [markdown]
# A good service refuses bad input before it does any work, says why, and carries on. HTTP has status codes for that:
# **413** too large, **415** unsupported type, **400** broken. Codes from 400 to 499 mean that the request is at fault;
# codes from 500 mean that the server is. No picture, however damaged, should lead to a **500**, which says that the code
# crashed. (There is one good use of a 5xx, **503** for "too busy"; we'll meet it soon.)
#
# Decoders were written for good files. On damaged ones they raise whatever happens to go wrong: Pillow raises `OSError`
# for a PNG that was cut off, `SyntaxError` for one with a wrong length inside, `ValueError` for a damaged BMP, and
# `TypeError` for a damaged TIFF.
#
# **Exercise.** Write `status_for`: the status code for a body. First check its length, then the size that the header
# claims, before anything is unpacked, and then whether it can be unpacked.

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
# Now ask the real service. We send it a text, half a PNG, nothing, and a blank sheet of sixteen million pixels, and with
# each a header that says what it is, the *content type*. Compare the bytes that we send with the answers.

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
# Each refusal has a reason that the sender can act on, and none reveals anything about our code. After all that, the last
# row is answered as if nothing had happened. (Our service believes the content type. Text is a type it doesn't support,
# 415. A body that claims to be a picture and isn't one is broken, 400. Your function had only the bytes to go by.) There
# are more limits, each against one way to bring a service down. These are the limits of the server that we just asked:

# %%
pd.Series(vars(limits), name="limit", dtype=object).to_frame()

# %% [markdown]
# `seconds` stops a sender who trickles one byte a minute. `concurrent` is how many requests are handled at once; the next
# one gets a **503**: try again later. That is the 5xx a service *should* send when it is full. It is better than a queue
# in which everybody waits too long.

# %% [markdown]
# ## 8. The log
#
# What do you know about your network once it is in use? Only what you record. `PredictionLog` keeps the classes,
# confidences and times of the latest pictures, in bounded memory. It doesn't keep the pictures: they belong to the people
# who sent them. First, some traffic.

# %% tags=["nbval-ignore-output"]
from concurrent.futures import ThreadPoolExecutor


def send(picture):
    """Send one picture; return the status of the answer."""
    return client.post("/predict", content=png(picture), headers=kind).status_code


with ThreadPoolExecutor(8) as users:
    statuses = list(users.map(send, pictures[:200]))
print(pd.Series(statuses).value_counts().to_dict())
log.summary().round(2).to_frame("value")

# %% [markdown]
# *p99* is the time that only one request in a hundred exceeds. Users remember that one, not the median. The row *refused*
# counts the bad requests that we have just sent. Each request also wrote one line to the log of the process, as JSON, so
# that other programs can read it. Now stop the server. It answers the requests it has accepted, and then exits.

# %%
running.close()
log.refused.total()

# %% [markdown]
# ## 9. The world changes
#
# The service runs, answers within milliseconds, and reports no errors. And yet it may have become useless. Somebody mounts
# the camera at an angle. A new form has dark digits on white paper. People start to write letters. The network still
# answers, because it always answers. Such a change in the data is called **drift**.
#
# Labels would show it, but in use nobody gives you labels. So we compare what we *do* have, confidences and predicted
# classes, with those from a time when everything worked. That is a question about two samples, and statistics has tests
# for it:
#
# - the **Kolmogorov–Smirnov** test, for two samples of numbers: do the confidences have the same distribution?
# - the **chi-square** test, for two rows of counts: are the classes as frequent as before?
#
# Each gives a p-value: how often chance alone produces so large a difference when nothing has changed.

# %%
ask("08-false-alarms")

# %% [markdown]
# Every test raises a false alarm now and then, and two tests have two chances. *Bonferroni's* remedy is to multiply the
# smaller p-value by the number of tests.
#
# **Exercise.** Write `drift_p_value`. SciPy has both tests. A class may occur in only one of the samples.

# %% tags=["exercise"]
def drift_p_value(confidence, classes, new_confidence, new_classes) -> float:
    """Return one p-value for "nothing has changed": twice the smaller of two, and at most 1.

    confidence (N,), classes (N,): predicted for the reference; new_…, (M,): for new pictures.
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
# Try it on three samples: other digits of the same kind, those digits inverted, and those digits turned. The reference
# must be pictures that the network wasn't trained on. On its training pictures, it is more confident than it will be on
# any others.

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
# Why not simply look at the mean confidence? Because nobody can say how far it has to fall. A threshold chosen by feeling
# gives either no alarms or far too many. The test accounts for how much chance alone changes with so many pictures. If you
# set the alarm at 0.01, at most about one quiet day in a hundred has a false alarm. That is a price you can choose.
#
# The course's `drift` adds a third test. It trains a small classifier to tell old pictures from new ones by some coarse
# features, on one half of each sample, and tests it on the other half. If it can tell them apart, something has changed,
# whatever it is. (Instead of Bonferroni's correction it uses Holm's, which detects a little more.)

# %% tags=["nbval-ignore-output"]
from dl_course.deploy import drift

served = load_onnx(export.path)


def logged(pictures):
    """Return the log's table of the file's predictions for these pictures."""
    log = PredictionLog(reader.classes)
    log.record(served.probabilities(pictures), 0.0, pictures)
    return log.table()


reference = logged(old)
drift(reference, logged(rotate(new, 20)))

# %% [markdown]
# Now two weeks in the life of a service. Every day brings 150 digits. After day 6 the camera's screw works loose, and each
# day the pictures are turned by three more degrees. For each day we record the p-value and, although nobody could see it
# in real life, the accuracy.

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
# Look for two days: the one on which the upper curve falls below the line, and the one on which the lower curve starts to
# fall.

# %% tags=["nbval-ignore-output"] alt="Two panels over fourteen days: the p-value wanders near one, and falls far below the alarm line once the camera slips; the accuracy falls days later"
figure, axes = plt.subplots(2, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
shown = days["p"].clip(lower=1e-15)  # what is smaller would only stretch the axis
shown.plot(ax=axes[0], style="o-", logy=True, ylabel="p-value", ylim=(1e-16, 10))
axes[0].axhline(0.01, color="C1", linestyle="--", label="alarm below")
axes[0].legend()
_ = days["accuracy"].plot(ax=axes[1], style="s-C2", ylabel="accuracy", ylim=(0, 1.05))

# %% [markdown]
# As long as nothing changes, the p-value stays above the line. Then it drops far below. Compare the day of the alarm
# with the accuracy on that day: that is the point of monitoring, to notice before your users do.
#
# An alarm isn't a verdict. It says "look", and nothing more. Perhaps a school class is visiting, and everything is fine.
# Collect some labels, and measure.
#
# ### Feedback: the users' corrections
#
# Labels can come from the users. Put a "that's wrong" button beside each answer, and let them correct it. With their
# consent you keep the picture, the answer, the correction, the date and the model's version. A correction becomes data in
# four steps: a second person confirms it; exact copies are removed; *some of the new pictures go to a test set*, which no
# training ever sees; the others join the next version of the training data (chapter 07).
#
# But what users send is no random sample. They report what annoys them. Suppose that they correct 60 of 100 wrong
# answers, and confirm 5 of 100 right ones. The digits are turned by 25°.

# %% tags=["nbval-ignore-output"]
answers, _ = predict_in_batches(run, rotate(pictures, 25).numpy(), 100)
right = answers == labels.numpy()
drawn = np.random.default_rng(0).random(len(right))
sent = drawn < np.where(right, 0.05, 0.6)
asked = np.random.default_rng(1).permutation(len(right))[: sent.sum()]
shares = {"all pictures": right, "what users send": right[sent],
          "as many at random": right[asked]}
pd.DataFrame({"pictures": map(len, shares.values()), "right": map(np.mean, shares.values())},
             index=shares).round(2)  # fmt: skip

# %% [markdown]
# The feedback is a good source of *hard* pictures to train on, and a bad estimate of the accuracy. To know how good the
# service is, label a random sample of its pictures, too.

# %% [markdown]
# ## 10. A new network, in the shadow
#
# One day you have a better network, or a smaller one. Don't just replace the old one. Let both read the same requests for
# a while, and show the users only the old one's answers: the new one runs in **shadow mode**. Then compare the two with
# the paired comparison of chapter 06. Here the file of integers is to replace the file of floats.

# %%
ask("08-no-disagreement")

# %%
from dl_course.deploy import shadow

comparison = shadow(served, load_onnx(static), test)
comparison

# %% [markdown]
# Both have read the same pictures, so only those count that just one of the two gets right. Even if there are none, the
# interval has a width: a few hundred pictures can't rule out a difference of about one in a hundred. (The *rule of three*
# says it in your head: if something never happened in $n$ cases, its rate may still be up to $3/n$.) Is that close enough?
# If not, let the shadow run longer.
#
# An **A/B test** shows each network to half of the users instead. It costs more, because now mistakes reach people. You
# need it if the users' behaviour is what you want to measure.
#
# ## 11. On a phone
#
# A phone has little memory, a battery, and no Python. Three ways lead there:
#
# - **ONNX Runtime** has packages for Android and iOS. It reads `digits.onnx` as it is, or a file in its own *ORT format*,
#   which a smaller build of the runtime can read. The converter also lists the operators that the file needs; a build with
#   only these is smaller still.
# - **ExecuTorch** is PyTorch's own way: it compiles the result of `torch.export` to a `.pte` file, and hands parts of it
#   to the phone's accelerators.
# - **Core ML** (Apple) and **LiteRT** (Google, once *TensorFlow Lite*) have converters of their own, too.
#
# We take the first. After every conversion, compare again.

# %%
import subprocess
import sys

tool = "onnxruntime.tools.convert_onnx_models_to_ort"
convert = [sys.executable, "-m", tool, str(export.path), "--optimization_style", "Fixed"]
done = subprocess.run(convert, capture_output=True, text=True)
assert done.returncode == 0, done.stderr

# %%
phone = onnxruntime.InferenceSession(export.path.with_suffix(".ort"))
(logits,) = phone.run(["logits"], {"pictures": pictures.numpy()})
gap = np.abs(logits - run(pictures.numpy())).max()
print("the same" if gap < 1e-5 else f"{gap:g} apart")
needed = export.path.with_suffix(".required_operators.config").read_text().splitlines()
print(*(line for line in needed if not line.startswith("#")), sep="\n")

# %% [markdown]
# Each of the last lines names a set of operators, its version, and the operators in it that the file needs. On a phone,
# bytes and battery matter, so this is where integers pay off most. Measure on the phone itself: your laptop's times say
# nothing about it.

# %% [markdown]
# ## 12. The card
#
# A model you hand on needs a card. It says what the network is for, how good it is, and where it must not be used. This
# card takes its numbers from the cells above, so they can't be out of date.

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown

first_alarm = days.index[days["p"] < 0.01].min()
Markdown(f"""
**digits.onnx**, {export.bytes:,} bytes, opset {export.opset}

- *For*: single handwritten digits, 28×28, bright on black. *Not for*: letters, several digits,
  anything where a wrong digit does harm and nobody checks.
- *Made from*: scikit-learn's digits, training part; seed {record["seed"]}.
- *Accuracy*: {(classes == labels.numpy()).mean():.4f} on {len(test)} unseen pictures.
- *Verified*: at most {max(export.differences.values()):.0e} from PyTorch, any batch size.
- *Watched by*: `drift` against {len(old)} unseen pictures, alarm below 0.01. In a trial with a
  slipping camera, which began on day 7, the alarm came on day {first_alarm}.
""")

# %% [markdown]
# ## What else there is
#
# - **Containers.** The repository's `Containerfile` packs the service with everything it needs, so that it runs the same
#   everywhere. It contains ONNX Runtime and no PyTorch, which keeps it small.
# - **Encryption and passwords.** Our service has neither. On the internet, it belongs behind a proxy that has both.
# - **Versions.** Keep every file that ever answered, with the commit and the data that made it. When someone asks why a
#   digit was misread last May, you'll want to know which network it was.

# %% [markdown]
# ## Summary
#
# - Hand on preparation, network and names in one file. Then nobody can forget a step, and training and serving see the
#   same pictures.
# - An export is a translation: compare it at several batch sizes, and count NaN and exceptions as wrong.
# - Latency and throughput are two different numbers. Measure both, at the batch sizes you'll have.
# - Integers are sure to save bytes, and may save time. Look at how much was quantized.
# - A service refuses early, with a reason, and its limits are numbers that you chose. Damaged pictures raise every kind of
#   exception.
# - Drift is a question about two samples. A test accounts for chance; a threshold chosen by feeling doesn't.
# - Users' corrections are data to train on, and no estimate of the accuracy. No disagreement on few pictures proves little.
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
