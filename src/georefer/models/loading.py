"""From a hub id or a folder to a model: transformers' own loading, with its silences made into errors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from georefer.dialects import DIALECTS
from georefer.errors import CheckpointError, InputError
from georefer.models import adapter
from georefer.models.families import FAMILIES
from georefer.models.families.base import Family
from georefer.models.transformers_model import SETTINGS_FILE, TransformersModel, quiet

SHIPPED = Path(__file__).parent / "checkpoints"
"""Checkpoints that come with georefer; each holds a model card."""

_WRONG = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


def load(
    name: str | Path,
    dialect: str | None = None,
    system: str | None = None,
    *,
    precision: torch.dtype | None = None,
) -> TransformersModel:
    """The checkpoint in a folder or under a hub id; CheckpointError says what is wrong with it.

    `dialect` and `system` (a sentence before the conversation) are by default what `georefer.json` beside the
    checkpoint says, or else what the family's released models use. float32 on a CPU, bfloat16 on an accelerator,
    or `precision`. Only safetensors are read and no code of the checkpoint is run. A folder with an adapter of peft
    gives its base model with the adapter in it.
    """
    folder = _folder(name)
    if adapter.is_adapter(folder):
        return _load_adapted(folder, dialect, system, precision)
    if (folder / "tiny.json").is_file():  # as the base of an adapter; always float32 and without a sentence
        tiny: TransformersModel = import_module("georefer.models.tiny").load(folder, dialect)
        return tiny
    with quiet():
        source = str(folder)
        settings = _settings(Path(source))
        config = _read(source, "a config.json", lambda: AutoConfig.from_pretrained(source))
        kind = _family(source, config)
        processor = _read(source, "its processor", lambda: _processor(source, config, kind))
        model = _read(source, "its weights", lambda: _model(source, config, precision))
    model.name_or_path = str(name)  # as the user said it: an adapter names its base so
    family = kind(model, processor)
    manner = family.manner(str(name))
    spoken = dialect or settings.get("dialect") or manner.dialect
    if spoken not in DIALECTS:
        raise InputError(f"there is no dialect '{spoken}'; choose among {', '.join(DIALECTS)}")
    first = settings.get("system", manner.system) if system is None else system
    processor.chat_template = manner.template or processor.chat_template or family.template
    speech = family.speech(first)
    return TransformersModel(f"{config.model_type}-{_digest(model)}", family, speech, DIALECTS[spoken], first)


def _load_adapted(
    folder: Path, dialect: str | None, system: str | None, precision: torch.dtype | None
) -> TransformersModel:
    """The base that an adapter names, with the adapter on it; refused where the base's weights are others."""
    record, settings = adapter.read_record(folder), _settings(folder)
    base = adapter.base_of(folder, record)
    try:
        if adapter.is_adapter(_folder(base)):
            raise CheckpointError(f"{base} is itself an adapter; merge it and name the merged model")
        sentence = settings.get("system") if system is None else system
        model = load(base, dialect or settings.get("dialect"), sentence, precision=precision)
        if side := settings.get("image_side", ""):
            model = model.seeing(int(side))
    except (CheckpointError, InputError, ValueError) as error:
        raise CheckpointError(f"the base model of the adapter {folder} cannot be had: {error}") from error
    family = model.family
    if record.digest and record.digest != adapter.digest(Path(family.bare.config._name_or_path)):
        raise CheckpointError(
            f"the base model {base} was found to have other weights than those that {folder} was trained on; give it "
            "back its old weights, or train the adapter again"
        )
    adapter.load_adapter(family, folder, record)
    return replace(model, name=f"{family.bare.config.model_type}-{_digest(family.bare)}")


_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors", adapter.WEIGHTS_FILE)
"""What is fetched of a hub repository: neither pickles nor code."""


def _folder(name: str | Path) -> Path:
    """The checkpoint's folder; one under a hub id is fetched, or found among those fetched before."""
    if Path(name).is_dir():
        return Path(name)
    if Path(name).name == str(name) and (SHIPPED / name).is_dir():
        return SHIPPED / name
    fetched: str = _read(str(name), "its files", lambda: snapshot_download(str(name), allow_patterns=list(_FILES)))
    return Path(fetched)


def _settings(folder: Path) -> dict[str, str]:
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text())
        return {key: str(read[key]) for key in ("dialect", "system", "image_side") if key in read}
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{file} is not JSON of 'dialect' and 'system' ({error}); mend or remove it") from error


def _family(source: str, config: Any) -> type[Family]:
    if config.model_type not in FAMILIES:
        raise CheckpointError(
            f"{source} is a model of type '{config.model_type}'; known are {', '.join(FAMILIES)}; "
            "serve it and use georefer's http model, or add a family"
        )
    module, kind = FAMILIES[config.model_type].split(":")
    found: type[Family] = getattr(import_module(module), kind)
    return found


def _processor(source: str, config: Any, kind: type[Family]) -> Any:
    """The family's own processor, put together from its parts without one for video.

    The processors of several families insist on one for video, and those cannot be imported without torchvision.
    """
    whole: Any = (
        getattr(transformers, kind.processor_class) if kind.processor_class else PROCESSOR_MAPPING[type(config)]
    )
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(source, backend="pil"),
        "tokenizer": AutoTokenizer.from_pretrained(source),
    }
    settings, _ = whole.get_processor_dict(source)
    known = set(signature(whole.__init__).parameters) - {"chat_template", "kwargs"}
    # parts of the processor are dictionaries in newer checkpoints, and read above
    kept = {key: value for key, value in settings.items() if key in known and not isinstance(value, dict)}
    processor = image_only(whole)(**parts, **kept)
    processor.chat_template = settings.get("chat_template") or parts["tokenizer"].chat_template
    kind.finish(processor, config)
    return processor


def image_only(whole: type) -> type:
    """The same processor class, which neither asks for nor keeps a video processor."""

    def get_attributes(cls: Any) -> list[str]:
        return [name for name in whole.get_attributes() if "video" not in name]  # type: ignore[attr-defined]

    return type(
        whole.__name__, (whole,), {"get_attributes": classmethod(get_attributes), "__module__": whole.__module__}
    )


def _model(source: str, config: Any, precision: torch.dtype | None) -> Any:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # bfloat16 is some forty times slower than float32 on common CPUs
    dtype = precision or (torch.bfloat16 if device == "cuda" else torch.float32)
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        source, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False,
        output_loading_info=True, ignore_mismatched_sizes=True,
    )  # fmt: skip
    model, found = loaded
    # transformers would only warn and fill up at random
    for wrong in ("missing_keys", "mismatched_keys"):
        if found[wrong]:
            named = ", ".join(sorted(map(str, found[wrong]))[:3])
            raise ValueError(f"config.json and the weights disagree, {wrong.replace('_', ' ')}: {named}")
    return model.to(device).eval()


def _read(source: str, what: str, reading: Any) -> Any:
    try:
        return reading()
    except _WRONG as error:
        line = next((text for text in str(error).strip().splitlines() if text), type(error).__name__)
        # transformers names all the models it knows
        line = line if len(line) <= 300 else f"{line[:300]}..."
        raise CheckpointError(
            f"{source} does not give {what} ({line}); give the folder of a checkpoint in transformers' format with "
            "safetensors, or a hub id that can be reached"
        ) from error


def _digest(model: Any) -> str:
    """Eight hex digits of a sample of every weight: hashing all of seven billion would take a minute."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, len(flat) // 1024)].float().cpu().numpy()
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(sample.tobytes())
    return digest.hexdigest()[:8]
