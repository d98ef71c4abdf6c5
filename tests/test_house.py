"""The rules of the house, held to by reading the package's text: small, quiet, hooks in one place."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # it starts programs or trains: more than a test has otherwise

PACKAGE = Path(__file__).resolve().parent.parent / "dl_course"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = PACKAGE.parent / "tests"
LEARNERS_ROOMS = {"runtime", "files", "metrics", "registry", "hooks", "plots", "data", "scratch", "models"}
LEARNERS_ROOMS |= {"images", "explain", "diagnostics", "training", "evaluation"}
MAY_PRINT = {"cli.py", "authoring/command.py"}


def short(path):
    return path.relative_to(PACKAGE).as_posix()


def statements(paths):
    """Count Python statements, so that neither documenting nor one assignment a line costs anything."""
    return sum(len(nodes(path, ast.stmt)) for path in paths)


def nodes(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kind)]


def dotted(node):
    """Return "a.b.c" for such an expression, "?.c" where it begins with something else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(path):
    return [dotted(node.func) for node in nodes(path, ast.Call)]


def offenders(test, but=()):
    return [short(path) for path in FILES if short(path) not in but and test(path)]


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_rule(path):  # the check-up: an instrument that learners use, not teaching code that they read
    return short(path).startswith(("diagnostics/rules/", "diagnostics/checkup.py", "diagnostics/kept.py"))


def test_the_rooms_that_learners_read_have_at_most_5500_statements():
    read = [path for path in FILES if room(path) in LEARNERS_ROOMS and not is_rule(path)]
    assert statements(read) <= 5_500


def of_a_chapter(path):  # its probes, checks and questions: lessons, written as its text is
    return re.fullmatch(r"exercises/(probes|checks|questions)/ch\w+\.py", short(path))


def test_the_package_but_for_the_chapters_own_checks_has_at_most_15490_statements():
    """14,000; later 500 for a second language, 800 for the judge, 150 for the check-up, 20 to be warm."""
    assert statements(path for path in FILES if not of_a_chapter(path)) <= 15_490


def test_what_is_assigned_together_is_one_thing_such_as_a_pair_and_seldom():
    """One assignment a line: counted, because a limit on lines once taught us to pack."""
    together = [
        node
        for path in FILES
        for node in nodes(path, ast.Assign)
        if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
    ]
    assert len(together) <= 80
    assert not [node for node in together if len(node.value.elts) > 3]


def test_the_package_returns_what_it_has_to_say_and_prints_only_on_the_command_line():
    assert offenders(lambda path: "print" in calls(path), but=MAY_PRINT) == []


def test_hooks_are_registered_in_one_file():
    registers = re.compile(r"\.register_\w*hook$")
    assert offenders(lambda path: any(map(registers.search, calls(path))), but={"hooks.py"}) == []


def test_devices_come_through_one_door():
    assert offenders(lambda path: any(name.endswith(".cuda") for name in calls(path))) == []


def test_the_world_is_seeded_in_one_place():
    seeds = {"random.seed", "np.random.seed", "torch.manual_seed", "torch.cuda.manual_seed_all"}
    within_check = {short(path) for path in FILES if "probes" in path.parts}  # which puts the state back
    restoring = {"data/loading.py"}  # around one transform, by its key; the state is put back
    assert (
        offenders(lambda path: seeds & set(calls(path)), but={"runtime.py"} | within_check | restoring) == []
    )


def test_what_windows_lacks_is_imported_where_it_is_used_and_not_at_a_modules_top():
    lacking = {"resource", "fcntl", "pwd", "grp", "termios", "pty"}

    def at_its_top(path):
        imports = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.Import)]
        return lacking & {alias.name for node in imports for alias in node.names}

    ours = [path for path in TESTS.rglob("*.py") if "grading" not in path.parts]  # the judge's run on Linux
    assert [path.name for path in FILES + ours if at_its_top(path)] == []


def test_no_except_catches_everything_without_a_name():
    assert offenders(lambda path: any(node.type is None for node in nodes(path, ast.ExceptHandler))) == []


def test_nobody_chooses_a_matplotlib_backend_or_shows_a_figure():
    unwanted = {"matplotlib.use", "mpl.use", "plt.switch_backend", "plt.show"}
    assert offenders(lambda path: unwanted & set(calls(path))) == []


def test_no_default_argument_is_a_list_dict_or_set():
    def mutable(path):
        functions = nodes(path, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        defaults = [each for node in functions for each in (*node.args.defaults, *node.args.kw_defaults)]
        return any(isinstance(each, (ast.List, ast.Dict, ast.Set)) for each in defaults)

    assert offenders(mutable) == []


def imported_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_nothing_but_the_standard_library():
    bare = imported_by("pass")
    assert imported_by("import dl_course") - bare - sys.stdlib_module_names == {"dl_course"}


@pytest.mark.parametrize(
    "statement", ["from dl_course.cli import main; main(['progress'])", "import dl_course.doctor"]
)
def test_commands_without_a_notebook_wait_for_neither_notebooks_nor_plots(statement, home):
    assert not imported_by(statement) & {"nbformat", "nbclient", "jupytext", "matplotlib", "IPython"}


def test_every_name_that_the_package_offers_is_there():
    import dl_course

    assert set(dl_course.__all__) < set(dir(dl_course))
    assert all(callable(getattr(dl_course, name)) for name in dl_course.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+", dl_course.__version__)
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        _ = dl_course.chek
