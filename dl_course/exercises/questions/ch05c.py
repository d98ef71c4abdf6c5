"""Questions of chapter 05c."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from dl_course.exercises.questions import Choice, Number

QUESTIONS = (
    Number(
        "05c-fresh-loss",
        "Ten classes, and a network that has learned nothing. About how large should the cross-entropy "
        "be, to one digit after the point?",
        lambda: math.log(10),
        "Each class has a probability of about 1/10, and −ln(1/10) = ln 10.",
        {
            1: "That is −log10(1/10). Cross-entropy uses the natural logarithm.",
            0.1: "That is the probability of the right class; the loss is minus its logarithm.",
            0: "That would be a network that is sure and always right.",
        },
        tolerance=0.06,
    ),
    Choice(
        "05c-double-softmax",
        "A network ends in a softmax, and the loss applies its own. What is the lowest loss that it can "
        "reach with ten classes, if it is right and as sure as it can be?",
        lambda: f"{F.cross_entropy(torch.eye(10)[:1], torch.tensor([0])).item():.2f}",
        "Its best scores are 1 and nine zeros. The second softmax makes a probability of e / (e + 9) of "
        "the first, which is 23 %.",
        {
            "0": "With logits it would be: they can grow without limit. Scores between 0 and 1 can't.",
            "2.30": "That is ln 10, where all scores are alike. One of them may be larger than the "
            "others by 1.",
            "1.00": "The scores differ by at most 1, but the loss also depends on the nine others.",
        },
    ),
    Choice(
        "05c-how-precise",
        "On 500 validation pictures, one network is right on 90 % and another on 91 %. Is the second one "
        "better?",
        "can't tell: each figure is only known to about ± 2.6 %",
        "The formula gives 1.96 times the root of 0.9 × 0.1 / 500, which is 2.6 %.",
        {
            "yes: the same pictures were used for both": "That helps, and a paired comparison may decide "
            "it. But five pictures more are few, if many others have changed sides.",
            "yes: 1 % of 500 pictures are five pictures": "Five of 500 is well within what another "
            "sample of pictures would change.",
            "no: it is equally good": "You can't tell this either. It may be better, by a little.",
        },
    ),
    Choice(
        "05c-checkup-order",
        "Our colleague's network has two faults: a softmax before the loss, and an optimizer that holds "
        "other weights. It also can't learn sixteen samples by heart. In which order should a report "
        "name these?",
        "the two faults first, then that it can't learn by heart, as their consequence",
        "Fixing the cause removes the consequence, never the other way round. A list without order sends "
        "you to the symptom.",
        {
            "what is most visible first: it can't learn by heart": "That is a symptom, and it doesn't "
            "say what to change.",
            "all three side by side": "Then you would look for a third cause that isn't there.",
        },
    ),
)
