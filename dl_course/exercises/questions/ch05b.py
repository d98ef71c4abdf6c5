"""Questions of chapter 05b."""

from __future__ import annotations

import torch

from dl_course.exercises.questions import Choice, Number, Shape

QUESTIONS = (
    Shape(
        "05b-pooled-gradient",
        "For a batch of 6 pictures, `stage3` puts out maps of shape (6, 32, 16, 16). What is the shape "
        "of the weights α, one for each channel, as `gradient.mean(dim=(2, 3), keepdim=True)` gives them?",
        lambda: torch.zeros(6, 32, 16, 16).mean(dim=(2, 3), keepdim=True).shape,
        "The mean is over height and width. Every picture keeps weights of its own, one per channel, and "
        "the two axes of length 1 let them multiply the maps.",
        {
            (6, 32): "Those are the right numbers, but `keepdim` keeps the averaged axes with length 1.",
            (32,): "That would average over the pictures, too; each picture has gradients of its own.",
            (1, 32, 1, 1): "`dim` doesn't name axis 0: the six pictures stay apart.",
            (6, 1, 16, 16): "That is one weight per place. Grad-CAM has one weight per channel.",
        },
    ),
    Choice(
        "05b-centre-baseline",
        "On average the shape covers 5 to 10 % of a picture. It may lie anywhere, but always wholly "
        "within the picture. How often does a map that always points at the middle hit it?",
        "more often than 10 %: the middle is covered more often than the border",
        "A shape that lies wholly within the picture can't have its centre at the border, so the middle "
        "is covered more often than an average pixel. This is why the baseline is measured, and not "
        "guessed.",
        {
            "about as often as the area it covers: 5 to 10 %": "That holds for a random pixel. But "
            "places near the border are rarely covered, so those in the middle are covered more often "
            "than average.",
            "hardly ever, since the shapes are placed at random": "At random, but wholly within the "
            "picture: that favours the middle.",
            "about half of the time": "For that, half of all shapes would have to cover the middle; each "
            "covers only a small part of the picture.",
        },
    ),
    Choice(
        "05b-how-many-pictures",
        "The half-width of the 95 % interval of a mean over 20 pictures is 0.06. You want 0.012, a fifth "
        "of it. How many pictures do you need, roughly?",
        "500",
        "The interval shrinks with the root of the number of pictures: five times as narrow takes 25 "
        "times as many.",
        {
            "100": "Five times as many pictures make it narrower by √5, which is 2.2.",
            "45": "That makes it narrower by 1.5: it goes by the root of the number, not by its square.",
            "2,500": "That is 125 times as many, and makes it narrower by 11.",
        },
    ),
    Choice(
        "05b-shortcut",
        "In the test pictures, the patch has the colour of another class. How often will this network "
        "name the shape?",
        "hardly ever, less often than by guessing",
        "It doesn't guess when the patch misleads: it follows the patch, to a class that is always wrong.",
        {
            "nearly always: it was right on all validation pictures": "There the patch and the shape "
            "agreed, so you couldn't see which of the two it used.",
            "about half of the time: it uses both": "If it used both. The maps say that it uses the "
            "patch alone.",
            "about 10 %, as by guessing": "Guessing would ignore the patch. This network believes it.",
        },
    ),
    Choice(
        "05b-probe-depth",
        "A linear probe reads the class from the features of each layer, averaged over places. Guessing "
        "would be right on 10 %. What do you expect of the stem, the first layer?",
        "more than guessing, but far from half",
        "Averaged over the picture, responses to edges and colours say little about a shape. The layers "
        "after it combine them.",
        {
            "exactly 10 %: it knows nothing": "What edges there are, and how many, depends on the shape "
            "a little: enough for more than guessing.",
            "nearly as much as the last stage": "Then the other stages would have nothing left to do, "
            "and a network of one layer would suffice.",
            "about half": "Half is reached further in, where responses to edges have been combined.",
        },
    ),
    Number(
        "05b-noise-or-fgsm",
        "Pictures have 3 × 64 × 64 values in [0, 1]. Random signs and FGSM both move each value by "
        "2/255. The first leaves the accuracy as it was. By how many times is the change by FGSM longer, "
        "as a vector (‖x′ − x‖, clipping aside)?",
        1,
        "Both move every value by the same amount, so both changes are equally long: 2/255 times the "
        "root of 12,288. All of the difference lies in the direction.",
        {
            2: "The step is 2/255 for both.",
            12288: "That is how many values there are; both methods move all of them.",
        },
    ),
)
