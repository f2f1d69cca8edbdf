"""Tracing delta: which node loses how much of DeepLIFT's sum."""

import json

import numpy as np
import pytest
from support import networks, zoo

import onnxplain
from onnxplain.engine.jobs.trace import total_loss, trace_delta, trace_rows
from onnxplain.graph_passes.rules import deeplift as rules
from onnxplain.models.shipped import demo_model, demo_photos

RULES = ("rescale", "reveal-cancel")


@pytest.mark.parametrize("rule", RULES)
def test_the_demo_model_loses_nothing(rule, capsys):
    found = trace_delta(demo_model(), zoo.photo(0), rule=rule, threads=2)
    explainer = onnxplain.Explainer(demo_model(), "deeplift", rule=rule, threads=2)
    explained = explainer(zoo.photo(0))
    with capsys.disabled():
        print(f" {rule}: worst {found[0].relative:+.1e}, total {total_loss(found):+.1e}, "
              f"-delta {-explained.delta[0]:+.1e}", end=" ")  # fmt: skip
    assert len(found) > 90
    assert max(abs(node.relative) for node in found) < 1e-6
    assert abs(total_loss(found) + explained.delta[0]) < 1e-5
    losses = [abs(node.loss) for node in found]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["resnet", "vit", "densenet", "unet"])
def test_networks_lose_nothing(name, rule):
    """Attention, normalisation, residual sums, joined branches, several inputs at a time."""
    model = networks.exported(name, "torchscript", 17, dynamic=True)
    target = (1, 7, 9) if name == "unet" else [1, 6]
    found = trace_delta(model, networks.example(name).numpy(), target, rule=rule)
    assert found and max(abs(node.relative) for node in found) < 1e-4


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_named_first(rule, monkeypatch):
    """Max pooling keeps a tenth of the sum to itself: so much is lost there, and nowhere else."""
    right = rules.pooled_maximum

    def wrong(emit, node, *ms, **options):
        return emit.Mul(right(emit, node, *ms, **options), 0.9)

    monkeypatch.setattr(rules, "pooled_maximum", wrong)
    model, x = networks.exported("resnet", "torchscript", 17), networks.example("resnet").numpy()
    first, second, *_ = found = trace_delta(model, x, [3, 7], rule=rule)
    assert first.operator == "MaxPool" and "maxpool" in first.node.lower()
    assert abs(first.relative) > 1e-2 and abs(second.relative) < 1e-5
    explained = onnxplain.Explainer(model, "deeplift", rule=rule)(x, [3, 7])
    assert abs(total_loss(found) + explained.delta.sum()) < 1e-4 * abs(first.loss)
    gap = abs((explained.score - explained.baseline_score).sum())
    np.testing.assert_allclose(first.relative, first.loss / gap, rtol=1e-5)


def test_rows_for_people():
    found = trace_delta(
        networks.exported("resnet", "torchscript", 17), networks.example("resnet").numpy()
    )
    rows = trace_rows(found, most=3)
    assert len(rows) == 4 and rows[0][0] == "lost of the sum"
    assert str(len(found)) in rows[0][1] and found[0].operator in rows[1][1]


def test_an_input_equal_to_its_baseline_loses_nothing():
    x = networks.example("resnet").numpy()
    found = trace_delta(networks.exported("resnet", "torchscript", 17), x, 1, baseline=x)
    assert not any(node.loss for node in found)
    assert all(np.isnan(node.relative) for node in found)
    assert trace_rows(found)


def test_wrong_arguments():
    model, x = networks.exported("resnet", "torchscript", 17), networks.example("resnet").numpy()
    for options in ({"target": 99}, {"rule": "rescal"}, {"output": "z"}, {"baseline": x[:, :, 1:]}):
        with pytest.raises(onnxplain.InvalidInputError):
            trace_delta(model, x, **options)


def test_command(command):
    status, out, _ = command("inspect", demo_model(), "--trace-delta", demo_photos()[0])
    assert status == 0
    table, trace = out.split("lost of the sum")
    assert "explained score" in table and "nodes" in trace
    assert len(trace.splitlines()) == 11


def test_command_as_json(command):
    photo = demo_photos()[0]
    status, out, _ = command("inspect", demo_model(), "--trace-delta", photo, "--json")
    found = json.loads(out)
    assert status == 0 and found["opset"] == 18
    assert {"node", "operator", "loss", "relative"} == set(found["trace_delta"][0])
    status, out, _ = command("inspect", demo_model(), "--json")
    assert "trace_delta" not in json.loads(out)


def test_command_with_a_missing_image(command, tmp_path):
    status, out, err = command("inspect", demo_model(), "--trace-delta", tmp_path / "none.png")
    assert status == 2 and not out and "none.png" in err and len(err.splitlines()) == 1
