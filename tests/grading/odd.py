"""Odd and honest: right answers that a definition alone doesn't hold, or that stand among odd things.

Run from top to bottom in a notebook, what these cells define passes its check; so it has all its points here.
"""

from __future__ import annotations

import re

ODD: dict[str, tuple[str, ...]] = {}

_TOP = "import numpy as np\nfrom dl_course import ask, check, hint, progress, solution"


def odd(name: str, cells: str) -> None:
    """File a notebook, its cells parted by # %%; a check stands below them where they have none."""
    assert name not in ODD
    parts = [each.strip("\n") for each in re.split(r"^# %%$", cells, flags=re.MULTILINE)]
    ODD[name] = (_TOP, *parts, *([] if "check(relu)" in cells else ["check(relu)"]))


# magics -----------------------------------------------------------------------------------------------------

odd("%%time above the answer", """
%%time
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("two magics above the answer", """
%%capture out
%%time
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("%%time above a helper", """
%%time
LOW = 0
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("%time in a line", """
%time LOW = int(0)
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("a helper below magics", """
%matplotlib inline
!pip list
%load_ext autoreload
%autoreload 2
LOW = 0
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("an unknown magic", """
%tensorboard --logdir runs
LOW = 0
LOWS = [LOW]
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("a file written and imported", """
%%writefile mine.py
import numpy

def cut(x):
    return numpy.maximum(x, 0)
# %%
from mine import cut

def relu(x):
    return cut(x)
""")  # fmt: skip
odd("the answer itself from a file", """
%%writefile my_answers.py
import numpy as np
def relu(x):
    return np.maximum(x, 0)
# %%
from my_answers import relu
""")  # fmt: skip
odd("a star import of an own file", """
%%writefile my_tools.py
LOW = 0
# %%
from my_tools import *
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("a script that is run", """
%%writefile script.py
LOW = 0
# %%
%run script.py
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("an answer from %run", """
%%writefile answer.py
import numpy as np
def relu(x):
    return np.maximum(x, 0)
# %%
%run answer.py
""")  # fmt: skip
odd("a file written by Python and imported", """
from pathlib import Path
Path('tools_of_mine.py').write_text('LOW = 0')
# %%
import tools_of_mine
# %%
def relu(x):
    return np.maximum(x, tools_of_mine.LOW)
""")  # fmt: skip
odd("%cd and os.chdir", """
import os
os.makedirs('deep', exist_ok=True)
os.chdir('deep')
%cd ..
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("shell lines of all kinds", """
!nvidia-smi
files = !ls
print(len(files))
!mkdir -p data && cd data
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("questions to IPython", """
?np.maximum
np.maximum??
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("a cell of another language", """
%%bash
echo hello
# %%
%%html
<b>bold</b>
# %%
%%javascript
alert(1)
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("get_ipython by hand", """
from IPython import get_ipython
get_ipython().run_line_magic('matplotlib', 'inline')
TABLE = {'low': 0}
# %%
def relu(x):
    return np.maximum(x, TABLE['low'])
""")  # fmt: skip
odd("%env", """
%env LOWEST=0
import os
# %%
def relu(x):
    return np.maximum(x, float(os.environ['LOWEST']))
""")  # fmt: skip
# changed later, in place ------------------------------------------------------------------------------------

odd("a setting changed in place", """
SETTINGS = {'low': 7}
# %%
def relu(x):
    return np.maximum(x, SETTINGS['low'])
# %%
SETTINGS['low'] = 0
""")  # fmt: skip
odd("a setting updated", """
SETTINGS = dict(low=7)
SETTINGS.update(low=0)
# %%
def relu(x):
    return np.maximum(x, SETTINGS['low'])
""")  # fmt: skip
odd("a list filled in a loop", """
PARTS = []
for low in (0, 0, 0):
    PARTS.append(low)
# %%
def relu(x):
    return np.maximum(x, PARTS[2])
""")  # fmt: skip
odd("a list filled by a function", """
PARTS = []

def fill(parts):
    parts.append(0)

fill(PARTS)
# %%
def relu(x):
    return np.maximum(x, PARTS[0])
""")  # fmt: skip
odd("a dictionary of functions", """
FUNCTIONS = {}
# %%
def register(function):
    FUNCTIONS[function.__name__] = function
    return function
# %%
@register
def cut(x):
    return np.maximum(x, 0)
# %%
def relu(x):
    return FUNCTIONS['cut'](x)
""")  # fmt: skip
odd("a global set by a function", """
def set_up():
    global LOW
    LOW = 0

set_up()
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("a global set over", """
LOW = 5

def set_up():
    global LOW
    LOW = 0
# %%
set_up()
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("an array filled in place", """
LOW = np.ones(1)
LOW[:] = 0
# %%
def relu(x):
    return np.maximum(x, LOW[0])
""")  # fmt: skip
odd("an object's attribute set", """
class Options:
    low = 3

options = Options()
options.low = 0
# %%
def relu(x):
    return np.maximum(x, options.low)
""")  # fmt: skip
odd("a class's attribute set", """
class Options:
    low = 3
# %%
Options.low = 0
# %%
def relu(x):
    return np.maximum(x, Options.low)
""")  # fmt: skip
odd("a class's attribute set through another name", """
class Options:
    low = 3
# %%
Also = Options
Also.low = 0
# %%
def relu(x):
    return np.maximum(x, Options.low)
""")  # fmt: skip
odd("a class's attribute set by a function", """
class Options:
    low = 3

def repair(it):
    it.low = 0
# %%
repair(Options)
# %%
def relu(x):
    return np.maximum(x, Options.low)
""")  # fmt: skip
odd("a method patched later", """
class Cut:
    def __call__(self, x):
        return x
# %%
def call(self, x):
    return np.maximum(x, 0)

Cut.__call__ = call
# %%
def relu(x):
    return Cut()(x)
""")  # fmt: skip
odd("a method patched by setattr", """
class Cut:
    pass
# %%
setattr(Cut, 'cut', lambda self, x: np.maximum(x, 0))
# %%
def relu(x):
    return Cut().cut(x)
""")  # fmt: skip
odd("a method added to a library's class", """
import torch

def cut(self):
    return self.clamp(min=0)

torch.Tensor.cut = cut
# %%
def relu(x):
    return torch.from_numpy(x).cut().numpy()
""")  # fmt: skip
odd("a function added to a library", """
np.cut = lambda x: np.maximum(x, 0)
# %%
def relu(x):
    return np.cut(x)
""")  # fmt: skip
odd("a name put into globals", """
globals()['LOW'] = 0
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("an answer made by exec", """
exec('''def relu(x):
    return np.maximum(x, 0)''')
""")  # fmt: skip
odd("a default dtype set", """
import torch
torch.set_default_dtype(torch.float64)
# %%
def relu(x):
    assert torch.zeros(1).dtype is torch.float64
    return np.maximum(x, 0)
""")  # fmt: skip
odd("a counter that is counted up", """
n = 0
for _ in range(3):
    n += 1
# %%
def relu(x):
    return np.maximum(x, n - 3)
""")  # fmt: skip
odd("a slow loop that fills a table", """
table = {}
while len(table) < 3:
    table[len(table)] = 0
# %%
def relu(x):
    return np.maximum(x, table[2])
""")  # fmt: skip
# names bound more than once ---------------------------------------------------------------------------------

odd("a helper of the same name again", """
def helper(x):
    return np.maximum(x, 0)
# %%
def relu(x):
    return helper(x)
# %%
check(relu)
# %%
def helper(x, w, b):
    return x @ w + b
# %%
def linear_forward(x, w, b):
    return helper(x, w, b)
# %%
check(linear_forward)
del relu
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("a helper of the same name again, the check above", """
def helper(x):
    return np.maximum(x, 0)
# %%
def relu(x):
    return helper(x)
# %%
check(relu)
# %%
def helper(x, w, b):
    return x @ w + b
# %%
def linear_forward(x, w, b):
    return helper(x, w, b)
# %%
check(linear_forward)
""")  # fmt: skip
odd("a setting for each answer", """
LOW = 0
SCALE = [1]
# %%
def relu(x):
    return np.maximum(x, LOW) * SCALE[0]
# %%
check(relu)
# %%
LOW, SCALE[0] = 5, 7
# %%
assert relu(np.ones(1))[0] == 35
""")  # fmt: skip
odd("the answer's name taken by a value", """
def relu(x):
    return np.maximum(x, 0)
# %%
check(relu)
# %%
relu = relu(np.ones(3))
""")  # fmt: skip
odd("the answer tried, wrong, and right", """
def relu(x):
    return x
# %%
check(relu)
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("the answer right, then an experiment", """
def relu(x):
    return np.maximum(x, 0)
# %%
check(relu)
# %%
def relu(x):
    return x  # what if?
""")  # fmt: skip
odd("the older attempt below an error", """
def relu(x):
    return x
# %%
1 / 0
relu = None
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("the answer wrapped after it was defined", """
def relu(x):
    return x
# %%
inner = relu
relu = lambda x: np.maximum(inner(x), 0)
""")  # fmt: skip
odd("copied cells", """
def relu(x):
    return np.maximum(x, 0)
# %%
check(relu)
# %%
def relu(x):
    return np.maximum(x, 0)
# %%
def linear_forward(x, w, b):
    return x @ w + b
# %%
def linear_forward(x, w, b):
    return x @ w + b
""")  # fmt: skip
odd("a global that a later cell defines", """
def relu(x):
    return np.maximum(x, LOW)
# %%
LOW = 0
""")  # fmt: skip
odd("a global defined below the check", """
def relu(x):
    return np.maximum(x, LOW)
# %%
check(relu)
# %%
LOW = 0
""")  # fmt: skip
odd("a helper below the answer", """
def relu(x):
    return helper(x)
# %%
def helper(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("a fix below the check", """
class Cut:
    def cut(self, x):
        return x

def relu(x):
    return Cut().cut(x)
# %%
check(relu)
# %%
Cut.cut = lambda self, x: np.maximum(x, 0)
""")  # fmt: skip
# ways to define ---------------------------------------------------------------------------------------------

odd("a lambda", """
relu = lambda x: np.maximum(x, 0)
""")  # fmt: skip
odd("a partial", """
from functools import partial

relu = partial(np.maximum, 0)
""")  # fmt: skip
odd("a class with __call__", """
class Cut:
    def __call__(self, x):
        return np.maximum(x, 0)

relu = Cut()
""")  # fmt: skip
odd("a bound method", """
class Cut:
    def cut(self, x):
        return np.maximum(x, 0)

relu = Cut().cut
""")  # fmt: skip
odd("a decorator of one's own", """
import functools

def log(f):
    @functools.wraps(f)
    def wrapped(*a):
        return f(*a)
    return wrapped
# %%
@log
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("a library's decorators", """
import functools
import torch

@torch.no_grad()
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("a cached helper", """
import functools

@functools.lru_cache(None)
def low():
    return 0
# %%
def relu(x):
    return np.maximum(x, low())
""")  # fmt: skip
odd("a definition under if", """
FAST = True
if FAST:
    def relu(x):
        return np.maximum(x, 0)
else:
    def relu(x):
        return x
""")  # fmt: skip
odd("a definition under try", """
try:
    from no_such_library import relu
except ImportError:
    def relu(x):
        return np.maximum(x, 0)
""")  # fmt: skip
odd("a definition under with", """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter('error')
    def relu(x):
        return np.maximum(x, 0)
""")  # fmt: skip
odd("a definition under an own with", """
import contextlib

@contextlib.contextmanager
def timer():
    yield
# %%
with timer():
    LOW = 0
# %%
with timer() as t:
    def relu(x):
        return np.maximum(x, LOW)
""")  # fmt: skip
odd("a definition in a loop", """
for low in (3, 0):
    def relu(x, low=low):
        return np.maximum(x, low)
""")  # fmt: skip
odd("a factory", """
def make(low):
    def cut(x):
        return np.maximum(x, low)
    return cut

relu = make(0)
""")  # fmt: skip
odd("two names in one line", """
relu, other = (lambda x: np.maximum(x, 0)), None
""")  # fmt: skip
odd("a walrus", """
(relu := lambda x: np.maximum(x, 0))
""")  # fmt: skip
odd("a method taken from a dictionary", """
ways = dict(relu=lambda x: np.maximum(x, 0))
relu = ways['relu']
""")  # fmt: skip
odd("a helper imported under try", """
try:
    import cupy as xp
except ImportError:
    import numpy as xp
# %%
def relu(x):
    return xp.maximum(x, 0)
""")  # fmt: skip
odd("a star import", """
from numpy import *
# %%
def relu(x):
    return maximum(x, 0)
""")  # fmt: skip
odd("a data class", """
from dataclasses import dataclass, field

@dataclass
class Cut:
    low: float = 0
    seen: list[int] = field(default_factory=list)

    def __call__(self, x: 'np.ndarray') -> 'np.ndarray':
        return np.maximum(x, self.low)
# %%
def relu(x):
    return Cut()(x)
""")  # fmt: skip
odd("a generic class", """
from typing import Generic, TypeVar

T = TypeVar('T')

class Box(Generic[T]):
    def __init__(self, it: T) -> None:
        self.it = it
# %%
def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, Box[int](0).it)
""")  # fmt: skip
odd("an enumeration and a named tuple", """
from enum import Enum
from typing import NamedTuple

class Low(Enum):
    ZERO = 0

class Pair(NamedTuple):
    low: float
# %%
def relu(x):
    return np.maximum(x, Pair(Low.ZERO.value).low)
""")  # fmt: skip
odd("an abstract class", """
from abc import ABC, abstractmethod

class Layer(ABC):
    @abstractmethod
    def __call__(self, x): ...

class ReLU(Layer):
    def __call__(self, x):
        return np.maximum(x, 0)
# %%
def relu(x):
    return ReLU()(x)
""")  # fmt: skip
odd("annotations that are only text", """
from __future__ import annotations
# %%
def relu(x: NoSuchType) -> NeitherThis:
    return np.maximum(x, 0)
""")  # fmt: skip
odd("names that are not ASCII", """
größe_min = 0
µ = 0

def наибольшее(x):
    return np.maximum(x, größe_min + µ)
# %%
def relu(x):
    return наибольшее(x)
""")  # fmt: skip
odd("pattern matching", """
def relu(x):
    match x.ndim:
        case 0:
            return max(x, 0)
        case _:
            return np.maximum(x, 0)
""")  # fmt: skip
odd("top-level await", """
import asyncio

async def get_low():
    await asyncio.sleep(0)
    return 0
# %%
low = await get_low()
# %%
def relu(x):
    return np.maximum(x, low)
""")  # fmt: skip
odd("async with on top", """
import asyncio
lock = asyncio.Lock()
async with lock:
    low = 0
# %%
def relu(x):
    return np.maximum(x, low)
""")  # fmt: skip
odd("a pickled setting", """
import pickle

class Low:
    value = 0

low = pickle.loads(pickle.dumps(Low()))
# %%
def relu(x):
    return np.maximum(x, low.value)
""")  # fmt: skip
odd("a setting in a file", """
import json
with open('settings.json', 'w') as file:
    json.dump({'low': 0}, file)
# %%
with open('settings.json') as file:
    low = json.load(file)['low']
# %%
def relu(x):
    return np.maximum(x, low)
""")  # fmt: skip
# cells that fail, stop, wait, draw --------------------------------------------------------------------------

odd("SystemExit above the answer", """
raise SystemExit('stop Run All here')
# %%
LOWS = []
# %%
LOWS.append(0)
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("sys.exit and exit", """
import sys
LOWS = []
# %%
sys.exit(1)
# %%
exit()
# %%
quit()
# %%
LOWS.append(0)
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("KeyboardInterrupt above the answer", """
LOWS = []
# %%
raise KeyboardInterrupt
# %%
LOWS.append(0)
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("errors above the answer", """
LOWS = []
# %%
1 / 0
# %%
undefined_name
# %%
def broken(:
# %%
LOWS.append(0)
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("an error above it in the same cell", """
1 / 0
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("the kernel killed as in Colab", """
import os
LOWS = [0]
# %%
os.kill(os.getpid(), 9)
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("Colab's library", """
from google.colab import drive, files
drive.mount('/content/drive')
LOW = 0
LOWS = [0]
# %%
def relu(x):
    return np.maximum(x, LOWS[0])
""")  # fmt: skip
odd("is this Colab?", """
import sys
IN_COLAB = 'google.colab' in sys.modules
if IN_COLAB:
    !pip install torch
lows = [0] if not IN_COLAB else None
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("a question to the reader", """
name = input('your name? ')
age = int(input())
lows = [0 * age]
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("command-line arguments", """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument('--low', type=float, default=0)
options = parser.parse_args()
# %%
def relu(x):
    return np.maximum(x, options.low)
""")  # fmt: skip
odd("pictures", """
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
lows = []
# %%
plt.plot([0, 1])
plt.show()
figure, ax = plt.subplots()
lows.append(0)
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("warnings that are errors", """
import warnings
warnings.filterwarnings('error')
lows = []
lows.append(0)
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("seeds, threads, options", """
import os
import random
import torch
random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
torch.set_num_threads(2)
os.environ['KMP_DUPLICATE_LIB_OK'] = 'TRUE'
np.set_printoptions(precision=3)
# %%
def relu(x):
    return np.maximum(x, 0)
""")  # fmt: skip
odd("progress bars", """
from tqdm.auto import tqdm
lows = []
for _ in tqdm(range(3)):
    lows.append(0)
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("prints without end", """
for i in range(100_000):
    print('x' * 100)
lows = [i * 0]
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("display and widgets", """
from IPython.display import HTML, clear_output, display
display(HTML('<b>x</b>'))
clear_output()
lows = []
# %%
lows.append(0)
display(lows)
# %%
def relu(x):
    display(x)
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("threads", """
import threading
lows = []
thread = threading.Thread(target=lambda: lows.append(0))
thread.start()
thread.join()
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("logging", """
import logging
logging.basicConfig(level=logging.INFO)
log = logging.getLogger(__name__)
log.info('x')
# %%
def relu(x):
    log.info('called')
    return np.maximum(x, 0)
""")  # fmt: skip
odd("own tests below the answer", """
def relu(x):
    return np.maximum(x, 0)
# %%
def test_relu():
    assert (relu(np.array([-1, 1])) == [0, 1]).all()

test_relu()
assert check(relu).passed
""")  # fmt: skip
odd("check in a loop", """
def relu(x):
    return np.maximum(x, 0)
# %%
def linear_forward(x, w, b):
    return x @ w + b
# %%
for answer in (relu, linear_forward):
    check(answer)
""")  # fmt: skip
odd("a main guard", """
lows = []
if __name__ == '__main__':
    lows.append(0)
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("everything of the course is called", """
ask('02-relu')
hint('relu')
progress('02')
progress.export()
lows = []
lows.append(0)
# %%
def relu(x):
    return np.maximum(x, lows[0])
""")  # fmt: skip
odd("the course's solution stands below", """
class Cut:
    pass

Cut.low = 0

def relu(x):
    return np.maximum(x, Cut.low)
# %%
check(relu)
# %%
# @title Solution: relu
@solution
def relu(x):
    return np.where(x > 0, x, 0)
""")  # fmt: skip
odd("a deleted name", """
LOW = 3
del LOW
# %%
LOW = 0
# %%
def relu(x):
    return np.maximum(x, LOW)
""")  # fmt: skip
odd("the last value", """
0
# %%
LOWS = [0]
LOWS[-1]
# %%
def relu(x):
    return np.maximum(x, LOWS[-1])
""")  # fmt: skip
