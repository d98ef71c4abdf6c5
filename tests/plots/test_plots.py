"""What is drawn is the data: read back from the artists."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
import torch
from matplotlib.colors import to_hex

from dl_course import plots
from dl_course.plots.style import COLORS


@pytest.fixture(autouse=True)
def quiet():
    """Without a screen; figures are closed afterwards."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


def shown(ax):
    """The values in the axes' last image, masked where there are none."""
    return np.ma.asarray(ax.images[-1].get_array())


EPOCHS = pd.DataFrame(
    {"epoch": [1, 2, 3], "train_loss": [2.0, 1.0, 0.5], "val_loss": [2.1, np.nan, 0.9], "seconds": [1, 1, 1],
     "train_accuracy": [0.1, 0.5, 0.8], "val_accuracy": [0.1, np.nan, 0.6]}
)  # fmt: skip
FLOW = pd.DataFrame(
    {"ratio": [0.1, np.nan, 0.0, np.inf], "remark": ["", "none", "zero", ""]}, index=["a", "b", "c", "d"]
)
EVERY = {
    "learning_curves": lambda ax: plots.learning_curves(EPOCHS[["epoch", "train_loss", "val_loss"]], ax),
    "learning_rate_curve": lambda ax: plots.learning_rate_curve(
        [1e-3, 1e-2, 1e-1], [2.0, 1.0, 9.0], 1e-2, ax=ax
    ),
    "reliability": lambda ax: plots.reliability(
        pd.DataFrame({"confidence": [0.5], "accuracy": [0.4]}), 0.1, ax
    ),
    "resource_curves": lambda ax: plots.resource_curves(
        pd.DataFrame({"seconds": [0, 1], "CPU / %": [5, 9]}), ax
    ),
    "histograms": lambda ax: plots.histograms({"a": ([1, 2], [0, 1, 2])}, ax),
    "means": lambda ax: plots.means(pd.DataFrame({"mean": [1.0], "std": [2.0]}, index=["a"]), ax),
    "gradient_flow": lambda ax: plots.gradient_flow(FLOW, ax),
    "traces": lambda ax: plots.traces(
        pd.DataFrame({"step": [0, 1], "layer": "a", "std": [1.0, 2.0]}), "std", ax
    ),
    "image_grid": lambda ax: plots.image_grid(torch.rand(3, 3, 8, 8), ["a", "b", "c"], ax),
    "heat": lambda ax: plots.image_grid(torch.rand(3, 1, 8, 8), None, ax, heat=torch.rand(3, 8, 8)),
    "feature_maps": lambda ax: plots.feature_maps(torch.randn(9, 4, 4), ax),
    "kernels": lambda ax: plots.kernels(torch.randn(4, 3, 5, 5), ax=ax),
    "attention": lambda ax: plots.attention(torch.rand(2, 5, 5), ax),
    "weight_matrix": lambda ax: plots.weight_matrix(torch.randn(3, 7), ax),
    "unit_activations": lambda ax: plots.unit_activations(torch.rand(3, 7), ax),
    "channel_gates": lambda ax: plots.channel_gates(torch.rand(3, 7, 1, 1), ax),
    "numbers": lambda ax: plots.numbers([[1.0, -2.0], [np.nan, 3.5]], ax, "a table", window=(0, 0, 1)),
    "confusion_matrix": lambda ax: plots.confusion_matrix(np.eye(3, dtype=int), "abc", ax),
}


def test_every_plot_of_the_room_is_in_this_list():
    there = {name for name, value in vars(plots).items() if callable(value)}
    assert there == set(EVERY) - {"heat"}


@pytest.mark.parametrize("name", EVERY)
def test_a_plot_draws_on_the_axes_given_and_else_on_a_figure_of_its_own(name):
    fig, ax = plt.subplots()
    drawn = EVERY[name](ax)
    assert drawn is ax or drawn == [ax]
    assert plt.get_fignums() == [fig.number]
    own = EVERY[name](None)
    own = own[0] if isinstance(own, list) else own
    assert own.figure is not fig and len(plt.get_fignums()) == 2
    own.figure.canvas.draw()


@pytest.mark.parametrize("name", EVERY)
def test_axes_are_labelled_or_show_pictures_and_nothing_is_clipped(name):
    drawn = EVERY[name](None)
    ax = drawn[0] if isinstance(drawn, list) else drawn
    pictures = not ax.axison
    assert pictures or ax.get_xlabel() and (ax.get_ylabel() or len(ax.get_yticklabels()))
    ax.figure.canvas.draw()
    box = ax.figure.get_tightbbox()
    assert box.x0 >= -0.02 and box.y0 >= -0.02
    assert box.x1 <= ax.figure.get_figwidth() + 0.02 and box.y1 <= ax.figure.get_figheight() + 0.02


def test_the_colours_are_seaborns_for_the_colour_blind():
    assert list(COLORS) == [to_hex(color) for color in sns.color_palette("colorblind")][: len(COLORS)]


def test_importing_plots_does_not_choose_a_backend():
    assert matplotlib.get_backend().lower() == "agg"


# curves


def test_learning_curves_have_a_panel_a_quantity_and_leave_out_epochs_without_validation():
    loss, accuracy = plots.learning_curves(EPOCHS)
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    training, validation = loss.lines
    assert training.get_ydata().tolist() == [2.0, 1.0, 0.5] and training.get_xdata().tolist() == [1, 2, 3]
    assert validation.get_ydata().tolist() == [2.1, 0.9] and validation.get_xdata().tolist() == [1, 3]
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()


def test_learning_curves_take_the_index_for_want_of_epochs_and_run_without_validation():
    table = pd.DataFrame({"train_loss": [3.0, 2.0]}, index=[4, 5])
    (ax,) = plots.learning_curves(table)
    assert ax.lines[0].get_xdata().tolist() == [4, 5] and len(ax.lines) == 1


def test_a_table_without_training_is_refused():
    with pytest.raises(ValueError, match="no column begins with 'train_'; there are: loss"):
        plots.learning_curves(pd.DataFrame({"loss": [1]}))


def test_the_learning_rate_curve_shows_suggestion_and_band_and_cuts_the_explosion():
    rates, losses = np.logspace(-5, 0, 6), np.array([2.3, 2.2, 1.5, 1.0, 1.2, 1e6])
    ax = plots.learning_rate_curve(torch.tensor(rates), torch.tensor(losses), 1e-3, (5e-4, 2e-3))
    assert ax.get_xscale() == "log" and 2.3 < ax.get_ylim()[1] < 4 and ax.get_ylim()[0] < 1
    np.testing.assert_allclose(ax.lines[0].get_xydata(), np.stack([rates, losses], 1))
    assert list(ax.lines[1].get_xdata()) == [1e-3, 1e-3]
    assert ax.patches[0].get_x() == 5e-4 and ax.patches[0].get_width() == pytest.approx(1.5e-3)
    both = plots.learning_rate_curve(rates, losses, smoothed=losses / 2)
    lagging = plots.learning_rate_curve(rates, losses, smoothed=[2.3, 2.3, 2.1, 1.8, 1.7, 9.0])
    assert lagging.get_ylim()[0] < 1.0 < 2.3 < lagging.get_ylim()[1] < 4  # the lowest batch is in the picture
    assert [line.get_ydata()[0] for line in both.lines] == [2.3, 1.15] and len(both.patches) == 0


def test_resource_curves_have_a_panel_a_column():
    table = pd.DataFrame({"seconds": [0.0, 0.5], "CPU / %": [3, 80], "memory / MiB": [100, 300]})
    panels = plots.resource_curves(table)
    assert [panel.get_ylabel() for panel in panels] == ["CPU / %", "memory / MiB"]
    assert panels[1].lines[0].get_xydata().tolist() == [[0, 100], [0.5, 300]]


def test_reliability_is_drawn_beside_the_diagonal():
    ax = plots.reliability(pd.DataFrame({"confidence": [0.2, 0.9], "accuracy": [0.3, 0.7]}), 0.15)
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert ax.lines[1].get_xydata().tolist() == [[0.2, 0.3], [0.9, 0.7]]
    assert "0.150" in ax.get_legend().get_texts()[1].get_text()


# layers


def names_down(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_histograms_stand_on_their_layers_row_the_first_on_top():
    found = {
        "conv": (np.array([1, 4, 0]), np.array([-1.0, 0, 1, 2])),
        "fc": (np.zeros(2), np.array([0, 1, 2])),
    }
    ax = plots.histograms(found)
    assert names_down(ax) == ["conv", "fc"] and ax.yaxis_inverted()
    tops, edges, base = ax.patches[0].get_data()
    assert edges.tolist() == [-1, 0, 1, 2] and base == 0
    np.testing.assert_allclose(-tops, [0.45, 0.9, 0])  # roots of 1/4, 1 and 0
    assert (ax.patches[1].get_data().values == 1).all()  # nothing counted, nothing drawn


def test_means_carry_their_standard_deviation():
    ax = plots.means(pd.DataFrame({"mean": [1.0, -2.0], "std": [0.5, 3.0]}, index=["a", "b"]))
    assert names_down(ax) == ["a", "b"]
    points, caps, (bars,) = ax.containers[0]
    assert points.get_xydata().tolist() == [[1, 0], [-2, 1]]
    assert [segment[:, 0].tolist() for segment in bars.get_segments()] == [[0.5, 1.5], [-5, 1]]


def test_gradient_flow_says_beside_the_name_why_a_point_is_missing():
    ax = plots.gradient_flow(FLOW)
    assert names_down(ax) == ["a", "b (none)", "c (zero)", "d"] and ax.get_xscale() == "log"
    assert ax.lines[0].get_xdata()[0] == 0.1 and np.isnan(np.asarray(ax.lines[0].get_xdata())[[1, 2]]).all()


def test_few_traces_are_lines_that_differ_in_more_than_colour_and_many_a_heat_map():
    def table(layers):
        steps = pd.MultiIndex.from_product(
            [range(3), [f"l{i}" for i in range(layers)]], names=["step", "layer"]
        )
        return pd.DataFrame({"std": np.arange(3.0 * layers)}, index=steps).reset_index()

    ax = plots.traces(table(8), "std")
    assert [line.get_label() for line in ax.lines] == [f"l{i}" for i in range(8)]
    assert ax.lines[1].get_xydata().tolist() == [[0, 1], [1, 9], [2, 17]]
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == 8
    heat = plots.traces(table(9), "std")
    assert names_down(heat)[0] == "l0" and heat.collections[0].get_array().shape == (9, 3)
    assert heat.collections[0].get_array()[1].tolist() == [1, 10, 19]


def test_traces_of_several_calls_in_one_step_are_their_mean():
    ax = plots.traces(pd.DataFrame({"step": [0, 0, 1], "layer": "a", "std": [1.0, 3.0, 5.0]}), "std")
    assert ax.lines[0].get_ydata().tolist() == [2, 5]


# pictures


def tiles_of(canvas, height, width, columns, rows):
    """Cut a mosaic of equal tiles, whose last rows and first columns touch the next gap, apart."""
    down, right = canvas.shape[0] // rows, canvas.shape[1] // columns
    return [
        canvas[(r + 1) * down - height : (r + 1) * down, c * right : c * right + width]
        for r in range(rows)
        for c in range(columns)
    ]


@pytest.mark.parametrize("shape", [(1, 3, 5, 5), (7, 3, 6, 9), (9, 1, 4, 3)])
def test_every_picture_is_in_the_grid_unchanged(shape):
    images = torch.rand(shape)
    ax = plots.image_grid(images, columns=3)
    tiles = tiles_of(shown(ax), *shape[2:], 3, -(-shape[0] // 3))
    for tile, image in zip(tiles, images, strict=False):
        np.testing.assert_allclose(tile, image.permute(1, 2, 0).expand(-1, -1, 3), atol=1e-6)
    for tile in tiles[len(images) :]:
        assert (tile == 1).all()  # white


def test_pictures_of_several_sizes_stand_in_one_grid():
    small, big = torch.zeros(3, 4, 4), torch.full((3, 6, 8), 0.5)
    tiles = tiles_of(shown(plots.image_grid([small, big])), 6, 8, 2, 1)
    assert (tiles[0][:4, :4] == 0).all() and (tiles[0][4:] == 1).all() and (tiles[1] == 0.5).all()


def test_bytes_are_shown_as_they_are_and_normalize_is_undone():
    images = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.1])
    normalized = (images / 255 - mean[:, None, None]) / std[:, None, None]
    expected = shown(plots.image_grid(images))
    np.testing.assert_allclose(
        shown(plots.image_grid(normalized, normalized=(mean, std))), expected, atol=1e-6
    )


def test_pictures_out_of_range_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"in \[0, 1\]; given: -2 to 2; normalized=\(mean, std\) undoes"):
        plots.image_grid(torch.tensor([-2.0, 2.0]).view(1, 1, 1, 2))


def test_titles_stand_above_their_pictures():
    ax = plots.image_grid(torch.zeros(4, 1, 10, 10), ["a", "b\nb", "c", "d"], columns=2)
    assert [text.get_text() for text in ax.texts] == ["a", "b\nb", "c", "d"]
    canvas = shown(ax)[..., 0]
    for text in ax.texts:
        x, y = map(int, text.get_position())
        assert canvas[y, x] == 1 and canvas[y + 2, x] == 0


def test_heat_covers_pictures_in_colour_on_one_scale_and_the_less_the_colder():
    images, heat = torch.rand(4, 3, 6, 6), torch.rand(4, 6, 6)
    heat[0, 0, 0] = 0
    ax = plots.image_grid(images, list("abcd"), heat=heat)
    under, over = ax.images
    assert under.get_array().shape[:2] == over.get_array().shape == over.get_alpha().shape
    colours, values = np.asarray(under.get_array()), np.ma.masked_invalid(over.get_array())
    found = colours[~np.ma.getmaskarray(values)]  # never beside the picture
    np.testing.assert_allclose(np.sort(found, 0), np.sort(images.movedim(1, -1).reshape(-1, 3).numpy(), 0))
    np.testing.assert_allclose(np.sort(values.compressed()), np.sort(heat.numpy().ravel()), rtol=1e-6)
    cover = over.get_alpha()[~np.ma.getmaskarray(values)]
    assert cover[values.compressed().argsort()].tolist() == sorted(cover) and (cover.min(), cover.max()) == (
        0,
        0.85,
    )
    assert len(ax.texts) == 4


def test_magnitudes_are_viridis_from_zero_and_signed_values_diverge_around_zero():
    positive = plots.feature_maps(torch.rand(3, 8, 8) + 1).images[0]
    assert positive.get_cmap().name == "viridis" and positive.norm.vmin == 0
    signed = plots.feature_maps(torch.randn(3, 8, 8) + 1).images[0]
    assert signed.get_cmap().name == "RdBu_r" and signed.norm.vmin == -signed.norm.vmax
    nothing = plots.feature_maps(torch.zeros(3, 8, 8)).images[0]
    assert (nothing.norm.vmin, nothing.norm.vmax) == (0, 1)


def test_one_huge_value_does_not_darken_the_rest_and_the_colour_bar_says_so():
    maps = torch.rand(4, 16, 16)
    maps[0, 0, 0] = 1e6
    image = plots.feature_maps(maps).images[0]
    assert image.norm.vmax < 2 and image.colorbar.extend == "max"
    assert plots.feature_maps(torch.ones(1, 4, 4)).images[0].colorbar.extend == "neither"


def test_feature_maps_say_how_many_of_all_are_shown():
    ax = plots.feature_maps(torch.rand(100, 4, 4, dtype=torch.bfloat16), limit=10)
    assert ax.get_title() == "10 of 100 channels"
    assert np.isfinite(np.ma.filled(shown(ax), np.nan)).sum() == 10 * 16


def test_a_batch_of_activations_is_refused_with_what_is_expected():
    with pytest.raises(ValueError, match=r"expected the shape \(C, H, W\); given: \(2, 3, 4, 4\)"):
        plots.feature_maps(torch.rand(2, 3, 4, 4))


def test_kernels_on_rgb_are_coloured_with_zero_in_gray_and_others_by_channel():
    weight = torch.randn(2, 3, 3, 3)
    weight[0] = 0
    tiles = tiles_of(shown(plots.kernels(weight)), 3, 3, 2, 1)
    assert (tiles[0] == 0.5).all()
    np.testing.assert_allclose(
        (tiles[1] - 0.5) * 2 * weight.abs().max().item(), weight[1].permute(1, 2, 0), atol=1e-6
    )
    ax = plots.kernels(weight, channel=2)
    np.testing.assert_allclose(tiles_of(shown(ax), 3, 3, 2, 1)[1], weight[1, 2], atol=1e-6)
    assert ax.get_title() == "2 of 2 kernels, on input channel 2"
    assert plots.kernels(torch.randn(4, 8, 3, 3)).get_title().endswith("input channel 0")


def test_every_head_has_its_attention_matrix():
    weights = torch.rand(4, 7, 7)
    ax = plots.attention(weights)
    for tile, head in zip(tiles_of(shown(ax), 7, 7, 4, 1), weights, strict=True):
        np.testing.assert_allclose(tile, head, rtol=1e-6)
    assert [text.get_text() for text in ax.texts] == ["head 0", "head 1", "head 2", "head 3"]


# matrices


def test_matrices_show_their_values():
    weight, gates = torch.randn(4, 9), torch.rand(5, 6, 1, 1)
    np.testing.assert_allclose(shown(plots.weight_matrix(weight)), weight)
    np.testing.assert_allclose(shown(plots.unit_activations(weight.relu())), weight.relu())
    image = plots.channel_gates(gates * 0.1).images[0]
    np.testing.assert_allclose(image.get_array(), gates[:, :, 0, 0] * 0.1)
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)  # a gate that is hardly open looks so


def test_the_confusion_matrix_writes_counts_or_shares_into_its_cells_readably():
    counts = np.array([[1200, 3], [0, 7]])
    ax = plots.confusion_matrix(counts, ["cat", "dog"])
    assert [text.get_text() for text in ax.texts] == ["1,200", "3", "0", "7"]
    assert [text.get_color() for text in ax.texts] == ["black", "white", "white", "white"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "dog"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true class", "predicted class")
    shares = plots.confusion_matrix(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert [text.get_text() for text in shares.texts] == ["0.25", "0.75", "0.50", "0.50"]
    assert len(plots.confusion_matrix(np.eye(50, dtype=int)).texts) == 0


def test_a_table_of_numbers_is_written_out_with_nothing_where_there_is_no_number():
    ax = plots.numbers(torch.tensor([[1.0, -2.5], [torch.nan, 1 / 3]]), title="t", window=(1, 0, 2))
    assert [text.get_text() for text in ax.texts] == ["1", "−2.5", "0.333"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0), (1, 1)]
    frame = ax.patches[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (0.5, -0.5, 2, 2)
    assert np.isnan(shown(plots.numbers(np.full((2, 2), np.nan))).filled(np.nan)).all()
