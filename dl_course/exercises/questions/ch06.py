"""Questions of chapter 06."""

from dl_course.exercises.questions import Choice, Number

QUESTIONS = (
    Number(
        "06-second-exam",
        "A hundred students guess their way through a hundred yes-or-no questions. The best one "
        "takes a second exam, "
        "again by guessing. What share of right answers do you expect of that student?",
        0.5,
        "A coin doesn't remember its first exam. The high score came from picking the best of a hundred.",
        {
            0.67: "That is about what the best one gets in the *first* exam. Being picked doesn't "
            "make a guess better."
        },
        tolerance=0.02,
    ),
    Choice(
        "06-mirror",
        "Which of these must not be used to augment digits?",
        "mirroring them, left to right",
        "A mirrored 2 isn't a 2, and nobody writes one. The network would learn from digits that "
        "don't exist.",
        {
            "turning them by up to 8°": "People's writing leans by more than that, and it stays readable.",
            "shifting them by a pixel or two": "A digit stays the same digit wherever it is on the page.",
            "enlarging them by up to 8 %": "A digit that is a little larger is still the same digit.",
        },
    ),
    Choice(
        "06-who-can-tell",
        "Two networks read the same 10,000 pictures. Which of these tell you which network is better?",
        "those that only one of them reads correctly",
        "Where both are right, or both are wrong, they are level. All of the difference comes from the rest.",
        {
            "all of them": "They all count in the accuracies. But the ones where both are right, or "
            "both wrong, add "
            "the same to each.",
            "those that neither reads correctly": "There the two are equally bad.",
        },
    ),
    Choice(
        "06-cover-the-best",
        "You try nearly two hundred windows on a misread digit, and report the one that hurts the "
        "wrong answer most. "
        "What must stand beside that result?",
        "what a window does that wasn't searched for",
        "The best of two hundred is partly luck, as with the students. A random window on the ink "
        "shows how much.",
        {
            "the network's accuracy": "It says how often the network is right, and nothing about windows.",
            "nothing: the search was thorough": "The more windows you try, the better the best one "
            "looks, by luck "
            "alone.",
        },
    ),
    Choice(
        "06-must-it-change",
        "Every digit is turned by 180°. Which behaviour would be a mistake of the network?",
        "It still calls every 6 a 6.",
        "Turned by 180°, a 6 *is* a 9. An answer that has to change is as good a test as one that "
        "has to stay.",
        {
            "It calls every 6 a 9.": "That is what a reader would do, too.",
            "It still calls every 0 a 0.": "A 0 looks much the same on its head.",
        },
    ),
    Choice(
        "06-temperature",
        "All logits are divided by a temperature of 2. What happens?",
        "The confidence falls, the answers stay.",
        "Dividing keeps the order of the logits, so the largest stays the largest. But its lead "
        "shrinks, and with it "
        "the confidence.",
        {
            "The confidence falls, and some answers change.": "Dividing all logits by the same "
            "positive number keeps "
            "their order.",
            "The confidence rises, the answers stay.": "That takes a temperature *below* 1: it "
            "stretches the leads.",
        },
    ),
)
