"""When a definition alone is what the notebook makes of it: only where nothing else can change it."""

import pytest

from dl_course.grading.alone import changes_unseen, stands_alone
from dl_course.notebooks import statements_of
from tests.grading.odd import ODD

TOP = "import numpy as np\nimport torch\nfrom dl_course import check\nLOW = 0\nTABLE = {}\n"
TOP += "class Cut:\n    pass\ndef cut(x):\n    return np.maximum(x, LOW)\n"
ANSWERS = {
    "plain": "def relu(x):\n    return cut(x)",
    "data": "def relu(x):\n    return np.maximum(x, TABLE['low'])",
    "class": "def relu(x):\n    return Cut()(x)",
}


def alone(*cells, answer="plain"):
    statements = [each for cell in (TOP, *cells) for each in statements_of(cell)]
    return stands_alone([*statements, *statements_of(ANSWERS[answer])], "relu")


@pytest.mark.parametrize(
    "beside",
    [
        "",
        "check(cut)\ncut(np.ones(3))\nx = [cut(i) for i in range(3)]",
        "%matplotlib inline\n!pip list\n%time y = cut(3)\n?cut",
        "import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 100\nplt.show()",
        "import os\nos.environ['A'] = '1'\ntorch.manual_seed(0)",
        "class Net:\n    def __init__(self):\n        super().__init__()\n        self.a = 1",
        "def heal(patient):\n    patient.rate = 1\n    return patient\nheal(Net())",
        "model = torch.nn.Linear(1, 1)\nmodel.bias.data[0] = 1\nmodel.eval()",
        "from dl_course import solution\n@solution\ndef other():\n    pass",
        "import numpy as np",
        "1 / 0",
    ],
)
def test_ordinary_cells_leave_a_definition_alone(beside):
    assert alone(beside)


@pytest.mark.parametrize(
    ("answer", "beside"),
    [
        ("plain", "np.maximum = min"),
        ("plain", "torch.Tensor.cut = cut"),
        ("plain", "def add(it):\n    it.cut = 1\nfrom torch import Tensor\nadd(Tensor)"),
        ("plain", "setattr(torch, 'a', 1)"),
        ("plain", "globals()['LOW'] = 1"),
        ("plain", "exec('LOW = 1')"),
        ("plain", "torch.set_default_dtype(torch.float64)"),
        ("plain", "import os\nos.chdir('x')"),
        ("plain", "%run other.py"),
        ("plain", "%%writefile a.py\nx = 1"),
        ("plain", "def set_low():\n    global LOW\n    LOW = 1"),
        ("plain", "@somebody\ndef other():\n    pass"),
        ("plain", "cut.low = 3"),
        ("plain", "from numpy import *"),
        ("plain", "for LOW in range(3):\n    pass"),
        ("plain", "def relu(x):\n    return x\ncheck(relu)"),
        ("data", "TABLE['low'] = 0"),
        ("data", "TABLE.update(low=0)"),
        ("data", "fill(TABLE)"),
        ("class", "Cut.__call__ = cut"),
        ("class", "Other = Cut"),
        ("class", "def add(it):\n    it.cut = 1\nadd(Cut)"),
    ],
)
def test_a_definition_does_not_stand_alone_where_something_may_change_it(answer, beside):
    assert alone(answer=answer)
    assert not alone(beside, answer=answer)


def test_a_helper_that_is_defined_again_below_the_answer_is_another_one():
    cells = [
        *statements_of(TOP),
        *statements_of(ANSWERS["plain"]),
        *statements_of("def cut(x):\n    return 0"),
    ]
    assert not stands_alone(cells, "relu")


def test_a_name_may_be_bound_unseen_by_magic_exec_and_star_imports_alone():
    quiet = [each for cell in (TOP, *ANSWERS.values()) for each in statements_of(cell)]
    assert not changes_unseen(quiet)
    for cell in ("%run a.py", "exec(text)", "from tools import *", "globals().update(relu=1)"):
        assert changes_unseen(statements_of(cell))


def test_of_the_odd_notebooks_most_need_their_cells_run():
    told = 0
    for cells in ODD.values():
        statements = [each for cell in cells for each in statements_of(cell)]
        told += any("relu" in each.binds for each in statements) and stands_alone(statements, "relu")
    assert 10 < told < len(ODD) / 2
