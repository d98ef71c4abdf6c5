"""Questions of chapter 07."""

from __future__ import annotations

from dl_course.exercises.questions import Choice, Number

QUESTIONS = (
    Choice(
        "07-single-run",
        "The same training runs five times, each time with another seed. It judges by 378 pictures. How far "
        "apart are the best and the worst accuracy?",
        "by a percentage point or more",
        "Three percentage points here. The weights start elsewhere and the pictures come in another order, "
        "so each run ends elsewhere, too.",
        {
            "not at all": "That would be so with the same seed. Another seed means other first weights and "
            "another order of the pictures.",
            "by less than one picture in 378": "Small networks on few pictures aren't that stable. That is "
            "why one run isn't a result.",
        },
    ),
    Choice(
        "07-third-seed",
        "You have run two settings with two seeds each. What does a third seed do to the 95 % interval of "
        "their difference?",
        "It gets less than a third as long.",
        "The factor t falls from 12.7 to 4.3, and the root of n grows: from 9.0 to 2.5 standard deviations.",
        {
            "It gets about a fifth shorter.": "That is what the root of n alone does. The factor t falls "
            "much faster, because the standard deviation itself becomes known.",
            "It stays the same: more seeds only move the mean.": "More seeds make the mean more certain, so "
            "the interval shrinks.",
        },
    ),
    Choice(
        "07-when-pairs-help",
        "Two settings ran with the same seeds. Which correlation between their accuracies makes the paired "
        "interval shorter?",
        "a positive one",
        "Luck that both share drops out of the difference. The variance of a difference is that of both, "
        "minus twice their covariance.",
        {
            "a negative one": "Then a seed that lifts one setting lowers the other, and the differences vary "
            "even more.",
            "any: pairs always help": "Without correlation, pairs gain nothing, and half of the degrees of "
            "freedom are lost.",
        },
    ),
    Number(
        "07-log-scale",
        "Learning rates are drawn *evenly* between 0.0001 and 0.1. What share of them is above 0.01?",
        lambda: (0.1 - 0.01) / (0.1 - 0.0001),
        "Nine tenths of that range lie above 0.01. On a logarithmic scale it would be one third.",
        {
            0.333: "That is on a logarithmic scale, where each of the three powers of ten gets a third.",
            0.5: "Half of the range lies above 0.05. From 0.01 to 0.1 it is nine tenths.",
            0.1: "That is the share below 0.01.",
        },
        tolerance=0.01,
    ),
    Choice(
        "07-thirteen-and-twelve",
        "One process has 13 pictures, the other 12. Each takes the mean loss of its share, and the gradients "
        "are averaged. Is that the gradient of the mean loss of all 25?",
        "No: the pictures in the smaller share count for more.",
        "Each of the 12 pictures has the weight 1/24, and each of the 13 has 1/26. All should have 1/25.",
        {
            "Yes: a mean of means is the mean.": "Only if both shares have the same number of pictures.",
            "No: it is twice as large.": "It would be if gradients were added up. Here they are averaged.",
        },
    ),
)
