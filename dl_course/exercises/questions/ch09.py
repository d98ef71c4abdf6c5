"""Questions of chapter 09."""

from __future__ import annotations

import torch
from torch import nn

from dl_course.exercises.questions import Choice, Number, Shape
from dl_course.models import Preparation

_LITE0 = Preparation((3, 224, 224), 0.875, (0.498,) * 3, (0.502,) * 3)

QUESTIONS = (
    Shape(
        "09-prepared-shape",
        "The twelve photographs all have different sizes; `net.preparation` brings a picture to 3×224×224. "
        "What is the shape of `net.preparation(photos.images)`?",
        lambda: _LITE0(torch.zeros(12, 3, 300, 400, dtype=torch.uint8)).shape,
        "Each picture is cut and resized for itself, and then they fit into one batch.",
        {
            (3, 224, 224): "That is one picture. Twelve were given, and they come back as a batch.",
            (12, 224, 224, 3): "That is how Matplotlib and Pillow order it. PyTorch has the channels before "
            "height and width.",
            (1, 3, 224, 224): "That is a batch of one. Twelve pictures were given.",
        },
    ),
    Choice(
        "09-no-class",
        "The moon is none of ImageNet's 1,000 classes. What will the network do with its photograph?",
        "Give probabilities that add up to 1, over the names it has",
        'Softmax always shares out 100 %, and there is no class for "none of these". Sometimes the shares '
        "are small and even; sometimes one is large, and still wrong.",
        {
            "Give every class a probability near zero": "They can't all be small: softmax makes them add up "
            "to 1.",
            "Give every class about 1/1,000": "That would take equal logits. Features of any picture fit "
            "some classes better than others.",
            "Raise an error": "Nothing in a network knows which pictures it was trained for. Any tensor of "
            "the right shape gets an answer.",
        },
    ),
    Choice(
        "09-random-split",
        "Crops of one surface overlap. They are dealt out at random to training and test. "
        "Which method gains most from that?",
        "One that remembers its training pictures",
        "It finds nearly the same pixels again in the training set. What it knows about surfaces in general "
        "has not grown at all.",
        {
            "One with few parameters": "A small model can hardly remember single crops, so it gains little.",
            "Guessing at random": "Guessing doesn't look at the training set, so no leak can help.",
            "None: test crops aren't training crops": "As whole pictures they differ, but they share "
            "pixels, and that is enough.",
        },
    ),
    Number(
        "09-head-parameters",
        "The new head is a linear layer from 1,280 features to 8 classes, with a bias. How many parameters "
        "does it have?",
        lambda: sum(p.numel() for p in nn.Linear(1280, 8).parameters()),
        "A weight for each feature and class, 1,280 · 8, and a bias for each class, 8.",
        {
            10240: "Those are the weights. The bias has one more number for each class.",
            11520: "The bias has one number per class, not one per feature.",
            1281000: "That would be 1,280 features in, 1,000 out. The new head has 8 outputs.",
        },
    ),
    Choice(
        "09-frozen-statistics",
        "All weights of a network have `requires_grad=False`. One batch goes through it in training mode; "
        "there is no optimizer. What changes in the network?",
        "The running mean and variance of its batch norms",
        "They are buffers, updated in the forward pass in training mode. Neither gradients nor an optimizer "
        "have a part in it.",
        {
            "Nothing: no gradient, no optimizer": "True of the weights. Batch norm also keeps running "
            "statistics, and updates them while it runs.",
            "The weights, by weight decay": "Weight decay is applied by an optimizer in its step, and "
            "there is none.",
            "The weights and biases of its batch norms": "Those are parameters: without an optimizer's step "
            "they stay as they are.",
        },
    ),
)
