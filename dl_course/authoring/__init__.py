"""From a lesson's text in solutions/ to the learner's notebook in chapters/."""
