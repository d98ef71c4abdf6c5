"""Questions of chapter 05."""

from __future__ import annotations

import torch
from torch import nn

from dl_course.exercises.questions import Choice, Number, Shape

QUESTIONS = (
    Number(
        "05-hooks-left",
        "The cell that registers the hook has been run once. Now its line runs twice more, in a loop. "
        "How many hooks are on the layer?",
        3,
        "`register_forward_hook` adds a hook and replaces none, not even one with the same function.",
        {
            1: "That would be so if a hook replaced the one before it. It is added to the others.",
            2: "The first one is still there, too: nobody has removed it.",
        },
    ),
    Shape(
        "05-stem-shape",
        "Six pictures of 3×64×64 go through the stem: a 3×3 convolution to 16 channels with stride 2 and "
        "padding 1, a norm, a ReLU and `nn.MaxPool2d(2)`. What is the shape of the result?",
        lambda: nn.MaxPool2d(2)(nn.Conv2d(3, 16, 3, stride=2, padding=1)(torch.zeros(6, 3, 64, 64))).shape,
        "Convolution and pooling halve height and width once each; norm and ReLU keep the shape.",
        {
            (6, 16, 32, 32): "That is after the convolution. `nn.MaxPool2d(2)` halves once more.",
            (6, 16, 64, 64): "The stride of 2 halves height and width, and so does the pooling.",
            (6, 16, 15, 15): "That would be without padding: the kernel could not stand at the border.",
            (6, 3, 16, 16): "The number of channels is that of the kernels, 16, not that of the picture.",
        },
    ),
    Choice(
        "05-deep-kernels",
        "`stage1.conv1` turns 16 channels into 32, with 3×3 kernels. How many numbers does one of its "
        "kernels have?",
        lambda: str(nn.Conv2d(16, 32, 3).weight[0].numel()),
        "A kernel has a slice of 3×3 for each of the 16 input channels, and adds up what they find.",
        {
            "9": "That is one slice. A kernel has one for each input channel.",
            "288": "That is 3×3×32: the 32 output channels are 32 kernels. Each has a slice per *input* "
            "channel.",
            "4,608": "That is all 32 kernels together.",
        },
    ),
    Choice(
        "05-zeros-or-dead",
        "Over 500 pictures, 80 % of a layer's outputs are zeros. What does that say about its units?",
        "by itself nothing: they may all be alive, each for a fifth of the pictures",
        "A unit that responds to one picture in five is selective and alive. Only a unit that never "
        "responds is dead.",
        {
            "80 % of its units are dead": "That holds only if the zeros pile up in units that never "
            "respond. They may just as well be spread over all units.",
            "at least some units are dead": "Not even that: every unit may respond to its own fifth of "
            "the pictures.",
            "the learning rate was too high": "It may have been, but healthy ReLU layers have many "
            "zeros, too.",
        },
    ),
    Choice(
        "05-back-from-the-dead",
        "A unit is dead in epoch 2. In which layer can it come back to life while training goes on, if "
        "no gradient reaches its own weights?",
        "in the second: the layer before it keeps moving its input",
        "Its own weights stand still in both layers. In the second, the input changes as the first layer "
        "learns; in the first, the input is the data.",
        {
            "in the first: it sees the data directly": "That is just what keeps it dead: neither the "
            "data nor its weights change, so its output stays zero.",
            "in both, since Adam's momentum moves weights without a gradient": "For a few steps after "
            "its death, yes; then the momentum has faded, and the weights stand still.",
            "in neither: without a gradient nothing changes": "Its weights don't. But a unit's output "
            "depends on its input, too.",
        },
    ),
    Choice(
        "05-twice-he",
        "Twenty layers with ReLU, and weights twice as large as He's. How does gradient / weight compare "
        "across the layers?",
        "about level over the layers, and enormous in all of them",
        "A matrix's gradient is the product of what comes from the left, activations, and from the "
        "right, errors. Each doubles with every layer on its way; together, every place has the same "
        "number of doublings.",
        {
            "enormous in the first layers, moderate in the last": "The errors do double on their way "
            "back. But the activations that they meet were doubled on their way forward: fewer times in "
            "the first layers.",
            "moderate in the first layers, enormous in the last": "The activations double on their way "
            "forward. But the errors that they meet double on the way back: fewer times in the last "
            "layers.",
            "about level, and twice as large as with He's weights": "A factor of 2 in each of twenty "
            "layers multiplies: 2 to the power of 20 is a million.",
        },
    ),
)
