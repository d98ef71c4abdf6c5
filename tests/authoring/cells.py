"""Cells of lessons, as authors write them."""

DOUBLE = '''\
# %% tags=["exercise"]
def double(x):
    """Return 2x."""
    ### BEGIN SOLUTION
    return x + x
    ### END SOLUTION'''
CHECK_DOUBLE = '# %% tags=["check"]\ncheck(double)'
TRIPLE = DOUBLE.replace("double", "triple").replace("2x", "3x").replace("x + x", "3 * x")
CHECK_TRIPLE = CHECK_DOUBLE.replace("double", "triple")
SQUARE = DOUBLE.replace("double", "square").replace("2x", "x²").replace("x + x", "x * x")
CHECK_SQUARE = CHECK_DOUBLE.replace("double", "square")
TALLY = '''\
# %% tags=["exercise"]
class Tally:
    """Adds up: Σ."""

    def __init__(self, start: float) -> None:
        ### BEGIN SOLUTION
        self.total = start
        ### END SOLUTION

    def add(self, x) -> float:
        ### BEGIN SOLUTION
        self.total += float(x.sum())
        ### END SOLUTION
        return self.total'''
CHECK_TALLY = CHECK_DOUBLE.replace("double", "Tally")
