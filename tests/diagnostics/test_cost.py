import json
import math
import threading
import time

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from dl_course.diagnostics import ResourceMonitor, Table, profile, weight_statistics
from tests.diagnostics.networks import Recurrent, Shared, same, state_of


class Sleeps(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        time.sleep(self.seconds)
        return x


def test_time_is_charged_to_the_layer_that_takes_it_and_to_what_holds_it():
    model = nn.Sequential(Sleeps(0.001), nn.Sequential(Sleeps(0.03), nn.Identity()))
    found = profile(model, torch.zeros(2, 3), repeats=3)
    assert list(found.index) == ["0", "1.0", "1.1", "1", "(model)"]
    assert found.loc["1.0", "ms"] >= 30 and found.loc["1", "ms"] >= found.loc["1.0", "ms"]
    assert found["ms"].idxmax() == "(model)" and found.loc["1.1", "ms"] < found.loc["0", "ms"]


def test_calls_are_counted_by_the_forward():
    found = profile(Shared(), torch.randn(2, 6), repeats=4)
    assert found.loc["fc", ["kind", "calls"]].tolist() == ["Linear", 3] and found.loc["(model)", "calls"] == 1


def test_the_peak_of_memory_is_that_of_the_tensors_held_at_once():
    class Grows(nn.Module):
        def forward(self, x):
            y = torch.zeros(2**20)  # 4 MiB
            z = torch.zeros(2**21)  # 8 MiB
            del y
            return z + 1  # 8 MiB more

    note = profile(Grows(), torch.zeros(8), repeats=2).note
    assert note.endswith(" 16 MiB at most")


def test_throughput_is_inputs_by_seconds():
    note = profile(Sleeps(0.01), torch.zeros(5, 1), repeats=3).note
    milliseconds, rate = float(note.split(" ms")[0]), float(note.split(" · ")[1].split()[0].replace(",", ""))
    assert milliseconds >= 10 and rate == pytest.approx(5 / milliseconds * 1000, rel=0.01)


def test_the_trace_is_written_where_asked_and_names_operators(tmp_path):
    profile(nn.Linear(3, 2), torch.rand(4, 3), repeats=1, trace=tmp_path / "trace.json")
    names = {event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert "aten::linear" in names


def test_a_profile_says_nothing_on_the_terminal_and_leaves_nothing_behind(capfd):
    for model, x in (
        (resnet18(), torch.rand(2, 3, 32, 32)),
        (Recurrent(), torch.zeros(2, 3, dtype=torch.long)),
    ):
        before = state_of(model)
        profile(model, x, repeats=1)
        assert same(state_of(model), before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_peak_of_memory_on_cuda_is_that_of_the_tensors_there():
    assert "MiB at most" in profile(nn.Linear(1024, 1024).cuda(), torch.zeros(1024, 1024), repeats=1).note


# the monitor


def test_the_monitor_sees_memory_grow_and_the_processor_work():
    with ResourceMonitor(interval=0.02) as monitor:
        time.sleep(0.1)
        held = torch.ones(2**25)  # 128 MiB
        until = time.thread_time() + 0.3  # work, however long others have the core
        while time.thread_time() < until:
            math.sqrt(2)
    found = monitor.table()
    assert found["seconds"].is_monotonic_increasing and found["seconds"].iloc[-1] >= 0.4
    assert found["memory / MiB"].max() - found["memory / MiB"].iloc[0] > 100 and len(held)
    assert found["CPU / %"].tail(5).max() > 20 + found["CPU / %"].iloc[0]


def test_the_monitors_thread_ends_also_after_an_error_and_takes_a_sample_of_the_shortest_block():
    threads = threading.active_count()
    monitor = ResourceMonitor(interval=60)
    with pytest.raises(KeyError), monitor:
        assert threading.active_count() == threads + 1
        raise KeyError
    assert threading.active_count() == threads and len(monitor.table()) == 1


# tables


def test_a_table_shows_four_digits_and_its_note_as_text_and_as_html():
    table = Table({"value": [1 / 3]}, index=["<a>"])
    table.note = "x < y"
    assert "0.3333\nx < y" in repr(table) and "0.33333" not in repr(table)
    assert "0.3333<" in table._repr_html_() and "<p>x &lt; y</p>" in table._repr_html_()
    assert "&lt;a&gt;" in table._repr_html_()


def test_a_table_without_a_note_ends_with_its_rows():
    table = weight_statistics(nn.Linear(2, 1))
    assert repr(table).count("\n") == 2 and "<p>" not in table._repr_html_()
