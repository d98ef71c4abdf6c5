"""Configurations: what is refused and where, and that a file, the command line and Python say the same."""

from dataclasses import asdict

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dl_course.data import Pictures
from dl_course.experiments import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    TrainingConfig,
    build_model,
    build_pictures,
    build_trainer,
    changed,
    configs,
    load_config,
    save_config,
)
from dl_course.experiments.reading import from_command_line

CLASSES = {"digits": 10, "mnist": 10, "shapes": 10, "cifar10": 10, "cifar100": 100}
SHAPES = {"digits": (1, 28, 28), "mnist": (1, 28, 28), "shapes": (3, 64, 64)}


def pictures(config, split):
    """Two pictures of the size that the data set's have."""
    shape, classes = SHAPES.get(config.name, (3, 32, 32)), CLASSES[config.name]
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    names = [str(label) for label in range(classes)]
    return Pictures(config.name, images, torch.tensor([0, classes - 1]), names, [0.5], [0.25])


def said(path, text):
    path.write_text(text)
    with pytest.raises(ValueError) as refused:
        load_config(path)
    return str(refused.value)


def test_there_are_six_configurations():
    names = (
        "digits_quick efficientnet_b0_cifar100 mnist_cnn resnet18_cifar10 resnet50_cifar10 shapes_tinyresnet"
    )
    assert list(configs()) == names.split()


@pytest.mark.parametrize("name", configs())
def test_every_configuration_parses_builds_and_takes_a_step(name):
    config = load_config(name, {"data.batch_size": 2, "data.num_workers": 0})
    assert config.name == name
    parts = [pictures(config.data, split) for split in ("train", "val")]
    trainer = build_trainer(changed(config, {"training.device": "cpu", "training.epochs": 1}), *parts)
    before = {key: value.clone() for key, value in trainer.model.named_parameters()}
    trainer.fit(1)
    assert trainer.step == 1
    assert trainer.history.last["learning_rate"] > 0
    assert any(not torch.equal(value, before[key]) for key, value in trainer.model.named_parameters())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training:\n\n  epohcs: 3\n", "line 3: training.epohcs: unknown key; did you mean"),
        ("name: a\nepochs: 3\n", "line 2: epochs: unknown key; did you mean 'training.epochs'?"),
        ("dta:\n  name: digits\n", "line 1: dta: unknown key"),
        ("name: a\ndata:\n  batch_size: many\n", "line 3: data.batch_size: takes int; given: many"),
        ("data:\n  splits: 3\n", "line 2: data.splits: takes list[float] | None; given: 3"),
        ("training: {learning_rate: true}\n", "line 1: training.learning_rate: takes float; given: True"),
        ("training: {optimizer: adma}\n", "line 1: training.optimizer: unknown optimizer 'adma'; did you"),
        ("model:\n  name: resnet81\n", "line 2: model.name: unknown model 'resnet81'; did you mean 'resnet"),
        (
            "model:\n  name: resnet18\n  options:\n    stme: cifar\n",
            "line 4: model.options.stme: 'resnet18' takes no 'stme'; did you mean 'stem'?",
        ),
        ("data: 3\n", "line 1: data: takes keys, such as name"),
        ("training:\n", "line 1: training: takes keys"),
        ("name: a\nname: b\n", "name: stands here a second time"),
        ("- 3\n", "the file: takes keys, such as name, data"),
        ("name: [\n", "is no YAML"),
        ("data: {splits: [0.5, 0.6]}", "add up to 1"),
        ("data: {augmentation: normalize}", "anyway"),
        ("model: {layers: [1, 1, 1, 1]}", "model.layers: takes none for 'simplecnn'"),
        ("model: {name: resnet18, layers: [1, 1]}", "model.layers: takes four numbers"),
        ("model: {dropout: 0.5}", "model.dropout: 'simplecnn' takes no 'dropout'"),
        ("model: {name: simplenet, base_channels: 3}", "model.base_channels: 'simplenet' takes no"),
        ("training: {scheduler: step, warmup: 0.1}", "training.warmup: takes none for the scheduler 'step'"),
        ("training: {learning_rate: .nan}", "training.learning_rate: takes above 0; given: nan"),
        ("training: {precision: fp8}", "unknown precision 'fp8'"),
        ("name: ../elsewhere", "a folder's name"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_file_its_line_and_what_is_right(tmp_path, text, expected):
    message = said(tmp_path / "mine.yaml", text)
    assert "mine.yaml" in message and expected in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.batch_size", 0), ("data.num_workers", -1), ("training.epochs", 0), ("training.patience", 0),
        ("training.weight_decay", -0.1), ("training.max_grad_norm", 0.0), ("training.timeout", 0.0),
        ("training.seed", -1), ("model.in_channels", 0), ("model.base_channels", 0), ("model.dropout", 1.0),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=f"^{key}: takes .*; given: {value}"):
        changed(ExperimentConfig(), {key: value})


def test_a_missing_file_is_refused_with_the_nearest_of_the_courses_own():
    with pytest.raises(ValueError, match="did you mean 'digits_quick'"):
        load_config("digit_quick")


def test_an_empty_file_is_the_default_experiment(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load_config(tmp_path / "empty.yaml") == ExperimentConfig()


def test_yaml_writes_small_numbers_as_python_does(tmp_path):
    (tmp_path / "a.yaml").write_text("training: {learning_rate: 1e-3}")
    assert load_config(tmp_path / "a.yaml").training.learning_rate == 1e-3


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        ExperimentConfig,
        name=st.from_regex(r"\w[\w.+-]{0,9}", fullmatch=True),
        data=st.builds(DataConfig, name=st.sampled_from(["digits", "shapes"]), batch_size=st.integers(1, 999),
                       splits=st.sampled_from([None, [0.5, 0.5], [0.1, 0.2, 0.7]])),
        model=st.sampled_from([ModelConfig(), ModelConfig("resnet18", layers=[1, 1, 1, 1], dropout=0.5,
                                                          options={"stem": "cifar"})]),
        training=st.builds(TrainingConfig, learning_rate=st.floats(1e-300, 1e300), seed=st.integers(0, 2**40),
                           warmup=st.none() | st.floats(0, 0.99), device=st.none() | st.just("cpu")),
    )
)  # fmt: skip
def test_what_is_saved_is_read_back_equal(tmp_path, config):
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    assert yaml.safe_load((tmp_path / "saved.yaml").read_text()) == asdict(config)


def test_changes_override_a_file_and_the_command_line_does_the_same(tmp_path):
    save_config(ExperimentConfig("mine"), tmp_path / "mine.yaml")
    changes = {"training.epochs": 3, "data.splits": [0.2, 0.8], "model.options": {"width": 4}}
    expected = load_config(tmp_path / "mine.yaml", changes)
    options = ["--training.epochs", "3", "--data.splits", "[0.2,0.8]", "--model.options.width", "4"]
    config, others = from_command_line(["--config", str(tmp_path / "mine.yaml"), *options], runs="where")
    assert config == expected and config.name == "mine"
    assert others == {"config": str(tmp_path / "mine.yaml"), "runs": None}
    assert load_config(tmp_path / "mine.yaml") == ExperimentConfig("mine")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--training.epohcs 3", "--training.epohcs: unknown option; did you mean 'training.epochs'?"),
        ("--training.epochs many", "training.epochs: takes int; given: many"),
        ("--training.epochs 0", "training.epochs: takes at least 1; given: 0"),
        ("something", "unrecognized arguments: something"),
    ],
)
def test_a_mistake_on_the_command_line_is_refused(arguments, expected):
    with pytest.raises(ValueError) as refused:
        from_command_line(arguments.split())
    assert expected in str(refused.value)


def test_changes_of_unknown_keys_are_refused():
    with pytest.raises(ValueError, match="training.epoch: unknown key; did you mean 'training.epochs'"):
        changed(ExperimentConfig(), {"training.epoch": 3})


def test_settings_reach_the_network():
    config = ModelConfig(
        "resnet18", layers=[1, 1, 1, 2], base_channels=8, dropout=0.25, options={"stem": "cifar"}
    )
    model = build_model(config, (1, 32, 32), 7)
    assert [len(getattr(model, f"layer{i}")) for i in (1, 2, 3, 4)] == [1, 1, 1, 2]
    assert model.conv1.weight.shape == (8, 1, 3, 3) and model.fc.out_features == 7
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}


def test_the_network_fits_the_pictures_that_there_are():
    assert build_model(ModelConfig("simplenet"), (3, 8, 8), 4).fc1.in_features == 192
    assert build_model(ModelConfig("vit"), (1, 32, 32), 4)(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
    assert build_model(ModelConfig("simplecnn", base_channels=4), (3, 9, 9), 2).fc.in_features == 16
    with pytest.raises(ValueError, match="model.in_channels: the pictures have 1; given: 3"):
        build_model(ModelConfig(in_channels=3), (1, 28, 28), 10)


def test_a_pretrained_network_keeps_all_but_its_last_layer(monkeypatch):
    config = ModelConfig("resnet18", pretrained=True)
    theirs = build_model(ModelConfig("resnet18"), (3, 32, 32), 1000)
    monkeypatch.setattr("dl_course.experiments.build.pretrained", lambda name: theirs)
    ours = build_model(config, (3, 32, 32), 10)
    assert ours.fc.out_features == 10
    assert all(torch.equal(p, ours.get_parameter(k)) for k, p in theirs.named_parameters() if "fc" not in k)
    with pytest.raises(ValueError, match="model.pretrained: those weights are another network's"):
        build_model(ModelConfig("resnet18", pretrained=True, options={"stem": "cifar"}), (3, 32, 32), 10)


def test_splits_share_out_the_training_pictures_and_leave_the_test_alone():
    whole = build_pictures(DataConfig(), "train")
    parts = [build_pictures(DataConfig(splits=[0.2, 0.1, 0.7]), split) for split in ("train", "val", "test")]
    assert len(parts[0]) == pytest.approx(0.2 * len(whole), abs=10)
    assert len(parts[1]) == pytest.approx(0.1 * len(whole), abs=10)
    assert len(parts[2]) == len(build_pictures(DataConfig(), "test"))
    one, two = ({image.numpy().tobytes() for image in part.images} for part in parts[:2])
    assert not one & two


def test_pictures_are_normalized_and_only_the_training_ones_augmented():
    config = DataConfig(augmentation="wobble")
    plain, varied = build_pictures(DataConfig(), "train"), build_pictures(config, "train")
    assert plain[0][0].mean().abs() < 1
    assert torch.stack([plain[i][0] for i in range(200)]).std() == pytest.approx(1, abs=0.05)
    assert not torch.equal(varied[0][0], plain[0][0])
    assert torch.equal(build_pictures(config, "train", varied=False)[0][0], plain[0][0])
    assert torch.equal(build_pictures(config, "val")[0][0], build_pictures(DataConfig(), "val")[0][0])


@pytest.mark.parametrize("key", ["data.name", "model.name", "training.epochs", "training.learning_rate"])
def test_a_setting_left_empty_is_named_with_its_line(tmp_path, key):
    section, _, leaf = key.partition(".")
    file = tmp_path / "empty.yaml"
    file.write_text(f"{section}:\n  {leaf}: null\n")
    with pytest.raises(ValueError, match=rf"empty.yaml, line 2: {key}: takes \w+; given: nothing"):
        load_config(file)


def test_several_processes_train_in_one_of_two_ways():
    with pytest.raises(ValueError, match="training.parallel: takes ddp or fsdp; given: zero"):
        TrainingConfig(parallel="zero")
