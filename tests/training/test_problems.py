"""What goes wrong is said in words: what was given, where, and what to try; the weights stay as they were."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dl_course.training import FocalLoss, TensorBoard, Trainer, TrainingError, schedules
from tests.training.small import LABELS, PICTURES, dataset, loader, net, same, trainer


class Explodes(nn.Module):
    """Finite until its third call, then infinite."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * math.inf if self.calls > 2 else x


def batches(x, y, size=4):
    return DataLoader(TensorDataset(x, y), size)


def fit(model, x, y, loss_fn, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, batches(x, y), loss_fn=loss_fn, optimizer=optimizer, device="cpu", **options).fit(1)


def test_a_loss_that_is_not_finite_names_batch_layer_and_advice_and_spares_the_weights():
    model = nn.Sequential(net(), nn.Sequential(nn.Identity(), Explodes()), nn.Identity())
    run = trainer(model)
    with pytest.raises(
        TrainingError, match=r"epoch 1, batch 3 .*'1\.1' \(Explodes\)\. .*learning rate \(now 0\.1\)"
    ) as seen:
        run.fit(2)
    assert seen.value.layer == "1.1" and run.step == 2 and len(run.history.steps) == 2
    assert all(p.isfinite().all() for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_with_spoiled_weights_is_named_with_them():
    model = net()
    with torch.no_grad():
        model[-1].weight[0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"nan .*'5' \(Linear\), whose weight is not finite"):
        trainer(model).fit(1)


def test_pictures_that_are_not_finite_are_named_not_the_layers():
    x, y = PICTURES[0][:8].clone(), LABELS[:8]
    x[6, 0, 2, 2] = math.nan
    with pytest.raises(TrainingError, match=r"batch 2 .*samples \[2\]"):
        fit(net(), x, y, nn.CrossEntropyLoss())


def test_a_loss_function_that_is_not_finite_on_finite_outputs_is_named():
    with pytest.raises(TrainingError, match=r"every layer's output is finite.*log\(0\)"):
        trainer(net(), loss_fn=lambda outputs, labels: (outputs - outputs).sum().log()).fit(1)


def test_a_gradient_that_is_not_finite_is_stopped_before_the_weights():
    model = net()
    before = copy.deepcopy(dict(model.named_parameters()))
    with pytest.raises(TrainingError, match="loss is finite and its gradient is not.*square root") as seen:
        trainer(
            model, loss_fn=lambda outputs, labels: (outputs - outputs.detach()).square().sum().sqrt()
        ).fit(1)
    assert seen.value.layer == "5" and same(before, dict(model.named_parameters()))


class Full(nn.Linear):
    def forward(self, x):
        if self.training or self.full_always:
            return super().forward(x) + torch.empty(2**60)
        return super().forward(x)

    full_always = False


@pytest.mark.parametrize("always", [False, True])
def test_full_memory_says_what_to_lower(always):
    model = nn.Sequential(nn.Flatten(), Full(36, 3))
    model[1].full_always = always
    run = trainer(model, loader(20, 10), accumulate=2)
    advice = r"\(10, 1, 6, 6\).*batch_size=5 with accumulate=4.*bf16.*checkpointed"
    with pytest.raises(TrainingError, match=advice):
        run.evaluate(loader(20, 10)) if always else run.fit(1)


def test_a_gpus_full_memory_is_explained_too():
    class Raises(nn.Linear):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with pytest.raises(TrainingError, match="batch_size=3"):
        trainer(nn.Sequential(nn.Flatten(), Raises(36, 3))).fit(1)


@pytest.mark.parametrize(
    ("outputs", "labels", "loss_fn", "meant"),
    [
        ((8, 3), torch.zeros(8, 1).long(), F.cross_entropy, r"labels.squeeze\(1\)"),
        ((8, 3), torch.zeros(8), F.cross_entropy, r"labels.long\(\)"),
        ((8, 3), torch.zeros(8, 3).long(), F.cross_entropy, r"one-hot.*argmax"),
        ((8, 1), torch.zeros(8), F.mse_loss, "view_as"),
        ((8,), torch.zeros(8, 1), nn.L1Loss(), "view_as"),
        ((8, 1), torch.zeros(8), nn.BCEWithLogitsLoss(), "view_as"),
        ((4, 6), torch.zeros(8).long(), F.cross_entropy, r"number of samples.*flatten\(1\)"),
        ((8, 3), torch.zeros(8, 2, 2), F.mse_loss, "size of tensor|must match"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_say_what_was_probably_meant(outputs, labels, loss_fn, meant):
    class Shaped(nn.Linear):
        def forward(self, x):
            return super().forward(x).sum() + torch.zeros(outputs)

    x = torch.randn(8, 2)
    optimizer = torch.optim.SGD((model := Shaped(2, 1)).parameters(), lr=0.1)
    run = Trainer(
        model, batches(x, labels, 8), loss_fn=loss_fn, optimizer=optimizer, metrics={}, device="cpu"
    )
    with pytest.raises(ValueError, match=meant) as seen:
        run.fit(1)
    assert str(tuple(labels.shape)) in str(seen.value) and str(outputs) in str(seen.value)


def test_a_loss_of_every_sample_is_refused_since_one_mean_is_needed():
    for reduction in ("none", "sum"):
        with pytest.raises(ValueError, match="one mean over the batch: reduction='mean'"):
            trainer(net(), loss_fn=nn.CrossEntropyLoss(reduction=reduction))
    with pytest.raises(ValueError, match=r"gives \(6,\) torch.float32, not one mean; reduction='mean'"):
        trainer(net(), loss_fn=lambda o, y: F.cross_entropy(o, y, reduction="none")).fit(1)


def test_a_model_with_several_outputs_is_told_how_the_loss_takes_one():
    class Two(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    x, y = torch.randn(4, 2), torch.zeros(4).long()
    with pytest.raises(ValueError, match="dict.*lambda outputs"):
        fit(Two(2, 3), x, y, F.cross_entropy, metrics={})
    fit(Two(2, 3), x, y, lambda outputs, labels: F.cross_entropy(outputs["logits"], labels), metrics={})


@pytest.mark.parametrize("loss_fn", [nn.CrossEntropyLoss(), F.cross_entropy, FocalLoss(), nn.NLLLoss()])
@pytest.mark.parametrize("wrong", [3, -1, 255])
def test_labels_out_of_range_are_named_before_the_loss_sees_them(loss_fn, wrong):
    x, y = PICTURES[0][:8], LABELS[:8].clone()
    y[5] = wrong
    with pytest.raises(ValueError, match=rf"classes 0 … 2 .*found: \[{wrong}\]"):
        fit(net(), x, y, loss_fn, metrics={})


def test_labels_to_be_ignored_and_labels_of_other_losses_are_no_mistake():
    x, y = torch.randn(4, 2, 2), torch.tensor([[0, -100], [1, 1], [2, 0], [-100, 1]])
    convolution = nn.Sequential(nn.Conv1d(2, 3, 1))
    fit(convolution, x, y, nn.CrossEntropyLoss(), metrics={})
    far = lambda outputs, labels: outputs[labels == 77].sum()  # noqa: E731  as a loss between embeddings
    fit(nn.Linear(2, 3), torch.randn(4, 2), torch.tensor([77, 5, 77, 5]), far, metrics={})


def test_probabilities_as_labels_of_mixed_pictures_are_taken():
    y = torch.softmax(torch.randn(8, 3), 1)
    history = fit(net(), PICTURES[0][:8], y, nn.CrossEntropyLoss())
    assert 0 < history.epochs.train_accuracy[0] < 1


@pytest.mark.parametrize(
    "empty",
    [
        [], DataLoader(dataset(0), 4), DataLoader(dataset(3), 4, drop_last=True), iter(()),
    ],
)  # fmt: skip
def test_a_loader_without_a_batch_is_refused(empty):
    run = trainer(net(), empty)
    with pytest.raises(ValueError, match="no batch.*drop_last"):
        run.fit(1)
    with pytest.raises(ValueError, match="no batch"):
        run.evaluate(empty)


def test_a_generator_gives_one_epoch_and_then_says_why_no_second():
    with pytest.raises(ValueError, match="generator.*only once"):
        trainer(net(), iter(list(loader()))).fit(2)


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(2, 1), (torch.zeros(2), torch.zeros(3)), (torch.zeros(2), [0, 1]), {"x": torch.zeros(2)},
        (torch.zeros(2), torch.zeros(2), torch.zeros(2)), (torch.zeros(0, 1), torch.zeros(0)),
    ],
)  # fmt: skip
def test_a_batch_that_is_no_pair_of_tensors_of_the_same_length_is_refused(batch):
    with pytest.raises(ValueError, match=r"a batch is \(inputs, labels\)"):
        trainer(net(), [batch]).fit(1)


def test_parts_of_different_trainings_are_refused():
    model, other = net(), net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    elsewhere = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=0.1), 1)
    with pytest.raises(ValueError, match="optimizer moves no parameter"):
        trainer(other, optimizer=optimizer)
    with pytest.raises(ValueError, match="steers another optimizer"):
        trainer(model, optimizer=optimizer, scheduler=elsewhere)
    with pytest.raises(ValueError, match="'pf16'; did you mean"):
        trainer(model, precision="pf16")
    for options in ({"accumulate": 0}, {"max_grad_norm": -1.0}):
        with pytest.raises(ValueError, match="given: "):
            trainer(model, **options)
    with pytest.raises(ValueError, match="step_end.*TensorBoard"):
        trainer(model, callbacks=[TensorBoard])


def test_a_callback_without_any_event_is_refused():
    class Misspelt:
        def epoch_end(self, trainer):
            pass

    with pytest.raises(ValueError, match="on_epoch_end.*Misspelt"):
        trainer(net(), callbacks=[Misspelt()])


def test_a_model_moved_away_after_the_trainer_was_made_is_refused():
    run = trainer(net())
    run.model.to("meta")
    with pytest.raises(ValueError, match="works on cpu.*meta"):
        run.fit(1)


def test_a_schedule_too_short_for_the_epochs_is_refused_before_the_first():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6)
    run = trainer(model, optimizer=optimizer, scheduler=schedule)  # four steps an epoch
    with pytest.raises(ValueError, match="6 steps.*2 epochs take 8"):
        run.fit(2)
    assert len(run.fit(1)) == 1


@pytest.mark.parametrize("where", ["picture", "label"])
def test_a_batch_that_is_not_finite_leaves_the_averages_of_batch_norm_alone(where):
    x, y = PICTURES[0][:8].clone(), LABELS[:8]
    x[6, 0, 2, 2] = math.nan
    model = net()
    before = []
    run = trainer(model, DataLoader(TensorDataset(x, y), 4))
    run.callbacks = [Sees(lambda trainer: before.append(copy.deepcopy(model.state_dict())))]
    with pytest.raises(TrainingError, match="This update was not made"):
        run.fit(1)
    assert len(before) == 1 and same(before[0], model.state_dict())


class Sees:
    def __init__(self, look):
        self.on_step_end = look


def test_a_scheduler_with_an_interval_that_nobody_steps_is_refused():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scheduler.interval = "batch"
    with pytest.raises(ValueError, match="one of step, epoch, metric; given: 'batch'"):
        trainer(model, optimizer=optimizer, scheduler=scheduler)


@pytest.mark.parametrize("kind", ["ours", "torch's"])
def test_a_schedule_made_for_batches_is_refused_where_several_are_a_step(kind):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if kind == "ours":
        schedule = schedules.build("cosine", optimizer, epochs=3, steps_per_epoch=4)
    else:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, epochs=3, steps_per_epoch=4)
    run = trainer(model, optimizer=optimizer, scheduler=schedule, accumulate=4)  # of four batches
    with pytest.raises(ValueError, match="4 steps an epoch, which has 1: steps_per_epoch=1"):
        run.fit(3)


def test_a_norm_of_zero_is_no_way_to_say_none():
    with pytest.raises(ValueError, match=r"max_grad_norm is above 0; given: 1 and 0"):
        trainer(net(), max_grad_norm=0)


def test_a_frozen_model_and_an_optimizer_that_asks_for_the_loss_itself_are_refused():
    model = net()
    with pytest.raises(ValueError, match="LBFGS asks for the loss many times a step"):
        trainer(model, optimizer=torch.optim.LBFGS(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        trainer(model.requires_grad_(False), optimizer=optimizer)
