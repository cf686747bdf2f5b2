"""Adapters of peft on any family: attached by full path, kept in a folder beside a named base, read back, merged.

A folder holds peft's own two files and `georefer.json`, which names the base and the digest of its weights.
Parameters that were trained in full beside the adapters, such as a projector, are in the same file under their plain
names, where peft finds them too. Which parameters belong to an adapter is said by `requires_grad` alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from georefer.errors import CheckpointError, MissingExtra
from georefer.models.families.base import Family

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
RECORD_FILE = "georefer.json"

_HEAD = "base_model.model."
_LORA = re.compile(r"(.+)\.lora_[AB]\.weight")
_BLOCK_BYTES, _BLOCKS = 4096, 64
_UNKNOWN = ("use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "alora_invocation_tokens",
            "target_parameters", "trainable_token_indices", "megatron_config")  # fmt: skip
"""Settings of peft that change what an adapter does and are not read here."""


@dataclass(frozen=True)
class Shape:
    """Size and strength of low-rank adapters: their output is scaled by alpha / rank."""

    rank: int
    alpha: float
    dropout: float = 0.0
    rank_stabilised: bool = False
    """Scaled by alpha / sqrt(rank) instead."""
    init: str = "kaiming"
    """How the first factor begins, "kaiming" or "gaussian"; the second is zero."""


@dataclass(frozen=True)
class Record:
    """What `georefer.json` says of an adapter: its base, the digest of the base's weights, and its rounding."""

    base: str
    digest: str = ""
    quantise: str = "none"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter of peft."""
    return (folder / CONFIG_FILE).is_file()


def is_adapted(family: Family) -> bool:
    """Whether adapters of peft are in the model."""
    return hasattr(family.model, "peft_config")


# --- attaching --------------------------------------------------------------------------------------------------


def attach(family: Family, paths: Sequence[str], shape: Shape, seed: int = 0) -> None:
    """Low-rank adapters on the linear layers at these full paths of `family.bare`, and on no other."""
    if find_spec("peft") is None:
        raise MissingExtra("adapting a model", "models")
    with _without_remarks():
        from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, lora_dropout=shape.dropout, target_modules=list(paths),  # type: ignore[arg-type]
        use_rslora=shape.rank_stabilised, init_lora_weights="gaussian" if shape.init == "gaussian" else True,
    )  # fmt: skip
    with torch.random.fork_rng(), _without_remarks():
        torch.manual_seed(seed)
        family.model = get_peft_model(family.model, config)
    # peft shortens long lists to suffixes, which in another model would match more
    config.target_modules = list(paths)
    if (found := set(adapted_paths(family))) != set(paths):
        raise RuntimeError(f"peft was found to adapt {sorted(found ^ set(paths))[:3]} otherwise than asked")


def adapted_paths(family: Family) -> list[str]:
    """Full paths of the layers of `family.bare` that have an adapter."""
    return [name for name, module in family.bare.named_modules() if hasattr(module, "lora_A")]


def _settings(family: Family) -> Any:
    return family.model.peft_config["default"]


# --- quantising -------------------------------------------------------------------------------------------------


def quantise(family: Family, paths: Iterable[str]) -> None:
    """Keep the weights of these linear layers in four bits (nf4), in place; they can no longer be trained."""
    bnb = _bitsandbytes()
    for path in paths:
        parent, name = _parent(family.bare, path)
        old = getattr(parent, name)
        new = bnb.nn.Linear4bit(
            old.in_features, old.out_features, bias=False, compute_dtype=old.weight.dtype,
            compress_statistics=False, quant_type="nf4", device="meta",
        )  # fmt: skip
        # without compressed statistics rounding twice is rounding once, so that a reloaded adapter can go on
        new.weight = bnb.nn.Params4bit(
            old.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=False
        )
        new.bias = old.bias
        # on some CPUs it would answer in bfloat16, other than it was trained
        new.support_avx512bf16_for_cpu = False
        setattr(parent, name, new.to(old.weight.device))
    family.bare.is_loaded_in_4bit = True  # by which peft knows


def round_to_nf4(family: Family, paths: Iterable[str]) -> None:
    """Give linear layers the very weights that they have in four bits, at their own precision: equal answers."""
    bnb = _bitsandbytes()
    with torch.no_grad():
        for path in paths:
            weight = family.bare.get_submodule(path).weight
            packed, state = bnb.functional.quantize_4bit(weight.data, compress_statistics=False, quant_type="nf4")
            weight.copy_(bnb.functional.dequantize_4bit(packed, state))


def is_quantised(family: Family) -> bool:
    """Whether weights are kept in four bits."""
    return bool(getattr(family.bare, "is_loaded_in_4bit", False))


def _bitsandbytes() -> Any:
    if find_spec("bitsandbytes") is None:
        raise MissingExtra("keeping weights in four bits", "qlora")
    with _without_remarks():
        import bitsandbytes

    return bitsandbytes


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Without remarks of peft and bitsandbytes on each other's and transformers' newer names."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _parent(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    head, _, name = path.rpartition(".")
    return model.get_submodule(head), name


# --- saving -----------------------------------------------------------------------------------------------------


def save_adapter(family: Family, folder: Path) -> Record:
    """Write peft's two files; the record says what to put into `georefer.json` beside them."""
    bare = family.bare
    source = Path(str(bare.config._name_or_path or ""))
    if not str(bare.name_or_path) or not source.is_dir():
        raise CheckpointError(
            "the adapter's base was found in no folder and under no hub id, where an adapter must name it; save the "
            "base model and load it from there before it is adapted"
        )
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(_base_from(str(bare.name_or_path), folder), digest(source), _rounding(family))
    save_file(trained_tensors(family), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = _settings(family)
    config.base_model_name_or_path = record.base
    written = {**config.to_dict(), "target_modules": sorted(adapted_paths(family)), "inference_mode": True}
    (folder / CONFIG_FILE).write_text(json.dumps(written, indent=2, sort_keys=True, default=_plain) + "\n")
    return record


def trained_tensors(family: Family) -> dict[str, Tensor]:
    """All that was trained, by peft's names: factors of adapters, parameters trained in full, and their buffers."""
    state, found = family.bare.state_dict(keep_vars=True), {}
    whole = whole_parts(family)
    seen: set[int] = set()
    for name, tensor in state.items():
        is_buffer = not isinstance(tensor, nn.Parameter)
        wanted = family.part_of(name) in whole if is_buffer else tensor.requires_grad
        if wanted and id(tensor) not in seen:  # tied weights come twice
            seen.add(id(tensor))
            found[_HEAD + name.replace(".default.", ".")] = tensor.detach().clone().contiguous()
    return found


def whole_parts(family: Family) -> set[str]:
    """Parts of which every parameter of the base is trained."""
    still: dict[str, bool] = {}
    for name, parameter in family.bare.named_parameters():
        if not is_factor(name):
            part = family.part_of(name)
            still[part] = still.get(part, True) and parameter.requires_grad
    return {part for part, trained in still.items() if trained}


def is_factor(name: str) -> bool:
    """Whether a parameter belongs to an adapter rather than to its base."""
    return ".lora_A." in name or ".lora_B." in name


def _base_from(name: str, folder: Path) -> str:
    """A base given as a relative path stays one, seen from the adapter's folder, so that both can move together."""
    if Path(name).is_dir() and not Path(name).is_absolute():
        return Path(os.path.relpath(name, folder)).as_posix()
    return name


def _rounding(family: Family) -> str:
    return "nf4" if is_quantised(family) or getattr(family.bare, "rounded_to", "") == "nf4" else "none"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else getattr(value, "value", str(value))


# --- loading ----------------------------------------------------------------------------------------------------


def read_record(folder: Path) -> Record:
    """The base of the adapter in a folder, by `georefer.json` or else by peft's own file."""
    config = _json(folder / CONFIG_FILE)
    file = folder / RECORD_FILE
    said = _json(file) if file.is_file() else {}
    base = said.get("base") or config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(f'{folder} names no base model; add "base" with its folder or hub id to {file}')
    return Record(base, str(said.get("base_digest", "")), str(said.get("quantise", "none")))


def base_of(folder: Path, record: Record) -> str:
    """The base's folder, seen from the adapter's where it is there, or its hub id."""
    beside = Path(os.path.normpath(folder.resolve() / record.base))
    return str(beside) if beside.is_dir() else record.base


def load_adapter(family: Family, folder: Path, record: Record) -> None:
    """Put the adapter in a folder onto its base; CheckpointError where they do not belong together."""
    shape, tensors = _shape(folder), _tensors(folder)
    paths = sorted({match[1] for name in tensors if (match := _LORA.fullmatch(name))})
    linear = {name for name, module in family.bare.named_modules() if isinstance(module, nn.Linear)}
    if not paths or not linear.issuperset(paths):
        odd = ", ".join([p for p in paths if p not in linear][:3]) or "none at all"
        raise CheckpointError(
            f"{folder} was found to adapt layers that its base {record.base} does not have ({odd}); it was made on "
            "another model or by an older transformers: merge it with the tool that made it"
        )
    if record.quantise == "nf4":
        round_to_nf4(family, paths)
        family.bare.rounded_to = "nf4"
    attach(family, paths, shape)
    _fill(family, tensors, folder)
    family.model.eval()


def _fill(family: Family, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Copy the tensors in; afterwards exactly what they fill has `requires_grad`."""
    state = family.bare.state_dict(keep_vars=True)
    named = {_LORA.sub(lambda m: m[0].removesuffix("weight") + "default.weight", n): t for n, t in tensors.items()}
    factors = {name for name in state if is_factor(name)}
    wrong = [n for n, t in named.items() if n not in state or state[n].shape != t.shape]
    if wrong := sorted([*wrong, *(factors - named.keys())]):
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} does not fit its {CONFIG_FILE} and its base: {', '.join(wrong[:3])} is missing, "
            "unknown or of another shape; copy the whole folder again"
        )
    family.bare.requires_grad_(False)
    with torch.no_grad():
        for name, tensor in named.items():
            state[name].copy_(tensor)
            if isinstance(state[name], nn.Parameter) and state[name].is_floating_point():
                state[name].requires_grad_(True)


def _shape(folder: Path) -> Shape:
    """peft's settings, of which only those are taken that are understood: they come from strangers."""
    config = _json(folder / CONFIG_FILE)
    odd = [key for key in _UNKNOWN if config.get(key)]
    if config.get("peft_type") != "LORA" or odd or config.get("bias", "none") != "none":
        what = ", ".join(odd) or f"peft_type {config.get('peft_type')}, bias {config.get('bias')}"
        raise CheckpointError(
            f"{folder / CONFIG_FILE} describes an adapter with {what}, where plain LoRA is expected; merge it with the "
            "tool that made it"
        )
    rank, alpha, dropout = config.get("r"), config.get("lora_alpha"), config.get("lora_dropout", 0.0)
    if isinstance(rank, int) and 0 < rank <= 65536 and isinstance(alpha, int | float) and isinstance(dropout, float):
        return Shape(rank, alpha, dropout, bool(config.get("use_rslora")))
    raise CheckpointError(f"{folder / CONFIG_FILE} has r {rank!r}, lora_alpha {alpha!r}; numbers are expected")


def _tensors(folder: Path) -> dict[str, Tensor]:
    file = folder / WEIGHTS_FILE
    try:
        return {name.removeprefix(_HEAD): tensor for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); an adapter's weights are expected there") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({error}); mend it or copy the folder again") from error
    if not isinstance(read, dict):
        raise CheckpointError(f"{file} holds {type(read).__name__} where a table is expected; mend it")
    return read


def digest(folder: Path) -> str:
    """Sixteen hex digits of the weights in a folder, however they are spread over files.

    Of each tensor up to 64 blocks of 4 KiB are read: all of seven billion parameters would take a minute.
    """
    parts: dict[str, str] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                    parts[name] = _sample(tensors.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file} cannot be read ({error}); copy the base model again") from error
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _sample(tensor: Tensor) -> str:
    bytes_N = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.zeros(0, dtype=torch.uint8)
    step = max(1, -(-len(bytes_N) // (_BLOCKS * _BLOCK_BYTES))) * _BLOCK_BYTES
    made = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    for start in range(0, len(bytes_N), step):
        made.update(bytes_N[start : start + _BLOCK_BYTES].numpy().tobytes())
    return made.hexdigest()
