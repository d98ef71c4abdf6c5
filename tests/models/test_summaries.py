import random

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from dl_course.models import MODELS, SimpleNet, VisionTransformer, resnet18, summary


def whole(table):
    return table.loc["(model)"]


@pytest.mark.parametrize(
    ("name", "giga"),
    [("resnet18", 1.814), ("resnet50", 4.089), ("efficientnet_b0", 0.386), ("vit_b_16", 17.564)],
)
def test_macs_are_the_published_ones_for_ours_and_torchvisions(name, giga):
    for model in (MODELS.build(name), torchvision.models.get_model(name)):
        table = summary(model, (3, 224, 224), depth=1)
        assert whole(table).macs == pytest.approx(giga * 1e9, rel=0.01)
        assert whole(table).parameters == sum(p.numel() for p in model.parameters())


def test_the_rows_of_simplenet_are_the_well_known_table():
    table = summary(SimpleNet(), (1, 28, 28))
    assert table.parameters.to_dict() == {
        "(model)": 109_386, "flatten": 0, "fc1": 100_480, "relu1": 0, "fc2": 8_256, "relu2": 0, "fc3": 650,
    }  # fmt: skip
    assert (
        table.output["fc1"] == "(1, 128)" and table.macs["fc1"] == 784 * 128 and table.bytes["fc1"] == 4 * 128
    )


def test_children_add_up_to_what_contains_them_and_depth_chooses_levels():
    deep, flat = summary(resnet18(), (3, 64, 64)), summary(resnet18(), (3, 64, 64), depth=1)
    assert list(flat.index) == [
        "(model)", "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc",
    ]  # fmt: skip
    for column in ("parameters", "macs", "bytes"):
        assert flat[column].drop("(model)").sum() == whole(flat)[column] == whole(deep)[column]


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = (
            nn.Linear(4, 8, bias=False),
            nn.Linear(8, 8, bias=False),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        return self.last(self.shared(self.shared(self.shared(self.first(x)))))


def test_a_reused_layer_has_its_parameters_once_and_its_work_every_time():
    table = summary(Reused(), (4,))
    assert whole(table).parameters == 32 + 64 + 27
    assert table.calls["shared"] == 3 and table.parameters["shared"] == 64 and table.macs["shared"] == 3 * 64


def test_a_layer_under_two_names_is_one_row():
    shared = nn.Linear(5, 5)
    table = summary(nn.Sequential(shared, nn.ReLU(), shared), (5,))
    assert whole(table).parameters == 30 and table.calls["0"] == 2 and "2" not in table.index


def test_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens):
            return self.out(self.embed(tokens))

    table = summary(Tied(), torch.tensor([[1, 2, 10]]))
    assert whole(table).parameters == 66 and table.parameters["out"] == 66 and whole(table).macs == 3 * 66


def test_direct_parameters_and_layers_that_are_not_called_as_modules_are_counted():
    model = VisionTransformer(depth=1, embed_dim=16, num_heads=2)
    table = summary(model, (3, 64, 64))
    assert whole(table).parameters == sum(p.numel() for p in model.parameters())
    tokens = 65
    assert (
        table.macs["encoder.layers.encoder_layer_0.self_attention"] == tokens * 4 * 16**2 + 2 * tokens**2 * 16
    )

    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    table = summary(attention, [(tokens, 16)] * 3)
    assert whole(table).parameters == 4 * 16**2 + 4 * 16
    assert whole(table).macs == tokens * 4 * 16**2 + 2 * tokens**2 * 16


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_recurrent_networks_have_shapes_for_all_outputs_and_exact_macs(gates):
    kind = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}[gates]
    table = summary(kind(8, 16, num_layers=2, batch_first=True), (5, 8))
    states = ["(2, 1, 16)"] * (2 if gates == 4 else 1)
    assert whole(table).output == ", ".join(["(1, 5, 16)", *states])
    assert whole(table).macs == 5 * gates * 16 * (8 + 16 + 16 + 16)


@pytest.mark.parametrize("frozen", [False, True])
def test_fused_transformer_kernels_hide_nothing(frozen):
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).requires_grad_(not frozen)
    table = summary(model, (7, 32))
    assert whole(table).macs == 7 * (4 * 32**2 + 2 * 32 * 64) + 2 * 7**2 * 32
    assert torch.backends.mha.get_fastpath_enabled()


def test_scaled_dot_product_attention_is_counted():
    class Direct(nn.Module):
        def forward(self, q):
            return F.scaled_dot_product_attention(q, q, q)

    assert whole(summary(Direct(), (2, 7, 16))).macs == 2 * 2 * 7**2 * 16


def test_several_inputs_and_dict_outputs_are_shown():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = nn.Bilinear(3, 4, 5)

        def forward(self, a, b):
            out = self.pair(a, b)
            return {"logits": out, "features": [out + 1, (a,)]}

    assert whole(summary(Two(), [(3,), (4,)])).output == "(1, 5), (1, 5), (1, 3)"


def test_the_model_and_the_world_are_left_as_they_were_even_after_an_error():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(36, 2))
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags, states = [m.training for m in model.modules()], (torch.get_rng_state(), random.getstate())
    summary(model, (3, 5, 5))
    with pytest.raises(RuntimeError):
        summary(model, (3, 9, 9))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled() and torch.backends.mkldnn.enabled


def test_any_device_and_dtype_will_do():
    with torch.device("meta"):
        model = torchvision.models.vit_b_16()
    assert whole(summary(model, (3, 224, 224), depth=1)).macs == pytest.approx(17.564e9, rel=0.001)
    assert summary(SimpleNet().to("meta"), (784,)).bytes["fc1"] == 4 * 128
    assert whole(summary(SimpleNet().double(), (784,))).bytes == 2 * whole(summary(SimpleNet(), (784,))).bytes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_recurrent_networks_on_cuda_have_exact_macs():
    assert whole(summary(nn.LSTM(8, 16, batch_first=True).cuda(), (5, 8))).macs == 5 * 4 * 16 * (8 + 16)


def test_memory_counts_neither_views_nor_in_place_outputs():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.ReLU())
    assert summary(model, (1, 4, 4)).bytes.to_dict() == {"(model)": 256, "0": 128, "1": 0, "2": 0, "3": 128}


def test_a_summary_shows_itself_as_text_and_html():
    table = summary(SimpleNet(), (784,))
    for text in (repr(table), table._repr_html_()):
        assert "109,386" in text and "fc2" in text and "(1, 128)" in text
    assert (
        "<table" in table._repr_html_()
        and len(repr(summary(MODELS.build("resnet50"), (3, 32, 32))).splitlines()) > 150
    )
