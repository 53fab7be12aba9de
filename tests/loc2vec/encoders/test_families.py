"""What every family of encoders must be.

The options that change the network are families of their own here.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import pytest
import torch
import torch._dynamo
from _pytest.mark import ParameterSet
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from loc2vec.encoders.densenet import DenseBlock, DenseNet, DenseNetOptions
from loc2vec.encoders.registry import ENCODERS, build, options_of, vector_size
from loc2vec.encoders.rsan import ResidualAttention
from loc2vec.encoders.stn import SpatialTransformer
from loc2vec.encoders.vit import waves
from loc2vec.errors import EncoderError
from loc2vec.model.fast import exported, load_openvino
from loc2vec.model.folder import save_weights
from tiling.machine import one_thread

PARAMETERS = {  # weights and biases with 16 numbers; running statistics are not among them
    "loc2vec": 304_016,
    "loc2vec norm=layer": 304_016,
    "stn": 330_974,
    "resnet": 321_920,
    "resnet norm=layer": 321_920,
    "seresnet": 326_846,
    "seresnet r=4": 331_404,
    "densenet": 313_680,
    "densenet memory=efficient": 313_680,
    "densenet norm=layer memory=efficient": 313_680,
    "inception": 303_328,
    "multiscale": 463_016,
    "multiscale hidden=0 white=no": 311_272,
    "shufflenet": 301_512,
    "shufflenet units=v1": 282_118,
    "shufflenet norm=layer": 301_512,
    "vit": 300_304,
    "vit positions=learned": 316_688,
    "rsan": 260_000,
    "rowlstm": 268_448,
}
FAMILIES = [*ENCODERS, "shufflenet units=v1"]
VARIANTS = [what for what in PARAMETERS if what not in FAMILIES]


def made(what: str) -> nn.Module:
    """Build a family from its name and options, as the command line would."""
    name, *options = what.split()
    torch.manual_seed(0)
    return build(name, **dict(option.split("=") for option in options))


def random_tiles(n: int, seed: int = 0) -> torch.Tensor:
    """Return tiles uint8 [n, 12, 128, 128] of blocks; unlike noise, their means differ."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (n, 12, 16, 16), dtype=torch.uint8, generator=generator)
    return blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)


@pytest.fixture(scope="module", autouse=True)
def in_one_thread() -> Iterator[None]:
    """So little work is not worth sharing out."""
    with one_thread(torch.get_num_threads, torch.set_num_threads):
        yield


# Compilers take 3 to 10 s for a family: those that ship, and one whose graph is of another kind.
SHIPPED = ["loc2vec", "inception", "multiscale"]
COMPILED = [*SHIPPED, "vit"]


def others_in_soak(here: list[str]) -> list[ParameterSet]:
    """Return all families as parameters; those not of `here` are left to `make soak`."""
    marks = {what: () if what in here else (pytest.mark.soak,) for what in FAMILIES}
    return [pytest.param(what, marks=marks[what]) for what in FAMILIES]


@cache
def trained(what: str) -> nn.Module:
    """Return a network in eval mode after one training step, which changes all its values."""
    network = made(what)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches: here, of the one
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5)  # the map of stn is touchy
    network(random_tiles(3, seed=1)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return network.eval()


@cache
def program_of(what: str) -> torch.export.ExportedProgram:
    """Return the program of a trained network, for any number of tiles."""
    return exported(trained(what), tuple(random_tiles(1).shape[1:]))


@pytest.fixture(params=FAMILIES)
def what(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(what: str) -> nn.Module:
    return trained(what)


def test_every_family_is_tested() -> None:
    assert {what.split()[0] for what in PARAMETERS} == set(ENCODERS)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_any_batch_gives_finite_vectors(network: nn.Module, n: int) -> None:
    with torch.no_grad():
        vectors = network(random_tiles(n))
    assert vectors.shape == (n, 16)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()


def test_tiles_that_differ_get_vectors_that_differ(network: nn.Module) -> None:
    with torch.no_grad():
        vectors = network(random_tiles(4))
    assert torch.pdist(vectors).min() > 1e-3


@pytest.mark.parametrize("what", PARAMETERS)
def test_parameters_are_distinct_and_as_many_as_stated(what: str) -> None:
    network = made(what)
    storages = {parameter.data_ptr() for parameter in network.parameters()}
    assert len(storages) == len(list(network.parameters()))
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[what]


@pytest.mark.parametrize("what", VARIANTS)
def test_an_option_makes_a_network_that_learns_and_gives_dim_numbers(what: str) -> None:
    network = made(f"{what} dim=5")
    vectors = network(random_tiles(3))
    assert vectors.shape == (3, 5)
    assert_all_learn(network, vectors)


def test_a_gradient_reaches_every_parameter(network: nn.Module) -> None:
    training = copy.deepcopy(network).train()
    assert_all_learn(training, training(random_tiles(3)))


def assert_all_learn(network: nn.Module, vectors: torch.Tensor) -> None:
    weights = torch.randn(vectors.shape[1], generator=torch.Generator().manual_seed(3))
    (vectors @ weights).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_nothing_is_random(network: nn.Module) -> None:
    tiles = random_tiles(2)
    with torch.no_grad():
        assert torch.equal(network(tiles), network(tiles))
        training = copy.deepcopy(network).train()
        assert torch.equal(training(tiles), training(tiles))


def test_a_tile_does_not_depend_on_its_batch(network: nn.Module, what: str) -> None:
    tiles = random_tiles(3)
    with torch.no_grad():
        together = network(tiles)
        alone = torch.cat([network(tile[None]) for tile in tiles])
    # a rounded place in a tile of noise is another value
    rounding = 10 if what.startswith("stn") else 1
    torch.testing.assert_close(together, alone, rtol=1e-4 * rounding, atol=1e-5 * rounding)


def test_what_is_saved_is_loaded_to_the_last_bit(
    network: nn.Module, what: str, tmp_path: Path
) -> None:
    save_weights(network, tmp_path / "model.safetensors")
    again = made(what)
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    tiles = random_tiles(3)
    with torch.no_grad():
        assert torch.equal(network(tiles), again.eval()(tiles))


def test_bfloat16_does_not_reach_the_output(network: nn.Module) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        vectors = network(random_tiles(2))
    assert vectors.dtype == torch.float32
    assert not torch.equal(vectors, vectors.bfloat16().float())


@pytest.mark.untraced  # the Python of a compiler
@pytest.mark.parametrize("what", others_in_soak(COMPILED))
def test_compiled_it_is_the_same(what: str) -> None:
    """Compile through capture and autograd, but without the slow compiler of C++.

    Every family is one graph but `rowlstm`: the compiler leaves LSTMs out of its graphs.
    """
    network, tiles = trained(what), random_tiles(2)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=what != "rowlstm", backend="aot_eager")
        torch.testing.assert_close(compiled(tiles), network(tiles), rtol=1e-5, atol=1e-5)


@pytest.mark.untraced  # the Python of a compiler
def test_lstms_are_in_the_graph_where_the_compiler_is_told_to_take_them() -> None:
    network, tiles = trained("rowlstm"), random_tiles(2)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True), torch.no_grad():
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(tiles), network(tiles), rtol=1e-5, atol=1e-5)


# the compiler looks at what breaks a graph
@pytest.mark.untraced  # the Python of a compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("what", [pytest.param("stn", marks=pytest.mark.soak), "vit", "rowlstm"])
def test_compiled_it_trains_the_same(what: str) -> None:
    """Also a graph that breaks, as LSTMs break it."""
    tiles, gradients = random_tiles(2), []
    torch._dynamo.reset()
    for compiled in (False, True):
        network = copy.deepcopy(trained(what))  # in eval mode, which has no dropout
        run = torch.compile(network, backend="aot_eager") if compiled else network
        run(tiles).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for eager, of_compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(of_compiled, eager, rtol=1e-3, atol=1e-3)


@pytest.mark.untraced  # the Python of a compiler
@pytest.mark.filterwarnings("ignore")  # of the exporters', about themselves
@pytest.mark.parametrize("what", others_in_soak(SHIPPED))
def test_onnx_agrees(what: str) -> None:
    assert_agrees(by_onnx(program_of(what)), what, rtol=1e-5, atol=1e-4)


@pytest.mark.untraced  # the Python of a compiler
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", others_in_soak(SHIPPED))
def test_openvino_agrees(what: str) -> None:
    assert_agrees(by_openvino(program_of(what)), what, rtol=1e-4, atol=1e-3)


Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def assert_agrees(run: Run, what: str, rtol: float, atol: float) -> None:
    for n in (1, 3):
        given = random_tiles(n, seed=n)
        with torch.no_grad():
            expected = trained(what)(given).numpy()
        np.testing.assert_allclose(run(given.numpy()), expected, rtol=rtol, atol=atol)


def by_onnx(program: torch.export.ExportedProgram) -> Run:
    """Return what ONNX Runtime makes of tiles."""
    written = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False)
    assert written is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads would wait actively beside those of PyTorch
    session = onnxruntime.InferenceSession(
        written.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (tiles,) = session.get_inputs()
    return lambda given: session.run(None, {tiles.name: given})[0]


def by_openvino(program: torch.export.ExportedProgram) -> Run:
    """Return what OpenVINO makes of tiles in float32."""
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    openvino = load_openvino()
    model = openvino.Core().compile_model(openvino.convert_model(program), "CPU", exact)
    request = model.create_infer_request()
    return lambda given: request.infer([given])[0]


def test_the_transformer_begins_with_the_identity() -> None:
    network = made("stn")
    assert isinstance(network, SpatialTransformer)
    tiles = random_tiles(2).float() / 255
    torch.testing.assert_close(network.transform(tiles), tiles, rtol=0, atol=1e-5)


def test_the_transformer_turns_and_shifts() -> None:
    network = made("stn")
    assert isinstance(network, SpatialTransformer)
    tiles = random_tiles(2).float() / 255
    with torch.no_grad():
        # the x of the answer is the y before
        network.affine.bias.copy_(torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0, 0.0]))
        torch.testing.assert_close(
            network.transform(tiles), torch.rot90(tiles, -1, (2, 3)), rtol=0, atol=1e-5
        )
        # 16 of 128 pixels to the right
        network.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.25, 0.0, 1.0, 0.0]))
        shifted = network.transform(tiles)
    torch.testing.assert_close(shifted[..., :-16], tiles[..., 16:], rtol=0, atol=1e-5)
    assert not shifted[..., -16:].any()


def test_squeeze_weighs_channels() -> None:
    residual = made("seresnet").get_submodule("blocks.0.residual")
    assert isinstance(residual, nn.Sequential)
    gate = residual[-1]
    x = torch.rand(2, 32, 5, 5)
    weights = gate(x) / x
    assert ((weights > 0) & (weights < 1)).all()
    torch.testing.assert_close(weights, weights[..., :1, :1].expand_as(weights))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_memory_efficient_densenet_computes_the_same(norm: Literal["batch", "layer"]) -> None:
    tiles, seen = random_tiles(2), []
    for memory in ("plain", "efficient"):
        torch.manual_seed(0)
        network = DenseNet(DenseNetOptions(memory=memory, norm=norm, depth=2, growth=8))
        network(tiles).square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        seen.append(gradients | dict(network.named_buffers()))
    for name, value in seen[0].items():
        torch.testing.assert_close(seen[1][name], value, msg=name)


def test_layers_of_a_dense_block_read_all_that_was_made() -> None:
    block = made("densenet").get_submodule("layers.0")
    assert isinstance(block, DenseBlock)
    convolutions = [layer.get_parameter("bottleneck.2.weight") for layer in block.layers]
    assert [weight.shape[1] for weight in convolutions] == [32, 48, 64, 80, 96, 112]


def kept_bytes(memory: Literal["plain", "efficient"], depth: int) -> int:
    """Return how much a dense block with `depth` layers keeps for the backward pass, in bytes."""
    block = DenseBlock(16, DenseNetOptions(growth=8, depth=depth, memory=memory))
    sizes = {parameter.untyped_storage().data_ptr(): 0 for parameter in block.parameters()}
    held = []  # so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor)
        sizes.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(torch.randn(2, 16, 8, 8)).sum()
    return sum(sizes.values())


def test_memory_of_an_efficient_dense_block_is_linear_in_its_depth() -> None:
    plain, efficient = (
        [kept_bytes(memory, depth) for depth in (8, 16, 32)] for memory in ("plain", "efficient")
    )
    assert [deep / half for half, deep in pairwise(efficient)] == pytest.approx([2, 2], abs=0.1)
    assert all(deep / half > 2.5 for half, deep in pairwise(plain))
    assert efficient[-1] < plain[-1] / 3


def test_branches_of_inception_stand_side_by_side_in_the_order_stated() -> None:
    network, x = trained("inception"), torch.rand(2, 128, 8, 8)
    module, reduction = (network.get_submodule(f"layers.{number}") for number in (5, 4))
    with torch.no_grad():
        reduced = reduction(x)
        made = module(reduced)
        torch.testing.assert_close(reduced[:, :48], reduction.get_submodule("branches.0")(x))
        torch.testing.assert_close(reduced[:, -128:], torch.nn.functional.max_pool2d(x, 2))
        torch.testing.assert_close(made[:, :40], module.get_submodule("branches.0")(reduced))
        torch.testing.assert_close(made[:, -24:], module.get_submodule("branches.3")(reduced))


def seen_by(
    layer: nn.Module, network: nn.Module, tiles: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what goes into a layer and what comes out of it first while tiles are read."""
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = layer.register_forward_hook(lambda module, given, made: kept.append((given[0], made)))
    with hook, torch.no_grad():
        network(tiles)
    return kept[0]


@pytest.mark.parametrize("what", ["vit", "rsan"])
def test_where_a_patch_lies_counts(what: str) -> None:
    network, tiles = trained(what), random_tiles(2)
    nowhere = copy.deepcopy(network)
    with torch.no_grad():
        nowhere.get_buffer("positions").zero_()
        assert (network(tiles) - nowhere(tiles)).abs().max() > 1e-3


def test_attention_is_added_to_what_came_in() -> None:
    block, x = ResidualAttention(), torch.rand(2, 5, 96)
    with torch.no_grad():
        assert not torch.allclose(block(x), x)
        block.attention.out_proj.weight.zero_()
        block.attention.out_proj.bias.zero_()
        assert torch.equal(block(x), x)


def test_each_scale_of_rsan_is_the_middle_half_of_the_one_before() -> None:
    network, tiles = trained("rsan"), random_tiles(1)
    extractors = network.get_submodule("extractors").children()
    whole, half, quarter = (seen_by(each, network, tiles)[0] for each in extractors)
    assert torch.equal(whole, tiles / 255)
    for wide, narrow in ((whole, half), (half, quarter)):
        pooled = torch.nn.functional.avg_pool2d(narrow, 2)
        assert (
            (pooled - wide[..., 32:96, 32:96]).abs().mean()
            < 0.05
            < (pooled - wide[..., ::2, ::2]).abs().mean()
        )
    assert torch.equal(half[..., 0, 0], whole[..., 32, 32])


def test_groups_of_channels_hear_of_each_other() -> None:
    unit = trained("shufflenet units=v1").get_submodule("layers.4")
    x = torch.rand(1, 144, 8, 8, requires_grad=True)
    unit.get_submodule("residual")(x)[:, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad.unflatten(1, (3, 48)).abs().amax((0, 2, 3, 4)) > 0).all()


def test_half_of_the_channels_pass_and_mix_with_the_others() -> None:
    unit, x = trained("shufflenet").get_submodule("layers.4"), torch.rand(1, 112, 8, 8)
    with torch.no_grad():
        made = unit(x)
        torch.testing.assert_close(made[:, 0::2], x[:, :56])
        torch.testing.assert_close(made[:, 1::2], unit.get_submodule("branch")(x[:, 56:]))


def test_lstms_read_rows_then_columns_then_the_rows_again() -> None:
    network, tiles = trained("rowlstm"), random_tiles(2)
    _, (along, _) = seen_by(network.get_submodule("along_rows"), network, tiles)
    given, (down, _) = seen_by(network.get_submodule("down_columns"), network, tiles)
    of_rows, _ = seen_by(network.get_submodule("reader"), network, tiles)
    torch.testing.assert_close(
        given.unflatten(0, (2, 32)), along.unflatten(0, (2, 32)).transpose(1, 2)
    )
    torch.testing.assert_close(of_rows, down.unflatten(0, (2, 32)).mean(1))


def test_positions_differ_and_near_ones_are_alike() -> None:
    found = waves(16, 64)
    far = torch.cdist(found, found)
    assert far[~torch.eye(256, dtype=torch.bool)].min() > 0.1
    assert far[0, 1] < far[0, 4] < far[0, 15]
    assert far[0, 1] == pytest.approx(far[0, 16].item())  # rows and columns alike


def test_learned_positions_are_learned() -> None:
    assert "positions" in dict(made("vit positions=learned").named_parameters())
    assert "positions" not in made("vit").state_dict()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet",
            {"growth": 3},
            r"'resnet' has no option 'growth': its options are dim=16, norm=batch\|layer",
        ),
        ("vit", {"norm": "batch"}, r"'vit' has no option 'norm': .*positions=sine\|learned"),
        ("densenet", {"growth": "wide"}, r"growth='wide'"),
        ("densenet", {"growth": 0}, r"growth=0: .*greater than or equal to 1"),
        ("loc2vec", {"norm": "group"}, r"norm='group': .*'batch' or 'layer'"),
        ("seresnet", {"dim": -1}, "dim=-1"),
        ("mamba", {}, "no encoder is called 'mamba': choose one of densenet, .*, vit"),
    ],
)
def test_a_wrong_option_is_named_with_those_there_are(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        options_of(name, options)


def test_options_may_be_text() -> None:
    assert options_of("densenet", {"growth": "8", "norm": "layer"}) == DenseNetOptions(
        growth=8, norm="layer"
    )


@pytest.mark.parametrize("name", ENCODERS)
def test_all_options_of_a_family_build_it_for_tiles_of_two_scales(name: str) -> None:
    network = build(name, 2, **asdict(options_of(name, {"dim": 5})))
    with torch.no_grad():
        assert network.eval()(random_tiles(2).repeat(1, 2, 1, 1)).shape == (
            2,
            vector_size(name, 5, 2),
        )
