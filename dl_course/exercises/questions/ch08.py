"""Questions of chapter 08."""

from __future__ import annotations

from scipy.stats import norm

from dl_course.exercises.questions import Choice, Number

QUESTIONS = (
    Choice(
        "08-fixed-batch",
        "A network is exported with an example of two pictures, and the batch size is left fixed. What "
        "happens with the first user, who sends one picture?",
        "The file refuses it: it takes two at a time.",
        "The example's size is written into the file unless you declare it dynamic, as `Dim` does.",
        {
            "Nothing special: sizes are never part of the file.": "They are, unless you say otherwise: the "
            "exporter sees only the example.",
            "It gets an answer, computed more slowly.": "A fixed size isn't a matter of speed. The shapes "
            "don't fit.",
        },
    ),
    Number(
        "08-bytes-of-int8",
        "A million weights are stored as float32, four bytes each. How many times smaller is the same list "
        "as int8?",
        lambda: 4.0,
        "One byte instead of four. A whole file shrinks by less: it also holds steps, biases and names.",
        {
            2: "That would be float16, with two bytes.",
            8: "int8 has 8 bits, which is one byte. float32 has 32 bits.",
        },
        tolerance=0.1,
    ),
    Choice(
        "08-when-to-measure",
        "A body of 100 kB claims to be a PNG of 60,000 × 60,000 pixels. When can you know that it is too "
        "large?",
        "after reading its header",
        "Width and height are in the first bytes. If you unpack first, you have already used gigabytes.",
        {
            "when it is unpacked": "By then, the gigabytes are in memory. That is what the sender wanted.",
            "from its number of bytes": "100 kB is an ordinary size. A blank picture compresses very well.",
        },
    ),
    Number(
        "08-false-alarms",
        "Two tests look for drift, each with an alarm below p = 0.05. Nothing has changed. If the tests are "
        "independent, what is the probability of at least one false alarm?",
        lambda: 1 - 0.95**2,
        "1 − 0.95 × 0.95: nearly twice that of one test. This is what Bonferroni's correction repairs.",
        {
            0.05: "That is for one test. Two have two chances.",
            0.0025: "That is the probability that *both* raise a false alarm.",
        },
        tolerance=0.003,
    ),
    Choice(
        "08-no-disagreement",
        "Two networks read the same 359 pictures and are right on exactly the same ones. What do you know "
        "about the difference in their accuracies?",
        lambda: f"It could be {norm.ppf(0.975) ** 2 / (359 + norm.ppf(0.975) ** 2):.0%}, either way.",
        "What happens in one of 300 cases can easily be missed in 359. The fewer pictures, the wider the "
        "interval, even if nothing was seen.",
        {
            "It is 0.": "On these pictures. On the next ones, the two may well disagree.",
            "It could be 10%, either way.": "Then about 36 pictures would have shown it.",
        },
    ),
)
