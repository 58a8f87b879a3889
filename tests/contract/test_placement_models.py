"""Placement in models that nobody here wrote: timm, transformers, peft, and torch's own.

The models are made from a configuration and have random weights; nothing is downloaded. The three
libraries are optional: `pip install timm transformers peft`.
"""

from __future__ import annotations

import copy
import functools
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from droplab.placement import disabled, plan, rates, set_rate, sites

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

_missing_operators = []


def declare_what_torchvision_cannot_load():
    """Let torchvision import beside a torch without CUDA.

    Its wheel on the index is built for CUDA and finds no `libtorch_cuda.so` there. It copes with
    that, except for two operators that it describes without having loaded them. They are declared
    here and never called. Beside a matching torch this does nothing.
    """
    import importlib.util

    from torch._C import _dispatch_has_kernel

    if importlib.util.find_spec("torchvision") is None or torch.version.cuda is not None:
        return
    if not _missing_operators and not _dispatch_has_kernel("torchvision::nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _missing_operators.append(library)


def optional(name):
    declare_what_torchvision_cannot_load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def from_timm(name, size=32, **arguments):
    def make():
        model = optional("timm").create_model(name, num_classes=4, **arguments)
        return model, torch.randn(2, 3, size, size)

    return make


def from_transformers(name, inputs, **config):
    def make():
        library = optional("transformers")
        settings = getattr(library, name.removesuffix("Model") + "Config")(**config)
        model = getattr(library, name)(settings)
        return model, {key: value() for key, value in inputs.items()}

    return make


def tokens(high=50, shape=(2, 7)):
    return lambda: torch.randint(high, shape)


def lora():
    peft = optional("peft")
    model, example = MODELS["GPT-2"]()
    config = peft.LoraConfig(target_modules=["c_attn"], r=2, lora_dropout=0.1, fan_in_fan_out=True)
    return peft.get_peft_model(model, config), example


class Tagger(nn.Module):
    """An LSTM over a packed batch, as torch's tutorials write it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.1, bidirectional=True)
        self.out = nn.Linear(16, 3)

    def forward(self, tokens):
        lengths = torch.tensor([7, 4])
        packed = pack_padded_sequence(self.embed(tokens.T), lengths)
        packed, _ = self.lstm(packed)
        return self.out(packed.data)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MODELS = {
    "torch Transformer": lambda: (
        nn.Transformer(16, 2, 2, 2, 32, batch_first=True),
        (torch.randn(2, 5, 16), torch.randn(2, 4, 16)),
    ),
    "torch TransformerEncoder": lambda: (
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False
        ),
        torch.randn(2, 5, 16),
    ),
    "torch LSTM": lambda: (Tagger(), torch.randint(20, (2, 7))),
    "timm ResNet": from_timm("resnet10t"),
    "timm ConvNeXt": from_timm("convnext_atto", depths=(1, 1, 1, 1), drop_path_rate=0.1),
    "timm ViT": from_timm("vit_tiny_patch16_224", img_size=32, depth=2, attn_drop_rate=0.1),
    "timm MLP-Mixer": from_timm("mixer_s32_224", 64, img_size=64),
    "BERT": from_transformers(
        "BertModel", {"input_ids": tokens()}, **SMALL, intermediate_size=32, vocab_size=50
    ),
    "GPT-2": from_transformers(
        "GPT2Model",
        {"input_ids": tokens()},
        n_embd=16,
        n_layer=2,
        n_head=2,
        vocab_size=50,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "ViT": from_transformers(
        "ViTModel",
        {"pixel_values": lambda: torch.randn(2, 3, 16, 16)},
        **SMALL,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        attention_probs_dropout_prob=0.1,
    ),
    "Whisper": from_transformers(
        "WhisperModel",
        {
            "input_features": lambda: torch.randn(2, 8, 16),
            "decoder_input_ids": tokens(40, (2, 5)),
        },
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        vocab_size=40,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_mel_bins=8,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=8,
        max_target_positions=8,
        dropout=0.1,
        encoder_layerdrop=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    ),
    "Mixtral": from_transformers(
        "MixtralModel",
        {"input_ids": tokens()},
        **SMALL,
        intermediate_size=32,
        vocab_size=50,
        num_key_value_heads=2,
        num_local_experts=4,
        attention_dropout=0.1,
    ),
    "T5": from_transformers(
        "T5Model",
        {"input_ids": tokens(), "decoder_input_ids": tokens()},
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        vocab_size=50,
        decoder_start_token_id=0,
    ),
}
MODELS["LoRA"] = lora

EXPECTED = {
    "torch Transformer": ("encoder.layers.0.linear1", "decoder.layers.1.linear2"),
    "torch TransformerEncoder": ("layers.0.linear1", "layers.1.linear2"),
    "torch LSTM": ("lstm", "out"),
    "timm ResNet": ("fc",),
    "timm ConvNeXt": ("stages.0.blocks.0.conv_dw", "stages.3.blocks.0.mlp.fc2", "head.fc"),
    "timm ViT": ("blocks.0.attn.qkv", "blocks.1.mlp.fc2", "head"),
    "timm MLP-Mixer": ("blocks.0.mlp_tokens.fc1", "head"),
    "BERT": ("encoder.layer.0.attention.self.query", "encoder.layer.1.output.dense"),
    "GPT-2": ("h.0.attn.c_attn", "h.1.mlp.c_proj"),
    "ViT": (),
    "Whisper": ("encoder.conv2", "encoder.layers.0.fc1", "decoder.layers.1.fc2"),
    "Mixtral": ("layers.0.mlp.gate", "layers.1.mlp.experts"),
    "T5": ("encoder.block.0.layer.0.SelfAttention.q", "decoder.block.1.layer.2.DenseReluDense.wo"),
    "LoRA": ("base_model.model.h.0.attn.c_attn.lora_A.default",),
}


@functools.cache
def _built(name):
    torch.manual_seed(0)
    model, example = MODELS[name]()
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():  # or the output would be 0 whatever drops
            nn.init.normal_(parameter, std=0.1)
    return model.train(), example


@pytest.fixture(params=list(MODELS))
def case(request):
    model, example = copy.deepcopy(_built(request.param))
    torch.manual_seed(0)
    return request.param, model, example


@pytest.fixture(autouse=True)
def _no_fused_inference():
    """Torch's encoder takes a fused path in eval mode without hooks, which rounds otherwise."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


def run(model, example):
    """Return the first tensor that the model gives."""
    if isinstance(example, dict):
        out = model(**example)
    else:
        out = model(*(example if isinstance(example, tuple) else (example,)))
    return out if isinstance(out, torch.Tensor) else out[0]


def fingerprint(model):
    return (
        [(name, id(module), module.training) for name, module in model.named_modules()],
        [
            (name, id(value), value.clone())
            for name, value in model.state_dict(keep_vars=True).items()
        ],
        [(dict(m._forward_pre_hooks), dict(m._forward_hooks)) for m in model.modules()],
        [
            (name, value)
            for m in model.modules()
            for name, value in vars(m).items()
            if isinstance(value, float)
        ],
    )


def assert_same(before, after):
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    for (name, identity, value), (_, other, now) in zip(before[1], after[1], strict=True):
        assert identity == other, name
        assert torch.equal(value, now), name


def test_sites_are_found_and_recording_leaves_no_trace(case):
    name, model, example = case
    model.eval()
    before, state = fingerprint(model), torch.get_rng_state()
    found = {site.name: site for site in sites(model, example)}
    assert_same(before, fingerprint(model))
    assert torch.equal(state, torch.get_rng_state())
    for site in EXPECTED[name]:
        assert not found[site].left_out, found[site]
        assert not found[site].refused, found[site]
    assert any(not (site.left_out or site.refused) for site in found.values())
    assert not any(site.assumed for site in found.values())
    assert str(sites(model))


def test_apply_forward_backward_and_revert(case):
    _, model, example = case
    model.eval()
    clean = run(model, example)
    if any("layerdrop" in name for name in rates(model)):
        set_rate(model, "*layerdrop", 0.0)  # or a site may not fire in the one step here
    before = fingerprint(model)
    keys = list(model.state_dict())
    made = plan(model, 0.3, example=example)
    applied = made.apply()
    assert list(model.state_dict()) == keys
    assert torch.equal(run(model, example), clean)  # eval is the identity
    assert not any(applied.fired.values())
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    applied.seed({site: at for at, site in enumerate(applied.names)})
    outs = []
    for _ in range(2):
        applied.set_step(5)
        torch.manual_seed(1)
        model.zero_grad()
        out = run(model, example)
        out.float().square().mean().backward()
        outs.append(out.detach())
    assert torch.equal(*outs)
    applied.check_fired()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()
    model.eval()
    made.revert()
    after = fingerprint(model)
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    assert [entry[:2] for entry in before[1]] == [entry[:2] for entry in after[1]]


def test_revert_alone_is_the_identity_to_the_bit(case):
    _, model, example = case
    made = plan(model, 0.3, example=example)
    before = fingerprint(model)
    made.apply()
    made.revert()
    assert_same(before, fingerprint(model))


def test_a_rate_of_zero_is_the_identity_in_training_mode(case):
    _, model, example = case
    with disabled(model):
        torch.manual_seed(2)
        clean = run(copy.deepcopy(model), example)
        with plan(model, 0.0, example=example).applied():
            torch.manual_seed(2)
            assert torch.equal(run(model, example), clean)


def test_dropout_that_is_there_is_seen_and_obeys(case):
    name, model, example = case
    if name == "timm ResNet":
        assert dict(rates(model, example)) == {"drop_rate": 0.0}
        return
    found = rates(model, example)
    assert found
    if name != "timm MLP-Mixer":
        assert any(found.values())
    with disabled(model):
        assert torch.equal(run(model, example), run(model, example))
    before = set_rate(model, "*", 0.0)
    assert torch.equal(run(model, example), run(model, example))
    assert before == dict(found)
    set_rate(model, "*", 0.4)
    assert set(rates(model).values()) == {0.4}
    assert not torch.equal(run(model, example), run(model, example))


def test_copies_and_pickles_drop_alike(case):
    _, model, example = case
    if any(p.grad_fn is not None for p in model.parameters()):
        pytest.fail("a fresh model has no graph")
    with disabled(model):
        applied = plan(model, 0.3, example=example).apply()
        applied.seed({site: at for at, site in enumerate(applied.names)})
        twins = [copy.deepcopy(model)]
        if type(model).__module__.startswith("torch") or isinstance(model, Tagger):
            twins.append(pickle.loads(pickle.dumps(model)))
        want = run(model, example)
        assert all(torch.equal(run(twin, example), want) for twin in twins)


def test_gradient_checkpointing_of_transformers_repeats_masks():
    torch.manual_seed(0)
    model, example = MODELS["BERT"]()
    set_rate(model, "*", 0.0)
    applied = plan(model, 0.3, example=example).apply()
    applied.seed({site: at for at, site in enumerate(applied.names)})
    grads = []
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable()
        model.train()
        model.zero_grad()
        applied.set_step(3)
        run(model, example).square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(plain, again)
